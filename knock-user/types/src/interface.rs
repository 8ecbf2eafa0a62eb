//! Network interfaces, and which of them the daemon attaches to.

use serde::Deserialize;

/// The names that select all interfaces: in the configuration, and on the command line.
pub const ANY: [&str; 2] = ["*", "any"];

/// The length of the longest name (`IFNAMSIZ` of linux/if.h without the terminating NUL). An
/// alternative name can be longer.
pub const MAX_NAME: usize = 15;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index. The kernel does not assign it to another interface until the next boot.
    pub index: u32,
    /// Its name. It can change.
    pub name: String,
    /// Its alternative names (`altname` in the output of `ip link`).
    pub altnames: Vec<String>,
    /// What the packets that it receives start with.
    pub framing: Framing,
    /// What kind of interface it is, as far as that matters.
    pub kind: Kind,
    /// The index of the bond, bridge, VRF or other interface that it is a member of; 0 if none.
    pub master: u32,
    /// Whether another interface takes its packets and receives them itself: it is a member of a
    /// bond, a team or a bridge.
    pub is_member: bool,
    /// Whether another interface, with a routing table of its own, may receive its packets: it is a
    /// member, or below a VLAN or other device that belongs to a VRF.
    pub is_unrouted: bool,
    /// The largest packet that it sends, in bytes.
    pub mtu: u32,
    /// The index of the interface that it is stacked on; 0 if there is none or it is not known.
    pub below: u32,
    /// The number of packets that it has received.
    pub received: u64,
    /// The id of the XDP program that is attached to it.
    pub program: Option<u32>,
}

impl Interface {
    /// Whether `name` is its name or one of its alternative names.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.altnames.iter().any(|other| other == name)
    }
}

/// What the packets that an interface receives start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    Ethernet,
    /// An IP header: ppp, tun, WireGuard and other tunnels.
    Ip,
    /// Something else, such as InfiniBand.
    Other,
}

/// The kind of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A loopback interface.
    Loopback,
    /// A bond, which hands its native XDP program to its members.
    Bond,
    /// An interface to which no program ever sees a packet; the packets pass the interfaces below
    /// it. The text names the kind.
    Blind(&'static str),
    /// Any other kind.
    Other,
}

/// How to attach to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// XDP if possible, else traffic control.
    #[default]
    Auto,
    /// Only XDP.
    Xdp,
    /// Only traffic control.
    Tc,
}

/// An interface to attach to as soon as it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// How to attach to it.
    pub hook: Hook,
}

impl From<&str> for Named {
    fn from(name: &str) -> Self {
        Self {
            name: name.into(),
            hook: Hook::Auto,
        }
    }
}

/// The configured interfaces to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All interfaces except loopback interfaces, members of other interfaces, and those that see
    /// no packets.
    Any(Hook),
    /// The interfaces with these names, as soon as they exist.
    Named(Vec<Named>),
}

impl Wanted {
    /// The interfaces with these `names`. One of [`ANY`] among them selects all.
    #[must_use]
    pub fn new(names: Vec<Named>) -> Self {
        match names.iter().find(|one| ANY.contains(&one.name.as_str())) {
            Some(any) => Self::Any(any.hook),
            None => Self::Named(names),
        }
    }

    /// [`Wanted::new`] for names without a [`Hook`].
    pub fn by_name(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names = names.into_iter();
        Self::new(names.map(|name| name.as_ref().into()).collect())
    }

    /// Whether no interface is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }

    /// Whether `interface` is selected.
    #[must_use]
    pub fn includes(&self, interface: &Interface) -> bool {
        self.hook(interface).is_some()
    }

    /// How to attach to `interface`; `None` if it is not selected.
    #[must_use]
    pub fn hook(&self, interface: &Interface) -> Option<Hook> {
        match self {
            Self::Any(hook) => {
                let sees_packets = !matches!(interface.kind, Kind::Loopback | Kind::Blind(_));
                let is_known = interface.framing != Framing::Other;
                (sees_packets && is_known && !interface.is_member).then_some(*hook)
            }
            Self::Named(names) => {
                let mut names = names.iter();
                names
                    .find(|one| interface.is_called(&one.name))
                    .map(|one| one.hook)
            }
        }
    }

    /// The selected names that no interface of `present` has.
    #[must_use]
    pub fn missing(&self, present: &[Interface]) -> Vec<String> {
        let is_missing = |name: &&str| present.iter().all(|one| !one.is_called(name));
        self.names().filter(is_missing).map(str::to_owned).collect()
    }

    /// The selected names; none if all interfaces are selected.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::Any(_) => &[],
            Self::Named(names) => &names[..],
        };
        names.iter().map(|one| one.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str) -> Interface {
        Interface {
            index: 7,
            name: name.into(),
            altnames: vec![format!("{name}-alternative")],
            framing: match name {
                "ppp0" => Framing::Ip,
                "ib0" => Framing::Other,
                _ => Framing::Ethernet,
            },
            kind: match name {
                "lo" => Kind::Loopback,
                "vrf0" => Kind::Blind("VRF"),
                _ => Kind::Other,
            },
            master: 0,
            is_member: name == "eth2",
            is_unrouted: false,
            mtu: 1500,
            below: 0,
            received: 0,
            program: None,
        }
    }

    #[test]
    fn names_are_exact_and_any_excludes_what_receives_nothing_itself() {
        let present = ["lo", "eth0", "eth0.5", "eth2", "vrf0", "ppp0", "ib0"].map(interface);
        let names = |wanted: &Wanted| {
            let included = present.iter().filter(|one| wanted.includes(one));
            included.map(|one| one.name.as_str()).collect::<Vec<_>>()
        };
        let named = Wanted::by_name(["eth0", "lo", "eth1", "eth2", "vrf0"]);
        assert_eq!(names(&named), ["lo", "eth0", "eth2", "vrf0"]);
        assert_eq!(named.missing(&present), ["eth1"]);
        for any in ANY {
            let any = Wanted::by_name(["eth1", any]);
            assert_eq!(names(&any), ["eth0", "eth0.5", "ppp0"]);
            assert!(any.missing(&present).is_empty() && !any.is_empty());
        }
        assert!(Wanted::new(Vec::new()).is_empty());
    }

    #[test]
    fn an_interface_is_selected_by_any_of_its_names() {
        let wanted = Wanted::by_name(["eth0-alternative", "eth1"]);
        let present = ["eth0", "eth1", "eth2"].map(interface);
        let included = present.each_ref().map(|one| wanted.includes(one));
        assert_eq!(included, [true, true, false]);
        assert_eq!(wanted.missing(&present), [""; 0]);
        assert_eq!(wanted.missing(&present[1..]), ["eth0-alternative"]);
    }

    #[test]
    fn each_name_has_its_own_hook() {
        let tc = |name: &str| Named {
            hook: Hook::Tc,
            ..name.into()
        };
        let wanted = Wanted::new(vec![tc("ppp0"), "eth0".into()]);
        assert_eq!(wanted.hook(&interface("ppp0")), Some(Hook::Tc));
        assert_eq!(wanted.hook(&interface("eth0")), Some(Hook::Auto));
        assert_eq!(wanted.hook(&interface("eth1")), None);
        let any = Wanted::new(vec!["eth0".into(), tc("*")]);
        assert_eq!(any.hook(&interface("eth1")), Some(Hook::Tc));
    }
}
