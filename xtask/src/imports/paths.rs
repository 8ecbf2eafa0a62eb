//! The paths that an item names: in its code, in `use`, and in the arguments of macros and
//! attributes, which are only tokens.

use std::iter::Peekable;

use proc_macro2::{TokenStream, TokenTree, token_stream};
use syn::{Attribute, ImplItem, Item, ItemUse, Macro, Path, UseTree, Visibility, visit::Visit};

use super::{
    attributes::is_test,
    module::{Module, Names},
};

/// Collects into a module.
pub(super) struct Paths<'a> {
    module: &'a mut Module,
    /// Whether this is within a `pub use`.
    exports: bool,
}

impl<'a> Paths<'a> {
    pub(super) fn collect(module: &'a mut Module, item: &Item) {
        let exports = false;
        Paths { module, exports }.visit_item(item);
    }

    fn add(&mut self, names: Names) {
        match self.exports {
            true => self.module.exports.insert(names),
            false => self.module.paths.insert(names),
        };
    }

    fn use_tree(&mut self, prefix: &[String], tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                let prefix = joined(prefix, path.ident.to_string());
                self.use_tree(&prefix, &path.tree);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(prefix, tree);
                }
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                self.import(prefix, name.clone(), name);
            }
            UseTree::Rename(rename) => {
                self.import(prefix, rename.ident.to_string(), rename.rename.to_string());
            }
            UseTree::Glob(_) => self.module.globs.push(prefix.to_vec()),
        }
    }

    fn import(&mut self, prefix: &[String], name: String, alias: String) {
        // `use a::{self}` imports `a`.
        let (path, alias) = match (name.as_str(), alias.as_str(), prefix.last()) {
            ("self", "self", Some(last)) => (prefix.to_vec(), last.clone()),
            ("self", _, Some(_)) => (prefix.to_vec(), alias),
            _ => (joined(prefix, name), alias),
        };
        if alias != "_" {
            self.module.imports.insert(alias, path.clone());
        }
        self.add(path);
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut names = vec![first.to_string()];
                    while let Some(name) = next_segment(&mut tokens) {
                        names.push(name);
                    }
                    if names.len() > 1 {
                        self.add(names);
                    }
                }
                _ => {}
            }
        }
    }
}

fn joined(prefix: &[String], name: String) -> Names {
    prefix.iter().cloned().chain([name]).collect()
}

/// Takes `::name`.
fn next_segment(tokens: &mut Peekable<token_stream::IntoIter>) -> Option<String> {
    for _ in 0..2 {
        tokens
            .next_if(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':'))?;
    }
    match tokens.next_if(|token| matches!(token, TokenTree::Ident(_)))? {
        TokenTree::Ident(name) => Some(name.to_string()),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs[..],
            ImplItem::Fn(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // `use ::name` is always another crate.
        if item.leading_colon.is_none() {
            self.exports = !matches!(item.vis, Visibility::Inherited);
            self.use_tree(&[], &item.tree);
            self.exports = false;
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter();
            self.add(segments.map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
