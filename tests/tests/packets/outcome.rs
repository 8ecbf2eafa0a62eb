//! What becomes of each packet.

use knock_common::{counters::Outcome, gate::Mode, settings::Verdict, window::Window};
use knock_tests::{
    frame::{Extension, Frame, Tag, bit_flips, overwritten, truncations},
    link::Pair,
    privilege,
};

use crate::{
    bench::{Action, Bench, Ending, MIN_FRAME, action, decode, unlimited, unlimited_at},
    reference::{Expected, Policy, classify},
    table::{BASE, packets, syn_to, syn_v4, syn_v6},
};

/// Holds an ending against what was expected; `what` is for a person.
pub(crate) fn check(what: &str, ending: &Ending, expected: Expected, verdict: Verdict) {
    // Without a gate its mode is nobody's.
    check_gated(what, ending, expected, verdict, Mode::default());
}

/// The same for a program with a gate in this mode.
pub(crate) fn check_gated(
    what: &str,
    ending: &Ending,
    expected: Expected,
    verdict: Verdict,
    mode: Mode,
) {
    let outcome = match expected {
        Expected::Knock { .. } => Outcome::Knock,
        Expected::Other(outcome) => outcome,
    };
    assert_eq!(ending.outcome, outcome, "{what}");
    let drops = match outcome {
        Outcome::Knock => verdict == Verdict::Drop,
        Outcome::GateRefused | Outcome::GateUnclear => mode == Mode::Enforce,
        _ => false,
    };
    let action = if drops { Action::Drop } else { Action::Pass };
    assert_eq!(ending.action, action, "{what}: {outcome:?}");
    let event = ending.event.as_deref().map(|entry| {
        let event = decode(entry);
        Expected::Knock {
            source: event.source.octets().into(),
            source_port: event.source_port,
            offset: event.offset,
        }
    });
    let expected = matches!(expected, Expected::Knock { .. }).then_some(expected);
    assert_eq!(event, expected, "{what}");
}

#[test]
fn every_packet_of_the_table_under_both_verdicts() {
    if !privilege::bpf() {
        return;
    }
    for verdict in [Verdict::Drop, Verdict::Pass] {
        let mut bench = Bench::new(unlimited(verdict));
        for packet in packets() {
            let ending = bench.run(&packet.frame);
            check(&packet.what, &ending, packet.expected, verdict);
        }
        let unreached = Outcome::ALL
            .iter()
            .filter(|outcome| bench.count(**outcome) == 0);
        // The first two take many packets: `limits` reaches them. The others take a `gate`.
        let elsewhere = [
            Outcome::RateLimited,
            Outcome::RingFull,
            Outcome::GateLeased,
            Outcome::GateTrusted,
            Outcome::GateRefused,
            Outcome::GateUnclear,
        ];
        assert_eq!(unreached.copied().collect::<Vec<_>>(), elsewhere);
    }
}

/// Without the kernel, so that a mistake in either is seen where there is no BPF as well.
#[test]
fn table_and_reference_agree() {
    for packet in packets() {
        let classified = classify(&packet.frame, &Policy::window(BASE));
        assert_eq!(classified, packet.expected, "{}", packet.what);
    }
}

#[test]
fn every_port_against_a_window_at_either_end_and_between() {
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
fn every_combination_of_tcp_flags() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    for (syn, flags_at) in [(syn_v4(9), 47), (syn_v6(9), 67)] {
        let frame = syn.bytes().unwrap();
        let knock = crate::table::knock_of(&syn);
        for flags in 0..=u8::MAX {
            let frame = overwritten(&frame, flags_at, &[flags]).unwrap();
            // CWR ECE URG ACK PSH RST SYN FIN: what is one of `_` may be set.
            let is_syn = flags & 0b0001_0111 == 0b0000_0010;
            let expected = if is_syn {
                knock
            } else {
                Expected::Other(Outcome::NotSyn)
            };
            let what = format!("flags {flags:#010b}");
            check(&what, &bench.run(&frame), expected, Verdict::Drop);
        }
    }
}

/// Frames in which every kind of header occurs.
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
fn a_truncated_knock_is_malformed_wherever_it_ends() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    for sample in samples() {
        let frame = sample.bytes().unwrap();
        for cut in truncations(&frame).filter(|cut| cut.len() >= MIN_FRAME) {
            let what = format!("the first {} bytes of {sample:?}", cut.len());
            let malformed = Expected::Other(Outcome::Malformed);
            check(&what, &bench.run(cut), malformed, Verdict::Drop);
        }
        let knock = crate::table::knock_of(&sample);
        check("the whole frame", &bench.run(&frame), knock, Verdict::Drop);
    }
}

#[test]
fn a_knock_with_any_bit_flipped_is_what_the_reference_says() {
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

/// Neither direction of a connection that happens to have a window's port is disturbed.
#[test]
fn a_service_inside_the_window_only_loses_its_syns() {
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
