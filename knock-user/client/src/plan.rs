//! Combines the command line and the profile into a plan.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, bail};
use knock_common::{
    protocol::{
        block::BLOCK_LEN,
        classic::Sequence,
        identity::PublicKey,
        lease::{RequestedLease, ShortLease},
    },
    window::Window,
};

use crate::{
    cli::KnockArgs,
    delivery::Sending,
    name::Name,
    pace::Pace,
    profile::{Profile, Profiles},
    resolve_ip::ResolveIp,
    route::Via,
    secret::Secret,
    server::{Address, Families, LOOKUP_LIMIT, LookupError, Server},
    source_ip::{Bound, HostAddress, SourceIp},
    time_source::TimeSource,
    transport::{Transport, UdpPort},
    verify::{TcpPort, Timeout},
};

/// The lease that a held door asks for, unless told otherwise. With a third of it between two
/// knocks, a door that grants 30 s stays open.
const HELD_LEASE: Duration = Duration::from_secs(60);

/// With less, the knocks would come faster than the server accepts SYNs from one source.
const SHORTEST_HELD_LEASE: Duration = Duration::from_secs(10);

/// Everything about a knock that is known before a prompt or a DNS lookup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) server: Server,
    pub(super) families: Families,
    pub(super) window: Window,
    /// The pace of the SYNs.
    pub(super) syns: Pace,
    /// The pace of the datagrams.
    pub(super) datagrams: Pace,
    pub(super) protocol: Protocol,
    pub(super) verify: Option<(TcpPort, Timeout)>,
    pub(super) hold: Option<Hold>,
}

/// A command that runs while the door is held open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    /// The time between two knocks.
    pub(super) period: Duration,
}

/// The protocol and its input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Classic {
        sequence: Sequence,
        passphrase_file: Option<PathBuf>,
    },
    Keyed(Keyed),
}

/// A request that is made with a key pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keyed {
    pub(super) secret: Secret,
    pub(super) server_key: PublicKey,
    pub(super) door: Name,
    pub(super) lease: RequestedLease,
    pub(super) whom: Whom,
    pub(super) transport: Transport,
    pub(super) udp: UdpPort,
    pub(super) resolve_ip: ResolveIp,
    pub(super) time: TimeSource,
}

/// For whom the door opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// The sender, whose address may be bound.
    Sender(SourceIp),
    /// Another host.
    Other(HostAddress),
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
            None => Protocol::Keyed(keyed(args, profile, profiles)?),
        };
        let window = args.base.or(profile.map(|profile| profile.window));
        let mut plan = Self {
            server: profile
                .map_or(&args.server, |profile| &profile.server)
                .clone(),
            families: families(args, protocol.source_ip())?,
            syns: args.pace(Pace::SYNS),
            datagrams: args.pace(Pace::DATAGRAMS),
            window: window.unwrap_or_default(),
            protocol,
            verify: verify(args, profile)?,
            hold: None,
        };
        plan.hold = hold(args, plan.lease())?;
        match plan.verify {
            Some((port, _)) if plan.window.offset_of(port.get()).is_some() => {
                bail!("{port} is one of the knock ports, which never answer")
            }
            _ => Ok(plan),
        }
    }

    /// The server's addresses to knock on. Uses the system's resolver, for no longer than the port to
    /// verify may take to answer.
    pub(super) fn addresses(&self) -> Result<Vec<Address>> {
        let limit = self
            .verify
            .map_or(LOOKUP_LIMIT, |(_, timeout)| timeout.get().min(LOOKUP_LIMIT));
        self.server
            .addresses(self.families, limit)
            .map_err(|error| {
                let option = match &error {
                    LookupError::NoneOfFamily { families, .. } => families.option(),
                    _ => None,
                };
                match (self.protocol.source_ip().and_then(SourceIp::family), option) {
                    (Some(_), _) => {
                        anyhow!(error).context("no address in the family of --source-ip")
                    }
                    (None, Some(option)) => anyhow!("{error}; try it without {option}"),
                    (None, None) => anyhow!(error),
                }
            })
    }

    /// How a knock travels.
    pub(super) fn transport(&self) -> Transport {
        match &self.protocol {
            Protocol::Classic { .. } => Transport::Syn,
            Protocol::Keyed(keyed) => keyed.transport,
        }
    }

    /// The port of datagrams, if the knock includes one.
    pub(super) fn udp(&self) -> Option<UdpPort> {
        match &self.protocol {
            Protocol::Keyed(keyed) if keyed.transport.has_datagram() => Some(keyed.udp),
            _ => None,
        }
    }

    /// How a knock is sent.
    pub(super) fn sending(&self) -> Sending {
        Sending {
            syns: self.syns,
            datagrams: self.datagrams,
            udp: self.udp().unwrap_or_default(),
        }
    }

    /// The lease to ask for. A classic knock cannot ask.
    pub(super) fn lease(&self) -> RequestedLease {
        match &self.protocol {
            Protocol::Classic { .. } => RequestedLease::DOORS_DEFAULT,
            Protocol::Keyed(keyed) => keyed.lease,
        }
    }

    /// The address that SYNs to `to` are bound to, as far as it is known here. A port stands for all
    /// of the window.
    pub(super) fn syns_bound(&self, to: Address) -> Bound {
        self.bound(to, Via::Tcp(self.window.base()))
    }

    /// The address that a datagram to `to` is bound to, as far as it is known here.
    pub(super) fn datagram_bound(&self, to: Address) -> Bound {
        self.udp()
            .map_or(Bound::Nowhere, |port| self.bound(to, Via::Udp(port.get())))
    }

    fn bound(&self, to: Address, via: Via) -> Bound {
        match self.protocol.source_ip() {
            Some(source_ip) => source_ip.address(to, via),
            None => Bound::Nowhere,
        }
    }

    /// Who tells this host's address where it is not known here.
    pub(super) fn resolve_ip(&self) -> &ResolveIp {
        match &self.protocol {
            Protocol::Classic { .. } => &ResolveIp::Nobody,
            Protocol::Keyed(keyed) => &keyed.resolve_ip,
        }
    }

    /// Whether the knock depends on the address that it is sent to.
    pub(super) fn needs_address(&self) -> bool {
        self.protocol.source_ip() == Some(SourceIp::Auto)
    }

    /// The number of SYNs that one knock sends to an address.
    pub(super) fn syns_per_knock(&self) -> u64 {
        if self.transport().has_syns() {
            u64::from(self.syns.copies.get()) * BLOCK_LEN as u64
        } else {
            0
        }
    }
}

impl Protocol {
    fn source_ip(&self) -> Option<SourceIp> {
        match self {
            Self::Keyed(Keyed {
                whom: Whom::Sender(source_ip),
                ..
            }) => Some(*source_ip),
            _ => None,
        }
    }
}

fn keyed(args: &KnockArgs, profile: Option<&Profile>, profiles: &Profiles) -> Result<Keyed> {
    let Some(door) = args.door.clone() else {
        bail!("DOOR is missing");
    };
    // First, because without a profile it says what a profile is for.
    let secret = secret(args, profile, profiles)?;
    let transport = transport(args, profile)?;
    let server_key = args
        .server_key
        .or(profile.map(|profile| profile.server_key));
    let Some(server_key) = server_key else {
        bail!(
            "the server's public key is missing: use --server-key PUBLIC; `knockd public-key` prints it on the server"
        );
    };
    let source_ip = args
        .source_ip
        .or(profile.and_then(|profile| profile.source_ip));
    if args.resolve_ip.is_some() && source_ip.is_some_and(|source_ip| source_ip != SourceIp::Auto) {
        bail!("--resolve-ip is for --source-ip auto; here the address is specified");
    }
    let resolve_ip = args
        .resolve_ip
        .as_ref()
        .or(profile.and_then(|profile| profile.resolve_ip.as_ref()));
    let of_profile = || profile.map(|profile| profile.time.clone());
    let udp = args.udp_port.or(profile.and_then(|profile| profile.udp));
    Ok(Keyed {
        secret,
        server_key,
        door,
        lease: requested_lease(args, profile, transport)?,
        whom: match args.open_for {
            Some(other) => Whom::Other(other),
            None => Whom::Sender(source_ip.unwrap_or_default()),
        },
        transport,
        udp: udp.unwrap_or_default(),
        resolve_ip: resolve_ip.cloned().unwrap_or_default(),
        time: args.time_source().or_else(of_profile).unwrap_or_default(),
    })
}

fn transport(args: &KnockArgs, profile: Option<&Profile>) -> Result<Transport> {
    let of_profile = profile.and_then(|profile| profile.transport);
    let transport = args.transport().or(of_profile).unwrap_or_default();
    if args.open_for.is_some() && transport.has_syns() {
        bail!(
            "--open-for needs a datagram, because SYNs open the door for their own source only: use --udp"
        );
    }
    if args.udp_port.is_some() && !transport.has_datagram() {
        bail!("--udp-port is the port of datagram knocks: add --udp");
    }
    Ok(transport)
}

fn requested_lease(
    args: &KnockArgs,
    profile: Option<&Profile>,
    transport: Transport,
) -> Result<RequestedLease> {
    if args.close {
        return Ok(RequestedLease::CLOSE);
    }
    let of_profile = profile.and_then(|profile| profile.lease);
    let lease = match args.lease.or(of_profile) {
        Some(lease) => lease,
        // The client does not know the door's default, so it could not knock again in time.
        None if args.hold => RequestedLease::of(HELD_LEASE)?,
        None => RequestedLease::DOORS_DEFAULT,
    };
    if transport.has_syns() {
        // Checked here, so that the limit is named before anything is sent.
        ShortLease::try_from(lease).map_err(|error| {
            let option = if args.lease.is_some() {
                "--for"
            } else {
                "the profile's `for`"
            };
            anyhow!("{option}: {error} over SYNs; a datagram (--udp) carries a longer lease")
        })?;
    }
    Ok(lease)
}

fn hold(args: &KnockArgs, lease: RequestedLease) -> Result<Option<Hold>> {
    let (true, Some((program, arguments))) = (args.hold, args.held.split_first()) else {
        return Ok(None);
    };
    let lease = lease
        .granted(HELD_LEASE, Duration::MAX)
        .unwrap_or(HELD_LEASE);
    if lease < SHORTEST_HELD_LEASE {
        bail!(
            "--hold needs a lease of at least {}, because it knocks three times in each: use --for",
            humantime::format_duration(SHORTEST_HELD_LEASE)
        );
    }
    Ok(Some(Hold {
        program: program.clone(),
        arguments: arguments.to_vec(),
        // Two knocks may be lost before the lease ends.
        period: lease / 3,
    }))
}

fn secret(args: &KnockArgs, profile: Option<&Profile>, profiles: &Profiles) -> Result<Secret> {
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
            "there is no profile `{}` in {} (see `knock list`); without a profile, use --server-key PUBLIC with --key-file FILE, or with --client NAME and its passphrase",
            args.server,
            profiles.file().display()
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
        None if args.dry_run || args.close || args.open_for.is_some() => None,
        None => of_profile(),
    };
    match (port, args.timeout) {
        (None, Some(_)) => bail!("--timeout requires a port to verify: add --verify tcp/PORT"),
        (port, timeout) => Ok(port.map(|port| (port, timeout.unwrap_or(Timeout::DEFAULT)))),
    }
}

#[cfg(test)]
mod tests;
