//! The knock that is looked at.

use std::net::IpAddr;

use knock_common::{protocol::identity::PublicKey, window::Window};

use crate::{
    cli::{DoctorArgs, KnockArgs},
    profile::Profile,
    resolve_ip::ResolveIp,
    route::{self, Via},
    secret::Secret,
    server::{Address, Families, Server},
    source_ip::{Bound, SourceIp},
    time_source::TimeSource,
    transport::{Transport, UdpPort},
    verify::TcpPort,
};

/// What is known about a knock from the command line and the profile. Unlike a plan, it need not be
/// complete.
#[derive(Debug)]
pub(super) struct Subject {
    /// What was given: the name of a profile, or a server.
    pub(super) given: Server,
    /// Whether there is a profile of that name.
    pub(super) has_profile: bool,
    pub(super) server: Server,
    pub(super) families: Families,
    /// `None` if there is no profile and no key on the command line.
    pub(super) secret: Option<Secret>,
    pub(super) server_key: Option<PublicKey>,
    pub(super) window: Window,
    pub(super) transport: Transport,
    /// The port of datagrams, if knocks are sent there or the profile names it.
    pub(super) udp: Option<UdpPort>,
    pub(super) source_ip: SourceIp,
    pub(super) resolve_ip: ResolveIp,
    /// Where the time of a knock comes from.
    pub(super) time: TimeSource,
    pub(super) verify: Option<TcpPort>,
}

impl Subject {
    /// The knock that `args` describe; `profile` is that of the name `given`.
    pub(super) fn new(args: &DoctorArgs, given: &Server, profile: Option<&Profile>) -> Self {
        let knock: KnockArgs = args.knock_args(given);
        let transport = knock.transport();
        let transport = transport.or(profile.and_then(|profile| profile.transport));
        let transport = transport.unwrap_or_default();
        let source_ip = args.source_ip;
        let source_ip = source_ip.or(profile.and_then(|profile| profile.source_ip));
        let source_ip = source_ip.unwrap_or_default();
        let udp = args.udp_port.or(profile.and_then(|profile| profile.udp));
        let resolve_ip = args.resolve_ip.as_ref();
        let resolve_ip = resolve_ip.or(profile.and_then(|profile| profile.resolve_ip.as_ref()));
        let of_profile = profile.and_then(|profile| profile.verify);
        Self {
            given: given.clone(),
            has_profile: profile.is_some(),
            server: profile.map_or(given, |profile| &profile.server).clone(),
            families: match (knock.families(), source_ip.family()) {
                (Families::Both, Some(family)) => family,
                (families, _) => families,
            },
            secret: secret(args, profile),
            server_key: args
                .server_key
                .or(profile.map(|profile| profile.server_key)),
            window: args
                .base
                .or(profile.map(|profile| profile.window))
                .unwrap_or_default(),
            transport,
            udp: match udp {
                None if transport.has_datagram() => Some(UdpPort::default()),
                udp => udp,
            },
            source_ip,
            resolve_ip: resolve_ip.cloned().unwrap_or_default(),
            time: profile
                .map(|profile| profile.time.clone())
                .unwrap_or_default(),
            verify: knock.verify().unwrap_or(of_profile),
        }
    }

    /// How the packets of a knock travel, one for each kind of socket.
    pub(super) fn ways(&self) -> impl Iterator<Item = Via> {
        // A port stands for all of the window.
        let syns = self.transport.has_syns();
        let syns = syns.then(|| Via::Tcp(self.window.base()));
        let datagram = self.udp.filter(|_| self.transport.has_datagram());
        let datagram = datagram.map(|port| Via::Udp(port.get()));
        syns.into_iter().chain(datagram)
    }

    /// The source address of packets to `to`.
    ///
    /// # Errors
    ///
    /// Returns the error of the system if there is no route.
    pub(super) fn source(&self, to: Address, via: Via) -> std::io::Result<IpAddr> {
        route::source(to, via)
    }

    /// The address that a knock to `to` is bound to.
    pub(super) fn bound(&self, to: Address, via: Via) -> Bound {
        self.source_ip.address(to, via)
    }
}

fn secret(args: &DoctorArgs, profile: Option<&Profile>) -> Option<Secret> {
    if let Some(file) = &args.key_file {
        return Some(Secret::KeyFile(file.clone()));
    }
    profile.map(secret_of)
}

/// Where the key of a profile comes from.
pub(super) fn secret_of(profile: &Profile) -> Secret {
    match &profile.key_file {
        Some(file) => Secret::KeyFile(file.clone()),
        None => Secret::Passphrase(None, profile.client.clone()),
    }
}
