//! The gate, packet by packet: which sources it admits, and which packets it passes.

mod access;
mod bystander;
mod capacity;
mod datagram;
mod evasion;
mod fragment;
mod segment;
mod stack;
mod time;

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use ipnet::IpNet;
use knock_common::{
    counters::Outcome,
    gate::{LeaseKey, Mode, PrefixLens, Transport},
    settings::{Destinations, Verdict},
};
use knock_tests::{frame::Frame, link::Pair};
use knockd_types::rules::{Opening, Port, Rules};

use crate::{
    bench::{Action, Bench, Variant, unlimited},
    outcome::{check, check_gated},
    reference::{Expected, Policy, classify},
    table::BASE,
};

/// Longer than any test takes.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Rules that protect these ports, without trusted networks.
pub(crate) fn rules(protect: &[&str]) -> Rules {
    Rules {
        protect: protect.iter().map(|port| port.parse().unwrap()).collect(),
        trusted: Vec::new(),
        destinations: Destinations::default(),
        addresses: Vec::new(),
        mode: Mode::Enforce,
        udp_idle: HOUR,
        ipv4_prefix_lens: PrefixLens::new([128, 120]).unwrap(),
        prefix_lens: PrefixLens::new([128, 64, 56]).unwrap(),
        max_leases: NonZeroU32::new(64).unwrap(),
    }
}

/// Adds trusted networks to the rules.
pub(crate) fn trusting(rules: Rules, trusted: &[&str]) -> Rules {
    let trusted = trusted.iter().map(|network| network.parse().unwrap());
    Rules {
        trusted: trusted.collect(),
        ..rules
    }
}

/// The keys of a lease that admits all of `network`.
pub(crate) fn keys(network: IpNet, port: Port) -> Vec<LeaseKey> {
    let opening = Opening {
        ports: vec![port],
        // Only the one of the network's own protocol matters.
        ipv4_prefix: network.prefix_len().min(32),
        ipv6_prefix: network.prefix_len(),
    };
    opening.keys(network.addr())
}

/// A SYN or a datagram from `source` to `port`.
pub(crate) fn request(source: IpAddr, port: Port) -> Frame {
    let destination = match source {
        IpAddr::V4(_) => Pair::SERVER_V4.into(),
        IpAddr::V6(_) => Pair::SERVER_V6.into(),
    };
    let make = match port.transport {
        Transport::Tcp => Frame::syn,
        Transport::Udp => Frame::datagram,
    };
    make(
        SocketAddr::new(source, 40000),
        SocketAddr::new(destination, port.number),
    )
}

/// A SYN or a datagram to `port` from a [`Pair`]'s client, for each family.
fn requests(port: &str) -> [Frame; 2] {
    let port = port.parse().unwrap();
    [Pair::CLIENT_V4.into(), Pair::CLIENT_V6.into()].map(|source| request(source, port))
}

/// The program with an enforcing gate, with an observing one and without one. The latter two pass
/// what the first one drops.
struct Programs {
    enforcing: Bench,
    observing: Bench,
    ungated: Bench,
    policy: Policy,
}

impl Programs {
    fn new(rules: &Rules) -> Self {
        let gated = |mode| {
            let rules = Rules {
                mode,
                ..rules.clone()
            };
            Bench::with_gate(unlimited(Verdict::Drop), &rules)
        };
        Self {
            enforcing: gated(Mode::Enforce),
            observing: gated(Mode::Observe),
            ungated: Bench::new(unlimited(Verdict::Drop)),
            policy: Policy {
                base: BASE,
                protected: rules.protect.clone(),
                leases: Vec::new(),
                trusted: rules.trusted.clone(),
                datagram: None,
            },
        }
    }

    /// Replaces all leases with `leases`, pairs of network and port.
    fn lease(&mut self, leases: &[(&str, &str)]) {
        let parsed = leases.iter().map(|(network, port)| {
            let network: IpNet = network.parse().unwrap();
            (network, port.parse().unwrap())
        });
        let before = std::mem::replace(&mut self.policy.leases, parsed.collect());
        for bench in [&mut self.enforcing, &mut self.observing] {
            for (network, port) in &before {
                bench.gate().close(&keys(*network, *port)).unwrap();
            }
            for (network, port) in &self.policy.leases {
                bench.gate().open(&keys(*network, *port), HOUR).unwrap();
            }
        }
    }

    /// Runs `frame`, which is not a SYN to the window, through all three. Asserts that it has
    /// `outcome` with a gate and passes without one, and that the reference agrees.
    fn expect(&mut self, what: &str, frame: &[u8], outcome: Outcome) {
        let expected = Expected::Other(outcome);
        assert_eq!(classify(frame, &self.policy), expected, "{what}: reference");
        self.check(what, frame);
    }

    /// Runs `frame` through all three, compares them with the reference and returns the action of
    /// the enforcing gate, which is the same in each program for XDP and tc.
    fn check(&mut self, what: &str, frame: &[u8]) -> Action {
        let gated = classify(frame, &self.policy);
        let observed = self.observing.run(frame);
        check_gated(what, &observed, gated, Verdict::Drop, Mode::Observe);
        let result = self.ungated.run(frame);
        let ungated = classify(frame, &Policy::window(BASE));
        check(what, &result, ungated, Verdict::Drop);
        let mut action = None;
        for variant in Variant::ALL.into_iter().filter(|one| one.takes(frame)) {
            self.enforcing.choose(variant);
            let enforced = self.enforcing.run(frame);
            let what = format!("{variant:?}: {what}");
            check_gated(&what, &enforced, gated, Verdict::Drop, Mode::Enforce);
            action = Some(enforced.action);
        }
        action.expect("one program takes any frame")
    }
}
