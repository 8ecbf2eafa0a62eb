//! A gate whose lease map is full.

use knock_tests::needs_bpf;

use crate::{CONFIGURATION, Gated, KNOCKER, STRANGER};

#[test]
fn a_full_gate_refuses_new_sources_and_keeps_existing_leases() {
    needs_bpf!();
    let gated = Gated::with(&format!("{CONFIGURATION}\n[limits]\nleases = 2\n"));
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.ask(&["open", "192.0.2.67", "short"]);
    gated.send_knock(&[1, 2, 3, 4], STRANGER);
    gated.logged(&["not opened to 192.0.2.66", "limits.leases"]);
    gated.refuses(STRANGER);
    gated.admits(KNOCKER);
    assert_eq!(gated.leases().len(), 2, "the refused door has no lease");
    let status = gated.scene.status().unwrap();
    assert_eq!(status["daemon"]["refused_gate_full"], 1);

    // The door needs two leases and there is room for one: neither is granted and no command runs.
    gated.logged(&["closed door=\"short\""]);
    gated.send_knock(&[7], STRANGER);
    gated.logged(&["door \"all\" is not opened to 192.0.2.66"]);
    gated.refuses(STRANGER);
    assert!(gated.scene.files.commands().is_empty());

    gated.knock(&[1, 2, 3, 4], STRANGER);
    gated.admits(STRANGER);
}
