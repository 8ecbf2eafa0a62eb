//! How a knock travels.

use std::{fmt, num::NonZeroU16, str::FromStr};

use thiserror::Error;

/// How a knock travels: as 16 SYNs, as one UDP datagram, or as both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// 16 SYNs to ports of the server's window.
    #[default]
    Syn,
    /// One UDP datagram.
    Udp,
    /// The datagram, and then the SYNs. Each is a request of its own.
    Both,
}

/// The text is not a valid [`Transport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected `syn`, `udp` or `both`")]
pub struct InvalidTransport;

impl Transport {
    /// Whether it includes SYNs.
    #[must_use]
    pub const fn has_syns(self) -> bool {
        matches!(self, Self::Syn | Self::Both)
    }

    /// Whether it includes a datagram.
    #[must_use]
    pub const fn has_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::Both)
    }
}

impl FromStr for Transport {
    type Err = InvalidTransport;

    fn from_str(text: &str) -> Result<Self, InvalidTransport> {
        match text {
            "syn" => Ok(Self::Syn),
            "udp" => Ok(Self::Udp),
            "both" => Ok(Self::Both),
            _ => Err(InvalidTransport),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syn => "syn",
            Self::Udp => "udp",
            Self::Both => "both",
        })
    }
}

/// The server's port of datagram knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPort(NonZeroU16);

/// The text is not a valid [`UdpPort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a port number from 1 to 65535")]
pub struct InvalidUdpPort;

impl UdpPort {
    /// The port number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl Default for UdpPort {
    fn default() -> Self {
        Self(NonZeroU16::MIN.saturating_add(62_200))
    }
}

impl From<NonZeroU16> for UdpPort {
    fn from(port: NonZeroU16) -> Self {
        Self(port)
    }
}

impl FromStr for UdpPort {
    type Err = InvalidUdpPort;

    fn from_str(text: &str) -> Result<Self, InvalidUdpPort> {
        match text.parse() {
            Ok(port) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Self(port)),
            _ => Err(InvalidUdpPort),
        }
    }
}

impl fmt::Display for UdpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_transport_has_a_name() {
        for transport in [Transport::Syn, Transport::Udp, Transport::Both] {
            assert_eq!(transport.to_string().parse(), Ok(transport));
        }
        for text in ["", "tcp", "UDP", "syn,udp"] {
            assert_eq!(text.parse::<Transport>(), Err(InvalidTransport));
        }
    }

    #[test]
    fn the_default_port_is_that_of_the_documentation() {
        assert_eq!(UdpPort::default().to_string(), "62201");
        for text in ["", "0", "65536", "+53", "dns"] {
            assert_eq!(text.parse::<UdpPort>(), Err(InvalidUdpPort), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_port_is_read(port in 1..=u16::MAX) {
            prop_assert_eq!(port.to_string().parse().map(UdpPort::get), Ok(port));
        }
    }
}
