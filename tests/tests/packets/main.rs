//! The real XDP program, packet by packet, in the kernel that these tests run on: loaded by
//! the daemon's own code and driven by `BPF_PROG_TEST_RUN`, attached to nothing.
//!
//! Every test loads a program with maps of its own, so that tests do not see each other.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod bench;
mod event;
mod gate;
mod limits;
mod log;
mod outcome;
mod random;
mod reference;
mod ring;
mod table;
