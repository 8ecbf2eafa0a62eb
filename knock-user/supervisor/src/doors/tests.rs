use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const GRANT: Grant = Grant {
    client: 1,
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

/// Doors of which one client can have two open.
fn doors() -> Doors {
    Doors::new(NonZeroUsize::new(8).unwrap())
}

/// Handles one deadline that is not after `now`.
fn expire(doors: &mut Doors, now: Duration) -> Option<Step> {
    let key = doors.due(now)?;
    doors.expire(key, None)
}

fn task(action: Action) -> Task {
    Task {
        key: key(1),
        client: GRANT.client,
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
    assert_eq!(doors.finished(key(1), true, secs(1), None), None);
    doors
}

#[test]
fn opens_and_closes_in_time() {
    let mut doors = opened();
    assert_eq!(doors.next_deadline(), Some(secs(30)));
    assert_eq!(expire(&mut doors, secs(29)), None);
    assert_eq!(expire(&mut doors, secs(30)), START_CLOSE());
    assert_eq!(doors.next_deadline(), None);
    assert_eq!(
        doors.finished(key(1), true, secs(31), None),
        Some(Step::Closed(key(1)))
    );
    assert!(doors.is_empty());
}

#[test]
fn a_further_knock_extends_and_runs_nothing() {
    let mut doors = opened();
    assert_eq!(doors.admit(key(1), GRANT, secs(20)), Admission::Extends);
    assert_eq!(expire(&mut doors, secs(49)), None);
    assert_eq!(expire(&mut doors, secs(50)), START_CLOSE());
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
    assert_eq!(doors.finished(key(1), true, secs(6), None), None);
    assert_eq!(doors.next_deadline(), Some(secs(35)));
}

#[test]
fn closing_waits_for_a_slow_opening() {
    let mut doors = doors();
    doors.admit(key(1), GRANT, secs(0));
    assert_eq!(expire(&mut doors, secs(60)), None);
    assert_eq!(doors.finished(key(1), true, secs(60), None), START_CLOSE());
}

#[test]
fn a_knock_while_closing_opens_again_afterwards() {
    let mut doors = opened();
    expire(&mut doors, secs(30));
    assert_eq!(doors.admit(key(1), GRANT, secs(31)), Admission::Reopens);
    assert_eq!(
        doors.finished(key(1), true, secs(32), None),
        Some(Step::Start(task(Action::Open)))
    );
    doors.finished(key(1), true, secs(33), None);
    assert_eq!(doors.next_deadline(), Some(secs(62)));
}

#[test]
fn a_failed_run_is_run_again_and_closed_all_the_same() {
    let mut doors = doors();
    doors.admit(key(1), GRANT, secs(0));
    assert_eq!(doors.finished(key(1), false, secs(1), None), None);
    assert_eq!(
        doors.admit(key(1), GRANT, secs(2)),
        Admission::Opens(task(Action::Open))
    );
    assert_eq!(doors.finished(key(1), false, secs(3), None), None);
    assert_eq!(expire(&mut doors, secs(32)), START_CLOSE());
}

#[test]
fn a_failed_close_is_tried_again_and_then_given_up() {
    let mut doors = opened();
    let mut now = 30;
    for wait in [1, 2, 4, 8] {
        assert_eq!(expire(&mut doors, secs(now)), START_CLOSE());
        assert_eq!(doors.finished(key(1), false, secs(now), None), None);
        assert_eq!(
            expire(&mut doors, secs(now + wait) - Duration::from_millis(1)),
            None
        );
        now += wait;
    }
    assert_eq!(expire(&mut doors, secs(now)), START_CLOSE());
    assert_eq!(
        doors.finished(key(1), false, secs(now), None),
        Some(Step::GaveUp(key(1)))
    );
    assert!(doors.is_empty());
}

#[test]
fn a_knock_while_close_is_retried_opens() {
    let mut doors = opened();
    expire(&mut doors, secs(30));
    doors.finished(key(1), false, secs(30), None);
    assert_eq!(
        doors.admit(key(1), GRANT, secs(30)),
        Admission::Opens(task(Action::Open))
    );
    assert_eq!(doors.next_deadline(), None);
}

#[test]
fn a_door_ends_in_time_and_stays_in_use_after_that() {
    let mut doors = opened();
    assert_eq!(doors.due(secs(29)), None);
    assert_eq!(doors.due(secs(30)), Some(key(1)));
    assert_eq!(doors.expire(key(1), Some(secs(40))), START_CLOSE());
    assert_eq!(doors.finished(key(1), true, secs(31), Some(secs(41))), None);
    let open = doors.get(&key(1)).unwrap();
    assert!(open.in_use && !open.admits && !open.opened, "{open:?}");
    assert_eq!(doors.due(secs(40)), None);
    assert_eq!(doors.due(secs(41)), Some(key(1)));
    assert_eq!(doors.expire(key(1), Some(secs(50))), None);
    assert_eq!(doors.next_deadline(), Some(secs(50)));
    // Used for as long as it was known to be, and no longer.
    let idle = doors.expire(key(1), Some(secs(50)));
    assert_eq!(idle, Some(Step::Idle(key(1))));
    assert!(doors.is_empty() && doors.next_deadline().is_none());
}

#[test]
fn a_knock_opens_a_door_in_use_again() {
    let mut doors = opened();
    expire(&mut doors, secs(30));
    doors.finished(key(1), true, secs(31), Some(secs(41)));
    assert_eq!(
        doors.admit(key(1), GRANT, secs(35)),
        Admission::Opens(task(Action::Open))
    );
    assert_eq!(doors.next_deadline(), None);
    doors.finished(key(1), true, secs(36), Some(secs(99)));
    assert_eq!(doors.next_deadline(), Some(secs(65)));
}

#[test]
fn a_lower_limit_holds_from_the_next_knock_on() {
    let mut doors = opened();
    doors.set_max(NonZeroUsize::MIN);
    assert_eq!(doors.admit(key(2), GRANT, secs(2)), Admission::Full);
    assert_eq!(doors.admit(key(1), GRANT, secs(2)), Admission::Extends);
    doors.set_max(NonZeroUsize::new(8).unwrap());
    let admission = doors.admit(key(2), GRANT, secs(2));
    assert!(matches!(admission, Admission::Opens(_)), "{admission:?}");
}

#[test]
fn a_revoked_door_does_not_stay_in_use() {
    let mut doors = opened();
    expire(&mut doors, secs(30));
    doors.finished(key(1), true, secs(31), Some(secs(41)));
    assert_eq!(doors.revoke(key(1), secs(32)), Some(Step::Closed(key(1))));
    assert!(doors.is_empty() && doors.next_deadline().is_none());

    let mut doors = opened();
    assert_eq!(doors.revoke(key(1), secs(5)), START_CLOSE());
    assert_eq!(
        doors.finished(key(1), true, secs(6), Some(secs(41))),
        Some(Step::Closed(key(1)))
    );
}

#[test]
fn a_revoked_door_admits_nobody_while_its_command_runs() {
    let mut doors = doors();
    doors.admit(key(1), GRANT, secs(0));
    assert!(doors.get(&key(1)).unwrap().admits);
    assert_eq!(doors.revoke(key(1), secs(1)), None);
    let open = doors.get(&key(1)).unwrap();
    assert!(open.revoked && !open.admits, "{open:?}");
    assert_eq!(doors.finished(key(1), true, secs(12), None), START_CLOSE());

    // A later knock opens it again, for its own time.
    doors.admit(key(2), GRANT, secs(0));
    doors.revoke(key(2), secs(1));
    let short = Grant {
        lease: secs(5),
        ..GRANT
    };
    assert_eq!(doors.admit(key(2), short, secs(2)), Admission::Extends);
    let open = doors.get(&key(2)).unwrap();
    assert!(open.admits && open.until == secs(7), "{open:?}");
}

#[test]
fn a_lease_can_be_shortened_and_never_lengthened() {
    let mut doors = opened();
    doors.shorten(key(1), secs(40));
    assert_eq!(doors.next_deadline(), Some(secs(30)));
    doors.shorten(key(1), secs(20));
    assert_eq!(doors.next_deadline(), Some(secs(20)));
    doors.shorten(key(2), secs(1));
    doors.admit(key(2), GRANT, secs(2));
    doors.shorten(key(2), secs(10));
    assert_eq!(doors.next_deadline(), Some(secs(20)), "`run` has not ended");
    doors.finished(key(2), true, secs(3), None);
    assert_eq!(doors.next_deadline(), Some(secs(10)));
}

#[test]
fn the_client_of_a_closing_door_is_the_one_that_knocked_since() {
    let mut doors = opened();
    expire(&mut doors, secs(30));
    let other = Grant { client: 2, ..GRANT };
    assert_eq!(doors.admit(key(1), other, secs(31)), Admission::Reopens);
    assert_eq!(doors.get(&key(1)).unwrap().client, 2);
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
        doors.finished(key(1), true, secs(8), None),
        Some(Step::Closed(key(1)))
    );

    doors.admit(key(1), GRANT, secs(10));
    assert_eq!(doors.revoke(key(1), secs(11)), None, "`run` has not ended");
    assert_eq!(doors.finished(key(1), true, secs(12), None), START_CLOSE());
    doors.finished(key(1), false, secs(12), None);
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
        doors.finished(key(1), true, secs(7), None),
        Some(Step::Closed(key(1)))
    );
    // The opening for source 2 was running.
    assert!(matches!(
        doors.finished(key(2), true, secs(8), None),
        Some(Step::Start(Task {
            action: Action::Close,
            ..
        }))
    ));
    assert_eq!(
        doors.finished(key(2), false, secs(9), None),
        Some(Step::GaveUp(key(2)))
    );
    assert!(doors.is_empty());
}

#[test]
fn a_door_that_stays_open_without_the_daemon_is_not_closed() {
    let mut doors = opened();
    doors.admit(key(2), GRANT, secs(5));
    doors.finished(key(2), true, secs(5), None);
    let stays = |open: &OpenDoor| open.key == key(2);
    assert_eq!(doors.stop(stays), [Step::Start(task(Action::Close))]);
    assert_eq!(doors.get(&key(2)), None);
    doors.finished(key(1), true, secs(6), None);
    assert!(doors.is_empty());
}

#[test]
fn a_restored_door_goes_on_where_it_was() {
    let mut doors = doors();
    doors.restore(key(1), GRANT, secs(20), true);
    assert_eq!(doors.admit(key(1), GRANT, secs(10)), Admission::Extends);
    assert_eq!(expire(&mut doors, secs(40)), START_CLOSE());

    let mut unsure = Doors::new(NonZeroUsize::MIN);
    unsure.restore(key(1), GRANT, secs(20), false);
    assert_eq!(unsure.get(&key(1)).map(|door| door.opened), Some(false));
    assert_eq!(
        unsure.admit(key(1), GRANT, secs(10)),
        Admission::Opens(task(Action::Open))
    );

    let mut due = Doors::new(NonZeroUsize::MIN);
    due.restore(key(1), GRANT, secs(0), true);
    assert_eq!(expire(&mut due, secs(1)), START_CLOSE());
}

#[derive(Clone, Debug)]
enum Input {
    Knock(u8, usize),
    Finished(u8, bool, Option<u64>),
    Revoke(u8),
    Shorten(u8, u64),
    Wait(u64, Option<u64>),
}

fn input() -> impl Strategy<Value = Input> {
    let in_use = || prop::option::of(0_u64..40);
    prop_oneof![
        (0_u8..4, 0_usize..3).prop_map(|(last, client)| Input::Knock(last, client)),
        (0_u8..4, any::<bool>(), in_use())
            .prop_map(|(last, ok, in_use)| Input::Finished(last, ok, in_use)),
        (0_u8..4).prop_map(Input::Revoke),
        (0_u8..4, 0_u64..40).prop_map(|(last, seconds)| Input::Shorten(last, seconds)),
        (0_u64..40, in_use()).prop_map(|(seconds, in_use)| Input::Wait(seconds, in_use)),
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
                Some(Step::Closed(key) | Step::Idle(key) | Step::GaveUp(key)) => {
                    assert!(owed.remove(&key));
                }
                None => {}
            }
        };
        for input in inputs {
            match input {
                Input::Knock(last, client) => {
                    let grant = Grant { client, ..GRANT };
                    if let Admission::Opens(task) = doors.admit(key(last), grant, now) {
                        step(Some(Step::Start(task)), &mut running);
                    }
                }
                Input::Finished(last, ok, in_use) => {
                    if running.remove(&key(last)).is_some() {
                        let used_until = in_use.map(|time| now + secs(time));
                        step(doors.finished(key(last), ok, now, used_until), &mut running);
                    }
                }
                Input::Revoke(last) => step(doors.revoke(key(last), now), &mut running),
                Input::Shorten(last, seconds) => doors.shorten(key(last), now + secs(seconds)),
                Input::Wait(seconds, in_use) => {
                    now += secs(seconds);
                    while let Some(due) = doors.due(now) {
                        let used_until = in_use.map(|time| now + secs(time + 1));
                        step(doors.expire(due, used_until), &mut running);
                    }
                }
            }
            for open in doors.open() {
                prop_assert!(!(open.revoked || open.in_use) || !open.admits);
            }
        }
        for due in doors.stop(|_| false) {
            step(Some(due), &mut running);
        }
        while let Some(key) = running.keys().next().copied() {
            running.remove(&key);
            step(doors.finished(key, true, now, None), &mut running);
        }
        prop_assert!(doors.is_empty() && doors.room.is_empty());
        prop_assert!(owed.is_empty());
    }
}
