use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const GRANT: Grant = Grant {
    client: 0,
    lease: Duration::from_secs(30),
};

fn key(last: u8) -> DoorKey {
    DoorKey {
        door: 0,
        source: Ipv4Addr::new(192, 0, 2, last).into(),
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn doors() -> Doors {
    Doors::new(NonZeroUsize::new(2).unwrap())
}

fn task(action: Action) -> Task {
    Task {
        key: key(1),
        client: 0,
        action,
        lease: GRANT.lease,
    }
}

const START_CLOSE: fn() -> Option<Step> = || Some(Step::Start(task(Action::Close)));

/// A door that was opened for source 1 at second 0.
fn opened() -> Doors {
    let mut doors = doors();
    assert_eq!(
        doors.admit(key(1), GRANT, secs(0)),
        Admission::Opens(task(Action::Open))
    );
    assert_eq!(doors.finished(key(1), true, secs(1)), None);
    doors
}

#[test]
fn opens_and_closes_in_time() {
    let mut doors = opened();
    assert_eq!(doors.next_deadline(), Some(secs(30)));
    assert_eq!(doors.expire(secs(29)), None);
    assert_eq!(doors.expire(secs(30)), START_CLOSE());
    assert_eq!(doors.next_deadline(), None);
    assert_eq!(
        doors.finished(key(1), true, secs(31)),
        Some(Step::Closed(key(1)))
    );
    assert!(doors.is_empty());
}

#[test]
fn a_further_knock_extends_and_runs_nothing() {
    let mut doors = opened();
    assert_eq!(doors.admit(key(1), GRANT, secs(20)), Admission::Extends);
    assert_eq!(doors.expire(secs(49)), None);
    assert_eq!(doors.expire(secs(50)), START_CLOSE());
}

#[test]
fn a_shorter_lease_never_shortens() {
    let mut doors = opened();
    let short = Grant {
        lease: secs(1),
        ..GRANT
    };
    assert_eq!(doors.admit(key(1), short, secs(2)), Admission::Extends);
    assert_eq!(doors.next_deadline(), Some(secs(30)));
}

#[test]
fn a_knock_while_opening_extends() {
    let mut doors = doors();
    doors.admit(key(1), GRANT, secs(0));
    assert_eq!(doors.admit(key(1), GRANT, secs(5)), Admission::Extends);
    assert_eq!(doors.finished(key(1), true, secs(6)), None);
    assert_eq!(doors.next_deadline(), Some(secs(35)));
}

#[test]
fn closing_waits_for_a_slow_opening() {
    let mut doors = doors();
    doors.admit(key(1), GRANT, secs(0));
    assert_eq!(doors.expire(secs(60)), None);
    assert_eq!(doors.finished(key(1), true, secs(60)), START_CLOSE());
}

#[test]
fn a_knock_while_closing_opens_again_afterwards() {
    let mut doors = opened();
    doors.expire(secs(30));
    assert_eq!(doors.admit(key(1), GRANT, secs(31)), Admission::Reopens);
    assert_eq!(
        doors.finished(key(1), true, secs(32)),
        Some(Step::Start(task(Action::Open)))
    );
    doors.finished(key(1), true, secs(33));
    assert_eq!(doors.next_deadline(), Some(secs(62)));
}

#[test]
fn a_failed_run_is_run_again_and_closed_all_the_same() {
    let mut doors = doors();
    doors.admit(key(1), GRANT, secs(0));
    assert_eq!(doors.finished(key(1), false, secs(1)), None);
    assert_eq!(
        doors.admit(key(1), GRANT, secs(2)),
        Admission::Opens(task(Action::Open))
    );
    assert_eq!(doors.finished(key(1), false, secs(3)), None);
    assert_eq!(doors.expire(secs(32)), START_CLOSE());
}

#[test]
fn a_failed_close_is_tried_again_and_then_given_up() {
    let mut doors = opened();
    let mut now = 30;
    for wait in [1, 2, 4, 8] {
        assert_eq!(doors.expire(secs(now)), START_CLOSE());
        assert_eq!(doors.finished(key(1), false, secs(now)), None);
        assert_eq!(
            doors.expire(secs(now + wait) - Duration::from_millis(1)),
            None
        );
        now += wait;
    }
    assert_eq!(doors.expire(secs(now)), START_CLOSE());
    assert_eq!(
        doors.finished(key(1), false, secs(now)),
        Some(Step::GaveUp(key(1)))
    );
    assert!(doors.is_empty());
}

#[test]
fn a_knock_while_close_is_retried_opens() {
    let mut doors = opened();
    doors.expire(secs(30));
    doors.finished(key(1), false, secs(30));
    assert_eq!(
        doors.admit(key(1), GRANT, secs(30)),
        Admission::Opens(task(Action::Open))
    );
    assert_eq!(doors.next_deadline(), None);
}

#[test]
fn a_door_in_use_stays_open() {
    let mut doors = opened();
    assert_eq!(doors.due(secs(29)), None);
    assert_eq!(doors.due(secs(30)), Some(key(1)));
    doors.prolong(key(1), secs(100));
    doors.prolong(key(1), secs(50));
    doors.prolong(key(2), secs(200));
    assert_eq!(doors.expire(secs(99)), None);
    assert_eq!(doors.expire(secs(100)), START_CLOSE());
    doors.prolong(key(1), secs(200));
    assert_eq!(doors.next_deadline(), None, "it is being closed");
}

#[test]
fn a_revoked_door_is_closed_at_once_or_as_soon_as_it_can() {
    let mut doors = opened();
    assert_eq!(doors.revoke(key(2), secs(5)), None);
    assert_eq!(doors.revoke(key(1), secs(5)), START_CLOSE());
    assert_eq!(doors.next_deadline(), None);
    assert_eq!(doors.admit(key(1), GRANT, secs(6)), Admission::Reopens);
    assert_eq!(doors.revoke(key(1), secs(7)), None);
    assert_eq!(
        doors.finished(key(1), true, secs(8)),
        Some(Step::Closed(key(1)))
    );

    doors.admit(key(1), GRANT, secs(10));
    assert_eq!(doors.revoke(key(1), secs(11)), None, "`run` has not ended");
    assert_eq!(doors.finished(key(1), true, secs(12)), START_CLOSE());
    doors.finished(key(1), false, secs(12));
    assert_eq!(doors.revoke(key(1), secs(12)), START_CLOSE());
    assert_eq!(doors.next_deadline(), None);
}

#[test]
fn a_door_that_could_not_be_opened_is_closed() {
    let mut doors = opened();
    doors.admit(key(2), GRANT, secs(1));
    doors.forget(key(2));
    doors.forget(key(3));
    assert_eq!(doors.get(&key(2)), None);
    assert_eq!(doors.open().count(), 1);
    assert_eq!(doors.next_deadline(), Some(secs(30)));
}

#[test]
fn door_keys_are_bounded_and_independent() {
    let mut doors = opened();
    assert!(matches!(
        doors.admit(key(2), GRANT, secs(1)),
        Admission::Opens(_)
    ));
    assert_eq!(doors.admit(key(3), GRANT, secs(1)), Admission::Full);
    assert_eq!(doors.admit(key(1), GRANT, secs(1)), Admission::Extends);
    assert_eq!(doors.open().count(), 2);
}

#[test]
fn stopping_closes_everything_once_and_opens_nothing() {
    let mut doors = opened();
    doors.admit(key(2), GRANT, secs(5));
    assert_eq!(doors.stop(|_| false), [Step::Start(task(Action::Close))]);
    doors.admit(key(1), GRANT, secs(6));
    assert_eq!(
        doors.finished(key(1), true, secs(7)),
        Some(Step::Closed(key(1)))
    );
    // The opening for source 2 was running.
    assert!(matches!(
        doors.finished(key(2), true, secs(8)),
        Some(Step::Start(Task {
            action: Action::Close,
            ..
        }))
    ));
    assert_eq!(
        doors.finished(key(2), false, secs(9)),
        Some(Step::GaveUp(key(2)))
    );
    assert!(doors.is_empty());
}

#[test]
fn a_door_that_stays_open_without_the_daemon_is_not_closed() {
    let mut doors = opened();
    doors.admit(key(2), GRANT, secs(5));
    doors.finished(key(2), true, secs(5));
    let stays = |other: &DoorKey| *other == key(2);
    assert_eq!(doors.stop(stays), [Step::Start(task(Action::Close))]);
    assert_eq!(doors.get(&key(2)), None);
    doors.finished(key(1), true, secs(6));
    assert!(doors.is_empty());
}

#[test]
fn a_restored_door_goes_on_where_it_was() {
    let mut doors = doors();
    doors.restore(key(1), GRANT, secs(20), true);
    assert_eq!(doors.admit(key(1), GRANT, secs(10)), Admission::Extends);
    assert_eq!(doors.expire(secs(40)), START_CLOSE());

    let mut unsure = Doors::new(NonZeroUsize::MIN);
    unsure.restore(key(1), GRANT, secs(20), false);
    assert_eq!(unsure.get(&key(1)).map(|door| door.opened), Some(false));
    assert_eq!(
        unsure.admit(key(1), GRANT, secs(10)),
        Admission::Opens(task(Action::Open))
    );

    let mut due = Doors::new(NonZeroUsize::MIN);
    due.restore(key(1), GRANT, secs(0), true);
    assert_eq!(due.expire(secs(1)), START_CLOSE());
}

#[derive(Clone, Debug)]
enum Input {
    Knock(u8),
    Finished(u8, bool),
    Revoke(u8),
    Prolong(u8, u64),
    Wait(u64),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        (0_u8..4).prop_map(Input::Knock),
        (0_u8..4, any::<bool>()).prop_map(|(last, ok)| Input::Finished(last, ok)),
        (0_u8..4).prop_map(Input::Revoke),
        (0_u8..4, 0_u64..40).prop_map(|(last, seconds)| Input::Prolong(last, seconds)),
        (0_u64..40).prop_map(Input::Wait),
    ]
}

proptest! {
    /// For every sequence of inputs: at most one task per door key, every opening is followed by
    /// a closing, and everything ends after `stop`.
    #[test]
    fn every_opening_is_closed(inputs in prop::collection::vec(input(), 0..200)) {
        let mut doors = doors();
        let mut running: HashMap<DoorKey, Action> = HashMap::new();
        let mut owed: BTreeSet<DoorKey> = BTreeSet::new();
        let mut now = Duration::ZERO;
        let mut step = |step: Option<Step>, running: &mut HashMap<DoorKey, Action>| {
            match step {
                Some(Step::Start(task)) => {
                    assert_eq!(running.insert(task.key, task.action), None);
                    if task.action == Action::Open {
                        owed.insert(task.key);
                    }
                }
                Some(Step::Closed(key) | Step::GaveUp(key)) => {
                    assert!(owed.remove(&key));
                }
                None => {}
            }
        };
        for input in inputs {
            match input {
                Input::Knock(last) => {
                    if let Admission::Opens(task) = doors.admit(key(last), GRANT, now) {
                        step(Some(Step::Start(task)), &mut running);
                    }
                }
                Input::Finished(last, ok) => {
                    if running.remove(&key(last)).is_some() {
                        step(doors.finished(key(last), ok, now), &mut running);
                    }
                }
                Input::Revoke(last) => step(doors.revoke(key(last), now), &mut running),
                Input::Prolong(last, seconds) => doors.prolong(key(last), now + secs(seconds)),
                Input::Wait(seconds) => {
                    now += secs(seconds);
                    while let Some(due) = doors.expire(now) {
                        step(Some(due), &mut running);
                    }
                }
            }
            prop_assert!(doors.open().count() <= 2);
        }
        for due in doors.stop(|_| false) {
            step(Some(due), &mut running);
        }
        while let Some(key) = running.keys().next().copied() {
            running.remove(&key);
            step(doors.finished(key, true, now), &mut running);
        }
        prop_assert!(doors.is_empty());
        prop_assert!(owed.is_empty());
    }
}
