//! Network interfaces, and which of them the daemon attaches to.

/// The name that stands for all interfaces in the configuration, and on the command line.
pub const ANY: [&str; 2] = ["*", "any"];

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index, which no other one gets while the machine runs.
    pub index: u32,
    /// Its name, which may be changed.
    pub name: String,
    /// Whether it only leads back to this host.
    pub is_loopback: bool,
    /// Whether its frames have Ethernet headers. The XDP program reads those: on a tunnel it
    /// would see neither a knock nor what the gate is to keep out.
    pub has_ethernet: bool,
    /// The id of the XDP program that is attached to it.
    pub program: Option<u32>,
}

/// The interfaces that knocks are to come in on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All but the loopback ones, and those without Ethernet frames.
    Any,
    /// Those of these names, whenever they are there.
    Named(Vec<String>),
}

impl Wanted {
    /// The interfaces of these `names`, of which one may stand for all.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        if names.iter().any(|name| ANY.contains(&name.as_str())) {
            Self::Any
        } else {
            Self::Named(names)
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }

    /// Whether `interface` is one of them.
    #[must_use]
    pub fn includes(&self, interface: &Interface) -> bool {
        match self {
            Self::Any => !interface.is_loopback && interface.has_ethernet,
            Self::Named(names) => names.contains(&interface.name),
        }
    }

    /// The names of which there is no interface among `present`.
    #[must_use]
    pub fn missing(&self, present: &[Interface]) -> Vec<String> {
        let Self::Named(names) = self else {
            return Vec::new();
        };
        let is_missing = |name: &&String| present.iter().all(|one| one.name != **name);
        names.iter().filter(is_missing).cloned().collect()
    }
}
