//! Parses and writes `knock.toml`.

use std::{
    fmt::{self, Display},
    num::NonZeroU16,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
};

use knock_common::{
    protocol::{identity::PublicKey, lease::RequestedLease},
    window::Window,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use toml::Spanned;

use super::settings::{Profile, check_name};
use crate::{
    cli::lease,
    clock::Offset,
    name::Name,
    resolve_ip::ResolveIp,
    server::Server,
    source_ip::SourceIp,
    time_source::TimeSource,
    transport::{Transport, UdpPort},
    verify::TcpPort,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    profile: Vec<RawProfile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    name: Spanned<Text<Name>>,
    host: Text<Server>,
    client: Text<Name>,
    server_key: Text<PublicKey>,
    #[serde(default)]
    base: Base,
    udp: Option<NonZeroU16>,
    transport: Option<Text<Transport>>,
    key_file: Option<PathBuf>,
    #[serde(rename = "for")]
    lease: Option<Lease>,
    source_ip: Option<Text<SourceIp>>,
    resolve_ip: Option<Text<ResolveIp>>,
    time: Option<Text<TimeSource>>,
    time_offset: Option<Text<Offset>>,
    verify: Option<Text<TcpPort>>,
}

/// A string that is parsed as a `T` during deserialization, so that errors have a position.
struct Text<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Lease(RequestedLease);

impl TryFrom<String> for Lease {
    type Error = crate::cli::LeaseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        lease(&text).map(Self)
    }
}

#[derive(Default, Deserialize)]
#[serde(try_from = "u16")]
struct Base(Window);

impl TryFrom<u16> for Base {
    type Error = knock_common::window::InvalidBase;

    fn try_from(base: u16) -> Result<Self, Self::Error> {
        Window::new(base).map(Self)
    }
}

/// What is wrong in the profiles' file, and where.
#[derive(Debug)]
pub struct Mistake {
    line: Option<usize>,
    key: Option<String>,
    message: String,
}

impl Mistake {
    fn new(text: &str, span: Option<Range<usize>>, message: &str) -> Self {
        let before = span.and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        Self {
            line,
            key: line
                .and_then(|line| text.lines().nth(line - 1))
                .and_then(key_of),
            message: message.replace('\n', ", "),
        }
    }
}

/// The `key` of `key = value`. The value is not shown, because it may be a misplaced secret.
fn key_of(line: &str) -> Option<String> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (!key.is_empty() && key.len() <= Name::MAX_LEN && key.chars().all(is_key))
        .then(|| key.to_owned())
}

impl Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(key) = &self.key {
            write!(f, " {key}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for Mistake {}

/// Parses the profiles in `text`. File names in it are relative to `folder`.
pub(crate) fn parse(text: &str, folder: &Path) -> Result<Vec<Profile>, Mistake> {
    let content: Content =
        toml::from_str(text).map_err(|error| Mistake::new(text, error.span(), error.message()))?;
    let mut profiles: Vec<Profile> = Vec::with_capacity(content.profile.len());
    for raw in content.profile {
        let span = raw.name.span();
        let Text(name) = raw.name.into_inner();
        let mistake = |message: &str| Mistake::new(text, Some(span.clone()), message);
        check_name(&name).map_err(|error| mistake(&error.to_string()))?;
        if profiles.iter().any(|other| other.name == name) {
            return Err(mistake(&format!("there is another profile `{name}`")));
        }
        profiles.push(Profile {
            name,
            server: raw.host.0,
            client: raw.client.0,
            server_key: raw.server_key.0,
            window: raw.base.0,
            udp: raw.udp.map(UdpPort::from),
            transport: raw.transport.map(|transport| transport.0),
            key_file: raw.key_file.map(|path| folder.join(path)),
            lease: raw.lease.map(|lease| lease.0),
            source_ip: raw.source_ip.map(|source_ip| source_ip.0),
            resolve_ip: raw.resolve_ip.map(|resolve_ip| resolve_ip.0),
            time: match (raw.time, raw.time_offset) {
                (Some(_), Some(_)) => {
                    return Err(mistake("`time` and `time_offset` exclude each other"));
                }
                (Some(time), None) => time.0,
                (None, Some(offset)) => TimeSource::Offset(offset.0),
                (None, None) => TimeSource::System,
            },
            verify: raw.verify.map(|verify| verify.0),
        });
    }
    Ok(profiles)
}

/// A profile to be written.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) host: &'a str,
    pub(super) client: &'a str,
    #[serde(serialize_with = "as_text")]
    pub(super) server_key: PublicKey,
    pub(super) base: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) udp: Option<NonZeroU16>,
    #[serde(serialize_with = "as_text")]
    pub(super) transport: Transport,
    pub(super) key_file: &'a str,
}

fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Entry<'_> {
    /// The text to append to `text` for this profile. A new file begins with `header`.
    pub(super) fn addition(&self, text: &str, header: &str) -> Result<String, Mistake> {
        let entry =
            toml::to_string(self).map_err(|error| Mistake::new(text, None, &error.to_string()))?;
        let before = match text {
            "" => header,
            _ if text.ends_with('\n') => "",
            _ => "\n",
        };
        Ok(format!("{before}\n[[profile]]\n{entry}"))
    }
}
