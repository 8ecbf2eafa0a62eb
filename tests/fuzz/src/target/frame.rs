//! Ethernet frames, parsed by the XDP program.
//!
//! The program has to agree with the reference of its tests. The first byte of the input selects the
//! configuration.

use std::{
    cell::RefCell,
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
};

use knock_common::{
    counters::Outcome,
    datagram::Mac1Key,
    gate::{Mode, PrefixLens, Transport},
    rate::Rate,
    settings::{Datagram as Knocks, Destinations, Gate, Settings, Verdict},
    window::Window,
};
use knockd_types::rules::Port;

use crate::{
    packet::Cursor,
    parse::{self, Carried, Datagram, Other, Segment},
    reference::{Expected, Policy, classify},
    target::page::Guarded,
};

const BASE: u16 = 61_000;
const KNOCKS: NonZeroU16 = NonZeroU16::new(443).unwrap();
const MAC1: [u8; 16] = [1; 16];
const PROTECTED: u16 = 22;

thread_local! {
    static FRAME: RefCell<Guarded> = RefCell::new(Guarded::new());
}

pub(crate) fn run(input: &[u8]) {
    let Some((choice, frame)) = input.split_first() else {
        return;
    };
    let policy = policy(*choice);
    let settings = settings(&policy);
    let found = FRAME.with_borrow_mut(|guarded| found(guarded.copy(frame), &settings, &policy));
    assert_eq!(found, classify(frame, &policy), "{policy:?}");
}

/// A window; and, for a bit of `choice` each, protected TCP and UDP ports and a port for knocks.
fn policy(choice: u8) -> Policy {
    let transports = [(1, Transport::Tcp), (2, Transport::Udp)];
    let protected = transports
        .into_iter()
        .filter(|(bit, _)| choice & bit != 0)
        .flat_map(|(_, transport)| {
            [PROTECTED, KNOCKS.get()].map(|number| Port { transport, number })
        });
    Policy {
        protected: protected.collect(),
        datagram: (choice & 4 != 0).then_some((KNOCKS.get(), MAC1)),
        ..Policy::window(BASE)
    }
}

/// The same configuration in the form of the program.
fn settings(policy: &Policy) -> Settings {
    let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::MIN);
    let protects = |transport| {
        policy
            .protected
            .iter()
            .any(|port| port.transport == transport)
    };
    let (tcp, udp) = (protects(Transport::Tcp), protects(Transport::Udp));
    let mut settings = Settings::new(Window::DEFAULT, Verdict::Drop, rate);
    if tcp || udp {
        settings = settings.with_gate(&Gate {
            mode: Mode::Enforce,
            tcp,
            udp,
            trusted: false,
            destinations: Destinations::Local,
            ipv4_prefix_lens: PrefixLens::default(),
            prefix_lens: PrefixLens::default(),
            udp_idle_ns: NonZeroU64::MIN,
        });
    }
    if policy.datagram.is_some() {
        settings = settings.with_datagram(&Knocks {
            port: KNOCKS,
            mac1: Mac1Key::from_bytes(MAC1),
            rate,
        });
    }
    settings
}

/// What the program makes of `frame`, up to the maps of the kernel: there are no leases.
fn found(frame: &[u8], settings: &Settings, policy: &Policy) -> Expected {
    // An address without provenance, like the one that the kernel passes to the program.
    let start = frame.as_ptr().expose_provenance();
    // SAFETY: the bytes are those of `frame`, which is at an even address and outlives this function.
    // No header leaves it.
    let cursor = unsafe { Cursor::new(start, start + frame.len()) };
    match parse::frame(cursor, settings, |_, _| false) {
        Ok(Carried::Segment(carried)) => segment(&carried, policy),
        Ok(Carried::Datagram(carried)) => datagram(&carried, settings, policy),
        Err(Other::Unclear(_)) if settings.has_gate() => Expected::Other(Outcome::GateUnclear),
        Err(Other::Unclear(outcome) | Other::Harmless(outcome)) => Expected::Other(outcome),
    }
}

fn segment(segment: &Segment, policy: &Policy) -> Expected {
    let Some(offset) = segment.offset else {
        let port = segment.tcp.destination_port();
        return gate(Transport::Tcp, port, Outcome::OutsideWindow, policy);
    };
    if !segment.tcp.is_knock() {
        return Expected::Other(Outcome::NotSyn);
    }
    match segment.ip.source() {
        Some(source) if segment.is_consistent(|| 0) => Expected::Knock {
            source: source.octets().into(),
            source_port: segment.tcp.source_port(),
            offset,
        },
        _ => Expected::Other(Outcome::Malformed),
    }
}

fn datagram(datagram: &Datagram, settings: &Settings, policy: &Policy) -> Expected {
    let mut unprotected = Outcome::NotTcp;
    if let Some(body) = datagram.body {
        if body.is_authentic(settings.mac1())
            && let Some(source) = datagram.ip.source()
        {
            return Expected::Datagram {
                source: source.octets().into(),
                source_port: datagram.ports.source,
                bytes: body.bytes(),
            };
        }
        unprotected = Outcome::DatagramOther;
    }
    gate(
        Transport::Udp,
        datagram.ports.destination,
        unprotected,
        policy,
    )
}

fn gate(transport: Transport, number: u16, unprotected: Outcome, policy: &Policy) -> Expected {
    let is_protected = policy.protected.contains(&Port { transport, number });
    Expected::Other(if is_protected {
        Outcome::GateRefused
    } else {
        unprotected
    })
}
