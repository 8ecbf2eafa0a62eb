//! In which ways the program can be attached to an interface, by what the interface is.

use anyhow::{Result, bail};
use knockd_types::{
    interface::{Framing, Hook, Interface, Kind},
    status::Mode,
};

use crate::drivers;

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
        match (interface.framing, hook) {
            (Framing::Other, _) => bail!(
                "`{name}` carries neither Ethernet frames nor plain IP packets: knockd cannot read what it receives"
            ),
            (Framing::Ip, Hook::Xdp) => bail!(
                "`{name}` carries no Ethernet frames (like all ppp, tun, WireGuard and other tunnel interfaces), which XDP needs: set its `attach` to \"auto\" or \"tc\""
            ),
            (Framing::Ip, _) | (_, Hook::Tc) => {
                return Ok(Self {
                    modes: vec![Mode::Tc],
                    not_native: None,
                });
            }
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

/// Why no native program is attached to `interface`, although its driver would accept it.
fn not_native(interface: &Interface) -> Option<&'static str> {
    if interface.kind == Kind::Bond {
        // bond_enslave() of the kernel refuses members that have no XDP or a program of their own.
        return Some("members could no longer join the bond");
    }
    drivers::loses_packets(interface)
        .then_some("its driver would accept a native program and lose packets")
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
            altnames: Vec::new(),
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
}
