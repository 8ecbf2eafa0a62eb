use std::collections::HashMap;

use knock_common::gate::Transport;
use knockd_types::names::BY_HAND_NUMBER;

use super::*;
use crate::fixture::{TWO_CLIENTS, config};

mod shared;

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
const PHONE: usize = 2;

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
        if let Some(left) = left {
            self.granted
                .entry(key)
                .and_modify(|granted| *granted = left.min(*granted));
        } else {
            self.granted.remove(&key);
        }
        Ok(())
    }

    fn in_use(&self, keys: &[LeaseKey]) -> Option<Duration> {
        self.in_use.filter(|_| keys.iter().any(is_udp))
    }
}

fn is_udp(key: &LeaseKey) -> bool {
    key.protocol == Transport::Udp.number()
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
    assert!(ledger.open(&mut gate, key(WEB, 7), grant(30), Knock::default()));
    assert_eq!(gate.granted.len(), 1);
    assert!(ledger.has_open(key(WEB, 7)) && ledger.next_deadline().is_some());
    assert_eq!(ledger.granted_leases(), 1);
    assert_eq!(ledger.door_statuses()[0].client, "laptop");
    assert!(ledger.open(&mut gate, key(WEB, 7), grant(60), Knock::default()));
    assert_eq!(ledger.counters().extended, 1);
    let renewed = gate.granted.values().next().unwrap();
    assert!(*renewed > Duration::from_secs(30), "{renewed:?}");
    ledger.revoke(&mut gate, key(WEB, 7), How::ByHand);
    assert!(gate.granted.is_empty() && ledger.is_empty());
}

#[test]
fn a_lease_of_several_doors_lasts_as_long_as_the_longest() {
    let text = format!("{TWO_CLIENTS}{SAME_PORT}");
    let (mut ledger, mut gate) = (ledger(&text), FakeGate::default());
    ledger.open(&mut gate, key(WEB, 7), grant(30), Knock::default());
    ledger.open(&mut gate, key(3, 7), grant(60), Knock::default());
    ledger.revoke(&mut gate, key(WEB, 7), How::ByHand);
    let left: Vec<_> = gate.granted.values().collect();
    assert_eq!(left.len(), 1);
    assert!(*left[0] > Duration::from_secs(30), "{left:?}");
    ledger.revoke(&mut gate, key(3, 7), How::ByHand);
    assert!(gate.granted.is_empty());
}

#[test]
fn a_door_that_the_gate_refuses_is_not_open() {
    let mut gate = FakeGate {
        is_full: true,
        ..FakeGate::default()
    };
    let mut ledger = ledger(TWO_CLIENTS);
    assert!(ledger.open(&mut gate, key(WEB, 7), grant(30), Knock::default()));
    assert!(!ledger.has_open(key(WEB, 7)));
    assert_eq!(ledger.counters().refused_gate_full, 1);
}

#[test]
fn open_doors_are_limited() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    assert!(ledger.open(&mut gate, key(WEB, 7), grant(30), Knock::default()));
    let phone = Grant {
        client: PHONE,
        ..grant(30)
    };
    assert!(
        !ledger.open(&mut gate, key(WEB, 8), grant(30), Knock::default()),
        "a share"
    );
    assert!(ledger.open(&mut gate, key(WEB, 8), phone, Knock::default()));
    assert!(!ledger.open(&mut gate, key(BACKUP, 9), grant(30), Knock::default()));
    assert_eq!(ledger.open_for(&gate, [192, 0, 2, 8].into()), [key(WEB, 8)]);
}

/// A door with a TCP and a UDP port, and commands.
const BOTH: &str = r#"
[[door]]
name = "both"
sequence = [8]
open = ["tcp/80", "udp/80"]
run = ["true"]
close = ["true"]
for = "30s"
"#;

/// The number of the door of [`BOTH`].
const BOTH_NUMBER: usize = 3;

/// A ledger with the door of [`BOTH`] open for 30 seconds.
async fn opened() -> (Ledger, FakeGate) {
    let text = format!("{TWO_CLIENTS}{BOTH}").replace(r#"["tcp/80"]"#, r#"["tcp/80", "udp/80"]"#);
    let (mut ledger, mut gate) = (ledger(&text), FakeGate::default());
    ledger.open(&mut gate, key(BOTH_NUMBER, 7), grant(30), Knock::default());
    end_command(&mut ledger, &mut gate).await;
    (ledger, gate)
}

/// Whether the leases of a TCP port and of a UDP port are granted for some time.
fn granted(gate: &FakeGate) -> [bool; 2] {
    [false, true].map(|udp| {
        let of_kind = |(key, left): (&LeaseKey, &Duration)| is_udp(key) == udp && !left.is_zero();
        gate.granted.iter().any(of_kind)
    })
}

/// Lets the time of the door pass.
fn let_expire(ledger: &mut Ledger, gate: &mut FakeGate) {
    ledger.doors.shorten(key(BOTH_NUMBER, 7), Duration::ZERO);
    ledger.expire(gate);
}

#[tokio::test]
async fn datagrams_keep_a_udp_lease_in_use_and_nothing_else() {
    let (mut ledger, mut gate) = opened().await;
    assert_eq!(granted(&gate), [true, true]);
    gate.in_use = Some(Duration::from_secs(60));
    let_expire(&mut ledger, &mut gate);
    assert_eq!(gate.granted.len(), 1, "the lease of TCP is gone");
    // `close` runs although there are datagrams.
    end_command(&mut ledger, &mut gate).await;
    assert_eq!(ledger.counters().commands_succeeded, 2);
    let status = &ledger.door_statuses()[0];
    assert_eq!(status.state, "in use");
    assert!(status.seconds_left > 30, "{}", status.seconds_left);
    // A new program gets that lease too, and no other.
    let config =
        config(&format!("{TWO_CLIENTS}{BOTH}").replace(r#"["tcp/80"]"#, r#"["tcp/80", "udp/80"]"#));
    let leases = ledger.leases_under(&gate, &Allowed::by(&config));
    assert!(leases.len() == 1 && is_udp(&leases[0].0), "{leases:?}");
    gate.in_use = None;
    let_expire(&mut ledger, &mut gate);
    assert!(ledger.is_empty() && gate.granted.is_empty());
}

#[tokio::test]
async fn a_door_in_use_can_be_revoked() {
    let (mut ledger, mut gate) = opened().await;
    gate.in_use = Some(Duration::from_secs(60));
    let_expire(&mut ledger, &mut gate);
    ledger.revoke(&mut gate, key(BOTH_NUMBER, 7), How::ByHand);
    assert!(gate.granted.is_empty(), "at once, while `close` runs");
    end_command(&mut ledger, &mut gate).await;
    assert!(ledger.is_empty());
}

#[tokio::test]
async fn datagrams_keep_nothing_in_use_for_a_client_that_expires() {
    let (mut ledger, mut gate) = opened().await;
    gate.in_use = Some(Duration::from_secs(60));
    let_expire(&mut ledger, &mut gate);
    end_command(&mut ledger, &mut gate).await;
    assert_eq!(gate.granted.len(), 1);
    let expired = format!("{TWO_CLIENTS}{BOTH}").replacen(LAPTOPS_FILE, EXPIRED, 1);
    let expired = config(&expired.replace(r#"["tcp/80"]"#, r#"["tcp/80", "udp/80"]"#));
    ledger.revoke_disallowed(&mut gate, &Allowed::by(&expired));
    assert!(ledger.is_empty() && gate.granted.is_empty());
}

#[tokio::test]
async fn the_gate_closes_at_once_while_run_is_running() {
    let text = format!("{TWO_CLIENTS}{BOTH}").replace(r#"["tcp/80"]"#, r#"["tcp/80", "udp/80"]"#);
    let (mut ledger, mut gate) = (ledger(&text), FakeGate::default());
    ledger.open(&mut gate, key(BOTH_NUMBER, 7), grant(30), Knock::default());
    assert_eq!(granted(&gate), [true, true]);
    ledger.revoke(&mut gate, key(BOTH_NUMBER, 7), How::ByHand);
    assert!(gate.granted.is_empty() && !ledger.is_empty());
    end_command(&mut ledger, &mut gate).await;
    end_command(&mut ledger, &mut gate).await;
    assert!(ledger.is_empty());
    assert_eq!(ledger.counters().commands_succeeded, 2);
}

#[tokio::test]
async fn commands_run_when_a_door_opens_and_closes() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    ledger.open(&mut gate, key(SSH, 7), grant(30), Knock::default());
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
    before.open(&mut gate, key(SSH, 7), grant(30), Knock::default());
    before.open(&mut gate, key(BACKUP, 8), grant(30), Knock::default());
    end_command(&mut before, &mut gate).await;
    end_command(&mut before, &mut gate).await;
    drop(before);
    let mut after = journaled(&dir);
    assert!(after.restore(&config(TWO_CLIENTS), &mut gate, None));
    let restored: Vec<_> = after.open_doors().map(|open| open.key).collect();
    assert_eq!(restored, [key(SSH, 7)], "the other one has no `close`");
    after.revoke(&mut gate, key(SSH, 7), How::ByHand);
    end_command(&mut after, &mut gate).await;
    drop(after);
    let mut last = journaled(&dir);
    assert!(last.restore(&config(TWO_CLIENTS), &mut gate, None) && last.is_empty());
}

#[tokio::test]
async fn the_next_daemon_closes_the_doors_of_a_client_that_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let mut gate = FakeGate::default();
    let mut before = journaled(&dir);
    before.open(&mut gate, key(SSH, 7), grant(30), Knock::default());
    end_command(&mut before, &mut gate).await;
    drop(before);
    let expired = config(&TWO_CLIENTS.replacen(LAPTOPS_FILE, EXPIRED, 1));
    let mut after = journaled(&dir);
    assert!(after.restore(&expired, &mut gate, None));
    after.expire(&mut gate);
    end_command(&mut after, &mut gate).await;
    assert!(after.is_empty());
}

#[tokio::test]
async fn a_dry_run_runs_no_command_and_writes_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut gate = FakeGate::default();
    let mut dry = journaled(&dir);
    dry.dry_run();
    dry.open(&mut gate, key(SSH, 7), grant(30), Knock::default());
    assert!(dry.next_deadline().is_some(), "it is open at once");
    drop(dry);
    let mut after = journaled(&dir);
    assert!(after.restore(&config(TWO_CLIENTS), &mut gate, None) && after.is_empty());
}

#[test]
fn a_gate_that_stays_closes_its_doors_itself() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    ledger.open(&mut gate, key(WEB, 7), grant(30), Knock::default());
    ledger.close_all(&mut gate, true);
    assert!(ledger.is_empty());
    assert_eq!(gate.granted.len(), 1);
}

/// A reload from [`TWO_CLIENTS`] and `before` to [`TWO_CLIENTS`] with `from` replaced by `to`, while
/// the door `web` is open for `client` and two hours.
fn reloaded(client: usize, from: &str, to: &str) -> (Ledger, FakeGate) {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    let grant = Grant {
        client,
        lease: Duration::from_hours(2),
    };
    ledger.open(&mut gate, key(WEB, 7), grant, Knock::default());
    assert!(TWO_CLIENTS.contains(from), "{from}");
    let (current, next) = (
        config(TWO_CLIENTS),
        config(&TWO_CLIENTS.replacen(from, to, 1)),
    );
    let allowed = Allowed::after(&current, &next);
    let leases = ledger.leases_under(&gate, &allowed);
    ledger.configure(&next, None);
    ledger.revoke_disallowed(&mut gate, &allowed);
    assert_eq!(leases.len(), gate.granted.len(), "{from}: the new program");
    (ledger, gate)
}

const LAPTOPS_FILE: &str = "\"laptop.pass\"";

/// The laptop is a client that has expired, in place of [`LAPTOPS_FILE`].
const EXPIRED: &str = "\"laptop.pass\"\nexpires = 1990-01-01T00:00:00Z";

#[test]
fn a_reload_closes_what_the_configuration_does_not_allow() {
    const DOOR: &str = "name = \"web\"\n";
    let administrator = BY_HAND_NUMBER as usize;
    for (client, from, to, stays) in [
        (LAPTOP, "open_doors = 2", "open_doors = 9", true),
        (LAPTOP, DOOR, "name = \"site\"\n", false),
        // The client is gone, may no longer open the door, or is another one.
        (PHONE, "\"phone\"\nprotocol", "\"tablet\"\nprotocol", false),
        (
            LAPTOP,
            DOOR,
            "name = \"web\"\nclients = [\"phone\"]\n",
            false,
        ),
        (
            LAPTOP,
            "file = \"laptop.pass\"",
            "file = \"other.pass\"",
            false,
        ),
        // It has expired, or may not knock from there any more.
        (LAPTOP, LAPTOPS_FILE, EXPIRED, false),
        (
            LAPTOP,
            LAPTOPS_FILE,
            "\"laptop.pass\"\nexpires = 9999-01-01T00:00:00Z",
            true,
        ),
        (
            LAPTOP,
            LAPTOPS_FILE,
            "\"laptop.pass\"\nfrom = [\"198.51.100.0/24\"]",
            false,
        ),
        (
            LAPTOP,
            LAPTOPS_FILE,
            "\"laptop.pass\"\nfrom = [\"192.0.2.0/24\"]",
            true,
        ),
        (PHONE, LAPTOPS_FILE, EXPIRED, true),
        (
            administrator,
            DOOR,
            "name = \"web\"\nclients = [\"phone\"]\n",
            true,
        ),
    ] {
        let (ledger, gate) = reloaded(client, from, to);
        assert_eq!(ledger.has_open(key(WEB, 7)), stays, "{from} -> {to}");
        assert_eq!(gate.granted.len(), usize::from(stays), "{from} -> {to}");
    }
}

#[test]
fn a_reload_shortens_what_may_be_open_for_less_time() {
    // `max_for` is 30 s now, as `for` is.
    let (ledger, _) = reloaded(LAPTOP, "open_doors = 2", "open_doors = 3");
    let left = ledger.door_statuses()[0].seconds_left;
    assert!(left <= 30, "{left}");
    let administrator = BY_HAND_NUMBER as usize;
    let (ledger, _) = reloaded(administrator, "open_doors = 2", "open_doors = 3");
    let left = ledger.door_statuses()[0].seconds_left;
    assert!(left > 7000, "{left}");
}

#[tokio::test]
async fn who_knocks_while_the_door_closes_is_also_subject_to_a_reload() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    ledger.open(&mut gate, key(SSH, 7), grant(30), Knock::default());
    end_command(&mut ledger, &mut gate).await;
    ledger.doors.shorten(key(SSH, 7), Duration::ZERO);
    ledger.expire(&mut gate);
    // While `close` runs.
    ledger.open(&mut gate, key(SSH, 7), grant(600), Knock::default());
    let next =
        config(&TWO_CLIENTS.replacen("name = \"ssh\"", "name = \"ssh\"\nclients = [\"phone\"]", 1));
    ledger.configure(&next, None);
    ledger.revoke_disallowed(&mut gate, &Allowed::after(&config(TWO_CLIENTS), &next));
    end_command(&mut ledger, &mut gate).await;
    assert!(ledger.is_empty(), "it does not open again");
}

#[test]
fn the_administrator_opens_doors_like_a_client() {
    let (mut ledger, mut gate) = (ledger(TWO_CLIENTS), FakeGate::default());
    let grant = Grant {
        client: BY_HAND_NUMBER as usize,
        lease: Duration::from_secs(30),
    };
    assert!(ledger.open(&mut gate, key(WEB, 7), grant, Knock::default()));
    assert_eq!(ledger.door_statuses()[0].client, "by-hand");
}
