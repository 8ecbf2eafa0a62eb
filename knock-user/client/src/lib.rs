//! Knocks on servers that run `knockd`: the client's side of the protocol, with sockets and a clock.
//!
//! A *knock* asks a server to open a *door*. It is one encrypted block, sent as 16 SYNs, or one
//! encrypted datagram, and is never answered. It needs no privileges. [`Description`] is what an
//! application has, as text: an invitation, or keys and a server. It makes a [`Knocker`], which
//! makes fresh knocks and sends them.
//!
//! ```
//! use std::time::Duration;
//!
//! use knock_client::{Description, Transport};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let knocker = Description {
//!     // What `knockd client add` prints. The key in it is secret: keep it in a file of mode 0600.
//!     invitation: Some(
//!         "knock://laptop@127.0.0.1:61000?server=OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI\
//!          &udp=62201&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
//!     ),
//!     door: "ssh",
//!     ..Description::default()
//! }
//! .knocker()?;
//!
//! // Sends one datagram to each address of the server, in four copies.
//! let knocked = knocker.knock(Transport::Udp, Duration::from_secs(5))?;
//! assert_eq!(knocked.addresses, [std::net::Ipv4Addr::LOCALHOST]);
//!
//! // For other ways to send: the payload of a datagram, and the ports of 16 SYNs.
//! let datagram: [u8; 144] = knocker.datagram()?;
//! let ports: [u16; 16] = knocker.ports()?;
//! # assert_ne!(datagram, knocker.datagram()?);
//! # assert_ne!(ports, knocker.ports()?);
//! # Ok(())
//! # }
//! ```
//!
//! Without sockets, and without `std`, use the protocol itself: the crate [`knock_common`].
//!
//! # Features
//!
//! - `program` (default): the program `knock`, with its command line, profiles and prompts. It is no
//!   interface for others, and has many dependencies. Leave it out with `default-features = false`.
//!
//! # Inside
//!
//! For each send, `syn` makes a fresh knock of 16 SYNs and `datagram` one of one datagram; `keyed` makes
//! both, as `transport` says. `clock` gives the time, `source_ip` the address that it is bound to.
//! `server` resolves the addresses, `source` chooses the source ports, `pace` defines the delay and the
//! number of copies, `send` sends SYNs through a `stack`, and `delivery` sends all to all addresses.
//!
//! The program adds `cli`, which parses the command line, `profile`, and the services that tell the time
//! (`ntp`) or the address of this host (`resolve_ip`). `verify` knocks until the door's port answers,
//! and `console` prints the results. `doctor` looks at each of these steps without a knock, and `page`
//! writes a profile as a page for browsers.

#![expect(
    unreachable_pub,
    reason = "the modules are private, and the list below says what is public"
)]
// They panic if the output is full or closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod clock;
mod datagram;
mod delivery;
mod description;
mod keyed;
mod knock;
mod knocker;
pub mod message;
mod moment;
mod name;
mod pace;
mod redaction;
mod route;
mod send;
mod server;
mod source;
mod source_ip;
mod stack;
mod syn;
mod transport;

#[cfg(feature = "program")]
mod app;
#[cfg(feature = "program")]
mod cli;
#[cfg(feature = "program")]
mod command;
#[cfg(feature = "program")]
mod console;
#[cfg(feature = "program")]
mod doctor;
#[cfg(feature = "program")]
mod enrolment;
#[cfg(feature = "program")]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "program")]
mod knocking;
#[cfg(feature = "program")]
mod ntp;
#[cfg(feature = "program")]
mod page;
#[cfg(feature = "program")]
mod plan;
#[cfg(feature = "program")]
mod profile;
#[cfg(feature = "program")]
mod resolve_ip;
#[cfg(feature = "program")]
mod secret;
#[cfg(feature = "program")]
mod service;
#[cfg(feature = "program")]
mod setup;
#[cfg(feature = "program")]
mod stun;
#[cfg(feature = "program")]
mod time_source;
#[cfg(feature = "program")]
mod utc;
#[cfg(feature = "program")]
mod verify;
#[cfg(feature = "program")]
mod web;

#[cfg(test)]
mod testing;

pub use knock_common;
pub use knockd_credentials::{
    host::{Host, InvalidHost},
    invitation::{Invitation, InvitationError},
};

#[cfg(feature = "program")]
pub use self::{
    app::run,
    cli::Cli,
    console::{Console, legible},
    knock::Knock,
    pace::{Copies, Pace},
    redaction::redacted,
    send::send,
};
pub use self::{
    delivery::DeliveryError,
    description::{Description, DescriptionError},
    keyed::MakeError,
    knocker::{KnockError, Knocked, Knocker, Target},
    moment::{Moment, MomentError},
    name::{InvalidName, Name},
    send::SendError,
    server::{Address, Families, LookupError, Server},
    source_ip::{HostAddress, InvalidSourceIp, SourceIp},
    transport::{InvalidTransport, InvalidUdpPort, Transport, UdpPort},
};
