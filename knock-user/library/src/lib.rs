//! libknock: the library for C, and for all languages that can call C.
//!
//! The header `include/knock.h` is generated from this crate. Every function checks its arguments, and
//! no panic leaves it. The work is done by `knock-client`.

mod outcome;
mod request;
mod text;

use std::{ffi::c_char, ptr};

use knock_client::{Knocker, Moment, knock_common::protocol::identity::PrivateKey};

use self::{
    outcome::{Failure, answer},
    request::read,
};
pub use self::{
    outcome::{
        KNOCK_BUG, KNOCK_INVALID, KNOCK_NO_ADDRESS, KNOCK_NOT_MADE, KNOCK_NOT_SENT, KNOCK_OK,
    },
    request::{KNOCK_BOTH, KNOCK_SYN, KNOCK_UDP, Request},
};

/// The number of ports of a SYN knock.
pub const KNOCK_PORTS: usize = 16;

/// The length of a datagram knock, in bytes.
pub const KNOCK_DATAGRAM_LEN: usize = 144;

/// The length of the random numbers for a datagram knock, in bytes.
pub const KNOCK_RANDOM_LEN: usize = 32;

/// The version of this interface. It changes when a program would have to be compiled again, and so does
/// the name of the shared library: libknock.so.1.
#[unsafe(no_mangle)]
pub extern "C" fn knock_abi_version() -> u32 {
    const { number(env!("KNOCK_ABI")) }
}

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("the build script sets a number"),
    }
}

/// Knocks once on each address of the server, at most one of each family.
///
/// KNOCK_OK means that the knock was sent. It is never answered: try the door then. Returns after a tenth
/// of a second for each address, or else after at most `timeout_ms` and that.
///
/// `message` gets a text of up to `message_size` bytes, which ends with a NUL: what is wrong, or with
/// KNOCK_OK what was not sent in full, or nothing. It contains no secret. It may be NULL.
///
/// # Safety
///
/// `request` points to a request, whose strings end with a NUL. `message` is NULL or has room for
/// `message_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn knock_send(
    request: *const Request,
    message: *mut c_char,
    message_size: usize,
) -> i32 {
    let send = || {
        // SAFETY: the caller's promise.
        let (knocker, transport, timeout) = unsafe { read(request) }?;
        let knocked = knocker.knock(transport, timeout)?;
        Ok(knocked.notes.join("; "))
    };
    // SAFETY: the caller's promise.
    unsafe { answer(message, message_size, send) }
}

/// Makes a fresh SYN knock: the 16 ports of the server to which a SYN has to be sent, in this order.
///
/// The knock is bound to `source_ip` of the request if that is an address; with `auto` it is unbound.
/// `ports` has room for KNOCK_PORTS numbers, and stays as it is after an error. `message` is as for
/// `knock_send`.
///
/// # Safety
///
/// As for `knock_send`. `ports` is NULL or has room for 16 numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn knock_ports(
    request: *const Request,
    ports: *mut u16,
    message: *mut c_char,
    message_size: usize,
) -> i32 {
    let make = |knocker: &Knocker| Ok(knocker.ports()?);
    // SAFETY: the caller's promise.
    unsafe { make_into(request, ports, message, message_size, make) }
}

/// The same as `knock_ports`, for a host with a clock of its own. `unix_ms` is the time in milliseconds
/// since 1970, and `random` a random number. The same two make the same knock, which the server accepts
/// once.
///
/// # Safety
///
/// As for `knock_ports`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn knock_ports_at(
    request: *const Request,
    unix_ms: u64,
    random: u8,
    ports: *mut u16,
    message: *mut c_char,
    message_size: usize,
) -> i32 {
    let make = |knocker: &Knocker| Ok(knocker.ports_at(Moment { unix_ms, random })?);
    // SAFETY: the caller's promise.
    unsafe { make_into(request, ports, message, message_size, make) }
}

/// Makes a fresh datagram knock: the payload for the UDP port `udp_port` of the server. Send it some
/// times over, because a packet can be lost.
///
/// `datagram` has room for KNOCK_DATAGRAM_LEN bytes, and stays as it is after an error. The knock is
/// bound as by `knock_ports`, and `message` is as for `knock_send`.
///
/// # Safety
///
/// As for `knock_send`. `datagram` is NULL or has room for 144 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn knock_datagram(
    request: *const Request,
    datagram: *mut u8,
    message: *mut c_char,
    message_size: usize,
) -> i32 {
    let make = |knocker: &Knocker| Ok(knocker.datagram()?);
    // SAFETY: the caller's promise.
    unsafe { make_into(request, datagram, message, message_size, make) }
}

/// The same as `knock_datagram`, for a host with a clock or random numbers of its own. `unix_ms` is the
/// time in milliseconds since 1970. `random` points to KNOCK_RANDOM_LEN random bytes, which are used once:
/// two datagrams with the same ones reveal what they contain.
///
/// # Safety
///
/// As for `knock_datagram`. `random` is NULL or points to 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn knock_datagram_at(
    request: *const Request,
    unix_ms: u64,
    random: *const u8,
    datagram: *mut u8,
    message: *mut c_char,
    message_size: usize,
) -> i32 {
    let make = |knocker: &Knocker| {
        if random.is_null() {
            return Err(Failure::invalid("random: it is NULL"));
        }
        let ephemeral = PrivateKey::try_fill(|bytes| {
            // SAFETY: it is not NULL, and then the caller promises 32 bytes.
            unsafe { ptr::copy_nonoverlapping(random, bytes.as_mut_ptr(), bytes.len()) };
            Ok::<_, Failure>(())
        })?;
        Ok(knocker.datagram_at(unix_ms, ephemeral)?)
    };
    // SAFETY: the caller's promise.
    unsafe { make_into(request, datagram, message, message_size, make) }
}

/// Writes what `make` makes to `into`.
///
/// # Safety
///
/// `request`, `message` and `message_size` are as for `knock_send`. `into` is NULL or has room for `N`
/// values.
unsafe fn make_into<T: Copy, const N: usize>(
    request: *const Request,
    into: *mut T,
    message: *mut c_char,
    message_size: usize,
    make: impl FnOnce(&Knocker) -> Result<[T; N], Failure>,
) -> i32 {
    let write = || {
        if into.is_null() || !into.is_aligned() {
            return Err(Failure::invalid(
                "the room for the result is NULL or not aligned",
            ));
        }
        // SAFETY: the caller's promise.
        let (knocker, _, _) = unsafe { read(request) }?;
        let made = make(&knocker)?;
        // SAFETY: it is aligned and not NULL, and then the caller promises room for N values.
        unsafe { ptr::copy_nonoverlapping(made.as_ptr(), into, N) };
        Ok(String::new())
    };
    // SAFETY: the caller's promise.
    unsafe { answer(message, message_size, write) }
}
