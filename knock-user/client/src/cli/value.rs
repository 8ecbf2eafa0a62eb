//! Values of the command line that only the command line uses.

use std::{convert::Infallible, ffi::OsStr, fmt, str::FromStr};

use clap::{
    Arg, Command,
    builder::{StringValueParser, TypedValueParser},
    error::ErrorKind,
};
use knock_common::{
    protocol::{
        classic::{InvalidLength, Sequence},
        identity::PublicKey,
        lease::{LeaseOutOfRange, RequestedLease},
    },
    window::{InvalidBase, Window},
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::verify::{InvalidTcpPort, TcpPort};

/// The URI argument of `knock import`: an invitation or `-`. `Debug` does not show it.
#[derive(Clone)]
pub struct Uri(Zeroizing<String>);

impl Uri {
    /// The invitation; `None` for `-`. It is a secret.
    #[must_use]
    pub fn given(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|uri| *uri != "-")
    }
}

/// Accepts any text, so that no error message of clap quotes the secret.
impl FromStr for Uri {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uri(..)")
    }
}

/// The value of `--verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// No port is verified.
    None,
    /// This port must answer.
    Port(TcpPort),
}

impl Verify {
    /// The port to verify, if any.
    #[must_use]
    pub const fn port(self) -> Option<TcpPort> {
        match self {
            Self::None => None,
            Self::Port(port) => Some(port),
        }
    }
}

impl FromStr for Verify {
    type Err = InvalidTcpPort;

    fn from_str(text: &str) -> Result<Self, InvalidTcpPort> {
        match text {
            "none" => Ok(Self::None),
            _ => text.parse().map(Self::Port),
        }
    }
}

/// Why a text is not a valid lease.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// It is not a duration.
    #[error("expected a duration such as 30s or 10m: {0}")]
    Syntax(humantime::DurationError),
    /// The duration cannot be requested.
    #[error(transparent)]
    OutOfRange(#[from] LeaseOutOfRange),
}

/// Parses a lease such as `10m`.
///
/// # Errors
///
/// Returns [`LeaseError`] unless `text` is a duration of whole seconds that a datagram can carry. SYNs
/// carry less, which is checked when the transport is known.
pub fn lease(text: &str) -> Result<RequestedLease, LeaseError> {
    let duration = humantime::parse_duration(text).map_err(LeaseError::Syntax)?;
    Ok(RequestedLease::of(duration)?)
}

/// Why a text is not a valid base of a window.
#[derive(Debug, Error)]
pub(super) enum BaseError {
    #[error("expected a port number from 1 to {}", Window::MAX_BASE)]
    NoPort,
    #[error(transparent)]
    Invalid(#[from] InvalidBase),
}

pub(super) fn window(text: &str) -> Result<Window, BaseError> {
    Ok(Window::new(text.parse().map_err(|_| BaseError::NoPort)?)?)
}

/// Why a text is not a valid sequence. It does not contain the text, because a sequence is secret.
#[derive(Debug, PartialEq, Eq, Error)]
enum SequenceError {
    #[error("number {0} is not an integer from 0 to 255")]
    NoByte(usize),
    #[error(transparent)]
    Length(#[from] InvalidLength),
}

fn sequence(text: &str) -> Result<Sequence, SequenceError> {
    let bytes = text
        .split(',')
        .enumerate()
        .map(|(i, number)| {
            number
                .trim()
                .parse::<u8>()
                .map_err(|_| SequenceError::NoByte(i + 1))
        })
        .collect::<Result<Vec<u8>, _>>()?;
    Ok(Sequence::new(&bytes)?)
}

/// Parses a sequence. Unlike clap's `value_parser`, it does not quote an invalid one.
#[derive(Clone)]
pub(super) struct SequenceParser;

impl TypedValueParser for SequenceParser {
    type Value = Sequence;

    fn parse_ref(
        &self,
        cmd: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Sequence, clap::Error> {
        let text = StringValueParser::new().parse_ref(cmd, arg, value)?;
        sequence(&text).map_err(|error| unquoted(cmd, arg, &error))
    }
}

/// Parses a public key. Unlike clap's `value_parser`, it does not quote an invalid one, which may
/// be a private key in the wrong place.
#[derive(Clone)]
pub(super) struct PublicKeyParser;

impl TypedValueParser for PublicKeyParser {
    type Value = PublicKey;

    fn parse_ref(
        &self,
        cmd: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<PublicKey, clap::Error> {
        let text = StringValueParser::new().parse_ref(cmd, arg, value)?;
        text.parse().map_err(|error| unquoted(cmd, arg, &error))
    }
}

/// The error about an invalid value that must not be shown.
fn unquoted(cmd: &Command, arg: Option<&Arg>, error: &dyn fmt::Display) -> clap::Error {
    let option = arg.map(ToString::to_string).unwrap_or_default();
    let message = format!("invalid value for '{option}': {error}\n");
    clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(cmd)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn leases_are_whole_seconds() {
        for (text, seconds) in [("1s", 1), ("10m", 600), ("20h", 72_000), ("1h 1s", 3601)] {
            let expected = RequestedLease::of(std::time::Duration::from_secs(seconds));
            assert_eq!(lease(text).ok(), expected.ok(), "{text}");
        }
        for text in ["0s", "4294967295s", "137y", "1500ms", "1ms"] {
            let error = lease(text).unwrap_err().to_string();
            assert!(error.contains("1 to 4294967294 whole seconds"), "{error}");
        }
        for text in ["", "10", "m", "-1s"] {
            let error = lease(text).unwrap_err().to_string();
            assert!(error.contains("10m"), "{error}");
        }
    }

    #[test]
    fn an_invitation_is_not_shown() {
        let uri: Uri = "knock://a@b:1/KEY".parse().unwrap();
        assert_eq!(uri.given(), Some("knock://a@b:1/KEY"));
        assert_eq!(format!("{uri:?}"), "Uri(..)");
        let asked: Uri = "-".parse().unwrap();
        assert_eq!(asked.given(), None);
    }

    proptest! {
        #[test]
        fn reads_every_sequence(bytes in prop::collection::vec(any::<u8>(), 1..=15)) {
            let text: Vec<String> = bytes.iter().map(u8::to_string).collect();
            prop_assert_eq!(sequence(&text.join(",")), Ok(Sequence::new(&bytes).unwrap()));
            let padded = sequence(&text.join(" , ")).unwrap();
            prop_assert_eq!(padded, Sequence::new(&bytes).unwrap());
        }

        #[test]
        fn reads_every_lease(seconds in 0..u32::MAX) {
            let read = lease(&format!("{seconds}s"));
            prop_assert_eq!(read.is_ok(), seconds > 0);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (sequence(&text), window(&text), lease(&text), text.parse::<Verify>());
        }
    }
}
