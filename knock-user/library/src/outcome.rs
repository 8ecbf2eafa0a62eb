//! What a function returns: a status, and a message in the caller's buffer.

use std::{
    ffi::c_char,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use knock_client::{DescriptionError, KnockError, MakeError, message};

/// Done.
pub const KNOCK_OK: i32 = 0;

/// The request is wrong. The message names the member.
pub const KNOCK_INVALID: i32 = 1;

/// The server has no address that can be used, or its name was not resolved in time.
pub const KNOCK_NO_ADDRESS: i32 = 2;

/// The system could not send the knock.
pub const KNOCK_NOT_SENT: i32 = 3;

/// There is no time or no random number for a knock, or the lease is too long for SYNs.
pub const KNOCK_NOT_MADE: i32 = 4;

/// An error in this library.
pub const KNOCK_BUG: i32 = 5;

/// A longer message is cut.
const MAX_MESSAGE: usize = 4096;

/// A status that is not `KNOCK_OK`, and its message.
#[derive(Debug)]
pub(crate) struct Failure {
    status: i32,
    message: String,
}

impl Failure {
    /// The request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self {
            status: KNOCK_INVALID,
            message: message.into(),
        }
    }
}

impl From<DescriptionError> for Failure {
    fn from(error: DescriptionError) -> Self {
        Self::invalid(message::of(&error))
    }
}

impl From<MakeError> for Failure {
    fn from(error: MakeError) -> Self {
        Self {
            status: KNOCK_NOT_MADE,
            message: message::of(&error),
        }
    }
}

impl From<KnockError> for Failure {
    fn from(error: KnockError) -> Self {
        let status = match &error {
            KnockError::Lookup(_) => KNOCK_NO_ADDRESS,
            KnockError::Make(_) => KNOCK_NOT_MADE,
            KnockError::Delivery(_) => KNOCK_NOT_SENT,
        };
        Self {
            status,
            message: message::of(&error),
        }
    }
}

/// The status of `work`, whose message is written to `message`. A panic does not leave this function.
///
/// # Safety
///
/// `message` is NULL or has room for `size` bytes.
pub(crate) unsafe fn answer(
    message: *mut c_char,
    size: usize,
    work: impl FnOnce() -> Result<String, Failure>,
) -> i32 {
    // What a panic leaves behind is dropped, and seen by nobody.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let (status, text) = match outcome {
        Ok(Ok(note)) => (KNOCK_OK, note),
        Ok(Err(failure)) => (failure.status, failure.message),
        Err(_) => (
            KNOCK_BUG,
            "an error in libknock: please report it".to_owned(),
        ),
    };
    // SAFETY: the caller's promise.
    unsafe { write(&text, message, size) };
    status
}

/// Writes as much of `text` to `message` as there is room for, and a NUL.
///
/// # Safety
///
/// `message` is NULL or has room for `size` bytes.
unsafe fn write(text: &str, message: *mut c_char, size: usize) {
    let Some(room) = size.min(MAX_MESSAGE).checked_sub(1) else {
        return;
    };
    if message.is_null() {
        return;
    }
    let text = &text[..text.floor_char_boundary(room)];
    // SAFETY: it is not NULL, and the text and the NUL fit into `size` bytes.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr().cast(), message, text.len());
        message.add(text.len()).write(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status() {
        let mut message = [1; 64];
        let work = || -> Result<String, Failure> { panic!("in a test") };
        // SAFETY: the buffer has this size.
        let status = unsafe { answer(message.as_mut_ptr(), message.len(), work) };
        assert_eq!(status, KNOCK_BUG);
        assert!(message.contains(&0));
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        for (size, expected) in [
            (0, [9; 4]),
            (1, [0, 9, 9, 9]),
            (2, [0, 9, 9, 9]),
            (3, [0xc3, 0xbc, 0, 9]),
        ] {
            let mut message: [c_char; 4] = [9; 4];
            // SAFETY: the buffer is larger.
            unsafe { write("üü", message.as_mut_ptr(), size) };
            assert_eq!(
                message.map(c_char::to_ne_bytes).concat(),
                expected,
                "{size}"
            );
        }
        // SAFETY: NULL is valid.
        unsafe { write("text", ptr::null_mut(), 100) };
    }
}
