//! The outcome of each packet.

use knock_common::{
    counters::Outcome, event::DatagramEvent, gate::Mode, settings::Verdict, window::Window,
};
use knock_tests::{
    frame::{Extension, Frame, Tag, bit_flips, overwritten, truncations},
    link::Pair,
    privilege,
};

use crate::{
    bench::{
        Action, Bench, MIN_FRAME, RunResult, Variant, action, decode, unlimited, unlimited_at,
    },
    reference::{Expected, Policy, classify},
    table::{BASE, Packet, packets, syn_to, syn_v4, syn_v6},
};

/// Compares a result with the expected one; `what` names the packet in error messages.
pub(crate) fn check(what: &str, result: &RunResult, expected: Expected, verdict: Verdict) {
    // The mode has no effect without a gate.
    check_gated(what, result, expected, verdict, Mode::default());
}

/// Like [`check`], for a program with a gate in this mode.
pub(crate) fn check_gated(
    what: &str,
    result: &RunResult,
    expected: Expected,
    verdict: Verdict,
    mode: Mode,
) {
    let outcome = expected.outcome();
    assert_eq!(result.outcome, outcome, "{what}");
    let drops = match outcome {
        Outcome::Knock => verdict == Verdict::Drop,
        Outcome::Datagram
        | Outcome::DatagramCopy
        | Outcome::DatagramLimited
        | Outcome::DatagramRingFull => true,
        Outcome::GateRefused | Outcome::GateUnclear => mode == Mode::Enforce,
        _ => false,
    };
    let action = if drops { Action::Drop } else { Action::Pass };
    assert_eq!(result.action, action, "{what}: {outcome:?}");
    let event = result.event.as_deref().map(|entry| match outcome {
        Outcome::Datagram => {
            let event = DatagramEvent::from_bytes(entry).unwrap();
            assert_eq!(event.reserved, [0; 2]);
            Expected::Datagram {
                source: event.source.octets().into(),
                source_port: event.source_port,
                bytes: event.bytes,
            }
        }
        _ => {
            let event = decode(entry);
            Expected::Knock {
                source: event.source.octets().into(),
                source_port: event.source_port,
                offset: event.offset,
            }
        }
    });
    let expected = (!matches!(expected, Expected::Other(_))).then_some(expected);
    assert_eq!(event, expected, "{what}");
}

#[test]
fn every_packet_of_the_table_has_its_outcome_under_both_verdicts() {
    if !privilege::bpf() {
        return;
    }
    for verdict in [Verdict::Drop, Verdict::Pass] {
        let mut bench = Bench::new(unlimited(verdict));
        for packet in packets() {
            let result = bench.run(&packet.frame);
            check(&packet.what, &result, packet.expected, verdict);
        }
        let unreached = Outcome::ALL
            .iter()
            .filter(|outcome| bench.count(**outcome) == 0);
        // The first two need many packets and are covered by `limits`. The others need a gate.
        let elsewhere = [
            Outcome::RateLimited,
            Outcome::Held,
            Outcome::RingFull,
            // There are none on the loopback interface. `tests/knocks.rs` covers them.
            Outcome::Martian,
            // These are covered by `datagram`.
            Outcome::Datagram,
            Outcome::DatagramCopy,
            Outcome::DatagramLimited,
            Outcome::DatagramRingFull,
            Outcome::GateLeased,
            Outcome::GateTrusted,
            Outcome::GateRefused,
            Outcome::GateUnclear,
            // This needs a host that forwards.
            Outcome::Forwarded,
            Outcome::DatagramOther,
        ];
        assert_eq!(unreached.copied().collect::<Vec<_>>(), elsewhere);
    }
}

/// The programs differ only in how they find the packet.
#[test]
fn every_program_has_the_same_outcomes() {
    if !privilege::bpf() {
        return;
    }
    for variant in Variant::ALL {
        let mut bench = Bench::new(unlimited(Verdict::Drop)).with_variant(variant);
        let taken = |packet: &Packet| variant.takes(&packet.frame);
        for packet in packets().into_iter().filter(taken) {
            let result = bench.run(&packet.frame);
            let what = format!("{variant:?}: {}", packet.what);
            check(&what, &result, packet.expected, Verdict::Drop);
        }
    }
}

/// Needs no kernel, so that an error in either is found without BPF privileges.
#[test]
fn table_and_reference_agree() {
    for packet in packets() {
        let classified = classify(&packet.frame, &Policy::window(BASE));
        assert_eq!(classified, packet.expected, "{}", packet.what);
    }
}

#[test]
fn every_port_is_matched_against_low_middle_and_high_windows() {
    if !privilege::bpf() {
        return;
    }
    const DESTINATION_PORT: usize = 36;
    let frame = syn_v4(0).bytes().unwrap();
    for base in [1, 61000, Window::MAX_BASE] {
        let window = Window::new(base).unwrap();
        let mut bench = Bench::new(unlimited_at(window, Verdict::Drop));
        for port in 0..=u16::MAX {
            let frame = overwritten(&frame, DESTINATION_PORT, &port.to_be_bytes()).unwrap();
            let inside = (u32::from(base)..=u32::from(base) + 255).contains(&u32::from(port));
            let expected = if inside { Action::Drop } else { Action::Pass };
            let result = bench.repeat(&frame, 1);
            assert_eq!(action(&result), expected, "port {port}, window at {base}");
            if inside {
                let event = decode(&bench.take_event().unwrap());
                assert_eq!(u32::from(event.offset), u32::from(port) - u32::from(base));
            }
        }
        assert_eq!(bench.count(Outcome::Knock), 256);
        assert_eq!(bench.count(Outcome::OutsideWindow), 65536 - 256);
    }
}

#[test]
fn every_combination_of_tcp_flags_is_classified() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    for (syn, flags_at) in [(syn_v4(9), 47), (syn_v6(9), 67)] {
        let frame = syn.bytes().unwrap();
        let event_of_syn = crate::table::expected_event(&syn);
        for flags in 0..=u8::MAX {
            let frame = overwritten(&frame, flags_at, &[flags]).unwrap();
            // CWR ECE URG ACK PSH RST SYN FIN: the masked-out flags are ignored.
            let is_syn = flags & 0b0001_0111 == 0b0000_0010;
            let expected = if is_syn {
                event_of_syn
            } else {
                Expected::Other(Outcome::NotSyn)
            };
            let what = format!("flags {flags:#010b}");
            check(&what, &bench.run(&frame), expected, Verdict::Drop);
        }
    }
}

/// Frames that contain every kind of header.
fn samples() -> Vec<Frame> {
    let extended = syn_v6(5)
        .extension(Extension::hop_by_hop())
        .extension(Extension::Authentication(vec![0; 12]))
        .extension(Extension::routing());
    let options = syn_v4(5)
        .ipv4_options([1; 8])
        .tcp(|tcp| tcp.set_options_raw(&[1; 12]).unwrap());
    vec![
        syn_v4(5),
        syn_v6(5),
        options.clone(),
        extended.clone(),
        options.tag(Tag::Customer(5)).payload([7; 9]),
        extended.tag(Tag::Provider(5)).tag(Tag::Customer(6)),
    ]
}

#[test]
fn a_syn_truncated_at_any_length_is_malformed() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    for sample in samples() {
        let frame = sample.bytes().unwrap();
        for truncated in truncations(&frame).filter(|truncated| truncated.len() >= MIN_FRAME) {
            let what = format!("the first {} bytes of {sample:?}", truncated.len());
            let malformed = Expected::Other(Outcome::Malformed);
            check(&what, &bench.run(truncated), malformed, Verdict::Drop);
        }
        let event_of_syn = crate::table::expected_event(&sample);
        check(
            "the whole frame",
            &bench.run(&frame),
            event_of_syn,
            Verdict::Drop,
        );
    }
}

#[test]
fn a_syn_with_any_bit_flipped_is_classified_like_the_reference() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    for sample in samples() {
        for (bit, flipped) in bit_flips(&sample.bytes().unwrap()).enumerate() {
            let what = format!("bit {bit} of {sample:?}");
            let expected = classify(&flipped, &Policy::window(BASE));
            check(&what, &bench.run(&flipped), expected, Verdict::Drop);
        }
    }
}

/// Established connections on a port of the window are not affected, in either direction.
#[test]
fn a_service_inside_the_window_loses_only_its_syns() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    let established = syn_v4(8).tcp(|tcp| (tcp.syn, tcp.ack, tcp.psh) = (false, true, true));
    let data = established.payload([7; 100]).bytes().unwrap();
    assert_eq!(bench.run(&data).action, Action::Pass);
    let answer = syn_to(Pair::SERVER_V4, Pair::CLIENT_V4, 40000)
        .tcp(|tcp| (tcp.source_port, tcp.ack) = (BASE + 8, true));
    assert_eq!(bench.run(&answer.bytes().unwrap()).action, Action::Pass);
}
