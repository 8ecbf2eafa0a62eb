//! Knock datagrams beside a gate, and on a host that forwards.

use std::{fs, net::IpAddr};

use aya::programs::TestRunOptions;
use knock_common::{
    counters::Outcome::{
        self, DatagramOther, Forwarded, GateLeased, GateRefused, GateUnclear, Malformed, NotTcp,
    },
    gate::Mode,
    settings::Verdict,
};
use knock_tests::{
    frame::{Frame, overwritten},
    link::Pair,
    needs_bpf, privilege,
};
use knockd_types::rules::Rules;

use super::{datagram, event, knock, payload, settings};
use crate::{
    bench::{Action, Bench},
    gate::{HOUR, keys, rules},
    outcome::check_gated,
    reference::Expected,
};

const MODES: [Mode; 2] = [Mode::Enforce, Mode::Observe];

fn gated(protect: &[&str], mode: Mode) -> Bench {
    let rules = Rules {
        mode,
        ..rules(protect)
    };
    Bench::with_gate(settings(Verdict::Drop), &rules)
}

fn expect(bench: &mut Bench, what: &str, frame: &[u8], mode: Mode, outcome: Outcome) {
    let expected = Expected::Other(outcome);
    check_gated(what, &bench.run(frame), expected, Verdict::Drop, mode);
}

/// The knock with a wrong `mac1`.
fn wrong() -> Vec<u8> {
    let frame = knock(1);
    let last = frame.len() - 1;
    overwritten(&frame, last, &[frame[last] ^ 1]).unwrap()
}

#[test]
fn a_knock_to_a_protected_port_is_taken_and_the_gate_decides_about_others() {
    needs_bpf!();
    let shorter = datagram(Pair::CLIENT_V4.into(), &[7; 143]);
    let shorter = shorter.bytes().unwrap();
    for mode in MODES {
        let mut bench = gated(&["udp/443"], mode);
        let expected = event(Pair::CLIENT_V4.into(), payload(1));
        let result = bench.run(&knock(1));
        assert_eq!(result.action, Action::Drop);
        check_gated("knock", &result, expected, Verdict::Drop, mode);
        expect(&mut bench, "wrong", &wrong(), mode, GateRefused);
        expect(&mut bench, "shorter", &shorter, mode, GateRefused);

        let client = IpAddr::from(Pair::CLIENT_V4);
        let lease = keys(client.into(), "udp/443".parse().unwrap());
        bench.gate().open(&lease, HOUR).unwrap();
        expect(&mut bench, "wrong", &wrong(), mode, GateLeased);
        expect(&mut bench, "shorter", &shorter, mode, GateLeased);
        let result = bench.run(&knock(2));
        let expected = event(Pair::CLIENT_V4.into(), payload(2));
        check_gated("knock", &result, expected, Verdict::Drop, mode);
    }
}

#[test]
fn other_datagrams_to_an_unprotected_port_pass_any_gate() {
    needs_bpf!();
    for protect in [&["tcp/443"][..], &["udp/51820"], &["tcp/22", "udp/53"]] {
        for mode in MODES {
            let mut bench = gated(protect, mode);
            expect(&mut bench, "wrong", &wrong(), mode, DatagramOther);
            let shorter = datagram(Pair::CLIENT_V4.into(), &[7; 143]);
            let shorter = shorter.bytes().unwrap();
            expect(&mut bench, "shorter", &shorter, mode, NotTcp);
            let result = bench.run(&knock(1));
            let expected = event(Pair::CLIENT_V4.into(), payload(1));
            check_gated("knock", &result, expected, Verdict::Drop, mode);
        }
    }
}

/// A gate for TCP does not look at UDP, also if the program has to.
#[test]
fn a_truncated_datagram_passes_a_gate_of_tcp() {
    needs_bpf!();
    const UDP: usize = 34;
    const IHL: usize = 14;
    let frame = datagram(Pair::CLIENT_V4.into(), &[]).bytes().unwrap();
    let cut = &frame[..UDP + 7];
    let inconsistent = overwritten(&frame, IHL, &[0x44]).unwrap();
    let long = overwritten(&frame, IHL, &[0x4f]).unwrap();
    for (protect, outcome) in [("tcp/22", Malformed), ("udp/53", GateUnclear)] {
        let mut bench = gated(&[protect], Mode::Enforce);
        for frame in [cut, &inconsistent, &long] {
            expect(&mut bench, protect, frame, Mode::Enforce, outcome);
        }
    }
}

/// What this host forwards is another host's knock.
#[test]
fn a_forwarded_knock_passes() {
    needs_bpf!();
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let server = &pair.server;
    let listed = server.ip("-o link show dev srv0").unwrap();
    let ifindex: u32 = listed.split(':').next().unwrap().parse().unwrap();
    let sysctl = || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        Ok(fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?)
    };
    server.run(sysctl).unwrap();
    let routes = [
        ("", "198.51.100.0/24", IpAddr::from(Pair::CLIENT_V4)),
        ("-6 ", "2001:db8:1::/64", Pair::CLIENT_V6.into()),
    ];
    for (family, network, via) in routes {
        server
            .ip(&format!("{family}route add {network} via {via}"))
            .unwrap();
    }
    let cases = [
        (Pair::CLIENT_V4.into(), "198.51.100.2"),
        (IpAddr::from(Pair::CLIENT_V6), "2001:db8:1::2"),
    ];
    let run = || {
        let mut bench = Bench::new(settings(Verdict::Drop));
        for (source, inner) in cases {
            let own = datagram(source, &payload(1));
            let forwarded = Frame {
                destination: inner.parse().unwrap(),
                ..own.clone()
            };
            for (frame, expected) in [(forwarded, Forwarded), (own, Outcome::Datagram)] {
                let before = bench.count(expected);
                let frame = frame.bytes().unwrap();
                let len = u32::try_from(frame.len()).unwrap();
                // struct xdp_md, as in `event`.
                let context = [0, len, 0, ifindex, 0, 0].map(u32::to_ne_bytes).concat();
                let result = bench.test_run(TestRunOptions {
                    data_in: Some(&frame),
                    ctx_in: Some(&context),
                    ..TestRunOptions::default()
                });
                let action = crate::bench::action(&result);
                let dropped = expected == Outcome::Datagram;
                assert_eq!(action == Action::Drop, dropped, "{source} to {expected:?}");
                assert_eq!(bench.count(expected), before + 1, "{source}: {expected:?}");
            }
        }
        Ok(())
    };
    server.run(run).unwrap();
}
