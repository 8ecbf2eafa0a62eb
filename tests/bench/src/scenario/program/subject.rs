//! The programs, and the cost of a program per packet.

use std::{
    borrow::Cow,
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp as Program};
use aya_obj::programs::XdpAttachType;
use knock_common::{
    gate::{Mode, PrefixLens, Transport},
    rate::Rate,
    settings::{DEFAULT_EVENT_RATE, Datagram, Destinations, Settings, Verdict},
    window::Window,
};
use knock_tests::kernel_log::KernelLog;
use knock_tests::link::Pair;
use knockd_types::{
    interface::Framing,
    rules::{Opening, Port, Rules},
};
use knockd_xdp::program::Xdp;

use super::packet;
use crate::{
    clock::per_each,
    context::Effort,
    record::{Measurement, Subject, Unit, interleave},
    xdp::Empty,
};

pub(super) const EMPTY: &str = "empty program";
pub(super) const LOOK_UP: &str = "empty program with one map lookup";
pub(super) const PLAIN: &str = "knockd";
pub(super) const GATED: &str = "knockd with a gate";
pub(super) const KNOCKS: &str = "knockd with knock datagrams";
pub(super) const EMPTY_TC: &str = "empty tc program";
pub(super) const GATED_TC: &str = "knockd with a gate, by tc";

/// A lease duration that outlasts the benchmark.
const HOUR: Duration = Duration::from_secs(3600);

/// All programs, loaded, with filled maps.
pub(super) struct Programs {
    pub(super) empty: Program,
    pub(super) look_up: Program,
    /// knockd without `[gate]`.
    pub(super) plain: Program,
    /// knockd with a gate in which [`Pair::CLIENT_V4`] has leases.
    pub(super) gated: Program,
    /// A tc program that only passes every packet.
    pub(super) empty_tc: SchedClassifier,
    /// The tc program with the gate of `gated`.
    pub(super) gated_tc: SchedClassifier,
    /// Like `plain`, without a limit of events per source.
    pub(super) unlimited: Program,
    /// knockd with knock datagrams, without `[gate]` and without limits.
    pub(super) knocks: Program,
}

impl Programs {
    pub(super) fn load() -> Result<Self> {
        let mut empty = Empty::load()?;
        let settings = Settings::new(Window::DEFAULT, Verdict::Drop, DEFAULT_EVENT_RATE);
        let (gated, gated_tc) = gated(settings)?;
        Ok(Self {
            empty_tc: tc_handle(empty.classifier()?)?,
            gated_tc,
            look_up: handle(empty.look_up()?)?,
            empty: handle(empty.program()?)?,
            plain: handle(Xdp::load(settings, KernelLog::discarded())?.program()?)?,
            gated,
            unlimited: handle(Xdp::load(unlimited(), KernelLog::discarded())?.program()?)?,
            knocks: handle(Xdp::load(knocks()?, KernelLog::discarded())?.program()?)?,
        })
    }
}

/// Settings that allow one source a burst of 2^32 events.
pub(super) fn unlimited() -> Settings {
    Settings::new(Window::DEFAULT, Verdict::Drop, unlimited_rate())
}

/// The same with knock datagrams.
pub(super) fn knocks() -> Result<Settings> {
    Ok(unlimited().with_datagram(&Datagram {
        port: NonZeroU16::new(packet::KNOCKS).context("the port is not 0")?,
        mac1: packet::KEY,
        rate: unlimited_rate(),
    }))
}

fn unlimited_rate() -> Rate {
    Rate::new(NonZeroU32::MIN.saturating_add(999_999_999), NonZeroU32::MAX)
}

fn gated(settings: Settings) -> Result<(Program, SchedClassifier)> {
    let port = |transport, number| Port { transport, number };
    let ports = vec![
        port(Transport::Tcp, packet::TCP),
        port(Transport::Udp, packet::UDP),
    ];
    let rules = Rules {
        protect: ports.clone(),
        trusted: Vec::new(),
        destinations: Destinations::default(),
        addresses: Vec::new(),
        mode: Mode::Enforce,
        udp_idle: HOUR,
        prefix_lens: PrefixLens::new([128]).context("128 is a valid prefix length")?,
        max_leases: NonZeroU32::MIN.saturating_add(16_383),
    };
    let (mut xdp, mut gate) = Xdp::load_with_gate(settings, &rules, KernelLog::discarded())?;
    let opening = Opening {
        ports,
        ipv6_prefix: 128,
    };
    gate.open(&opening.keys(Pair::CLIENT_V4.into()), HOUR)?;
    let by_tc = tc_handle(xdp.classifier(Framing::Ethernet)?)?;
    Ok((handle(xdp.program()?)?, by_tc))
}

/// Another handle for `program`. It keeps the program loaded after the loader is dropped, and runs
/// it while the loader reads its ring buffer.
pub(super) fn handle(program: &Program) -> Result<Program> {
    let info = program.info()?;
    let name = Cow::Owned(info.name_as_str().unwrap_or_default().to_owned());
    Ok(Program::from_program_info(
        info,
        name,
        XdpAttachType::Interface,
    )?)
}

/// The same for a tc program.
fn tc_handle(program: &SchedClassifier) -> Result<SchedClassifier> {
    let info = program.info()?;
    let name = Cow::Owned(info.name_as_str().unwrap_or_default().to_owned());
    Ok(SchedClassifier::from_program_info(info, name)?)
}

/// Runs the program of each subject on `frame`, in turn.
pub(super) fn compare<P: PerPacket, const N: usize>(
    case: &str,
    frame: &[u8],
    subjects: [(&str, &P); N],
    effort: Effort,
) -> Result<[Measurement; N]> {
    let repeat = effort.pick(100_000, 1_000_000);
    let mut runs = subjects.map(|(_, program)| -> Subject<'_> {
        Box::new(move || per_packet(program, frame, repeat))
    });
    let samples = interleave(effort.pick(7, 21), &mut runs)?;
    let mut samples = samples.iter();
    Ok(subjects.map(|(subject, _)| {
        let samples = samples.next().map_or(&[][..], |samples| samples);
        Measurement::new(case, subject, Unit::Nanoseconds, samples)
    }))
}

/// A program that can be run on a packet.
pub(super) trait PerPacket {
    fn run_on(&self, frame: &[u8], repeat: u32) -> Result<()>;
}

impl<P> PerPacket for P
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    fn run_on(&self, frame: &[u8], repeat: u32) -> Result<()> {
        self.test_run(TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::default()
        })?;
        Ok(())
    }
}

/// Nanoseconds of CPU time of this thread per packet. The kernel's figure is an integer, which is
/// too coarse for an empty program.
pub(super) fn per_packet(program: &impl PerPacket, frame: &[u8], repeat: u32) -> Result<f64> {
    per_each(repeat, || program.run_on(frame, repeat))
}
