//! A flood of SYNs.

mod kernel;
mod socket;

use std::{net::Ipv4Addr, ops::Range, sync::atomic::AtomicBool};

use anyhow::Result;
use knock_tests::{link::Pair, netns::Namespace, wire::Sender};

/// Addresses of which none is special that the bench uses: 16.0.0.0/4 and what lies beyond.
const ANYWHERE: Range<u32> = 0x1000_0000..0x7000_0000;

/// SYNs with random source ports, for random ports of some.
#[derive(Clone, Debug)]
pub(crate) struct Flood {
    /// How many a second; as many as go, if it is not said.
    pub(crate) rate: Option<u32>,
    /// From there; else each from another random address.
    pub(crate) source: Option<Ipv4Addr>,
    /// To these ports of the server.
    pub(crate) ports: Range<u16>,
}

impl Flood {
    /// Floods from the client's end of a [`Pair`]'s cable until it `is_over`.
    pub(crate) fn pour(&self, client: &Namespace, is_over: &AtomicBool) -> Result<()> {
        match self.rate {
            Some(rate) => {
                let cable = Sender::new(client, Pair::CLIENT_INTERFACE)?;
                socket::pour(self, rate, cable, is_over)
            }
            None => kernel::pour(self, client, is_over),
        }
    }
}
