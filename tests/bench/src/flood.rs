//! Floods of SYNs or datagrams.

mod definition;
mod kernel;
mod socket;

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use knock_tests::{link::Pair, netns::Namespace, wire::Sender};

pub(crate) use self::definition::{Flood, Packets, Sources};

/// Sends `flood` from the client's end of a [`Pair`] until `is_over` is set.
pub(crate) fn send(flood: &Flood, client: &Namespace, is_over: &AtomicBool) -> Result<()> {
    match flood.rate {
        Some(rate) => {
            let sender = Sender::new(client, Pair::CLIENT_INTERFACE)?;
            socket::send(flood, rate, sender, is_over)
        }
        None => kernel::send(flood, client, is_over),
    }
}
