//! The daemon: SYNs become requests, requests open doors.
//!
//! Data flows one way, and each stage knows only the one before it:
//! [`source`] → [`sequence`] → [`auth`] → [`doors`] → [`exec`]. All but the first and the
//! last do no I/O and are told the time, so that they are tested without a kernel.
//! [`run`] is the loop that moves data along; [`report`] and [`control`] let people watch.

pub mod auth;
pub mod cli;
pub mod config;
pub mod control;
pub mod doors;
pub mod exec;
pub mod knock;
pub mod report;
pub mod run;
pub mod sequence;
pub mod source;
pub mod tap;
