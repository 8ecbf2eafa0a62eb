//! Which interfaces have an address.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use knockd_types::interface::{Interface, Wanted};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressMessage, AddressScope},
};

use crate::netlink;

/// The indices of the interfaces that have an address which is valid beyond their own link.
///
/// # Errors
///
/// Returns an error if the netlink request fails.
pub(crate) fn addressed() -> Result<BTreeSet<u32>> {
    let mut indices = BTreeSet::new();
    netlink::dump(
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        |message| {
            if let RouteNetlinkMessage::NewAddress(address) = message
                && address.header.scope != AddressScope::Link
            {
                indices.insert(address.header.index);
            }
        },
    )
    .context("the addresses cannot be listed")?;
    Ok(indices)
}

/// A warning if `interface`, which is one of `present`, is `wanted` by its name and no knock can be for
/// an address of it.
///
/// The packets of a member of a bond or a bridge, and of an interface below a VLAN, are for addresses of
/// the interface above.
pub(crate) fn advice(
    interface: &Interface,
    wanted: &Wanted,
    present: &[Interface],
    addressed: &BTreeSet<u32>,
) -> Option<String> {
    // The two of a veth pair name each other.
    let is_above = |one: &Interface| one.below == interface.index && interface.below != one.index;
    let is_below = present.iter().any(is_above);
    let is_named = matches!(wanted, Wanted::Named(_));
    let has_own = addressed.contains(&interface.index);
    if !is_named || has_own || is_below || interface.is_member {
        return None;
    }
    Some(format!(
        "{}: it has no IP address, except link-local ones: a knock arrives by it only if packets for \
         another address of this host are routed to it. `ip address` shows which interface has the \
         address that clients knock on",
        interface.name
    ))
}

#[cfg(test)]
mod tests {
    use knockd_types::interface::{Framing, Kind, Named};

    use super::*;

    fn interface(index: u32) -> Interface {
        Interface {
            index,
            name: format!("eth{index}"),
            altnames: Vec::new(),
            framing: Framing::Ethernet,
            kind: Kind::Other,
            master: 0,
            is_member: false,
            is_unrouted: false,
            mtu: 1500,
            below: 0,
            received: 0,
            program: None,
        }
    }

    #[test]
    fn the_loopback_interface_has_an_address() {
        // In a new network namespace it has none until it is up.
        if let Ok(indices) = addressed() {
            assert!(indices.iter().all(|index| *index > 0), "{indices:?}");
        }
    }

    #[test]
    fn only_an_interface_that_needs_an_address_of_its_own_is_reported() {
        let wanted = Wanted::by_name(["eth2"]);
        let alone = [interface(2)];
        let none = BTreeSet::new();
        let warning = advice(&alone[0], &wanted, &alone, &none).unwrap();
        assert!(
            warning.starts_with("eth2: it has no IP address"),
            "{warning}"
        );

        let own = BTreeSet::from([2]);
        assert_eq!(advice(&alone[0], &wanted, &alone, &own), None);
        let every = Wanted::new(vec![Named::from("*")]);
        assert_eq!(advice(&alone[0], &every, &alone, &none), None);
        let vlan = Interface {
            below: 2,
            ..interface(3)
        };
        let stacked = [interface(2), vlan];
        assert_eq!(advice(&stacked[0], &wanted, &stacked, &none), None);
        let pair = [2, 3].map(|index| Interface {
            below: 5 - index,
            ..interface(index)
        });
        assert!(advice(&pair[0], &wanted, &pair, &none).is_some());
        let member = Interface {
            is_member: true,
            ..interface(2)
        };
        assert_eq!(advice(&member, &wanted, &stacked, &none), None);
    }
}
