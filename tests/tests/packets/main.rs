//! Tests of the real XDP program in the running kernel, packet by packet. The daemon's own code
//! loads it and `BPF_PROG_TEST_RUN` runs it; it is not attached to an interface.
//!
//! Every test loads a program with its own maps, so that tests are independent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod datagram;
mod event;
mod gate;
mod held;
mod limits;
mod log;
mod outcome;
mod random;
mod reference;
mod ring;
mod table;
