//! What this program was built with.

/// What a program without the feature `fleet` says.
pub(crate) const NO_FLEET: &str = "this knockd was built without the feature `fleet`: install a package, which has it, or remove [fleet]";

/// Whether it can be a node of a fleet.
pub(crate) const HAS_FLEET: bool = cfg!(feature = "fleet");
