use std::path::PathBuf;

use knock_common::gate::LeaseKey;
use knockd_types::rules::Opening;

use super::*;
use crate::{
    fixture::{TWO_CLIENTS, config},
    lease_gate::LeaseGate as _,
};

fn datapath() -> Datapath {
    Datapath::new(Reporter::default())
}

fn lines() -> Datapath {
    let mut datapath = datapath();
    let file = fs::File::open("/dev/null").unwrap().into();
    datapath.set_source(Source::Lines(file, PathBuf::from("firewall.log")), None);
    datapath
}

fn keys() -> Vec<LeaseKey> {
    let opening = Opening {
        ports: vec!["tcp/22".parse().unwrap()],
        ipv4_prefix: 32,
        ipv6_prefix: 128,
    };
    opening.keys([192, 0, 2, 7].into())
}

#[test]
fn lines_end_once() {
    let mut datapath = lines();
    assert!(datapath.reads_lines() && !datapath.has_ended());
    assert_eq!(datapath.listening(), "lines from firewall.log");
    assert!(datapath.input().is_ok());
    assert!(datapath.end_lines());
    assert!(datapath.reads_lines() && datapath.has_ended());
    assert_eq!(datapath.listening(), "lines that have ended");
    assert!(!datapath.end_lines());
    assert!(datapath.input().is_ok(), "the listener reads an empty file");
}

#[test]
fn without_a_gate_leases_have_no_effect() {
    let mut datapath = lines();
    assert!(!datapath.exists());
    datapath.grant(&keys(), Duration::from_secs(1)).unwrap();
    datapath.shorten(keys()[0], None).unwrap();
    assert_eq!(datapath.in_use(&keys()), None);
    assert!(datapath.gate_handle().is_none());
    let config = config(TWO_CLIENTS);
    assert!(datapath.gate_status(&config, 3).is_none());
    assert!(!datapath.gate_stays(&config), "nothing is pinned");
}

#[test]
fn lines_have_no_interfaces_and_no_program() {
    let mut datapath = lines();
    let config = config(TWO_CLIENTS);
    assert!(!datapath.follow_interfaces(&config.interfaces));
    assert_eq!(datapath.retry_at(), None);
    datapath.attach_unpinned(&config.interfaces).unwrap();
    let status = datapath.interface_status();
    assert!(status.attachments.is_empty() && status.awaited.is_empty());
    let ring = datapath.replace_program(&config, true, |_| Vec::new());
    assert!(ring.unwrap().is_empty());
    assert_eq!(datapath.counters(), Counters::default());
}

#[tokio::test]
async fn without_a_watch_and_a_program_nothing_happens() {
    let mut datapath = lines();
    datapath.set_watch(None);
    let (interfaces, kernel_log) = datapath.events();
    tokio::select! {
        biased;
        _ = interfaces => panic!("no interface is watched"),
        _ = kernel_log => panic!("no program is loaded"),
        () = tokio::task::yield_now() => {}
    }
}
