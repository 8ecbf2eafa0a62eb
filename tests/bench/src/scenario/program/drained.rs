//! SYNs to the window while the daemon's own reader takes them from the ring.

use std::{
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
use knock_user::daemon::{
    report::Reporter,
    source::xdp::{Xdp, ring::Ring},
};
use tokio::sync::oneshot;

use super::{
    packet,
    subject::{EMPTY, PLAIN, handle, per_packet, unlimited},
};
use crate::{
    clock::thread_time,
    record::{Measurement, Unit, interleave},
    scenario::Effort,
};

/// What a knocking client leaves between two SYNs.
const PAUSE: Duration = Duration::from_millis(2);
/// What a SYN may cost more than the empty program, in nanoseconds.
const MOST: f64 = 200.0;

pub(super) fn run(empty: &Program, effort: Effort) -> Result<Vec<Measurement>> {
    let mut found = sustained(empty, effort)?;
    found.extend(alone(empty, effort)?);
    Ok(found)
}

/// One SYN after another, as fast as they go.
fn sustained(empty: &Program, effort: Effort) -> Result<Vec<Measurement>> {
    const CASE: &str = "SYN to the window, drained";
    let reader = Reader::start()?;
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
        knockd.beside(EMPTY).target("≤ empty + 200 ns", reached),
        share(
            "SYN to the window, drained: that found room in the ring",
            drained.events,
            sent,
        ),
        Measurement::new(
            "SYN to the window, drained: reading one",
            "knockd, its reader",
            Unit::Nanoseconds,
            &[drained.time.as_secs_f64() * 1e9 / drained.events as f64],
        ),
    ])
}

fn share(case: &str, part: u64, whole: u64) -> Measurement {
    let percent = 100.0 * part as f64 / whole as f64;
    Measurement::new(case, PLAIN, Unit::Percent, &[percent])
}

/// One SYN, and then nothing for so long that the reader sleeps: what waking him costs.
fn alone(empty: &Program, effort: Effort) -> Result<Vec<Measurement>> {
    const CASE: &str = "SYN to the window, alone";
    let reader = Reader::start()?;
    let frame = packet::knock()?;
    let mut samples = interleave(
        effort.pick(200, 2000),
        &mut [
            Box::new(|| once(empty, &frame)),
            Box::new(|| once(&reader.program, &frame)),
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

/// Nanoseconds that the kernel sees one packet take after a pause. The call around it takes
/// far longer, so that this thread's time would say nothing.
fn once(program: &Program, frame: &[u8]) -> Result<f64> {
    thread::sleep(PAUSE);
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::default()
    })?;
    Ok(result.duration.as_secs_f64() * 1e9)
}

/// A thread that drains the ring as the daemon does.
struct Reader {
    /// What fills the ring.
    program: Program,
    events: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Duration>>,
}

/// What a reader has done.
struct Drained {
    events: u64,
    /// Of the processor.
    time: Duration,
}

impl Reader {
    fn start() -> Result<Self> {
        let (ready, loaded) = mpsc::channel();
        let (stop, mut stopped) = oneshot::channel();
        let events = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&events);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut xdp = Xdp::load(unlimited(), Reporter::default())?;
                let mut ring = Ring::open(xdp.events()?)?;
                ready.send(handle(xdp.program()?)?)?;
                let begun = thread_time();
                let mut knocks = Vec::new();
                loop {
                    tokio::select! {
                        biased;
                        read = ring.next(&mut knocks) => read?,
                        _ = &mut stopped => return Ok(thread_time() - begun),
                    }
                    counted.fetch_add(knocks.len() as u64, Ordering::Relaxed);
                    knocks.clear();
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
            // Its error says why.
            Err(_) => Err(join(thread).err().context("the reader has ended")?),
        }
    }

    /// Lets it read what is on the ring yet, and ends it.
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
        .map_err(|_| anyhow!("the reader has panicked"))?
}
