//! The module tree of one crate, read from its files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use syn::{Item, ItemMod};

use super::{
    attributes::{is_test, path_attribute},
    module::{Id, Module},
    paths::Paths,
};

/// One crate without its tests.
#[derive(Debug)]
pub(super) struct Tree {
    /// The first one is the root.
    pub(super) modules: Vec<Module>,
}

impl Tree {
    /// Reads the crate whose root is the file `root`.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be read or parsed.
    pub(super) fn load(root: &Path) -> Result<Self> {
        let mut tree = Self {
            modules: Vec::new(),
        };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        tree.load_file(root.to_owned(), None, &folder)?;
        Ok(tree)
    }

    /// Whether `module` is a descendant of `ancestor`.
    pub(super) fn is_within(&self, module: Id, ancestor: Id) -> bool {
        let parent = self.modules[module].parent;
        parent.is_some_and(|parent| parent == ancestor || self.is_within(parent, ancestor))
    }

    /// Adds the module in `file`, whose children are in `folder`.
    fn load_file(&mut self, file: PathBuf, parent: Option<Id>, folder: &Path) -> Result<Id> {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let syntax =
            syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
        self.load_items(file, parent, folder, &syntax.items)
    }

    fn load_items(
        &mut self,
        file: PathBuf,
        parent: Option<Id>,
        folder: &Path,
        items: &[Item],
    ) -> Result<Id> {
        let id = self.modules.len();
        self.modules.push(Module {
            file,
            parent,
            ..Module::default()
        });
        for item in items {
            if let Item::Mod(module) = item {
                if !is_test(&module.attrs) {
                    self.load_child(id, folder, module)?;
                }
            } else {
                let module = &mut self.modules[id];
                module.items.extend(defined_name(item));
                Paths::collect(module, item);
            }
        }
        Ok(id)
    }

    fn load_child(&mut self, parent: Id, folder: &Path, module: &ItemMod) -> Result<()> {
        let name = module.ident.to_string();
        let own_folder = folder.join(&name);
        let own_file = self.modules[parent].file.clone();
        let child = match (&module.content, path_attribute(&module.attrs)) {
            (Some((_, items)), _) => self.load_items(own_file, Some(parent), &own_folder, items)?,
            (None, Some(path)) => {
                let file = own_file.with_file_name(path);
                let folder = file.parent().unwrap_or(Path::new("")).to_owned();
                self.load_file(file, Some(parent), &folder)?
            }
            (None, None) => {
                let nested = own_folder.join("mod.rs");
                let file = match nested.is_file() {
                    true => nested,
                    false => folder.join(format!("{name}.rs")),
                };
                self.load_file(file, Some(parent), &own_folder)?
            }
        };
        self.modules[parent].children.insert(name, child);
        Ok(())
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
