//! The client: turns a request for a door into a [`Knock`], and sends the knock as SYNs to a
//! [`Server`].
//!
//! [`cli`] parses the command line and [`profile`] the stored profiles. [`sealed`] makes a fresh
//! knock for each send, bound to a source address by [`source_ip`], and [`mod@knock`] enciphers
//! it. [`server`] resolves the addresses, [`source`] chooses the source ports, [`pace`] defines
//! the delay and the number of copies, and [`mod@send`] sends through a [`stack`].
//! [`mod@verify`] repeats this until the door's port answers, and [`console`] prints the results.
//! No privileges are needed.

mod app;
pub mod cli;
pub mod console;
pub mod knock;
mod knocking;
pub mod name;
pub mod pace;
mod plan;
pub mod profile;
pub mod redaction;
pub mod sealed;
mod secret;
pub mod send;
pub mod server;
mod setup;
pub mod source;
pub mod source_ip;
pub mod stack;
pub mod verify;

pub use self::{
    app::run,
    cli::{Cli, KnockArgs},
    console::Console,
    knock::Knock,
    name::Name,
    pace::{Copies, Delay, Pace},
    redaction::redacted,
    sealed::{Moment, SealedKnocks},
    send::{Sent, send},
    server::{Address, Families, Server},
    source::SourcePorts,
    source_ip::SourceIp,
    stack::{Stack, SystemStack},
    verify::{TcpPort, verify},
};
