//! The client: what a door is asked for becomes a [`Knock`], and a knock becomes SYNs to a
//! [`Server`].
//!
//! [`cli`] says what is wanted and [`profile`] what is known already. [`sealed`] makes a fresh
//! knock for each send, bound as [`source_ip`] says, and [`mod@knock`] enciphers it; [`server`]
//! finds the addresses, [`source`] chooses the ports to send from, [`pace`] says how fast and
//! how often, and [`mod@send`] sends through a [`stack`]. [`mod@verify`] does all of that until
//! the door's port answers, and [`console`] tells a person. No privileges are needed.

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
