//! Validation of the gate together with the doors that open it.

use std::{num::NonZeroU32, ops::Range};

use ipnet::IpNet;
use knock_common::{
    gate::{HOST, MAX_PREFIX_LENS, MAX_TRUSTED, PrefixLens, Transport},
    settings::Destinations,
    window::Window,
};
use knockd_types::rules::{Opening, Port, Rules, mapped_len};
use toml::Spanned;

use crate::{check::Checker, file, model::Gate, place::Problem, value::Network};

impl Checker<'_> {
    /// The gate that `doors` open.
    pub(super) fn gate(
        &mut self,
        gate: Option<file::Gate>,
        doors: &[file::Door],
        window: Window,
        max_leases: NonZeroU32,
    ) -> Option<Gate> {
        let Some(gate) = gate else {
            self.nothing_to_open(doors);
            return None;
        };
        let protect = self.ports(&gate.protect, "[gate]");
        self.before_the_gate(&gate.protect, window);
        self.protected(doors, &protect);
        if let Some(network) = gate.trusted.get(MAX_TRUSTED as usize) {
            let message = format!("at most {MAX_TRUSTED} networks can be trusted: merge some");
            self.problem_at(network, message);
        }
        let (destinations, addresses) = self.destinations(gate.forward, gate.addresses);
        let prefix_lens = self.prefix_lens(doors, Prefix::Ipv6)?;
        let ipv4_prefix_lens = self.prefix_lens(doors, Prefix::Ipv4)?;
        let trusted = gate.trusted.into_iter().map(Spanned::into_inner);
        Some(Gate {
            rules: Rules {
                protect,
                trusted: trusted.map(Into::into).collect(),
                destinations,
                addresses,
                mode: gate.mode.into(),
                udp_idle: gate.udp_idle.into(),
                ipv4_prefix_lens,
                prefix_lens,
                max_leases,
            },
            on_stop: gate.on_stop.into(),
            pin_dir: gate.pin_dir.into(),
        })
    }

    /// To which packets the gate applies, and the networks if they are listed.
    fn destinations(
        &mut self,
        forward: file::Forward,
        addresses: Vec<Spanned<Network>>,
    ) -> (Destinations, Vec<IpNet>) {
        if let Some(network) = addresses.get(MAX_TRUSTED as usize) {
            let message = format!("at most {MAX_TRUSTED} networks can be listed: merge some");
            self.problem_at(network, message);
        }
        let destinations = match forward {
            _ if !addresses.is_empty() => Destinations::Listed,
            file::Forward::Pass => Destinations::Local,
            file::Forward::Judge => Destinations::All,
        };
        let networks = addresses.into_iter().map(Spanned::into_inner);
        (destinations, networks.map(Into::into).collect())
    }

    /// What `entry` opens in the gate.
    pub(super) fn opening(&mut self, entry: &file::Door) -> Opening {
        let name = entry.name.get_ref().as_str();
        let ports = match &entry.open {
            Some(open) => self.ports(open, "`open`"),
            None => Vec::new(),
        };
        if entry.open.is_none() && entry.run.is_none() {
            let message = format!("door `{name}` has neither `run` nor `open`: add one of them");
            self.problem_at(&entry.name, message);
        }
        if entry.open.is_none() {
            let message = || format!("this only affects `open`, which door `{name}` does not have");
            if let Some(prefix_len) = &entry.ipv4_prefix {
                self.problem_at(prefix_len, message());
            }
            if let Some(prefix_len) = &entry.ipv6_prefix {
                self.problem_at(prefix_len, message());
            }
        }
        Opening {
            ports,
            ipv4_prefix: ipv4_prefix(entry),
            ipv6_prefix: Prefix::Ipv6.len(entry),
        }
    }

    /// The ports of `list`. Duplicates and an empty list are problems; the message about the
    /// latter suggests leaving `dispensable` out.
    fn ports(&mut self, list: &Spanned<Vec<Spanned<Port>>>, dispensable: &str) -> Vec<Port> {
        let mut ports = Vec::new();
        for port in list.get_ref() {
            if ports.contains(port.get_ref()) {
                self.problem_at(port, format!("{} is listed twice", port.get_ref()));
            }
            ports.push(*port.get_ref());
        }
        if ports.is_empty() {
            let message = format!(
                "no port is listed: add one such as \"tcp/22\", or leave {dispensable} out"
            );
            self.problem_at(list, message);
        }
        ports
    }

    /// Without a gate, a door must not have `open`.
    fn nothing_to_open(&mut self, doors: &[file::Door]) {
        for door in doors {
            if let Some(open) = &door.open {
                let message = "there is no [gate] that keeps a port closed: add one, or use `run`";
                self.problem_in(door.file, open, message.into());
            }
        }
    }

    /// A port of the window cannot be protected: the eBPF program matches the window first.
    fn before_the_gate(&mut self, protect: &Spanned<Vec<Spanned<Port>>>, window: Window) {
        for port in protect.get_ref() {
            let Port { transport, number } = *port.get_ref();
            if transport == Transport::Tcp && window.offset_of(number).is_some() {
                let message = format!(
                    "tcp/{number} is in the window ({} to {}), which is matched before the gate: choose another `window.base`",
                    window.base(),
                    window.port(u8::MAX)
                );
                self.problem_at(port, message);
            }
        }
    }

    /// Checks that every port that a door opens is protected.
    fn protected(&mut self, doors: &[file::Door], protect: &[Port]) {
        let opened = doors.iter().flat_map(|door| {
            let ports = door.open.as_ref().map(Spanned::get_ref);
            ports.into_iter().flatten().map(|port| (door.file, port))
        });
        for (file, port) in opened {
            if !protect.contains(port.get_ref()) {
                let message = format!(
                    "{} is not closed in the first place: add it to `gate.protect`",
                    port.get_ref()
                );
                self.problem_in(file, port, message);
            }
        }
    }

    /// The prefix lengths of the leases that the doors give.
    fn prefix_lens(&mut self, doors: &[file::Door], prefix: Prefix) -> Option<PrefixLens> {
        let mut lens = Vec::new();
        for door in doors {
            let Some(open) = &door.open else { continue };
            lens.push(prefix.len(door));
            if PrefixLens::new(lens.iter().copied()).is_none() {
                let message = format!(
                    "the doors have more than {MAX_PREFIX_LENS} different values of {}: use one of the others here",
                    prefix.key()
                );
                let span = prefix.span(door).unwrap_or_else(|| open.span());
                self.problems.push(Problem::at(door.file, span, message));
                return None;
            }
        }
        PrefixLens::new(lens)
    }
}

/// The prefix of a lease, by the protocol of its address.
#[derive(Clone, Copy)]
enum Prefix {
    Ipv4,
    Ipv6,
}

impl Prefix {
    /// The key in the configuration.
    fn key(self) -> &'static str {
        match self {
            Self::Ipv4 => "`ipv4_prefix` (default: 32)",
            Self::Ipv6 => "`ipv6_prefix` (default: 128)",
        }
    }

    /// How many leading bits of an address `door` compares, for IPv4 in IPv4-mapped form.
    fn len(self, door: &file::Door) -> u8 {
        match self {
            Self::Ipv4 => mapped_len(ipv4_prefix(door)),
            Self::Ipv6 => {
                let given = door.ipv6_prefix.as_ref();
                given.map_or(HOST, |len| len.get_ref().clone().into())
            }
        }
    }

    /// The place of the value in the file.
    fn span(self, door: &file::Door) -> Option<Range<usize>> {
        match self {
            Self::Ipv4 => door.ipv4_prefix.as_ref().map(Spanned::span),
            Self::Ipv6 => door.ipv6_prefix.as_ref().map(Spanned::span),
        }
    }
}

/// How many leading bits of an IPv4 address `door` compares.
fn ipv4_prefix(door: &file::Door) -> u8 {
    let given = door.ipv4_prefix.as_ref();
    given.map_or(32, |len| len.get_ref().clone().into())
}
