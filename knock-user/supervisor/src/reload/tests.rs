use std::{fs, time::Duration};

use knockd_config::model::Fleet;
use knockd_types::{
    fleet::{Engine, FleetKey, SecretText, WhenUnreachable},
    interface::Wanted,
};

use super::*;
use crate::fixture::{PAIR_CLIENT, TWO_CLIENTS, config};

const XDP: Fixed = Fixed {
    reads_lines: false,
    has_replay_store: true,
};

const LINES: Fixed = Fixed {
    reads_lines: true,
    ..XDP
};

/// Another window, before `[gate]`.
const WINDOW: &str = "[window]\nbase = 20000\n[gate]";

/// The error of a reload from [`TWO_CLIENTS`], with `from` replaced by `to` in it.
fn refusal(from: &str, to: &str, fixed: Fixed) -> Option<String> {
    assert!(TWO_CLIENTS.contains(from), "{from}");
    let next = config(&TWO_CLIENTS.replacen(from, to, 1));
    let outcome = require_same(&config(TWO_CLIENTS), &next, fixed);
    outcome.err().map(|error| error.to_string())
}

#[test]
fn keys_that_belong_to_the_start_require_a_restart() {
    for (from, to, key) in [
        ("/var/lib/knockd", "/elsewhere", "state_dir"),
        (
            "interfaces =",
            "control_socket = \"/run/other.sock\"\ninterfaces =",
            "control_socket",
        ),
        (
            "[limits]",
            "[metrics]\nlisten = \"127.0.0.1:9811\"\n[limits]",
            "metrics",
        ),
        (
            "[gate]",
            "[gate]\npin_dir = \"/sys/fs/bpf/b\"",
            "gate.pin_dir",
        ),
    ] {
        let error = refusal(from, to, XDP).unwrap();
        assert!(
            error.starts_with(&format!("`{key}` can only be")),
            "{error}"
        );
    }
}

/// [`TWO_CLIENTS`] with a fleet that `change` has changed.
fn in_fleet(change: impl FnOnce(&mut Fleet)) -> Config {
    let mut fleet = Fleet {
        engine: Engine {
            servers: vec!["192.0.2.11:4222".parse().unwrap()],
            server_name: "nats.example".into(),
            prefix: "knock".into(),
            node: "edge1".into(),
            authorities: String::new(),
            certificate: String::new(),
            key: SecretText::new(String::new()),
        },
        key: FleetKey::new([1; 32].into()),
        node: "edge1".into(),
        when_unreachable: WhenUnreachable::Refuse,
        patience: Duration::from_secs(1),
    };
    change(&mut fleet);
    let mut config = config(TWO_CLIENTS);
    config.fleet = Some(fleet);
    config
}

#[test]
fn a_fleet_is_entered_left_and_changed_by_a_restart() {
    let (alone, node) = (config(TWO_CLIENTS), in_fleet(|_| ()));
    let is_refused = |current: &Config, next: &Config| {
        let outcome = require_same(current, next, XDP);
        outcome.is_err_and(|error| error.to_string().starts_with("`fleet` can only be"))
    };
    assert!(is_refused(&alone, &node) && is_refused(&node, &alone));
    type Change = fn(&mut Fleet);
    let changes: [(Change, bool); 6] = [
        (|_| (), false),
        (
            |fleet| fleet.when_unreachable = WhenUnreachable::Local,
            false,
        ),
        (|fleet| fleet.node = "edge2".into(), true),
        (|fleet| fleet.key = FleetKey::new([2; 32].into()), true),
        (|fleet| fleet.patience *= 2, true),
        (|fleet| fleet.engine.prefix = "other".into(), true),
    ];
    for (at, (change, expected)) in changes.into_iter().enumerate() {
        assert_eq!(is_refused(&node, &in_fleet(change)), expected, "{at}");
    }
}

#[test]
fn everything_else_may_change() {
    assert_eq!(refusal("eth0", "eth1", XDP), None);
    assert_eq!(refusal("open_doors = 2", "open_doors = 9", XDP), None);
    assert_eq!(refusal("for = \"30s\"", "for = \"60s\"", XDP), None);
    assert_eq!(refusal("[gate]", WINDOW, XDP), None);
}

#[test]
fn the_first_client_with_a_key_pair_requires_a_replay_store() {
    let pair = format!("{PAIR_CLIENT}\n[[door]]");
    assert_eq!(refusal("[[door]]", &pair, XDP), None);
    let without = Fixed {
        has_replay_store: false,
        ..XDP
    };
    let error = refusal("[[door]]", &pair, without).unwrap();
    assert!(error.contains("require a replay store"), "{error}");
    // With such a client before, its listener has reported the missing store.
    let both = config(&TWO_CLIENTS.replacen("[[door]]", &pair, 1));
    assert!(require_same(&both, &both, without).is_ok());
}

#[test]
fn the_configuration_must_fit_the_source() {
    let mut next = config(TWO_CLIENTS);
    next.interfaces = Wanted::Named(Vec::new());
    let current = config(TWO_CLIENTS);
    let error = require_same(&current, &next, XDP).unwrap_err();
    assert!(error.to_string().contains("no interface to listen on"));
    let error = require_same(&current, &current, LINES).unwrap_err();
    assert!(error.to_string().contains("this daemon reads lines"));
    next.gate = None;
    assert!(require_same(&current, &next, LINES).is_ok());
    next.window = config(&TWO_CLIENTS.replace("[gate]", WINDOW)).window;
    let error = require_same(&current, &next, LINES).unwrap_err();
    assert!(
        error.to_string().starts_with("`window` can only"),
        "{error}"
    );
}

/// A reload of an invalid configuration.
fn reload(dir: &tempfile::TempDir) -> Reload {
    let path = dir.path().join("knockd.toml");
    fs::write(&path, "no such thing").unwrap();
    let mut reload = Reload::new();
    assert_eq!(reload.begin(None), Begun::NoOrigin);
    reload.set_origin(Origin {
        path,
        interfaces: None,
    });
    reload
}

/// The queries that get the next configuration.
async fn answered(reload: &mut Reload) -> Vec<u32> {
    let next = tokio::time::timeout(Duration::from_secs(60), reload.next());
    let reread = next.await.unwrap().unwrap();
    assert!(reread.config.is_err());
    reread.queries
}

#[tokio::test]
async fn the_configuration_that_is_asked_for_last_is_read_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut reload = reload(&dir);
    assert_eq!(reload.begin(Some(1)), Begun::Reading);
    for query in [Some(2), None, Some(3)] {
        assert_eq!(reload.begin(query), Begun::Reading);
    }
    assert_eq!(answered(&mut reload).await, [1]);
    assert!(reload.is_reading());
    assert_eq!(reload.begin(Some(4)), Begun::Reading);
    assert_eq!(answered(&mut reload).await, [2, 3]);
    assert_eq!(answered(&mut reload).await, [4]);
    assert!(!reload.is_reading());
    assert_eq!(reload.begin(None), Begun::Reading);
    assert!(answered(&mut reload).await.is_empty());
}

#[tokio::test]
async fn the_number_of_waiting_queries_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut reload = reload(&dir);
    assert_eq!(reload.begin(Some(0)), Begun::Reading);
    for query in 1..=16 {
        assert_eq!(reload.begin(Some(query)), Begun::Reading);
    }
    assert_eq!(reload.begin(Some(17)), Begun::Busy);
    assert_eq!(
        reload.begin(None),
        Begun::Reading,
        "SIGHUP waits for nothing"
    );
    assert_eq!(answered(&mut reload).await, [0]);
    assert_eq!(reload.begin(Some(18)), Begun::Reading);
    assert_eq!(answered(&mut reload).await.len(), 16);
    assert_eq!(answered(&mut reload).await, [18]);
}

#[test]
fn applied_and_refused_reloads_are_counted() {
    let mut reload = Reload::new();
    for is_applied in [true, false, false] {
        reload.count(is_applied);
    }
    let counters = reload.counters();
    assert_eq!((counters.reloads, counters.reloads_refused), (1, 2));
}
