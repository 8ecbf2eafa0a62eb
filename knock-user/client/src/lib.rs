//! The client: turns a request for a door into a [`Knock`] or a [`Datagram`], and sends it to a
//! [`Server`].
//!
//! [`cli`] parses the command line and [`profile`] the stored profiles. For each send, [`syn`] makes
//! a fresh knock of 16 SYNs and [`mod@datagram`] one of one datagram; [`transport`] says which of
//! them. A [`clock`] gives its time, [`source_ip`] and [`resolve_ip`] the address that it is bound
//! to, if need be with the help of a [`service`] or of a page in the [`web`]. [`server`] resolves the
//! addresses, [`source`] chooses the source ports, [`pace`] defines the delay and the number of
//! copies, and [`mod@send`] sends SYNs through a [`stack`]. [`mod@verify`] repeats this until the
//! door's port answers, and [`console`] prints the results. `doctor` looks at each of these steps
//! without a knock, and `page` writes a profile as a page for browsers. No privileges are needed.

// They panic if the output is full or closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod app;
pub mod cli;
pub mod clock;
mod command;
pub mod console;
pub mod datagram;
mod doctor;
mod enrolment;
#[doc(hidden)]
pub mod fuzz;
pub mod knock;
mod knocking;
pub mod moment;
pub mod name;
mod ntp;
pub mod pace;
mod page;
mod plan;
pub mod profile;
pub mod redaction;
pub mod resolve_ip;
pub mod route;
mod secret;
pub mod send;
pub mod server;
pub mod service;
mod setup;
pub mod source;
pub mod source_ip;
pub mod stack;
mod stun;
pub mod syn;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod verify;
pub mod web;

pub use self::{
    app::run,
    cli::{Cli, KnockArgs},
    clock::Clock,
    console::{Console, legible},
    datagram::{Datagram, DatagramKnocks, send_datagrams},
    knock::Knock,
    moment::Moment,
    name::Name,
    pace::{Copies, Delay, Pace},
    redaction::redacted,
    send::{Sent, send},
    server::{Address, Families, Server},
    source::SourcePorts,
    source_ip::SourceIp,
    stack::{Stack, SystemStack},
    syn::SynKnocks,
    transport::{Transport, UdpPort},
    verify::{TcpPort, verify},
};
