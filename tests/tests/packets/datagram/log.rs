//! The kernel log while there are `tail` subscribers.

use knock_common::{
    counters::Outcome,
    rate::Rate,
    settings::{Settings, Verdict},
};
use knock_tests::{kernel_log::KernelLog, link::Pair, needs_bpf};

use super::{datagram, knock, payload, with_rate};
use crate::bench::{Bench, unlimited, unlimited_rate};

fn logging(rate: Rate) -> (Bench, KernelLog) {
    let log = KernelLog::default();
    let settings: Settings = with_rate(unlimited(Verdict::Drop), rate);
    let bench = Bench::with_log(settings, &log);
    (bench, log)
}

#[test]
fn the_log_has_one_line_per_datagram_while_it_is_on() {
    needs_bpf!();
    let (mut bench, log) = logging(unlimited_rate());
    let v6 = datagram(Pair::CLIENT_V6.into(), &payload(2));
    let v6 = v6.bytes().unwrap();
    bench.repeat(&knock(1), 1);
    bench.xdp.flush_log();
    assert_eq!(log.take(), [""; 0]);

    bench.xdp.set_log(true).unwrap();
    for frame in [knock(2), v6, knock(2)] {
        bench.repeat(&frame, 1);
    }
    bench.xdp.flush_log();
    let written = [
        "datagram from 192.0.2.2 port 40000",
        "datagram from 2001:db8::2 port 40000",
    ];
    assert_eq!(log.take(), written);
    assert_eq!(bench.count(Outcome::DatagramCopy), 1);
}

#[test]
fn a_datagram_above_the_rate_writes_no_line() {
    needs_bpf!();
    let (mut bench, log) = logging(knock_common::settings::DEFAULT_DATAGRAM_RATE);
    bench.xdp.set_log(true).unwrap();
    for number in 0..200 {
        bench.repeat(&knock(number), 1);
    }
    bench.xdp.flush_log();
    assert!(bench.count(Outcome::DatagramLimited) > 0);
    let written = u64::try_from(log.take().len()).unwrap();
    assert_eq!(written, bench.count(Outcome::Datagram));
}
