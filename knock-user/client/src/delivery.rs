//! Sends a knock to every address of a server.

use std::io;

use thiserror::Error;

use crate::{
    datagram::send_datagrams,
    keyed::Parcel,
    pace::Pace,
    send::{SendError, send},
    server::Address,
    transport::UdpPort,
};

/// How parcels are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    /// The pace of the SYNs.
    pub(crate) syns: Pace,
    /// The pace of the datagrams.
    pub(crate) datagrams: Pace,
    /// The port of the datagrams.
    pub(crate) udp: UdpPort,
}

/// What became of the parcels.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// The addresses that at least one knock was sent to.
    pub(crate) reached: Vec<Address>,
    /// Notes about knocks that were sent in part.
    pub(crate) notes: Vec<String>,
    /// Why the others were not sent.
    pub(crate) failures: Vec<DeliveryError>,
}

/// Why a knock was not sent to an address.
#[derive(Debug, Error)]
pub enum DeliveryError {
    /// The system cannot send the datagram, or is not allowed to.
    #[error("cannot send a datagram to {to}")]
    Datagram {
        /// The address.
        to: Address,
        /// The error of the system.
        source: io::Error,
    },
    /// The SYNs were not sent.
    #[error(transparent)]
    Syns(#[from] SendError),
}

impl Delivery {
    fn reached(&mut self, address: Address) {
        if !self.reached.contains(&address) {
            self.reached.push(address);
        }
    }
}

impl Sending {
    /// Sends `parcels`, with the datagrams first, because they take less time.
    pub(crate) fn deliver(&self, parcels: &[(Address, Parcel)]) -> Delivery {
        let mut delivery = Delivery::default();
        self.send_datagrams(parcels, &mut delivery);
        for (to, parcel) in parcels {
            let Some(knock) = &parcel.syns else { continue };
            match send(knock, *to, self.syns) {
                Ok(sent) => {
                    delivery.reached(*to);
                    let note = sent.note().map(|note| format!("{to}: {note}"));
                    delivery.notes.extend(note);
                }
                Err(error) => delivery.failures.push(error.into()),
            }
        }
        delivery
    }

    fn send_datagrams(&self, parcels: &[(Address, Parcel)], delivery: &mut Delivery) {
        let port = self.udp.get();
        let targets: Vec<_> = parcels
            .iter()
            .filter_map(|(to, parcel)| Some((*to, parcel.datagram?)))
            .collect();
        let sent: Vec<_> = targets
            .iter()
            .map(|(to, datagram)| (to.with_port(port), *datagram))
            .collect();
        let results = send_datagrams(&sent, self.datagrams);
        for ((to, _), result) in targets.into_iter().zip(results) {
            match result {
                Ok(_) => delivery.reached(to),
                Err(source) => {
                    let failure = DeliveryError::Datagram { to, source };
                    delivery.failures.push(failure);
                }
            }
        }
    }
}
