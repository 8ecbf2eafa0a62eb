//! Network interfaces, and which of them the daemon attaches to.

/// The names that select all interfaces: in the configuration, and on the command line.
pub const ANY: [&str; 2] = ["*", "any"];

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index. The kernel does not assign it to another interface until the next boot.
    pub index: u32,
    /// Its name. It can change.
    pub name: String,
    /// Whether it is a loopback interface.
    pub is_loopback: bool,
    /// Whether its frames have Ethernet headers. The XDP program parses only these: on a tunnel
    /// it would recognize neither knocks nor packets to protected ports.
    pub has_ethernet: bool,
    /// The id of the XDP program that is attached to it.
    pub program: Option<u32>,
}

/// The configured interfaces to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All interfaces except loopback interfaces and those without Ethernet frames.
    Any,
    /// The interfaces with these names, as soon as they exist.
    Named(Vec<String>),
}

impl Wanted {
    /// The interfaces with these `names`. One of [`ANY`] among them selects all.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        if names.iter().any(|name| ANY.contains(&name.as_str())) {
            Self::Any
        } else {
            Self::Named(names)
        }
    }

    /// Whether no interface is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }

    /// Whether `interface` is selected.
    #[must_use]
    pub fn includes(&self, interface: &Interface) -> bool {
        match self {
            Self::Any => !interface.is_loopback && interface.has_ethernet,
            Self::Named(names) => names.contains(&interface.name),
        }
    }

    /// The selected names that no interface of `present` has.
    #[must_use]
    pub fn missing(&self, present: &[Interface]) -> Vec<String> {
        let Self::Named(names) = self else {
            return Vec::new();
        };
        let is_missing = |name: &&String| present.iter().all(|one| one.name != **name);
        names.iter().filter(is_missing).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str) -> Interface {
        Interface {
            index: 7,
            name: name.into(),
            is_loopback: name == "lo",
            has_ethernet: !name.starts_with("tun"),
            program: None,
        }
    }

    #[test]
    fn names_are_exact_and_any_excludes_loopback_and_tunnels() {
        let present = ["lo", "eth0", "eth0.5", "tun0"].map(interface);
        let names = |wanted: &Wanted| {
            let included = present.iter().filter(|one| wanted.includes(one));
            included.map(|one| one.name.as_str()).collect::<Vec<_>>()
        };
        let named = Wanted::new(vec!["eth0".into(), "lo".into(), "eth1".into()]);
        assert_eq!(names(&named), ["lo", "eth0"]);
        assert_eq!(named.missing(&present), ["eth1"]);
        for any in ANY {
            let any = Wanted::new(vec!["eth1".into(), any.into()]);
            assert_eq!(names(&any), ["eth0", "eth0.5"]);
            assert!(any.missing(&present).is_empty() && !any.is_empty());
        }
        assert!(Wanted::new(Vec::new()).is_empty());
    }
}
