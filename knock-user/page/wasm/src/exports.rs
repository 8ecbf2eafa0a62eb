//! What the page calls. Bytes go in and out at [`buffer`].

use core::{
    arch::wasm32,
    panic::PanicInfo,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use knock_common::protocol::identity::{KEY_LEN, PrivateKey};

use crate::knock::{self, Content};

/// A door's name has 64 bytes at most.
const MAX_DOOR_LEN: usize = 64;

/// Atomic, because the page writes to it.
static BUFFER: [AtomicU8; KEY_LEN + MAX_DOOR_LEN] =
    [const { AtomicU8::new(0) }; KEY_LEN + MAX_DOOR_LEN];

/// The address of 96 bytes.
// SAFETY: nothing else in the module has this name.
#[unsafe(no_mangle)]
extern "C" fn buffer() -> *const AtomicU8 {
    BUFFER.as_ptr()
}

/// From the client's private key and the server's public key to the key of [`seal`]. Returns whether
/// there is one.
// SAFETY: nothing else in the module has this name.
#[unsafe(no_mangle)]
extern "C" fn derive() -> bool {
    let Some(key) = knock::key(PrivateKey::new(read(0)), read(KEY_LEN)) else {
        return false;
    };
    write(&key);
    true
}

/// From a key and `door_len` bytes of a door's name to the 16 bytes of a knock. Returns whether that is a
/// name.
// SAFETY: nothing else in the module has this name.
#[unsafe(no_mangle)]
extern "C" fn seal(door_len: usize, unix_ms: f64, lease: u16, random: u8) -> bool {
    let door: [u8; MAX_DOOR_LEN] = read(KEY_LEN);
    let door = door.get(..door_len).map(str::from_utf8);
    let Some(Ok(door)) = door else {
        return false;
    };
    let content = Content {
        door,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the time of a browser is a whole number after 1970"
        )]
        unix_ms: unix_ms as u64,
        lease,
        random,
    };
    write(&knock::block(&read(0), &content));
    true
}

/// The bytes of the buffer from `start`.
fn read<const LEN: usize>(start: usize) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for (byte, place) in bytes.iter_mut().zip(&BUFFER[start..]) {
        *byte = place.load(Relaxed);
    }
    bytes
}

/// Puts `bytes` at the start of the buffer.
fn write(bytes: &[u8]) {
    for (place, byte) in BUFFER.iter().zip(bytes) {
        place.store(*byte, Relaxed);
    }
}

/// The page sees a trap as an exception.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}
