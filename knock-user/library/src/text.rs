//! Strings of C: bounded, and UTF-8.

use std::{ffi::c_char, slice};

use crate::outcome::Failure;

/// The longest string, in bytes. An invitation is shorter.
pub(crate) const MAX_LEN: usize = 2048;

/// The string at `text`; `None` if that is NULL. `name` is that of the member, for errors.
///
/// # Safety
///
/// `text` is NULL or points to bytes that end with a NUL, and that do not change while `'a` lasts.
pub(crate) unsafe fn optional<'a>(
    name: &str,
    text: *const c_char,
) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    let text = text.cast::<u8>();
    // Reads no byte after the NUL, and no more than the limit if there is none.
    // SAFETY: all bytes before this one are not NUL, so it is part of the string.
    let len = (0..=MAX_LEN).find(|at| unsafe { text.add(*at).read() } == 0);
    let Some(len) = len else {
        let error = format!("{name}: it is longer than {MAX_LEN} bytes");
        return Err(Failure::invalid(error));
    };
    // SAFETY: these are the bytes of the string, which the caller keeps for `'a`.
    let bytes = unsafe { slice::from_raw_parts(text, len) };
    match str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Failure::invalid(format!("{name}: it is not UTF-8"))),
    }
}
