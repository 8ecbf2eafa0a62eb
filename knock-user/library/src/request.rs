//! What a caller asks for.

use std::{ffi::c_char, time::Duration};

use knock_client::{Description, Knocker, Transport};

use crate::{outcome::Failure, text::optional};

/// A knock as 16 TCP SYNs.
pub const KNOCK_SYN: u32 = 0;

/// A knock as one UDP datagram.
pub const KNOCK_UDP: u32 = 1;

/// A datagram and then SYNs. Each is a request of its own.
pub const KNOCK_BOTH: u32 = 2;

/// The time for the system's resolver if the request names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who knocks on which door of which server. Set all to zero first: then only `door` and either
/// `invitation` or `key`, `server` and `server_key` have to be set.
///
/// The strings are UTF-8, end with a NUL, and have at most 2048 bytes. A member other than `door` that is
/// NULL or 0 is not set. One that is set takes precedence over the same part of the invitation.
#[repr(C)]
#[derive(Debug)]
pub struct Request {
    /// The line that `knockd client add` prints: knock://CLIENT@HOST:BASE?server=PUBLIC… It is a secret
    /// if it contains `key=`.
    pub invitation: *const c_char,
    /// The client's private key, as in a key file: knock2: and 43 characters. It is a secret.
    pub key: *const c_char,
    /// The server's name or address.
    pub server: *const c_char,
    /// The server's public key: 43 characters.
    pub server_key: *const c_char,
    /// The name of the door.
    pub door: *const c_char,
    /// The source address that the knock is bound to: an address, `none`, or `auto` as without it.
    pub source_ip: *const c_char,
    /// KNOCK_SYN, KNOCK_UDP or KNOCK_BOTH, for `knock_send`.
    pub transport: u32,
    /// How long the door is to stay open, in seconds. 0 leaves it to the door, UINT32_MAX closes it.
    pub lease: u32,
    /// For how long the server's name may be looked up, in milliseconds; 0 stands for 10000.
    pub timeout_ms: u32,
    /// The first port of SYN knocks; if it is in neither, 61000.
    pub base: u16,
    /// The port of datagram knocks; if it is in neither, 62201.
    pub udp_port: u16,
}

/// The client that `request` describes, how it knocks, and how long a name may be looked up.
///
/// # Safety
///
/// `request` is NULL or points to a request. Its strings are NULL or end with a NUL.
pub(crate) unsafe fn read(
    request: *const Request,
) -> Result<(Knocker, Transport, Duration), Failure> {
    if request.is_null() || !request.is_aligned() {
        return Err(Failure::invalid("request: it is NULL or not aligned"));
    }
    // SAFETY: it is aligned and not NULL, and then the caller promises a request.
    let request = unsafe { &*request };
    // SAFETY: the caller's promise.
    let text = |name, text| unsafe { optional(name, text) };
    let description = Description {
        invitation: text("invitation", request.invitation)?,
        key: text("key", request.key)?,
        server: text("server", request.server)?,
        server_key: text("server_key", request.server_key)?,
        door: text("door", request.door)?.ok_or_else(|| Failure::invalid("door: it is missing"))?,
        source_ip: text("source_ip", request.source_ip)?,
        base: (request.base != 0).then_some(request.base),
        udp_port: (request.udp_port != 0).then_some(request.udp_port),
        lease: request.lease,
    };
    let transport = match request.transport {
        KNOCK_SYN => Transport::Syn,
        KNOCK_UDP => Transport::Udp,
        KNOCK_BOTH => Transport::Both,
        other => {
            let error = format!("transport: {other} is none of KNOCK_SYN, KNOCK_UDP, KNOCK_BOTH");
            return Err(Failure::invalid(error));
        }
    };
    let timeout = match request.timeout_ms {
        0 => DEFAULT_TIMEOUT,
        milliseconds => Duration::from_millis(milliseconds.into()),
    };
    Ok((description.knocker()?, transport, timeout))
}
