use std::{fs, path::PathBuf};

use knockd_runtime::durable::DurableFile;
use knockd_types::replay_file::{CONTENT_LEN, MAGIC};
use proptest::prelude::*;

use super::*;

const SKEW: Duration = Duration::from_secs(60);
const NOW: u64 = 1_800_000_000_000;
const HOUR: u64 = 60 * 60 * 1000;
const DAY: u64 = 24 * HOUR;

fn id(n: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Opens the store, and creates its file as the supervisor does if it does not exist.
    fn open(&self) -> ReplayStore {
        DurableFile::create(&self.file(), MAGIC, CONTENT_LEN).unwrap();
        let (store, problem) = ReplayStore::open(self.0.path(), self.0.path()).unwrap();
        assert!(problem.is_none(), "{problem:?}");
        store
    }

    fn file(&self) -> PathBuf {
        self.0.path().join(KNOCKS_FILE)
    }

    /// A copy of the directory, as after a crash: the file was not closed.
    fn copy(&self) -> Self {
        let copy = Self::new();
        fs::copy(self.file(), copy.file()).unwrap();
        copy
    }
}

/// Whether a knock made at `made_at` is accepted at `now`.
fn accepts(store: &mut ReplayStore, n: u64, made_at: u64, now: u64) -> Result<(), String> {
    let entered = store.enter(&id(n), made_at, now, SKEW);
    entered.map_err(|error| error.to_string())?;
    store.commit().map_err(|error| error.to_string())
}

#[track_caller]
fn refused(result: Result<(), String>, part: &str) {
    let reason = result.unwrap_err();
    assert!(reason.contains(part), "{reason}");
}

#[test]
fn a_knock_is_accepted_once_also_after_a_restart() {
    let dir = Dir::new();
    let mut store = dir.open();
    accepts(&mut store, 1, NOW, NOW).unwrap();
    refused(accepts(&mut store, 1, NOW, NOW + 1), "accepted before");
    accepts(&mut store, 2, NOW, NOW).unwrap();
    drop(store);
    let mut store = dir.open();
    for n in 1..=2 {
        refused(accepts(&mut store, n, NOW, NOW + 2), "accepted before");
    }
}

#[test]
fn a_knock_that_is_given_back_is_accepted_once_more_until_a_restart() {
    let dir = Dir::new();
    let mut store = dir.open();
    accepts(&mut store, 1, NOW, NOW).unwrap();
    store.give_back(&id(1), NOW);
    accepts(&mut store, 1, NOW, NOW).unwrap();
    refused(accepts(&mut store, 1, NOW, NOW + 1), "accepted before");
    // Nor when its place is removed.
    let late = NOW + 2 * DAY;
    accepts(&mut store, 2, late, late).unwrap();
    refused(accepts(&mut store, 1, NOW, late), "horizon");
    store.give_back(&id(2), late);
    drop(store);
    refused(accepts(&mut dir.open(), 2, late, late), "accepted before");
}

#[test]
fn a_knock_that_is_given_back_again_and_again_takes_one_place() {
    let dir = Dir::new();
    let mut store = dir.open();
    for _ in 0..1000 {
        accepts(&mut store, 1, NOW, NOW).unwrap();
        refused(accepts(&mut store, 1, NOW, NOW), "accepted before");
        store.give_back(&id(1), NOW);
    }
    assert_eq!(store.open.as_ref().unwrap().order.len(), 1);
    accepts(&mut store, 2, NOW, NOW).unwrap();
    assert_eq!(Journal::open(&dir.copy().file()).unwrap().1.len(), 2);
    // A knock that the store does not know cannot be given back.
    store.give_back(&id(3), NOW);
    let open = store.open.as_mut().unwrap();
    assert_eq!(open.given_back.len(), 1);
    // When its place is removed, nothing of it is left.
    let late = NOW + 2 * DAY;
    accepts(&mut store, 4, late, late).unwrap();
    assert!(store.open.as_ref().unwrap().given_back.is_empty());
    refused(accepts(&mut store, 1, NOW, late), "horizon");
}

#[test]
fn a_copy_of_an_open_file_contains_the_accepted_knocks() {
    let dir = Dir::new();
    let mut store = dir.open();
    accepts(&mut store, 1, NOW, NOW).unwrap();
    refused(
        accepts(&mut dir.copy().open(), 1, NOW, NOW + 1),
        "accepted before",
    );
}

#[test]
fn old_knocks_are_removed_and_never_accepted_again() {
    let dir = Dir::new();
    let mut store = dir.open();
    accepts(&mut store, 1, NOW, NOW).unwrap();
    // Knock 2 causes the removal of knock 1.
    let later = NOW + DAY + 60_001;
    accepts(&mut store, 2, later, later).unwrap();
    assert_eq!(store.open.as_ref().unwrap().order.len(), 1);
    // The clock is set back. An attacker has recorded knock 1, and a knock that never arrived.
    refused(
        accepts(&mut store, 1, NOW, NOW + 10),
        "older than the replay store",
    );
    refused(
        accepts(&mut store, 3, NOW - 5, NOW + 10),
        "older than the replay store",
    );
    // A new knock after the horizon is accepted.
    accepts(&mut store, 4, NOW + 1, NOW + 10).unwrap();
}

#[test]
fn a_clock_that_was_ahead_for_hours_locks_no_client_out() {
    let dir = Dir::new();
    let mut store = dir.open();
    accepts(&mut store, 1, NOW, NOW).unwrap();
    // Hours of knocks with a clock that is 20 hours ahead; each makes earlier ones stale.
    for n in 0..30 {
        let ahead = NOW + 20 * HOUR + n * HOUR / 10;
        accepts(&mut store, 100 + n, ahead, ahead).unwrap();
    }
    // The clock is corrected: a knock with the true time is accepted, once.
    let now = NOW + 3 * HOUR;
    accepts(&mut store, 2, now, now).unwrap();
    refused(accepts(&mut store, 2, now, now + 1), "accepted before");
    refused(accepts(&mut store, 1, NOW, NOW + 1000), "accepted before");
    refused(
        accepts(&mut store, 100, NOW + 20 * HOUR, now),
        "accepted before",
    );
}

#[test]
fn after_a_clock_that_was_days_ahead_removed_knocks_are_refused() {
    let dir = Dir::new();
    let mut store = dir.open();
    accepts(&mut store, 1, NOW, NOW).unwrap();
    accepts(&mut store, 2, NOW + 3 * DAY, NOW + 3 * DAY).unwrap();
    refused(accepts(&mut store, 1, NOW, NOW + 1000), "older than");
    accepts(&mut store, 3, NOW + 1000, NOW + 1000).unwrap();
}

#[test]
fn a_larger_skew_does_not_bring_old_knocks_back() {
    let dir = Dir::new();
    let mut store = dir.open();
    accepts(&mut store, 1, NOW, NOW).unwrap();
    let later = NOW + DAY + 70_000;
    accepts(&mut store, 2, later, later).unwrap();
    let days = Duration::from_millis(2 * DAY);
    let replayed = store.enter(&id(1), NOW, later, days);
    assert!(matches!(replayed, Err(RecordError::BeyondHorizon)));
}

#[test]
fn a_missing_store_accepts_nothing_and_is_not_created() {
    let dir = Dir::new();
    let (mut store, problem) = ReplayStore::open(dir.0.path(), dir.0.path()).unwrap();
    let problem = format!("{:#}", problem.unwrap());
    assert!(problem.contains("No such file"), "{problem}");
    refused(accepts(&mut store, 1, NOW, NOW), "has failed");
    assert!(!dir.file().exists());
    drop(dir.open());
    accepts(&mut store, 1, NOW, NOW).unwrap();
}

#[test]
fn two_daemons_do_not_share_a_store() {
    let dir = Dir::new();
    let _store = dir.open();
    let error = ReplayStore::open(dir.0.path(), dir.0.path()).unwrap_err();
    assert!(error.to_string().contains("another knockd"), "{error:#}");
}

#[test]
fn a_damaged_store_accepts_nothing_and_is_left_as_it_is() {
    let dir = Dir::new();
    let mut store = dir.open();
    for n in 0..100 {
        accepts(&mut store, n, NOW, NOW).unwrap();
    }
    drop(store);
    let whole = fs::read(dir.file()).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let mut scrambled = whole.clone();
    for byte in scrambled.iter_mut().skip(64).step_by(37) {
        *byte ^= 0x5a;
    }
    for damaged in [b"".to_vec(), b"not a database".to_vec(), half, scrambled] {
        fs::write(dir.file(), &damaged).unwrap();
        let (mut store, problem) = ReplayStore::open(dir.0.path(), dir.0.path()).unwrap();
        let problem = problem.map(|problem| format!("{problem:#}"));
        assert!(
            problem
                .as_ref()
                .is_some_and(|text| text.contains("is left unchanged")),
            "{problem:?}"
        );
        refused(accepts(&mut store, 1, NOW, NOW), "has failed");
        refused(accepts(&mut store, 777, NOW, NOW), "has failed");
    }
    // After a repair the store works again without a restart.
    let (mut store, _) = ReplayStore::open(dir.0.path(), dir.0.path()).unwrap();
    fs::write(dir.file(), &whole).unwrap();
    refused(accepts(&mut store, 1, NOW, NOW), "accepted before");
    accepts(&mut store, 777, NOW, NOW).unwrap();
}

#[test]
fn beyond_its_bound_nothing_is_accepted() {
    let dir = Dir::new();
    let mut store = dir.open();
    accepts(&mut store, 0, NOW, NOW).unwrap();
    for n in 1..MAX_KNOCKS as u64 {
        store.enter(&id(n), NOW, NOW, SKEW).unwrap();
        if n % MAX_BATCH as u64 == 0 {
            store.commit().unwrap();
        }
    }
    store.commit().unwrap();
    let one_more = MAX_KNOCKS as u64;
    for _ in 0..2 {
        refused(
            accepts(&mut store, one_more, NOW + 1, NOW + 1),
            "the replay store is full",
        );
        drop(store);
        store = dir.open();
    }
    // A minute later, knocks outside `max_skew` are removed for new ones.
    let later = NOW + 60_001;
    for n in 0..2000 {
        accepts(&mut store, one_more + n, later + n, later + n).unwrap();
    }
    drop(store);
    let mut store = dir.open();
    refused(accepts(&mut store, 0, NOW, NOW + 1), "older than");
    let last = one_more + 1999;
    refused(
        accepts(&mut store, last, later + 1999, later),
        "accepted before",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// For every sequence of clock changes and restarts.
    #[test]
    fn no_knock_is_accepted_twice(
        steps in prop::collection::vec((0_u64..8, 0_u64..4, 0_u64..200_000, prop::bool::weighted(0.1)), 1..60),
    ) {
        let dir = Dir::new();
        let mut store = dir.open();
        let mut accepted = HashSet::new();
        for (n, days, clock, restart) in steps {
            let now = NOW + days * DAY + clock;
            // A knock has one timestamp: here it follows from its number.
            let made_at = NOW + n % 4 * DAY + n * 20_000;
            let fresh = now.abs_diff(made_at) <= 60_000;
            if fresh && accepts(&mut store, n, made_at, now).is_ok() {
                prop_assert!(accepted.insert(n));
            }
            if restart {
                drop(store);
                store = dir.open();
            }
        }
    }
}
