//! Doors that are open at the same time, for different clients and addresses.

use super::*;
use crate::lease_store::Survives;

/// A door whose leases are for a prefix of 64 bits.
const PREFIX: &str = r#"
[[door]]
name = "prefix"
sequence = [8]
open = ["tcp/80"]
ipv6_prefix = 64
"#;

/// The number of the door of [`PREFIX`].
const PREFIX_NUMBER: usize = 3;

fn prefix_key(source: &str) -> DoorKey {
    DoorKey {
        door: PREFIX_NUMBER,
        source: source.parse().unwrap(),
    }
}

/// A ledger with the door of [`PREFIX`], and room for all.
fn roomy() -> (Ledger, FakeGate) {
    let text = format!("{TWO_CLIENTS}{PREFIX}").replace("open_doors = 2", "open_doors = 64");
    (ledger(&text), FakeGate::default())
}

#[test]
fn the_door_of_another_address_keeps_no_lease() {
    let (mut ledger, mut gate) = roomy();
    for last in [7, 8] {
        ledger.open(&mut gate, key(WEB, last), grant(30), Knock::default());
    }
    assert_eq!(gate.granted.len(), 2);
    ledger.revoke(&mut gate, key(WEB, 7), How::ByHand);
    let left: Vec<_> = gate.granted.keys().map(|lease| lease.source).collect();
    assert_eq!(left, [key(WEB, 8).source.into()]);
}

#[tokio::test]
async fn a_door_that_does_not_admit_keeps_no_lease_of_another_door() {
    let text = format!("{TWO_CLIENTS}{SAME_PORT}run = [\"true\"]\nclose = [\"true\"]\n");
    let (mut ledger, mut gate) = (ledger(&text), FakeGate::default());
    let same_port = key(3, 7);
    ledger.open(&mut gate, key(WEB, 7), grant(30), Knock::default());
    ledger.open(&mut gate, same_port, grant(60), Knock::default());
    // While `run` is running.
    ledger.revoke(&mut gate, same_port, How::ByHand);
    assert!(ledger.has_open(same_port) && gate.granted.len() == 1);
    ledger.revoke(&mut gate, key(WEB, 7), How::ByHand);
    assert!(gate.granted.is_empty(), "{:?}", gate.granted);
}

#[test]
fn the_lease_of_a_prefix_lasts_while_one_of_its_addresses_has_a_door() {
    let (mut ledger, mut gate) = roomy();
    let same = ["2001:db8::7", "2001:db8::8"].map(prefix_key);
    let other = prefix_key("2001:db8:0:1::7");
    for key in [same[0], same[1], other] {
        ledger.open(&mut gate, key, grant(30), Knock::default());
    }
    assert_eq!(gate.granted.len(), 2);
    ledger.revoke(&mut gate, same[0], How::ByHand);
    assert_eq!(gate.granted.len(), 2);
    ledger.revoke(&mut gate, same[1], How::ByHand);
    let left: Vec<_> = gate.granted.keys().copied().collect();
    assert_eq!(left, ledger.keys(&gate, other));
}

#[tokio::test]
async fn the_doors_of_an_address_are_those_of_its_leases_too_and_no_others() {
    let (mut ledger, mut gate) = roomy();
    let prefix = prefix_key("2001:db8::7");
    for key in [key(SSH, 7), key(SSH, 8), key(WEB, 7), prefix] {
        ledger.open(&mut gate, key, grant(30), Knock::default());
    }
    let open_for = |source: &str| {
        let mut open = ledger.open_for(&gate, source.parse().unwrap());
        open.sort_unstable();
        open
    };
    assert_eq!(open_for("192.0.2.7"), [key(SSH, 7), key(WEB, 7)]);
    assert_eq!(open_for("192.0.2.8"), [key(SSH, 8)]);
    assert_eq!(open_for("192.0.2.9"), []);
    assert_eq!(open_for("2001:db8::9"), [prefix]);
    assert_eq!(open_for("2001:db8:0:1::7"), []);
}

#[test]
fn who_has_opened_or_extended_a_door_last_holds_it() {
    let (mut ledger, mut gate) = roomy();
    assert_eq!(ledger.holder(key(WEB, 7)), None);
    for client in [PHONE, LAPTOP, PHONE] {
        let grant = Grant {
            client,
            ..grant(30)
        };
        ledger.open(&mut gate, key(WEB, 7), grant, Knock::default());
        assert_eq!(ledger.holder(key(WEB, 7)), Some(client));
        let open = ledger.open_door(key(WEB, 7)).unwrap();
        assert!(open.admits && open.client == client);
    }
    assert!(ledger.open_door(key(WEB, 8)).is_none());
}

#[test]
fn a_reload_adopts_doors_and_limits() {
    let (mut ledger, mut gate) = roomy();
    assert!(!ledger.has_store());
    ledger.open(&mut gate, key(WEB, 7), grant(30), Knock::default());
    let next = TWO_CLIENTS
        .replace("open_doors = 2", "open_doors = 1")
        .replace("name = \"backup\"", "name = \"archive\"");
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = LeaseStore::open(dir.path()).unwrap();
    ledger.configure(&config(&next), Some(store));
    assert!(ledger.has_store());
    assert!(!ledger.open(&mut gate, key(WEB, 8), grant(30), Knock::default()));
    let catalog = ledger.catalog();
    assert!(!catalog.has_door(BACKUP) && catalog.door_named("archive").is_some());
}

#[tokio::test]
async fn a_door_that_is_being_closed_is_not_open_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut gate = FakeGate::default();
    let mut before = journaled(&dir);
    before.open(&mut gate, key(SSH, 7), grant(30), Knock::default());
    end_command(&mut before, &mut gate).await;
    before.revoke(&mut gate, key(SSH, 7), How::ByHand);
    drop(before);
    let mut after = journaled(&dir);
    assert!(after.restore(&config(TWO_CLIENTS), &mut gate, None));
    assert!(after.next_deadline().unwrap() <= monotonic());
}

#[test]
fn the_next_daemon_opens_its_gate_for_the_doors_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = journaled(&dir);
    before.open(
        &mut FakeGate::default(),
        key(WEB, 7),
        grant(30),
        Knock::default(),
    );
    drop(before);
    let (mut after, mut gate) = (journaled(&dir), FakeGate::default());
    assert!(after.restore(&config(TWO_CLIENTS), &mut gate, None));
    let left: Vec<_> = gate.granted.values().collect();
    let full = Duration::from_secs(30);
    assert!(
        left.len() == 1 && *left[0] > full / 2 && *left[0] <= full,
        "{left:?}"
    );
}

#[tokio::test]
async fn only_what_the_gate_closes_by_itself_may_be_lost_in_a_power_failure() {
    let (mut ledger, mut gate) = roomy();
    for door in [SSH, WEB] {
        ledger.open(&mut gate, key(door, 7), grant(30), Knock::default());
    }
    assert_eq!(ledger.survives(key(SSH, 7)), Survives::PowerFailure);
    assert_eq!(ledger.survives(key(WEB, 7)), Survives::Crash);
    assert_eq!(ledger.survives(key(WEB, 8)), Survives::PowerFailure);
}

#[tokio::test]
async fn a_door_that_opens_again_is_in_the_journal_with_its_new_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut gate = FakeGate::default();
    let mut before = journaled(&dir);
    assert!(before.has_store());
    before.open(&mut gate, key(SSH, 7), grant(30), Knock::default());
    end_command(&mut before, &mut gate).await;
    before.doors.shorten(key(SSH, 7), Duration::ZERO);
    before.expire(&mut gate);
    // While `close` runs.
    before.open(&mut gate, key(SSH, 7), grant(30), Knock::default());
    end_command(&mut before, &mut gate).await;
    // While `run` runs again.
    drop(before);
    let mut after = journaled(&dir);
    assert!(after.restore(&config(TWO_CLIENTS), &mut gate, None));
    let left = after.next_deadline().unwrap().saturating_sub(monotonic());
    assert!(left > Duration::from_secs(20), "{left:?}");
}
