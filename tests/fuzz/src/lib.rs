//! One fuzzing target for each parser of untrusted bytes.
//!
//! A target gives bytes to a parser, and panics if the parser breaks a rule that holds for all bytes:
//! what was parsed and is written again is the same, an answer has its form, two implementations
//! agree. `tests/short.rs` runs every target for a few seconds with random changes of the files in
//! `corpus`. `cargo xtask fuzz` runs them under libFuzzer, which prefers changes that reach new code.
//!
//! Left out is what only a library parses: HTTPS and TLS of the client, and netlink and ring buffers,
//! whose bytes are the kernel's.

pub mod corpus;
pub mod mutation;
mod target;

// The parser of the XDP program, whose package has no library.
#[path = "../../../knock-ebpf/src/body.rs"]
mod body;
#[expect(dead_code, reason = "only the parser is used here")]
#[path = "../../../knock-ebpf/src/headers.rs"]
mod headers;
#[cfg_attr(not(test), expect(dead_code, reason = "only the parser is used here"))]
#[path = "../../../knock-ebpf/src/packet.rs"]
mod packet;
#[expect(dead_code, reason = "only the parser is used here")]
#[path = "../../../knock-ebpf/src/parse.rs"]
mod parse;
/// What the parser of the XDP program has to agree with.
#[expect(clippy::unwrap_used, reason = "it is part of the tests of the program")]
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/packets/reference.rs"]
mod reference;

use self::target::{
    config, datagram, frame, import, invitation, key_file, message, request, served, snapshot, syn,
};
use knock_client::fuzz as client;
use knockd_listener::fuzz as listener;
use knockd_supervisor::fuzz as supervisor;

/// A parser, and the rules for it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its folder in `corpus`.
    pub name: &'static str,
    /// Panics if the parser breaks a rule.
    pub run: fn(&[u8]),
    /// How many changed inputs the short run gives to it: fewer to a slow one.
    pub short: u32,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("frame", frame::run, 50_000),
    target("lines", listener::lines, 20_000),
    target("request", request::run, 50_000),
    target("message", message::run, 5_000),
    target("snapshot", snapshot::run, 1_000),
    target("control", served::control, 5_000),
    target("http", served::http, 2_000),
    target("config", config::run, 2_000),
    target("invitation", invitation::run, 20_000),
    target("import", import::run, 2_000),
    target("import-fwknop", import::run_fwknop, 2_000),
    target("key-file", key_file::run, 20_000),
    target("datagram", datagram::run, 2_000),
    target("syn", syn::run, 50_000),
    target("journal", listener::journal, 20),
    target("slot", supervisor::slot, 20_000),
    target("stun", client::stun, 50_000),
    target("ntp", client::ntp, 50_000),
    target("profile", client::profile, 5_000),
];

const fn target(name: &'static str, run: fn(&[u8]), short: u32) -> Target {
    Target { name, run, short }
}

/// The target with this name.
///
/// # Panics
///
/// Panics if there is none.
#[must_use]
pub const fn named(name: &str) -> Target {
    let mut index = 0;
    while index < TARGETS.len() {
        let target = TARGETS[index];
        if is_equal(target.name.as_bytes(), name.as_bytes()) {
            return target;
        }
        index += 1;
    }
    panic!("there is no such target");
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}
