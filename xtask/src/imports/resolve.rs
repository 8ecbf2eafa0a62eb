//! What a path means: the module, and so the file, where its item is defined.

use super::{module::Id, modules::Tree};

/// How deep one import may lead to another, so that imports of each other end.
const MAX_DEPTH: usize = 32;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Module(Id),
    /// An item, by the module that defines it and its name there.
    Item(Id, String),
}

/// Which of two things with the same name is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// More of the path follows.
    Module,
    Item,
}

/// What `path`, written in the module `from`, names in this crate; nothing for a path that leads
/// out of the crate or names something local.
///
/// An item that a known module ought to have but does not define, such as one that a macro makes
/// or one that the module re-exports from another crate, counts as defined there.
pub(super) fn resolve(tree: &Tree, from: Id, path: &[String]) -> Option<Target> {
    Resolver { tree }.path(from, path, Wanted::Item, 0)
}

struct Resolver<'a> {
    tree: &'a Tree,
}

impl Resolver<'_> {
    fn path(&self, from: Id, path: &[String], wanted: Wanted, depth: usize) -> Option<Target> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.tree.modules[from].parent?),
            name => self.name(from, name, self.wanted(rest, wanted), depth)?,
        };
        while let (&Target::Module(module), Some((name, after))) = (&at, rest.split_first()) {
            rest = after;
            at = match name.as_str() {
                "super" => Target::Module(self.tree.modules[module].parent?),
                name => self
                    .name(module, name, self.wanted(rest, wanted), depth)
                    .unwrap_or_else(|| Target::Item(module, name.to_owned())),
            };
        }
        Some(at)
    }

    fn wanted(&self, rest: &[String], wanted: Wanted) -> Wanted {
        if rest.is_empty() {
            wanted
        } else {
            Wanted::Module
        }
    }

    /// What `name` is within `module`.
    fn name(&self, module: Id, name: &str, wanted: Wanted, depth: usize) -> Option<Target> {
        let here = &self.tree.modules[module];
        let child = here.children.get(name).map(|&child| Target::Module(child));
        let item = (here.items.get(name)).map(|name| Target::Item(module, name.clone()));
        let found = match wanted {
            Wanted::Module => child.or(item),
            Wanted::Item => item.or(child),
        };
        if found.is_some() {
            return found;
        }
        if let Some(path) = here.imports.get(name) {
            // `use name;` of another crate would lead back to itself.
            return (path.first().map(String::as_str) != Some(name))
                .then(|| self.path(module, path, wanted, depth + 1))?;
        }
        here.globs.iter().find_map(|path| {
            match self.path(module, path, Wanted::Module, depth + 1)? {
                Target::Module(all) if all != module && depth < MAX_DEPTH => {
                    self.name(all, name, wanted, depth + 1)
                }
                _ => None,
            }
        })
    }
}
