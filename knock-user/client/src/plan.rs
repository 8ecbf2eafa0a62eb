//! Combines the command line and the profile into a plan.

use anyhow::{Result, anyhow, bail};
use knock_common::{
    protocol::{classic::Sequence, sealed::RequestedLease},
    window::Window,
};

use crate::{
    cli::KnockArgs,
    name::Name,
    pace::Pace,
    profile::{Profile, Profiles},
    secret::Secret,
    server::{Address, Families, Server},
    source_ip::SourceIp,
    verify::{TcpPort, Timeout},
};

/// Everything about a knock that is known before a prompt or a DNS lookup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) server: Server,
    pub(super) families: Families,
    pub(super) pace: Pace,
    pub(super) window: Window,
    pub(super) protocol: Protocol,
    pub(super) verify: Option<(TcpPort, Timeout)>,
}

/// The protocol and its input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Classic {
        sequence: Sequence,
        passphrase_file: Option<std::path::PathBuf>,
    },
    Sealed {
        secret: Secret,
        door: Name,
        lease: RequestedLease,
        source_ip: SourceIp,
    },
}

impl Plan {
    /// The plan of `args`. The profile that `args.server` names, if any, provides the values that
    /// the command line does not.
    pub(super) fn new(args: &KnockArgs, profiles: &Profiles) -> Result<Self> {
        let profile = profiles.get(args.server.as_str());
        let protocol = match &args.sequence {
            Some(sequence) => Protocol::Classic {
                sequence: sequence.clone(),
                passphrase_file: args.passphrase_file.clone(),
            },
            None => sealed(args, profile)?,
        };
        let window = args.base.or(profile.map(|profile| profile.window));
        let plan = Self {
            server: profile
                .map_or(&args.server, |profile| &profile.server)
                .clone(),
            families: families(args, protocol.source_ip())?,
            pace: args.pace(),
            window: window.unwrap_or_default(),
            protocol,
            verify: verify(args, profile)?,
        };
        match plan.verify {
            Some((port, _)) if plan.window.offset_of(port.get()).is_some() => {
                bail!("{port} is one of the knock ports, which never answer")
            }
            _ => Ok(plan),
        }
    }

    /// The server's addresses to knock on. Uses the system's resolver, which may take seconds.
    pub(super) fn addresses(&self) -> Result<Vec<Address>> {
        self.server.addresses(self.families).map_err(|error| {
            let error = anyhow!(error);
            match self.protocol.source_ip().and_then(SourceIp::family) {
                Some(_) => error.context("no address in the family of --source-ip"),
                None => error,
            }
        })
    }
}

impl Protocol {
    fn source_ip(&self) -> Option<SourceIp> {
        match self {
            Self::Classic { .. } => None,
            Self::Sealed { source_ip, .. } => Some(*source_ip),
        }
    }
}

fn sealed(args: &KnockArgs, profile: Option<&Profile>) -> Result<Protocol> {
    let Some(door) = args.door.clone() else {
        bail!("DOOR is missing");
    };
    let lease = args.lease.or(profile.and_then(|profile| profile.lease));
    let source_ip = args
        .source_ip
        .or(profile.and_then(|profile| profile.source_ip));
    Ok(Protocol::Sealed {
        secret: secret(args, profile)?,
        door,
        lease: lease.unwrap_or(RequestedLease::DoorsDefault),
        source_ip: source_ip.unwrap_or_default(),
    })
}

fn secret(args: &KnockArgs, profile: Option<&Profile>) -> Result<Secret> {
    if let Some(file) = &args.key_file {
        return Ok(Secret::KeyFile(file.clone()));
    }
    let of_profile = profile.and_then(|profile| profile.key_file.as_ref());
    if let (None, Some(file)) = (&args.passphrase_file, of_profile) {
        return Ok(Secret::KeyFile(file.clone()));
    }
    let client = args
        .client
        .as_ref()
        .or(profile.map(|profile| &profile.client));
    let Some(client) = client else {
        bail!(
            "there is no profile `{}` (see `knock list`); without a profile, use --key-file FILE, or --client NAME and its passphrase",
            args.server
        );
    };
    Ok(Secret::Passphrase(
        args.passphrase_file.clone(),
        client.clone(),
    ))
}

fn families(args: &KnockArgs, source_ip: Option<SourceIp>) -> Result<Families> {
    match (args.families(), source_ip.and_then(SourceIp::family)) {
        (families, None) => Ok(families),
        (Families::Both, Some(family)) => Ok(family),
        (families, Some(family)) if families == family => Ok(family),
        _ => bail!("--source-ip and -4 or -6 are of different address families"),
    }
}

fn verify(args: &KnockArgs, profile: Option<&Profile>) -> Result<Option<(TcpPort, Timeout)>> {
    let of_profile = || profile.and_then(|profile| profile.verify);
    let port = match args.verify() {
        Some(port) => port,
        None if args.dry_run => None,
        None => of_profile(),
    };
    match (port, args.timeout) {
        (None, Some(_)) => bail!("--timeout requires a port to verify: add --verify tcp/PORT"),
        (port, timeout) => Ok(port.map(|port| (port, timeout.unwrap_or(Timeout::DEFAULT)))),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    const PROFILES: &str = r#"
[[profile]]
name = "home"
host = "192.0.2.7"
client = "laptop"
base = 40000
key_file = "keys/home.key"
for = "10m"
source_ip = "none"
verify = "tcp/22"

[[profile]]
name = "typed"
host = "192.0.2.8"
client = "phone"
"#;

    fn plan(args: &str) -> Result<Plan, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("knock.toml"), PROFILES).unwrap();
        let profiles = Profiles::load(folder.path().to_owned()).unwrap();
        let args = ["knock"].into_iter().chain(args.split_whitespace());
        let args = Cli::try_parse_from(args).unwrap().knock.unwrap();
        Plan::new(&args, &profiles).map_err(|error| format!("{error:#}"))
    }

    fn lease(text: &str) -> RequestedLease {
        crate::cli::lease(text).unwrap()
    }

    #[test]
    fn a_profile_is_all_that_is_needed() {
        let plan = plan("home ssh").unwrap();
        assert_eq!(plan.server.as_str(), "192.0.2.7");
        assert_eq!(plan.window.base(), 40000);
        let port = "tcp/22".parse().unwrap();
        assert_eq!(plan.verify, Some((port, Timeout::DEFAULT)));
        let Protocol::Sealed {
            secret: Secret::KeyFile(file),
            door,
            lease: wanted,
            source_ip,
        } = plan.protocol
        else {
            panic!("{plan:?}");
        };
        assert!(file.ends_with("keys/home.key"));
        assert_eq!(door.as_str(), "ssh");
        assert_eq!(wanted, lease("10m"));
        assert_eq!(source_ip, SourceIp::None);
    }

    #[test]
    fn options_come_before_the_profile() {
        let plan = plan(
            "home ssh --base 50000 --for 5s --source-ip 2001:db8::1 --verify tcp/443 --timeout 3s --key-file mine",
        )
        .unwrap();
        assert_eq!(plan.window.base(), 50000);
        assert_eq!(plan.families, Families::Ipv6);
        let port = "tcp/443".parse().unwrap();
        assert_eq!(plan.verify, Some((port, "3s".parse().unwrap())));
        let sealed = Protocol::Sealed {
            secret: Secret::KeyFile("mine".into()),
            door: "ssh".parse().unwrap(),
            lease: lease("5s"),
            source_ip: "2001:db8::1".parse().unwrap(),
        };
        assert_eq!(plan.protocol, sealed);
    }

    #[test]
    fn a_profiles_verification_can_be_left_out() {
        assert_eq!(plan("home ssh --verify none").unwrap().verify, None);
        assert_eq!(plan("home ssh --dry-run").unwrap().verify, None);
        let timeout = plan("home ssh --timeout 3s").unwrap().verify.unwrap().1;
        assert_eq!(timeout, "3s".parse().unwrap());
        let error = plan("typed ssh --timeout 3s").unwrap_err();
        assert!(error.contains("--verify"), "{error}");
    }

    #[test]
    fn the_key_is_the_one_that_was_named() {
        let secret = |args: &str| match plan(args).unwrap().protocol {
            Protocol::Sealed { secret, .. } => secret,
            classic @ Protocol::Classic { .. } => panic!("{classic:?}"),
        };
        let file = || Some(PathBuf::from("f"));
        let name = |name: &str| name.parse::<Name>().unwrap();
        assert_eq!(secret("typed ssh"), Secret::Passphrase(None, name("phone")));
        assert_eq!(
            secret("typed ssh --client tablet"),
            Secret::Passphrase(None, name("tablet"))
        );
        assert_eq!(
            secret("home ssh --passphrase-file f"),
            Secret::Passphrase(file(), name("laptop"))
        );
        assert_eq!(
            secret("192.0.2.9 ssh --client laptop"),
            Secret::Passphrase(None, name("laptop"))
        );
        assert_eq!(
            secret("192.0.2.9 ssh --key-file f"),
            Secret::KeyFile("f".into())
        );
        let error = plan("hoem ssh").unwrap_err();
        assert!(error.contains("no profile `hoem`"), "{error}");
        assert!(
            error.contains("--key-file") && error.contains("--client"),
            "{error}"
        );
    }

    #[test]
    fn a_classic_knock_takes_server_and_window_from_the_profile() {
        let plan = plan("--classic --sequence 1,2 home").unwrap();
        assert_eq!(plan.server.as_str(), "192.0.2.7");
        assert_eq!(plan.window.base(), 40000);
        assert!(matches!(plan.protocol, Protocol::Classic { .. }));
    }

    #[test]
    fn a_binding_chooses_the_family() {
        let families = |args: &str| plan(&format!("home ssh {args}")).map(|plan| plan.families);
        assert_eq!(families(""), Ok(Families::Both));
        assert_eq!(families("-4"), Ok(Families::Ipv4));
        assert_eq!(families("--source-ip 192.0.2.1"), Ok(Families::Ipv4));
        assert_eq!(families("--source-ip 192.0.2.1 -4"), Ok(Families::Ipv4));
        assert!(families("--source-ip 192.0.2.1 -6").is_err());
        assert!(families("--source-ip 2001:db8::1 -4").is_err());
        let plan = plan("home ssh --source-ip 2001:db8::1").unwrap();
        let error = format!("{:#}", plan.addresses().unwrap_err());
        assert!(error.contains("--source-ip"), "{error}");
    }

    #[test]
    fn a_knock_port_cannot_be_verified() {
        let error = plan("home ssh --verify tcp/40255").unwrap_err();
        assert!(error.contains("tcp/40255"), "{error}");
        assert!(plan("home ssh --verify tcp/40256").is_ok());
    }
}
