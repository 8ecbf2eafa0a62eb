//! SYNs to the window and knock datagrams while the daemon's reader consumes the ring buffer.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use aya::programs::{TestRun as _, TestRunOptions, Xdp as Program};
use knock_common::settings::Settings;
use knock_tests::kernel_log::KernelLog;
use knockd_listener::source::ring::{Entry, Ring};
use knockd_types::{datagram::Datagram, syn::Syn};
use knockd_xdp::program::Xdp;
use tokio::sync::oneshot;

use super::{
    packet,
    subject::{EMPTY, KNOCKS, PLAIN, handle, knocks, per_packet, unlimited},
};
use crate::{
    clock::thread_time,
    context::Effort,
    record::{Measurement, Unit, interleave},
};

/// The client's default pause between two SYNs.
const PAUSE: Duration = Duration::from_millis(2);
/// The target for the cost of a SYN above the empty program, in nanoseconds.
const MOST: f64 = 200.0;

pub(super) fn run(empty: &Program, effort: Effort) -> Result<Vec<Measurement>> {
    let mut found = sustained(empty, effort)?;
    found.extend(asleep(empty, effort)?);
    found.extend(datagrams(empty, effort)?);
    Ok(found)
}

/// SYNs without pauses.
fn sustained(empty: &Program, effort: Effort) -> Result<Vec<Measurement>> {
    const CASE: &str = "SYN to the window, ring buffer drained";
    let reader = Reader::start::<Syn>(unlimited(), Xdp::events)?;
    let frame = packet::knock()?;
    let repeat = effort.pick(50_000, 200_000);
    let rounds = effort.pick(7, 21);
    let mut samples = interleave(
        rounds,
        &mut [
            Box::new(|| per_packet(empty, &frame, repeat)),
            Box::new(|| per_packet(&reader.program, &frame, repeat)),
        ],
    )?;
    let knockd = samples.pop().unwrap_or_default();
    let empty = samples.pop().unwrap_or_default();
    let empty = Measurement::new(CASE, EMPTY, Unit::Nanoseconds, &empty);
    let most = empty.median() + MOST;
    let knockd = Measurement::new(CASE, PLAIN, Unit::Nanoseconds, &knockd);
    let reached = knockd.median() <= most;
    let drained = reader.stop()?;
    let sent = u64::from(repeat) * (rounds as u64 + 1);
    Ok(vec![
        empty,
        knockd
            .beside(EMPTY)
            .target("≤ empty program + 200 ns", reached),
        share(
            "SYN to the window, ring buffer drained: events stored",
            drained.events,
            sent,
        ),
        Measurement::new(
            "SYN to the window, ring buffer drained: read one event",
            "knockd, reader",
            Unit::Nanoseconds,
            &[drained.time.as_secs_f64() * 1e9 / drained.events as f64],
        ),
    ])
}

fn share(case: &str, part: u64, whole: u64) -> Measurement {
    let percent = 100.0 * part as f64 / whole as f64;
    Measurement::new(case, PLAIN, Unit::Percent, &[percent])
}

/// Single SYNs with pauses, so that each one wakes the reader.
fn asleep(empty: &Program, effort: Effort) -> Result<Vec<Measurement>> {
    const CASE: &str = "SYN to the window, reader asleep";
    let reader = Reader::start::<Syn>(unlimited(), Xdp::events)?;
    let frame = packet::knock()?;
    let after_a_pause = |program| {
        thread::sleep(PAUSE);
        once(program, &frame)
    };
    let mut samples = interleave(
        effort.pick(200, 2000),
        &mut [
            Box::new(|| after_a_pause(empty)),
            Box::new(|| after_a_pause(&reader.program)),
        ],
    )?;
    reader.stop()?;
    let knockd = samples.pop().unwrap_or_default();
    let empty = samples.pop().unwrap_or_default();
    Ok(vec![
        Measurement::new(CASE, EMPTY, Unit::Nanoseconds, &empty),
        Measurement::new(CASE, PLAIN, Unit::Nanoseconds, &knockd).beside(EMPTY),
    ])
}

/// Knock datagrams, each a different one, because a copy has no event.
fn datagrams(empty: &Program, effort: Effort) -> Result<Vec<Measurement>> {
    const CASE: &str = "knock datagram, ring buffer drained";
    let reader = Reader::start::<Datagram>(knocks()?, Xdp::datagrams)?;
    let rounds = effort.pick(5000, 50_000);
    let frame = packet::knock_datagram(0)?;
    let mut numbers = 0..;
    let mut next = || packet::knock_datagram(numbers.next().unwrap_or_default());
    let mut samples = interleave(
        rounds,
        &mut [
            Box::new(|| once(empty, &frame)),
            Box::new(|| once(&reader.program, &next()?)),
        ],
    )?;
    let drained = reader.stop()?;
    let knockd = samples.pop().unwrap_or_default();
    let empty = samples.pop().unwrap_or_default();
    Ok(vec![
        Measurement::new(CASE, EMPTY, Unit::Nanoseconds, &empty),
        Measurement::new(CASE, KNOCKS, Unit::Nanoseconds, &knockd).beside(EMPTY),
        share(
            "knock datagram, ring buffer drained: events stored",
            drained.events,
            rounds as u64 + 1,
        ),
    ])
}

/// The kernel's figure for one packet, in nanoseconds. The system call takes much longer than the
/// program, so the CPU time of this thread would be useless.
fn once(program: &Program, frame: &[u8]) -> Result<f64> {
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::default()
    })?;
    Ok(result.duration.as_secs_f64() * 1e9)
}

/// A thread that consumes the ring buffer as the daemon does.
struct Reader {
    /// The program that fills the ring buffer.
    program: Program,
    events: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Duration>>,
}

/// What a reader has consumed.
struct Drained {
    events: u64,
    /// CPU time.
    time: Duration,
}

impl Reader {
    /// A reader of the ring buffer that `open` returns, of a program with these settings.
    fn start<E: Entry>(settings: Settings, open: fn(&Xdp) -> io::Result<OwnedFd>) -> Result<Self> {
        let (ready, loaded) = mpsc::channel();
        let (stop, mut stopped) = oneshot::channel();
        let events = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&events);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut xdp = Xdp::load(settings, KernelLog::discarded())?;
                let mut ring = Ring::<E>::open(open(&xdp)?)?;
                ready.send(handle(xdp.program()?)?)?;
                let begun = thread_time();
                let mut batch = Vec::new();
                loop {
                    tokio::select! {
                        biased;
                        read = ring.next(&mut batch) => read?,
                        _ = &mut stopped => return Ok(thread_time() - begun),
                    }
                    counted.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    batch.clear();
                }
            })
        });
        match loaded.recv() {
            Ok(program) => Ok(Self {
                program,
                events,
                stop,
                thread,
            }),
            // The error of the thread is the reason.
            Err(_) => Err(join(thread).err().context("the reader terminated")?),
        }
    }

    /// Stops the reader after it has consumed all events.
    fn stop(self) -> Result<Drained> {
        let _ = self.stop.send(());
        let time = join(self.thread)?;
        Ok(Drained {
            events: self.events.load(Ordering::Relaxed),
            time,
        })
    }
}

fn join(thread: JoinHandle<Result<Duration>>) -> Result<Duration> {
    thread
        .join()
        .map_err(|_| anyhow!("the reader thread panicked"))?
}
