//! The kernel log: off by default, one line per SYN, and rate limited.

use knock_common::{
    counters::Outcome,
    gate::Mode,
    settings::{DEFAULT_EVENT_RATE, Settings, Verdict},
    window::Window,
};
use knock_tests::{kernel_log::KernelLog, link::Pair, needs_bpf, privilege};
use knockd_runtime::clock::{boottime, monotonic};
use knockd_types::rules::Rules;
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    bench::{Bench, unlimited},
    gate::{request, rules, trusting},
    table::{syn_v4, syn_v6},
};

/// `LOG_RATE` as a number: lines per second, and burst.
const RATE: u64 = 1000;

/// `OBSERVED_RATE` as a number.
const OBSERVED_RATE: u64 = 10;
const OBSERVED_BURST: u64 = 20;

/// Reads events with the daemon's reader up to the SYN at offset `last`, and all log lines until
/// then.
fn read_to(bench: &mut Bench, last: u8) {
    bench.read_until(|syns| syns.last().is_some_and(|it| it.offset == last));
}

#[test]
fn the_log_has_one_line_per_syn_while_it_is_on() {
    if !privilege::bpf() {
        return;
    }
    let log = KernelLog::default();
    let mut bench = Bench::with_log(unlimited(Verdict::Drop), &log);
    let [v4, v6, last] = [syn_v4(0), syn_v6(255), syn_v4(9)].map(|it| it.bytes().unwrap());

    bench.repeat(&v4, 1);
    bench.repeat(&last, 1);
    read_to(&mut bench, 9);
    assert_eq!(log.take(), [""; 0]);

    bench.xdp.set_log(true).unwrap();
    bench.repeat(&v4, 1);
    let ack = syn_v4(3).tcp(|tcp| tcp.ack = true);
    bench.repeat(&ack.bytes().unwrap(), 1);
    bench.repeat(&v6, 1);
    bench.repeat(&last, 1);
    read_to(&mut bench, 9);
    let written = [
        "SYN from 192.0.2.2 port 40000 to window + 0",
        "SYN from 2001:db8::2 port 40000 to window + 255",
        "SYN from 192.0.2.2 port 40000 to window + 9",
    ];
    assert_eq!(log.take(), written);

    bench.xdp.set_log(false).unwrap();
    bench.repeat(&v4, 1);
    bench.repeat(&last, 1);
    read_to(&mut bench, 9);
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn a_rate_limited_syn_writes_no_line() {
    if !privilege::bpf() {
        return;
    }
    let log = KernelLog::default();
    let settings = Settings::new(Window::DEFAULT, Verdict::Drop, DEFAULT_EVENT_RATE);
    let mut bench = Bench::with_log(settings, &log);
    bench.xdp.set_log(true).unwrap();
    bench.repeat(&syn_v4(1).bytes().unwrap(), 500);
    bench.repeat(&syn_v6(2).bytes().unwrap(), 1);
    read_to(&mut bench, 2);
    assert!(bench.count(Outcome::RateLimited) > 0);
    let written = u64::try_from(log.take().len()).unwrap();
    assert_eq!(written, bench.count(Outcome::Knock));
}

/// Pins this thread to its CPU, because the limit is per CPU.
fn stay_on_this_cpu() {
    let mut here = CpuSet::new();
    here.set(sched_getcpu().unwrap()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &here).unwrap();
}

#[test]
fn a_flood_does_not_exceed_the_log_rate() {
    if !privilege::bpf() {
        return;
    }
    stay_on_this_cpu();
    let log = KernelLog::default();
    let mut bench = Bench::with_log(unlimited(Verdict::Drop), &log);
    bench.xdp.set_log(true).unwrap();
    let start = monotonic();
    let mut written = 0;
    // In batches that fit into the log's ring buffer.
    for _ in 0..40 {
        bench.repeat(&syn_v4(1).bytes().unwrap(), 100);
        bench.repeat(&syn_v4(2).bytes().unwrap(), 1);
        read_to(&mut bench, 2);
        written += u64::try_from(log.take().len()).unwrap();
    }
    let millis = u64::try_from((monotonic() - start).as_millis()).unwrap();
    let refilled = (millis + 1) * RATE / 1000;
    assert_eq!(bench.count(Outcome::Knock), 4040);
    assert!(
        (RATE..=RATE + refilled).contains(&written),
        "{written} in {millis} ms"
    );
}

/// A program with a gate, and its log.
fn gated(mode: Mode) -> (Bench, KernelLog) {
    let log = KernelLog::default();
    let rules = Rules {
        mode,
        ..trusting(rules(&["tcp/22", "udp/51820"]), &["198.51.100.0/24"])
    };
    let settings = unlimited(Verdict::Drop);
    let bench = Bench::with_gate_and_log(settings, &rules, &log);
    (bench, log)
}

/// Sends a SYN or datagram from `source` to `port`.
fn send(bench: &mut Bench, source: &str, port: &str) {
    let request = request(source.parse().unwrap(), port.parse().unwrap());
    bench.repeat(&request.bytes().unwrap(), 1);
}

/// The log lines so far. A SYN to the window, which writes no line, marks the end.
fn lines_so_far(bench: &mut Bench, log: &KernelLog) -> Vec<String> {
    bench.repeat(&syn_v4(9).bytes().unwrap(), 1);
    read_to(bench, 9);
    log.take()
}

#[test]
fn observe_mode_logs_packets_that_would_be_dropped() {
    needs_bpf!();
    for mode in [Mode::Observe, Mode::Enforce] {
        let (mut bench, log) = gated(mode);
        send(&mut bench, "192.0.2.2", "tcp/22");
        send(&mut bench, "198.51.100.2", "tcp/22");
        send(&mut bench, "2001:db8::2", "udp/51820");
        send(&mut bench, "192.0.2.2", "udp/53");
        send(&mut bench, "192.0.2.2", "tcp/443");
        let written = lines_so_far(&mut bench, &log);
        let expected = match mode {
            Mode::Observe => &["192.0.2.2 to tcp/22", "2001:db8::2 to udp/51820"][..],
            // Packets that are dropped are only counted, so that a scan cannot fill the disk.
            Mode::Enforce => &[],
        };
        assert_eq!(written, expected, "{mode:?}");
    }
}

#[test]
fn observe_mode_does_not_exceed_its_log_rate() {
    needs_bpf!();
    stay_on_this_cpu();
    let (mut bench, log) = gated(Mode::Observe);
    let syn = request(Pair::CLIENT_V4.into(), "tcp/22".parse().unwrap());
    let start = boottime();
    bench.repeat(&syn.bytes().unwrap(), 10_000);
    let written = u64::try_from(lines_so_far(&mut bench, &log).len()).unwrap();
    let millis = u64::try_from((boottime() - start).as_millis()).unwrap();
    let most = OBSERVED_BURST + (millis + 1) * OBSERVED_RATE / 1000;
    assert!(
        (OBSERVED_BURST..=most).contains(&written),
        "{written} in {millis} ms"
    );
    assert_eq!(bench.count(Outcome::GateRefused), 10_000);
}
