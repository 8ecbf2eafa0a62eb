//! The 256 destination ports of knocks.

use core::fmt;

/// 256 consecutive TCP ports, `base ..= base + 255`.
///
/// Every value is within the TCP port range: `1 <= base <= 65280` (docs/protocol.md, "On the
/// wire").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    base: u16,
}

/// A base of a window that would not be within ports 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBase(pub u16);

impl fmt::Display for InvalidBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot be a window's base: it must be between 1 and {} to leave room for 256 ports",
            self.0,
            Window::MAX_BASE
        )
    }
}

impl core::error::Error for InvalidBase {}

impl Window {
    /// The highest valid base.
    pub const MAX_BASE: u16 = u16::MAX - u8::MAX as u16;

    /// The window at port 61000, above Linux's default ephemeral range (32768 to 60999).
    pub const DEFAULT: Self = Self { base: 61000 };

    /// The window that starts at `base`.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidBase`] unless `1 <= base <= 65280`.
    pub const fn new(base: u16) -> Result<Self, InvalidBase> {
        if base == 0 || base > Self::MAX_BASE {
            return Err(InvalidBase(base));
        }
        Ok(Self { base })
    }

    /// The first port of the window.
    #[must_use]
    pub const fn base(self) -> u16 {
        self.base
    }

    /// The offset of `port` in the window; `None` if it is outside.
    #[must_use]
    pub const fn offset_of(self, port: u16) -> Option<u8> {
        match port.checked_sub(self.base) {
            #[expect(clippy::cast_possible_truncation, reason = "the arm's range fits")]
            Some(offset @ 0..=255) => Some(offset as u8),
            _ => None,
        }
    }

    /// The port at `offset`; the inverse of [`Window::offset_of`].
    #[must_use]
    pub const fn port(self, offset: u8) -> u16 {
        self.base + offset as u16
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base_is_bounded() {
        assert_eq!(Window::new(0), Err(InvalidBase(0)));
        assert_eq!(Window::new(1).map(Window::base), Ok(1));
        assert_eq!(Window::new(65280).map(|w| w.port(255)), Ok(65535));
        assert_eq!(Window::new(65281), Err(InvalidBase(65281)));
    }

    proptest! {
        #[test]
        fn offset_and_port_are_inverse(base in 1..=Window::MAX_BASE, offset: u8) {
            let window = Window::new(base).unwrap();
            prop_assert_eq!(window.offset_of(window.port(offset)), Some(offset));
        }

        #[test]
        fn only_256_ports_are_inside(base in 1..=Window::MAX_BASE, port: u16) {
            let window = Window::new(base).unwrap();
            let inside = (u32::from(base)..u32::from(base) + 256).contains(&u32::from(port));
            prop_assert_eq!(window.offset_of(port).is_some(), inside);
        }
    }
}
