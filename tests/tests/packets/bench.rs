//! Runs the program with `BPF_PROG_TEST_RUN`.

use std::{
    hint,
    num::NonZeroU32,
    thread,
    time::{Duration, Instant},
};

use aya::{
    maps::{Map, MapData, MapInfo, PerCpuArray, RingBuf},
    programs::{TestRun as _, TestRunOptions, TestRunResult},
};
use knock_common::{
    counters::{Counts, Outcome},
    event::KnockEvent,
    rate::Rate,
    settings::{Settings, Verdict},
    window::Window,
};
use knock_tests::kernel_log::KernelLog;
use knockd_listener::source::ring::{MAX_BATCH, Ring};
use knockd_types::{datagram::Datagram, interface::Framing, rules::Rules, syn::Syn};
use knockd_xdp::{leases::Gate, program::Xdp};
use tokio::{runtime::Runtime, time::timeout};

/// Time limit for anything that should happen immediately; only a failing test waits this long.
const SOON: Duration = Duration::from_secs(10);

/// Minimum length of a frame for `BPF_PROG_TEST_RUN`: an Ethernet header. No driver delivers
/// shorter frames either.
pub(crate) const MIN_FRAME: usize = 14;

/// The index of the loopback interface, on which a test run receives.
const LOOPBACK: u32 = 1;

/// The XDP action that the program returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Drop,
    Pass,
}

/// The result for one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunResult {
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
    /// The raw entry of either ring buffer.
    pub(crate) event: Option<Vec<u8>>,
}

/// One of the programs of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// For XDP, with frames in several buffers.
    Buffers,
    /// For XDP, with frames in a single buffer.
    Linear,
    /// For traffic control.
    Tc,
    /// For traffic control on interfaces without Ethernet headers. In a test run an Ethernet header is
    /// in front of the packet, like the headers of a tunnel before Linux 5.14.
    TcIp,
}

impl Variant {
    pub(crate) const ALL: [Self; 4] = [Self::Buffers, Self::Linear, Self::Tc, Self::TcIp];

    /// The length of the longest frame that `BPF_PROG_TEST_RUN` puts into a single buffer of a page.
    const ONE_BUFFER: usize = 3500;

    /// Whether a test run shows `frame` to the program as an interface would.
    pub(crate) fn takes(self, frame: &[u8]) -> bool {
        let ether_type = frame.get(12..14);
        match self {
            Self::Buffers => true,
            Self::Linear => frame.len() <= Self::ONE_BUFFER,
            Self::Tc => {
                // Newer kernels run no program for tc on a packet without its whole IP header.
                let headers = match ether_type {
                    Some([0x08, 0x00]) => 14 + 20,
                    Some([0x86, 0xdd]) => 14 + 40,
                    _ => 14,
                };
                (headers..=Self::ONE_BUFFER).contains(&frame.len())
            }
            Self::TcIp => {
                let is_tagged = matches!(ether_type, Some([0x81, 0x00] | [0x88, 0xa8]));
                Self::Tc.takes(frame) && frame.len() > 14 && !is_tagged
            }
        }
    }
}

/// A loaded program.
pub(crate) struct Bench {
    variant: Variant,
    pub(crate) xdp: Xdp,
    gate: Option<Gate>,
    ring: Ring<Syn>,
    /// Opened when it is needed: without knock datagrams this ring buffer is smaller.
    datagram_ring: Option<Ring<Datagram>>,
    // A second consumer of the daemon's ring buffer, which returns raw bytes and does not block. A
    // test uses either this or `Ring::next`.
    events: RingBuf<MapData>,
    datagrams: RingBuf<MapData>,
    counters: PerCpuArray<MapData, Counts>,
    runtime: Runtime,
}

impl Bench {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_log(settings, &KernelLog::default())
    }

    pub(crate) fn with_log(settings: Settings, log: &KernelLog) -> Self {
        Self::load(|| (Xdp::load(settings, log.logger()).unwrap(), None))
    }

    /// Loads the program with a gate that has no leases.
    pub(crate) fn with_gate(settings: Settings, rules: &Rules) -> Self {
        Self::with_gate_and_log(settings, rules, &KernelLog::default())
    }

    pub(crate) fn with_gate_and_log(settings: Settings, rules: &Rules, log: &KernelLog) -> Self {
        Self::load(|| {
            let (xdp, gate) = Xdp::load_with_gate(settings, rules, log.logger()).unwrap();
            (xdp, Some(gate))
        })
    }

    fn load(load: impl FnOnce() -> (Xdp, Option<Gate>)) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (mut xdp, gate, ring) = runtime.block_on(async {
            let (xdp, gate) = load();
            let ring = Ring::open(xdp.events().unwrap()).unwrap();
            (xdp, gate, ring)
        });
        Self {
            variant: Variant::Buffers,
            ring,
            datagram_ring: None,
            events: RingBuf::try_from(Map::RingBuf(map(&mut xdp, "EVENTS"))).unwrap(),
            datagrams: RingBuf::try_from(Map::RingBuf(map(&mut xdp, "DATAGRAMS"))).unwrap(),
            counters: PerCpuArray::try_from(Map::PerCpuArray(map(&mut xdp, "COUNTERS"))).unwrap(),
            xdp,
            gate,
            runtime,
        }
    }

    /// The same maps with another program.
    pub(crate) fn with_variant(mut self, variant: Variant) -> Self {
        self.choose(variant);
        self
    }

    /// Chooses the program that runs next, with the same maps.
    pub(crate) fn choose(&mut self, variant: Variant) {
        self.variant = variant;
    }

    /// The lease map of a program with a gate.
    pub(crate) fn gate(&mut self) -> &mut Gate {
        self.gate.as_mut().unwrap()
    }

    /// Runs the program once on `frame`. Asserts that the program counts the packet exactly once,
    /// does not modify it, and emits an event only for a SYN to the window or a knock datagram.
    pub(crate) fn run(&mut self, frame: &[u8]) -> RunResult {
        let before = self.counters();
        let mut left = vec![0; frame.len()];
        let result = self.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut left),
            ..TestRunOptions::default()
        });
        assert_eq!(left, frame, "the frame was changed");
        let outcome = only_increment(&before, &self.counters());
        let (syn, datagram) = (self.take_event(), self.take_datagram());
        assert_eq!(syn.is_some(), outcome == Outcome::Knock, "{outcome:?}");
        let is_datagram = outcome == Outcome::Datagram;
        assert_eq!(datagram.is_some(), is_datagram, "{outcome:?}");
        assert_eq!(self.take_event(), None, "a packet had two events");
        assert_eq!(self.take_datagram(), None, "a packet had two events");
        RunResult {
            action: match self.variant {
                Variant::Buffers | Variant::Linear => action(&result),
                Variant::Tc | Variant::TcIp => tc_action(&result),
            },
            outcome,
            event: syn.or(datagram),
        }
    }

    /// Runs the program `times` times on `frame` and leaves the events in the ring buffer.
    pub(crate) fn repeat(&mut self, frame: &[u8], times: u32) -> TestRunResult {
        self.test_run(TestRunOptions {
            data_in: Some(frame),
            repeat: times,
            ..TestRunOptions::default()
        })
    }

    pub(crate) fn test_run(&mut self, options: TestRunOptions<'_>) -> TestRunResult {
        let result = match self.variant {
            Variant::Buffers => self.xdp.program().unwrap().test_run(options),
            Variant::Linear => self.xdp.linear().unwrap().test_run(options),
            Variant::Tc => {
                let program = self.xdp.classifier(Framing::Ethernet).unwrap();
                program.test_run(options)
            }
            Variant::TcIp => {
                let program = self.xdp.classifier(Framing::Ip).unwrap();
                program.test_run(options)
            }
        };
        result.unwrap()
    }

    /// The oldest event in the ring buffer of SYNs.
    pub(crate) fn take_event(&mut self) -> Option<Vec<u8>> {
        self.events.next().map(|entry| entry.to_vec())
    }

    /// The oldest event in the ring buffer of datagrams.
    pub(crate) fn take_datagram(&mut self) -> Option<Vec<u8>> {
        self.datagrams.next().map(|entry| entry.to_vec())
    }

    /// The events in the ring buffer of datagrams, read with the daemon's reader until there are
    /// `count`.
    pub(crate) fn read_datagrams(&mut self, count: usize) -> Vec<Datagram> {
        let Self {
            xdp,
            datagram_ring,
            runtime,
            ..
        } = self;
        let mut all = Vec::new();
        let read = async {
            let open = || Ring::open(xdp.datagrams().unwrap()).unwrap();
            let ring = datagram_ring.get_or_insert_with(open);
            while all.len() < count {
                let mut batch = Vec::new();
                ring.next(&mut batch).await.unwrap();
                assert!(batch.len() <= MAX_BATCH);
                all.append(&mut batch);
            }
        };
        let read = runtime.block_on(async { timeout(SOON, read).await });
        assert!(read.is_ok(), "only {} datagrams", all.len());
        all
    }

    /// Opens the program's map `name` a second time.
    pub(crate) fn map(&mut self, name: &str) -> MapData {
        map(&mut self.xdp, name)
    }

    /// Number of packets with this outcome, on all interfaces.
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.xdp.counters().unwrap()[outcome.name()]
    }

    /// The counters of the interface of test runs: to read those of all takes longer than a run.
    fn counters(&self) -> Counts {
        let mut sums = Counts::default();
        for counts in self.counters.get(&LOOPBACK, 0).unwrap().iter() {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        sums
    }

    /// Reads events with the daemon's reader until `done` returns true for all SYNs so far.
    pub(crate) fn read_until(&mut self, mut done: impl FnMut(&[Syn]) -> bool) -> Vec<Syn> {
        let Self {
            xdp, ring, runtime, ..
        } = self;
        let mut all = Vec::new();
        let read = async {
            while !done(&all) {
                // A new batch each time, because `next` limits the length of the vector.
                let mut batch = Vec::new();
                ring.next(&mut batch).await.unwrap();
                xdp.flush_log();
                all.append(&mut batch);
            }
        };
        let read = runtime.block_on(async { timeout(SOON, read).await });
        assert!(read.is_ok(), "only {} events", all.len());
        all
    }

    /// Runs the program on `frame` in another thread, once after each of `gaps`, while the daemon's
    /// reader receives the events. Returns the size of each batch, once all are received.
    pub(crate) fn read_while(&mut self, frame: &[u8], gaps: &[Duration]) -> Vec<usize> {
        let Self {
            xdp, ring, runtime, ..
        } = self;
        let program = xdp.program().unwrap();
        let (mut batches, mut syns) = (Vec::new(), Vec::new());
        let mut left = gaps.len();
        let read = async {
            while left > 0 {
                ring.next(&mut syns).await.unwrap();
                left -= syns.len();
                batches.push(syns.drain(..).len());
            }
        };
        let read = thread::scope(|scope| {
            scope.spawn(|| {
                for gap in gaps {
                    let start = Instant::now();
                    while start.elapsed() < *gap {
                        hint::spin_loop();
                    }
                    let options = TestRunOptions {
                        data_in: Some(frame),
                        ..TestRunOptions::default()
                    };
                    program.test_run(options).unwrap();
                }
            });
            runtime.block_on(async { timeout(SOON, read).await })
        });
        assert!(read.is_ok(), "{left} events are missing");
        batches
    }
}

/// Settings that never limit a source, a burst of 2^32 - 1 events, and never hold a SYN back.
pub(crate) fn unlimited(verdict: Verdict) -> Settings {
    unlimited_at(Window::DEFAULT, verdict)
}

/// Like [`unlimited`], for another window.
pub(crate) fn unlimited_at(window: Window, verdict: Verdict) -> Settings {
    Settings::new(window, verdict, unlimited_rate()).with_new_sources_rate(unlimited_rate())
}

/// A rate that limits no test.
pub(crate) fn unlimited_rate() -> Rate {
    Rate::new(NonZeroU32::new(1_000_000_000).unwrap(), NonZeroU32::MAX)
}

/// The action in the result of `BPF_PROG_TEST_RUN`.
pub(crate) fn action(result: &TestRunResult) -> Action {
    // enum xdp_action in linux/bpf.h.
    match result.return_value {
        1 => Action::Drop,
        2 => Action::Pass,
        other => panic!("XDP action {other}"),
    }
}

/// The action in the result of a tc program.
fn tc_action(result: &TestRunResult) -> Action {
    // TC_ACT_SHOT and TC_ACT_UNSPEC in linux/pkt_cls.h.
    match result.return_value {
        2 => Action::Drop,
        u32::MAX => Action::Pass,
        other => panic!("tc action {other}"),
    }
}

/// Decodes a ring buffer entry.
pub(crate) fn decode(entry: &[u8]) -> KnockEvent {
    KnockEvent::from_bytes(entry).unwrap()
}

fn only_increment(before: &[u64], after: &[u64]) -> Outcome {
    let mut increased = Outcome::ALL
        .iter()
        .zip(after.iter().zip(before))
        .filter(|(_, (after, before))| after != before);
    let (outcome, (after, before)) = increased.next().expect("the packet was not counted");
    assert_eq!(after - before, 1, "{outcome:?} was counted more than once");
    assert_eq!(increased.next(), None, "a packet has two outcomes");
    *outcome
}

/// Opens the program's map `name` a second time.
fn map(xdp: &mut Xdp, name: &str) -> MapData {
    let program = xdp.program().unwrap().info().unwrap();
    let ids = program.map_ids().unwrap().unwrap();
    let id = ids
        .into_iter()
        .find(|id| MapInfo::from_id(*id).unwrap().name_as_str() == Some(name))
        .unwrap();
    MapData::from_id(id).unwrap()
}
