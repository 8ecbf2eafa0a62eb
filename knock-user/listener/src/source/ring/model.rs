//! Tries every order in which the kernel and the reader can access what they share, as far as the
//! memory model of Rust allows it: no wake-up may be missed.

use loom::{
    model::Builder,
    sync::{Arc, atomic::AtomicBool},
    thread,
};

use self::{
    atomic::{AtomicU32, AtomicUsize, Ordering, fence},
    positions::{HEADER, Positions, Shared, Written},
};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
}

#[expect(
    clippy::duplicate_mod,
    reason = "it is compiled again, with the atomic integers of the model"
)]
#[path = "positions.rs"]
mod positions;

/// `BPF_RINGBUF_BUSY_BIT` and `BPF_RINGBUF_DISCARD_BIT`.
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// The length of each entry without its header, in bytes.
const LEN: usize = 8;

/// The entries that the kernel writes.
const ENTRIES: usize = 2;

/// How often one side is interrupted by the other at most. Faults need few, and the model doubles with
/// each.
const PREEMPTIONS: usize = 2;

/// A ring that is never full.
struct Ring {
    released: AtomicUsize,
    written: AtomicUsize,
    headers: [AtomicU32; ENTRIES],
    /// Whether the kernel has woken the reader.
    is_woken: AtomicBool,
}

impl Shared for Ring {
    fn released(&self) -> &AtomicUsize {
        &self.released
    }

    fn written(&self) -> &AtomicUsize {
        &self.written
    }

    fn header(&self, position: usize) -> &AtomicU32 {
        &self.headers[position / (HEADER + LEN)]
    }
}

impl Ring {
    fn new() -> Self {
        Self {
            released: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            headers: std::array::from_fn(|_| AtomicU32::new(0)),
            is_woken: AtomicBool::new(false),
        }
    }

    /// Writes an entry as the kernel does in `bpf_ringbuf_reserve` and `bpf_ringbuf_commit`
    /// (kernel/bpf/ringbuf.c).
    fn write(&self, number: usize, flags: u32) {
        let position = number * (HEADER + LEN);
        let header = u32::try_from(LEN).unwrap();
        self.headers[number].store(header | BUSY, Ordering::Relaxed);
        self.written
            .store(position + HEADER + LEN, Ordering::Release);
        // `xchg` of the kernel is a full barrier.
        fence(Ordering::SeqCst);
        self.headers[number].store(header | flags, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.released.load(Ordering::Acquire) == position {
            self.is_woken.store(true, Ordering::Release);
        }
    }
}

/// Reads everything that is written. Returns the positions of the entries.
fn read_all(ring: &Ring, positions: &mut Positions) -> Vec<usize> {
    let mut read = Vec::new();
    while let Some(Written { position, len }) = positions.read(ring) {
        assert_eq!(len, LEN);
        read.push(position);
    }
    read
}

/// Reads until nothing is written and the reader sleeps, as far as the kernel does not wake it.
fn read_until_asleep(ring: &Ring, positions: &mut Positions) -> Vec<usize> {
    let mut read = Vec::new();
    loop {
        ring.is_woken.store(false, Ordering::Relaxed);
        read.extend(read_all(ring, positions));
        if positions.release(ring) && !ring.is_woken.load(Ordering::Acquire) {
            return read;
        }
    }
}

/// Lets the kernel write entries, the first with these flags, while the reader reads. First the reader
/// polls, if `polls`. Asserts that each entry is read once and in order, and that a reader that sleeps
/// while entries are written was woken.
fn misses_nothing(first: u32, polls: bool) {
    let mut model = Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(move || {
        let ring = Arc::new(Ring::new());
        let mut positions = Positions::new(&*ring);
        let kernel = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                ring.write(0, first);
                ring.write(1, 0);
            })
        };
        let mut read = Vec::new();
        if polls {
            read.extend(read_all(&ring, &mut positions));
            positions.release_but_last(&*ring);
        }
        read.extend(read_until_asleep(&ring, &mut positions));
        kernel.join().unwrap();
        let rest = read_all(&ring, &mut positions);
        let is_woken = ring.is_woken.load(Ordering::Acquire);
        assert!(rest.is_empty() || is_woken, "{rest:?} would never be read");
        read.extend(rest);
        let second = HEADER + LEN;
        match first {
            0 => assert_eq!(read, [0, second]),
            _ => assert_eq!(read, [second]),
        }
    });
}

#[test]
fn no_entry_is_missed() {
    misses_nothing(0, false);
}

#[test]
fn no_entry_after_a_discarded_one_is_missed() {
    misses_nothing(DISCARDED, false);
}

#[test]
fn no_entry_is_missed_after_polling() {
    misses_nothing(0, true);
}
