use std::path::Path;

use knockd_runtime::history::read;
use knockd_types::history::{Knock, Via};

use super::*;

const LAPTOP: usize = 1;
const PHONE: usize = 2;

fn history(dir: &Path) -> History {
    History::new(dir.to_owned(), 10_000, Reporter::default())
}

fn key(last: u8) -> DoorKey {
    DoorKey {
        door: 0,
        source: [192, 0, 2, last].into(),
    }
}

fn name(client: usize) -> &'static str {
    ["by-hand", "laptop", "phone"][client]
}

/// Lets `client` knock from this address at `second`.
fn knock(history: &mut History, client: usize, last: u8, second: u64, extends: bool) {
    let time = Moment::from_unix_ms(1_800_000_000_000 + second * 1000);
    let accepted = Accepted {
        time,
        client: name(client).into(),
        door: "ssh".into(),
        source: key(last).source,
        sender: None,
        until: time.after(Duration::from_secs(30)),
        via: Some(Via::Syn),
        left_out: 0,
    };
    let now = Duration::from_secs(1_000_000 + second);
    history.accepted(key(last), client, accepted, extends, now);
}

/// What is in the files after the end.
fn written(dir: &Path, history: History) -> Vec<Knock> {
    drop(history);
    read(dir).unwrap()
}

#[test]
fn a_knock_has_a_record_and_its_door_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = history(dir.path());
    for (last, how) in [
        (1, None),
        (2, Some(How::ByHand)),
        (3, Some(How::Revoked)),
        (4, None),
    ] {
        knock(&mut history, LAPTOP, last, 0, false);
        if let Some(how) = how {
            history.closing(key(last), how);
        }
        if last < 4 {
            history.closed(key(last), "ssh", name);
        }
    }
    // It opens again before it was closed by hand.
    knock(&mut history, LAPTOP, 5, 0, false);
    history.closing(key(5), How::ByHand);
    knock(&mut history, LAPTOP, 5, 0, true);
    history.closed(key(5), "ssh", name);
    history.closing_all(How::Stopped);
    history.closed(key(4), "ssh", name);
    history.closed(key(9), "ssh", name);
    let knocks = written(dir.path(), history);
    let ends: Vec<_> = knocks.iter().map(|knock| knock.end.unwrap().how).collect();
    let expected = [
        How::Expired,
        How::ByHand,
        How::Revoked,
        How::Stopped,
        How::Expired,
    ];
    assert_eq!(ends, expected);
}

#[test]
fn a_door_of_the_previous_daemon_has_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = history(dir.path());
    knock(&mut before, LAPTOP, 1, 0, false);
    drop(before);
    let mut after = history(dir.path());
    after.restored(key(1), LAPTOP);
    after.closing(key(1), How::Revoked);
    after.closed(key(1), "ssh", name);
    let knocks = written(dir.path(), after);
    assert_eq!(knocks.len(), 1);
    assert_eq!(knocks[0].end.unwrap().how, How::Revoked);
}

#[test]
fn knocks_every_second_for_days_leave_room_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = history(dir.path());
    const DAYS: u64 = 3;
    const SECONDS: u64 = DAYS * 24 * 60 * 60;
    knock(&mut history, LAPTOP, 1, 0, false);
    for second in 1..SECONDS {
        // It keeps one door open, and another one opens and closes.
        knock(&mut history, LAPTOP, 1, second, true);
        knock(&mut history, LAPTOP, 2, second, false);
        history.closed(key(2), "ssh", name);
    }
    knock(&mut history, PHONE, 3, SECONDS, false);
    // Once its share is full again, a record tells how many are missing.
    knock(&mut history, LAPTOP, 4, 2 * SECONDS, false);
    let left_out = history.counters().history_left_out;
    let knocks = written(dir.path(), history);
    let share = u64::from(BURST) + DAYS * 288;
    let records = knocks.len() as u64;
    assert!((share..share + 5).contains(&records), "{records}");
    assert_eq!(left_out + records, 2 * SECONDS - 1 + 2);
    let told: u64 = knocks.iter().map(|knock| knock.accepted.left_out).sum();
    assert_eq!(told, left_out);
    assert_eq!(knocks[knocks.len() - 2].accepted.client, "phone");
}

#[test]
fn an_extension_has_a_record_if_it_is_new_who_or_from_where_or_some_time_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = history(dir.path());
    let minutes = |minutes: u64| minutes * 60;
    for (client, second, has_record) in [
        (LAPTOP, 0, true),
        (LAPTOP, minutes(1), false),
        (PHONE, minutes(2), true),
        (PHONE, minutes(3), false),
        (LAPTOP, minutes(4), true),
        (LAPTOP, minutes(13), false),
        (LAPTOP, minutes(14), true),
    ] {
        let before = history.counters().history_left_out;
        knock(&mut history, client, 1, second, second > 0);
        let left_out = history.counters().history_left_out - before;
        assert_eq!(left_out, u64::from(!has_record), "{second}");
    }
    let knocks = written(dir.path(), history);
    let extended: Vec<_> = knocks.iter().map(|knock| knock.extended).collect();
    assert_eq!(extended, [false, true, true, true]);
}

#[test]
fn without_a_history_nothing_is_counted_or_kept() {
    let dir = tempfile::tempdir().unwrap();
    for mut history in [
        History::default(),
        History::new(dir.path().join("state"), 0, Reporter::default()),
    ] {
        for second in 0..1000 {
            knock(&mut history, LAPTOP, 1, second, second > 0);
        }
        history.closed(key(1), "ssh", name);
        assert_eq!(history.counters(), Counters::default());
        assert!(history.open.is_empty() && history.shares.is_empty());
    }
    assert!(!dir.path().join("state").exists());
}

#[test]
fn a_reload_switches_it_on_and_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::new(dir.path().to_owned(), 0, Reporter::default());
    knock(&mut history, LAPTOP, 1, 0, false);
    history.resize(100);
    knock(&mut history, LAPTOP, 2, 0, false);
    history.resize(0);
    knock(&mut history, LAPTOP, 3, 0, false);
    let knocks = written(dir.path(), history);
    assert_eq!(knocks.len(), 1);
    assert_eq!(knocks[0].accepted.source, key(2).source);
}
