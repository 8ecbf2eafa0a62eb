use std::collections::HashMap;

use knockd_types::names::BY_HAND_NUMBER;

use super::*;
use crate::fixture::{TWO_CLIENTS, config};

/// The door `web` again, under another name.
const SAME_PORT: &str = r#"
[[door]]
name = "web-admin"
sequence = [7]
open = ["tcp/80"]
"#;

const SSH: usize = 0;
const WEB: usize = 1;
const BACKUP: usize = 2;
const LAPTOP: usize = 1;

/// A gate in memory.
#[derive(Default)]
struct FakeGate {
    granted: HashMap<LeaseKey, Duration>,
    is_full: bool,
    in_use: Option<Duration>,
}

impl LeaseGate for FakeGate {
    fn exists(&self) -> bool {
        true
    }

    fn grant(&mut self, keys: &[LeaseKey], time: Duration) -> Result<(), OpenError> {
        if self.is_full {
            return Err(OpenError::Full);
        }
        self.granted.extend(keys.iter().map(|key| (*key, time)));
        Ok(())
    }

    fn shorten(&mut self, key: LeaseKey, left: Option<Duration>) -> Result<()> {
        match left {
            Some(left) => self.granted.insert(key, left),
            None => self.granted.remove(&key),
        };
        Ok(())
    }

    fn in_use(&self, keys: &[LeaseKey]) -> Option<Duration> {
        self.in_use.filter(|_| !keys.is_empty())
    }
}

fn ledger(text: &str) -> Ledger {
    Ledger::new(&config(text), None, Reporter::default()).unwrap()
}

/// A ledger with a journal in `dir`.
fn journaled(dir: &tempfile::TempDir) -> Ledger {
    let (store, problem) = LeaseStore::open(dir.path()).unwrap();
    assert!(problem.is_none());
    Ledger::new(&config(TWO_CLIENTS), Some(store), Reporter::default()).unwrap()
}

fn key(door: usize, last: u8) -> DoorKey {
    DoorKey {
        door,
        source: [192, 0, 2, last].into(),
    }
}

fn grant(seconds: u64) -> Grant {
    Grant {
        client: LAPTOP,
        lease: Duration::from_secs(seconds),
    }
}

/// Waits for a command and handles its end.
async fn end_command(ledger: &mut Ledger, gate: &mut FakeGate) {
    let (task, ending) = ledger.next_ending().await.unwrap();
    ledger.ended(gate, &task, &ending);
}

#[test]
fn a_door_holds_its_lease_until_it_is_revoked() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    assert!(ledger.open(&mut gate, key(WEB, 7), grant(30), None));
    assert_eq!(gate.granted.len(), 1);
    assert!(ledger.has_open(key(WEB, 7)) && ledger.next_deadline().is_some());
    assert_eq!(ledger.granted_leases(), 1);
    assert_eq!(ledger.door_statuses()[0].client, "laptop");
    assert!(ledger.open(&mut gate, key(WEB, 7), grant(60), None));
    assert_eq!(ledger.counters().extended, 1);
    let renewed = gate.granted.values().next().unwrap();
    assert!(*renewed > Duration::from_secs(30), "{renewed:?}");
    ledger.revoke(&mut gate, key(WEB, 7));
    assert!(gate.granted.is_empty() && ledger.is_empty());
}

#[test]
fn a_lease_of_several_doors_lasts_as_long_as_the_longest() {
    let text = format!("{TWO_CLIENTS}{SAME_PORT}");
    let (mut ledger, mut gate) = (ledger(&text), FakeGate::default());
    ledger.open(&mut gate, key(WEB, 7), grant(30), None);
    ledger.open(&mut gate, key(3, 7), grant(60), None);
    ledger.revoke(&mut gate, key(WEB, 7));
    let left: Vec<_> = gate.granted.values().collect();
    assert_eq!(left.len(), 1);
    assert!(*left[0] > Duration::from_secs(30), "{left:?}");
    ledger.revoke(&mut gate, key(3, 7));
    assert!(gate.granted.is_empty());
}

#[test]
fn a_door_that_the_gate_refuses_is_not_open() {
    let mut gate = FakeGate {
        is_full: true,
        ..FakeGate::default()
    };
    let mut ledger = ledger(TWO_CLIENTS);
    assert!(ledger.open(&mut gate, key(WEB, 7), grant(30), None));
    assert!(!ledger.has_open(key(WEB, 7)));
    assert_eq!(ledger.counters().refused_gate_full, 1);
}

#[test]
fn open_doors_are_limited() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    assert!(ledger.open(&mut gate, key(WEB, 7), grant(30), None));
    assert!(ledger.open(&mut gate, key(WEB, 8), grant(30), None));
    assert!(!ledger.open(&mut gate, key(WEB, 9), grant(30), None));
    assert_eq!(ledger.open_for(&gate, [192, 0, 2, 8].into()), [key(WEB, 8)]);
}

#[test]
fn a_lease_in_use_is_extended_and_another_one_expires() {
    let mut gate = FakeGate {
        in_use: Some(Duration::from_secs(60)),
        ..FakeGate::default()
    };
    let mut ledger = ledger(TWO_CLIENTS);
    let due = |ledger: &mut Ledger| {
        let key = key(WEB, 7);
        ledger.doors.forget(key);
        ledger.doors.restore(key, grant(30), Duration::ZERO, true);
    };
    due(&mut ledger);
    ledger.expire(&mut gate);
    assert!(ledger.next_deadline() > Some(Duration::ZERO));
    gate.in_use = None;
    due(&mut ledger);
    ledger.expire(&mut gate);
    assert!(ledger.is_empty());
}

#[tokio::test]
async fn commands_run_when_a_door_opens_and_closes() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    ledger.open(&mut gate, key(SSH, 7), grant(30), None);
    assert_eq!(ledger.next_deadline(), None, "`run` is running");
    end_command(&mut ledger, &mut gate).await;
    assert!(ledger.next_deadline().is_some());
    ledger.close_all(&mut gate, true);
    assert!(!ledger.is_empty(), "`close` is running");
    end_command(&mut ledger, &mut gate).await;
    assert!(ledger.is_empty());
    assert_eq!(ledger.counters().commands_succeeded, 2);
}

#[tokio::test]
async fn the_next_daemon_restores_the_doors_that_have_to_be_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut gate = FakeGate::default();
    let mut before = journaled(&dir);
    before.open(&mut gate, key(SSH, 7), grant(30), None);
    before.open(&mut gate, key(BACKUP, 8), grant(30), None);
    end_command(&mut before, &mut gate).await;
    end_command(&mut before, &mut gate).await;
    drop(before);
    let mut after = journaled(&dir);
    assert!(after.restore(&mut gate, None));
    let restored: Vec<_> = after.open_doors().map(|open| open.key).collect();
    assert_eq!(restored, [key(SSH, 7)], "the other one has no `close`");
    after.revoke(&mut gate, key(SSH, 7));
    end_command(&mut after, &mut gate).await;
    drop(after);
    let mut last = journaled(&dir);
    assert!(last.restore(&mut gate, None) && last.is_empty());
}

#[tokio::test]
async fn a_dry_run_runs_no_command_and_writes_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut gate = FakeGate::default();
    let mut dry = journaled(&dir);
    dry.dry_run();
    dry.open(&mut gate, key(SSH, 7), grant(30), None);
    assert!(dry.next_deadline().is_some(), "it is open at once");
    drop(dry);
    let mut after = journaled(&dir);
    assert!(after.restore(&mut gate, None) && after.is_empty());
}

#[test]
fn a_gate_that_stays_closes_its_doors_itself() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    ledger.open(&mut gate, key(WEB, 7), grant(30), None);
    ledger.close_all(&mut gate, true);
    assert!(ledger.is_empty());
    assert_eq!(gate.granted.len(), 1);
}

#[test]
fn a_reload_revokes_what_the_configuration_lacks() {
    let text = format!("{TWO_CLIENTS}{SAME_PORT}");
    let (mut ledger, mut gate) = (ledger(&text), FakeGate::default());
    ledger.open(&mut gate, key(WEB, 7), grant(30), None);
    ledger.open(&mut gate, key(3, 8), grant(30), None);
    let next = config(TWO_CLIENTS);
    let leases = ledger.leases_under(&gate, &next);
    assert_eq!(leases.len(), 1, "only those of a door that stays");
    ledger.configure(&next, None);
    ledger.revoke_removed(&mut gate);
    assert!(ledger.has_open(key(WEB, 7)) && !ledger.has_open(key(3, 8)));
    assert_eq!(gate.granted.len(), 1);
}

#[test]
fn the_administrator_opens_doors_like_a_client() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    let grant = Grant {
        client: BY_HAND_NUMBER as usize,
        lease: Duration::from_secs(30),
    };
    assert!(ledger.open(&mut gate, key(WEB, 7), grant, None));
    assert_eq!(ledger.door_statuses()[0].client, "by-hand");
}
