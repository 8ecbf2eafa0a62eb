//! What is known of one module.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// A path as it is written: its names, without generic arguments.
pub(super) type Names = Vec<String>;

/// The number of a module in its [`Tree`](super::modules::Tree).
pub(super) type Id = usize;

#[derive(Debug, Default)]
pub(super) struct Module {
    /// The file with the module's code. An inline module shares it with its parent.
    pub(super) file: PathBuf,
    pub(super) parent: Option<Id>,
    pub(super) children: BTreeMap<String, Id>,
    /// The names that are defined here, except modules.
    pub(super) items: BTreeSet<String>,
    /// What the names mean that `use` brings in.
    pub(super) imports: BTreeMap<String, Names>,
    /// The paths of `use …::*`.
    pub(super) globs: Vec<Names>,
    /// Every path that is named here, except in `pub use`.
    pub(super) paths: BTreeSet<Names>,
    /// The paths of `pub use`, with any visibility.
    pub(super) exports: BTreeSet<Names>,
}
