//! The daemon: SYNs become requests, requests open doors.
//!
//! Data flows one way, and each stage knows only the one before it:
//! [`source`] → [`sequence`] → [`auth`] → [`store`] → [`doors`] → [`gate`] → [`exec`]. What is
//! between the sources and the gate is told the time, so that it is tested without a kernel.
//!
//! Two processes move it along. The [`listener`], in a [`sandbox`], has what strangers send, up
//! to the knocks that are accepted; the [`keeper`], which is privileged, has the doors and what
//! is behind them. [`inner`] is all that they say to each other. [`report`], [`control`] and
//! [`top`] let people watch.

pub mod account;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod doors;
pub mod enroll;
pub mod exec;
pub mod gate;
pub mod import;
pub mod inner;
pub mod keeper;
pub mod knock;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod refusals;
pub mod report;
pub mod sandbox;
pub mod sequence;
pub mod serve;
pub mod service_manager;
pub mod session;
pub mod source;
pub mod store;
pub mod tap;
pub mod top;
