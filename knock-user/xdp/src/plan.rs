//! In which ways the program can be attached to an interface, by what the interface is.

use std::fs;

use anyhow::{Result, bail};
use aya::util::KernelVersion;
use knockd_types::{
    interface::{Framing, Hook, Interface, Kind},
    status::Mode,
};

/// The ways to attach to an interface.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The modes to try, the best one first.
    pub(crate) modes: Vec<Mode>,
    /// Why native mode is not among them although it may be possible.
    pub(crate) not_native: Option<&'static str>,
}

impl Plan {
    /// The ways to attach to `interface`, which is one of `present`.
    ///
    /// # Errors
    ///
    /// Returns an error if no program would see the packets of the interface, or could parse them.
    pub(crate) fn new(interface: &Interface, hook: Hook, present: &[Interface]) -> Result<Self> {
        let name = &interface.name;
        if let Kind::Blind(kind) = interface.kind {
            bail!(
                "`{name}` is {kind}, whose packets no XDP or tc program on it sees: attach to what is below it ({})",
                below(interface, present)
            );
        }
        let only_tc = |not_native| Self {
            modes: vec![Mode::Tc],
            not_native,
        };
        match (interface.framing, hook) {
            (Framing::Other, _) => bail!(
                "`{name}` carries neither Ethernet frames nor plain IP packets: knockd cannot read what it receives"
            ),
            (Framing::Ip, Hook::Xdp) => bail!(
                "`{name}` carries no Ethernet frames (like all ppp, tun, WireGuard and other tunnel interfaces), which XDP needs: set its `attach` to \"auto\" or \"tc\""
            ),
            (Framing::Ip, _) | (_, Hook::Tc) => return Ok(only_tc(None)),
            (Framing::Ethernet, Hook::Auto | Hook::Xdp) => {}
        }
        let not_native = not_native(interface);
        let mut modes = vec![Mode::Native, Mode::Generic, Mode::Tc];
        modes.retain(|mode| match mode {
            Mode::Native => not_native.is_none(),
            Mode::Generic => true,
            Mode::Tc => hook == Hook::Auto,
        });
        Ok(Self { modes, not_native })
    }

    /// Whether native mode is wanted, now or after a change of the interface.
    pub(crate) fn may_be_native(&self) -> bool {
        self.not_native.is_some() || self.modes.contains(&Mode::Native)
    }
}

/// The names of the interfaces from which a blind `interface` gets its packets.
fn below(interface: &Interface, present: &[Interface]) -> String {
    let names: Vec<_> = present
        .iter()
        .filter(|one| one.master == interface.index || one.index == interface.below)
        .map(|one| one.name.as_str())
        .collect();
    if names.is_empty() {
        return "nothing yet".into();
    }
    names.join(", ")
}

/// The largest MTU at which a frame of virtio_net fits into one buffer of a page, with the headroom
/// of XDP: 4096 bytes less headroom (256), skb_shared_info (320) and the Ethernet header.
pub(crate) const VIRTIO_ONE_BUFFER: u32 = 3500;

/// The receive features of a virtio network device: VIRTIO 1.2, section 5.1.3.
const MERGEABLE_BUFFERS: usize = 15;
const GUEST_OFFLOADS: [usize; 4] = [7, 8, 9, 10];

/// Why a native program on `interface` would lose packets or see none, although the driver accepts
/// it.
fn not_native(interface: &Interface) -> Option<&'static str> {
    if interface.kind == Kind::Bond {
        // bond_enslave() of the kernel refuses members that have no XDP or a program of their own.
        return Some("members could no longer join the bond");
    }
    let device = format!("/sys/class/net/{}/device", interface.name);
    let driver = fs::canonicalize(format!("{device}/driver")).ok()?;
    if !driver.ends_with("virtio_net") {
        return None;
    }
    let features = fs::read_to_string(format!("{device}/features")).unwrap_or_default();
    let has_frags =
        KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 3, 0));
    virtio(&features, interface.mtu, has_frags)
}

/// The same for virtio_net, from the device's `features` as sysfs shows them: one character per
/// bit. `has_frags`: the driver accepts frames in several buffers (Linux 6.3).
fn virtio(features: &str, mtu: u32, has_frags: bool) -> Option<&'static str> {
    let has = |bit: usize| features.as_bytes().get(bit) == Some(&b'1');
    // virtnet_set_big_packets() and receive_big() of the driver.
    if !has(MERGEABLE_BUFFERS) && (mtu > 1500 || GUEST_OFFLOADS.into_iter().any(has)) {
        return Some(
            "the virtual network card has no mergeable receive buffers (`mrg_rxbuf`), and its driver runs no XDP program for large ones",
        );
    }
    if !has_frags {
        return Some("its driver would drop frames larger than a page (before Linux 6.3)");
    }
    (mtu > VIRTIO_ONE_BUFFER)
        .then_some("its driver would stall large frames until its receive ring is renewed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(name: &str) -> Interface {
        Interface {
            index: 3,
            name: name.into(),
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

    fn modes(interface: &Interface, hook: Hook) -> Vec<Mode> {
        Plan::new(interface, hook, &[]).unwrap().modes
    }

    fn refusal(interface: &Interface, hook: Hook, present: &[Interface]) -> String {
        Plan::new(interface, hook, present).unwrap_err().to_string()
    }

    #[test]
    fn the_best_mode_comes_first() {
        let eth = ethernet("eth0");
        let all = [Mode::Native, Mode::Generic, Mode::Tc];
        assert_eq!(modes(&eth, Hook::Auto), all);
        assert_eq!(modes(&eth, Hook::Xdp), all[..2]);
        assert_eq!(modes(&eth, Hook::Tc), [Mode::Tc]);
    }

    #[test]
    fn a_bond_has_no_native_program() {
        let bond = Interface {
            kind: Kind::Bond,
            ..ethernet("bond0")
        };
        let plan = Plan::new(&bond, Hook::Auto, &[]).unwrap();
        assert_eq!(plan.modes, [Mode::Generic, Mode::Tc]);
        assert!(plan.not_native.is_some());
        assert_eq!(modes(&bond, Hook::Xdp), [Mode::Generic]);
    }

    #[test]
    fn without_ethernet_there_is_only_tc() {
        let ppp = Interface {
            framing: Framing::Ip,
            ..ethernet("ppp0")
        };
        assert_eq!(modes(&ppp, Hook::Auto), [Mode::Tc]);
        assert!(refusal(&ppp, Hook::Xdp, &[]).contains("\"tc\""));
        let infiniband = Interface {
            framing: Framing::Other,
            ..ethernet("ib0")
        };
        assert!(refusal(&infiniband, Hook::Auto, &[]).contains("`ib0`"));
    }

    #[test]
    fn what_sees_nothing_is_refused_with_what_is_below() {
        let vrf = Interface {
            kind: Kind::Blind("a VRF"),
            ..ethernet("vrf0")
        };
        let member = Interface {
            index: 4,
            master: 3,
            ..ethernet("eth1")
        };
        let present = [vrf.clone(), member, ethernet("eth2")];
        assert!(refusal(&vrf, Hook::Tc, &present[..2]).ends_with("(eth1)"));
        assert!(refusal(&vrf, Hook::Auto, &present[..1]).ends_with("(nothing yet)"));
        let ipvlan = Interface {
            kind: Kind::Blind("an IPVLAN in the mode l3s"),
            below: 4,
            ..ethernet("ipvl0")
        };
        assert!(refusal(&ipvlan, Hook::Auto, &present[1..2]).ends_with("(eth1)"));
    }

    #[test]
    fn virtio_is_native_only_where_it_sees_every_frame() {
        let features = |bits: &[usize]| -> String {
            (0..64)
                .map(|bit| if bits.contains(&bit) { '1' } else { '0' })
                .collect()
        };
        let mergeable = features(&[0, 7, 8, MERGEABLE_BUFFERS]);
        assert_eq!(virtio(&mergeable, 1500, true), None);
        assert!(virtio(&mergeable, 9000, true).unwrap().contains("stall"));
        assert!(virtio(&mergeable, 1500, false).unwrap().contains("6.3"));
        let big = features(&[0, 7]);
        assert!(virtio(&big, 1500, true).unwrap().contains("mrg_rxbuf"));
        let small = features(&[0]);
        assert_eq!(virtio(&small, 1500, true), None);
        assert!(virtio(&small, 9000, true).unwrap().contains("mrg_rxbuf"));
        assert!(virtio("", 1500, true).is_none(), "unreadable features");
    }
}
