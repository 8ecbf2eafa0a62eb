//! What several tests need.

/// The bytes that `digits` stand for, as in the vectors.
pub(crate) fn hex<const LEN: usize>(digits: &str) -> [u8; LEN] {
    assert_eq!(digits.len(), 2 * LEN);
    std::array::from_fn(|index| u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap())
}
