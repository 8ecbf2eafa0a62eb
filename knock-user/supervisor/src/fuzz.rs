//! The fuzzing target of this crate, for `tests/fuzz`. It panics if the parser breaks a rule.

pub use crate::lease_store::slot::fuzz::run as slot;
