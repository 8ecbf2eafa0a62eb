//! Random changes of inputs, for runs without libFuzzer.

use fastrand::Rng;

/// The most changes of one input.
const MOST: usize = 6;

/// Bytes at the limits of what a parser distinguishes.
const SPECIAL: &[u8] = b"\x00\x01\x7f\x80\xff\n\r\t \"'%&:=?@[]{}0159-+.";

/// `input` after some random changes, at most `max_len` bytes long. `other` is an input that parts are
/// taken from.
#[must_use]
pub fn changed(input: &[u8], other: &[u8], max_len: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.usize(1..=MOST) {
        change(&mut bytes, other, rng);
    }
    bytes.truncate(max_len);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let is_inside = at < bytes.len();
    match rng.u8(..8) {
        0 if is_inside => bytes[at] ^= 1 << rng.u8(..8),
        1 if is_inside => bytes[at] = rng.u8(..),
        2 if is_inside => bytes[at] = special(rng),
        3 if is_inside => bytes[at] = bytes[at].wrapping_add(rng.u8(..16)).wrapping_sub(8),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(part(bytes, rng))),
        6 => bytes.insert(at, special(rng)),
        // From itself as often as from another input.
        _ => {
            let source = if rng.bool() { other } else { &bytes[..] };
            let piece = source[part(source, rng)].to_vec();
            let end = (at + piece.len() * usize::from(rng.bool())).min(bytes.len());
            bytes.splice(at..end, piece);
        }
    }
}

fn special(rng: &mut Rng) -> u8 {
    SPECIAL[rng.usize(..SPECIAL.len())]
}

/// A random part of `bytes`, mostly a short one.
fn part(bytes: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..=bytes.len());
    let most = if rng.u8(..4) == 0 { bytes.len() } else { 8 };
    let len = rng.usize(..=most).min(bytes.len() - start);
    start..start + len
}
