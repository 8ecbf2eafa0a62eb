//! `knockd fleet`: the nodes whose knocks and doors are one.

mod close;
mod init;
mod leases;
mod revoke;
mod size;
pub(crate) mod status;

use anyhow::Result;
use clap::Subcommand;

use self::{close::Close, init::Init, revoke::Revoke};
use crate::args::ViewArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Prepare the engine for the fleet, and make the fleet's key if there is none
    ///
    /// Reads `[fleet]` of the configuration, connects to the engine with an administrator's certificate,
    /// and makes the stream of claims. Run it once, on one node, and give the key file to the others.
    /// Run again, it changes nothing but what the stream holds, for how long, and its copies.
    Init(Init),
    /// Show whether the engine is reached, and the nodes: when heard, clock, configuration
    Status(ViewArgs),
    /// Show the doors that knocks have opened, on all nodes
    Leases(ViewArgs),
    /// Close doors of an address on every node
    Close(Close),
    /// Refuse the key of a client on every node, and close what it has open
    ///
    /// It is refused for as long as the engine keeps claims: a day, or the longest `max_for`. Remove
    /// the client from the configuration of every node, or give it another key, before that.
    Revoke(Revoke),
}

impl FleetCommand {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// Returns an error if no daemon replies or it refuses the request, or, for `init`, if the engine
    /// cannot be prepared.
    pub(crate) fn execute(self) -> Result<()> {
        match self {
            Self::Init(init) => init.execute(),
            Self::Status(view) => status::status(&view),
            Self::Leases(view) => leases::leases(&view),
            Self::Close(close) => close.execute(),
            Self::Revoke(revoke) => revoke.execute(),
        }
    }
}
