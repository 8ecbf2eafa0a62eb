//! Writes the history in a thread of its own, so that a disk that is slow or hangs delays no door.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use knockd_runtime::history::{FILE, append};
use knockd_types::history::Record;
use tracing::info;

use crate::reporter::Reporter;

/// Records that wait for the disk. Further ones are lost.
const WAITING: usize = 1024;

/// The most bytes that are written at once, except for the last line.
const BATCH: usize = 32 * 1024;

/// How long the end of the daemon waits for a disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// The writing end of the history. If it is dropped, what waits is written first.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// `None` until there is a record, and while no thread can be started.
    thread: Option<Thread>,
}

/// The channels of the thread.
#[derive(Debug)]
struct Thread {
    records: SyncSender<Record>,
    /// Disconnected when it has ended.
    ended: Receiver<()>,
}

/// What both threads use.
#[derive(Debug)]
struct Shared {
    state_dir: PathBuf,
    reporter: Reporter,
    /// Of one file, in bytes; 0 if nothing is to be written.
    max_len: AtomicU64,
    /// The records that were not written.
    lost: AtomicU64,
    /// Whether the last record was lost, which is told.
    fails: AtomicBool,
}

impl Writer {
    /// A writer of the files in `state_dir`, which tells failures to `reporter`.
    pub(super) fn new(state_dir: PathBuf, reporter: Reporter) -> Self {
        Self {
            shared: Arc::new(Shared {
                state_dir,
                reporter,
                max_len: AtomicU64::new(0),
                lost: AtomicU64::new(0),
                fails: AtomicBool::new(false),
            }),
            thread: None,
        }
    }

    /// Sets the longest length of a file in bytes. With 0, nothing is written.
    pub(super) fn set_max_len(&mut self, max_len: u64) {
        self.shared.max_len.store(max_len, Ordering::Relaxed);
    }

    /// Whether anything is to be written.
    pub(super) fn is_on(&self) -> bool {
        self.shared.max_len.load(Ordering::Relaxed) > 0
    }

    /// The number of records that could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Queues `record`. Returns at once.
    pub(super) fn write(&mut self, record: Record) {
        if !self.is_on() {
            return;
        }
        if self.thread.is_none() {
            match Thread::start(&self.shared) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    let reason = format!("no thread can be started: {error}");
                    return self.shared.failed(1, &reason);
                }
            }
        }
        let thread = self.thread.as_ref();
        if thread.is_some_and(|thread| thread.records.try_send(record).is_err()) {
            self.shared.failed(1, "the disk is too slow");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(Thread { records, ended }) = self.thread.take() {
            drop(records);
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}

impl Thread {
    fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (records, received) = sync_channel(WAITING);
        let (ending, ended) = sync_channel(0);
        let work = {
            let shared = Arc::clone(shared);
            move || {
                let _ending = ending;
                shared.write_all(&received);
            }
        };
        thread::Builder::new().name("history".into()).spawn(work)?;
        Ok(Self { records, ended })
    }
}

impl Shared {
    /// Writes what is `received`, until the other end is dropped.
    fn write_all(&self, received: &Receiver<Record>) {
        while let Ok(first) = received.recv() {
            let (mut lines, mut count) = (Vec::new(), 0);
            let mut next = Some(first);
            while let Some(record) = next {
                // It fails for no record: the keys are strings, and every value has a text.
                if serde_json::to_writer(&mut lines, &record).is_ok() {
                    lines.push(b'\n');
                }
                count += 1;
                let is_full = lines.len() >= BATCH;
                next = (!is_full).then(|| received.try_recv().ok()).flatten();
            }
            let max_len = self.max_len.load(Ordering::Relaxed);
            match append(&self.state_dir, &lines, max_len) {
                Ok(()) => self.succeeded(),
                Err(error) => self.failed(count, &error.to_string()),
            }
        }
    }

    /// Counts `lost` records. The first failure is told, and so is that it is over.
    fn failed(&self, lost: u64, reason: &str) {
        self.lost.fetch_add(lost, Ordering::Relaxed);
        if !self.fails.swap(true, Ordering::Relaxed) {
            self.reporter.problem(format!(
                "the history of accepted knocks cannot be written to {}, which affects nothing else: {reason}",
                self.state_dir.join(FILE).display()
            ));
        }
    }

    fn succeeded(&self) {
        if self.fails.swap(false, Ordering::Relaxed) {
            info!("the history of accepted knocks is written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr};

    use knockd_runtime::history::read;
    use knockd_types::history::{Accepted, Moment};

    use super::*;

    fn record(number: u32) -> Record {
        Record::Opened(Accepted {
            time: Moment::from_unix_ms(1_800_000_000_000),
            client: "laptop".into(),
            door: "ssh".into(),
            source: Ipv4Addr::from_bits(number).into(),
            sender: None,
            until: Moment::from_unix_ms(1_800_000_030_000),
            via: None,
            left_out: 0,
        })
    }

    fn writer(dir: &tempfile::TempDir, max_len: u64) -> Writer {
        let mut writer = Writer::new(dir.path().join("state"), Reporter::default());
        writer.set_max_len(max_len);
        writer
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(&dir, 1 << 20);
        for number in 0..500 {
            writer.write(record(number));
        }
        assert_eq!(writer.lost(), 0);
        drop(writer);
        assert_eq!(read(&dir.path().join("state")).unwrap().len(), 500);
    }

    #[test]
    fn without_room_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(&dir, 0);
        writer.write(record(1));
        assert!(writer.thread.is_none() && writer.lost() == 0);
        assert!(!dir.path().join("state").exists());
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_record_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::write(&state, "not a directory").unwrap();
        let mut writer = writer(&dir, 1 << 20);
        for number in 1..=3 {
            writer.write(record(1));
            while writer.lost() < number {
                thread::yield_now();
            }
        }
        fs::remove_file(&state).unwrap();
        writer.write(record(2));
        drop(writer);
        assert_eq!(read(&state).unwrap().len(), 1);
    }

    #[test]
    fn a_disk_that_hangs_blocks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(&dir, 1 << 20);
        let (records, _waits) = sync_channel(WAITING);
        let (_ending, ended) = sync_channel(0);
        writer.thread = Some(Thread { records, ended });
        for number in 0..2000 {
            writer.write(record(number));
        }
        assert_eq!(writer.lost(), 2000 - WAITING as u64);
    }
}
