//! The kernel's log lines: none unless somebody tails, one per knock, and not too many.

use knock_common::{
    counters::Outcome,
    settings::{DEFAULT_EVENT_RATE, Settings, Verdict},
    window::Window,
};
use knock_tests::privilege;
use knock_user::daemon::{
    clock::monotonic,
    report::{Event, Reporter, Tail},
};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    bench::{Bench, unlimited},
    table::{syn_v4, syn_v6},
};

/// `LOG_RATE` in other words: per second, and at once.
const RATE: u64 = 1000;

/// Lets the daemon's side read up to the knock at `last`, with every line that belongs to a
/// knock up to that one.
fn read_to(bench: &mut Bench, last: u8) {
    bench.read_until(|knocks| knocks.last().is_some_and(|it| it.offset == last));
}

/// What the kernel has written and the daemon has read.
fn lines(tail: &mut Tail) -> Vec<String> {
    let mut lines = Vec::new();
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        let next = std::pin::pin!(tail.next());
        let std::task::Poll::Ready(Some(notice)) = next.poll(context) else {
            return lines;
        };
        let Event::Kernel { message } = notice.event else {
            panic!("{notice}");
        };
        lines.push(message);
    }
}

#[test]
fn one_line_per_knock_while_it_is_switched_on() {
    if !privilege::bpf() {
        return;
    }
    let reporter = Reporter::default();
    let mut tail = reporter.tail();
    let mut bench = Bench::with_reporter(unlimited(Verdict::Drop), reporter);
    let [v4, v6, last] = [syn_v4(0), syn_v6(255), syn_v4(9)].map(|it| it.bytes().unwrap());

    bench.repeat(&v4, 1);
    bench.repeat(&last, 1);
    read_to(&mut bench, 9);
    assert_eq!(lines(&mut tail), [""; 0]);

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
    assert_eq!(lines(&mut tail), written);

    bench.xdp.set_log(false).unwrap();
    bench.repeat(&v4, 1);
    bench.repeat(&last, 1);
    read_to(&mut bench, 9);
    assert_eq!(lines(&mut tail), [""; 0]);
}

#[test]
fn a_refused_syn_writes_no_line() {
    if !privilege::bpf() {
        return;
    }
    let reporter = Reporter::default();
    let mut tail = reporter.tail();
    let settings = Settings::new(Window::DEFAULT, Verdict::Drop, DEFAULT_EVENT_RATE);
    let mut bench = Bench::with_reporter(settings.with_log(true), reporter);
    bench.repeat(&syn_v4(1).bytes().unwrap(), 500);
    bench.repeat(&syn_v6(2).bytes().unwrap(), 1);
    read_to(&mut bench, 2);
    assert!(bench.count(Outcome::RateLimited) > 0);
    let written = u64::try_from(lines(&mut tail).len()).unwrap();
    assert_eq!(written, bench.count(Outcome::Knock));
}

#[test]
fn a_flood_writes_no_more_than_the_log_rate() {
    if !privilege::bpf() {
        return;
    }
    // The bound is per CPU: on one of them it can be counted.
    let mut here = CpuSet::new();
    here.set(sched_getcpu().unwrap()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &here).unwrap();

    let reporter = Reporter::default();
    let mut tail = reporter.tail();
    let settings = unlimited(Verdict::Drop).with_log(true);
    let mut bench = Bench::with_reporter(settings, reporter);
    let start = monotonic();
    let mut written = 0;
    // In pieces that the log's ring and the tail have room for.
    for _ in 0..40 {
        bench.repeat(&syn_v4(1).bytes().unwrap(), 100);
        bench.repeat(&syn_v4(2).bytes().unwrap(), 1);
        read_to(&mut bench, 2);
        written += u64::try_from(lines(&mut tail).len()).unwrap();
    }
    let millis = u64::try_from((monotonic() - start).as_millis()).unwrap();
    let refilled = (millis + 1) * RATE / 1000;
    assert_eq!(bench.count(Outcome::Knock), 4040);
    assert!(
        (RATE..=RATE + refilled).contains(&written),
        "{written} in {millis} ms"
    );
}
