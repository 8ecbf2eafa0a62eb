use std::{collections::BTreeSet, fs, path::Path};

use tempfile::TempDir;

use super::{circles_of, edges, modules::Tree};

/// A crate of these files, and of a root that declares `modules`.
fn crate_of(files: &[(&str, &str)]) -> (TempDir, Tree) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tree = Tree::load(&folder.path().join("lib.rs")).unwrap();
    (folder, tree)
}

/// The edges of a crate of these files, as `from -> to: names`.
fn edges_of(files: &[(&str, &str)]) -> Vec<String> {
    let (folder, tree) = crate_of(files);
    let short = |path: &Path| {
        let path = path.strip_prefix(folder.path()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    edges(&tree)
        .iter()
        .map(|((from, to), names)| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            format!("{} -> {}: {}", short(from), short(to), names.join(", "))
        })
        .collect()
}

fn circle_sizes(files: &[(&str, &str)]) -> Vec<usize> {
    let (_folder, tree) = crate_of(files);
    let edges = edges(&tree);
    circles_of(&edges).iter().map(BTreeSet::len).collect()
}

#[test]
fn a_use_and_an_inline_path_are_edges_and_a_declaration_is_none() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        (
            "a.rs",
            "use crate::b::Thing; fn f() -> u8 { super::c::VALUE }",
        ),
        ("b.rs", "pub struct Thing;"),
        ("c.rs", "pub const VALUE: u8 = 1;"),
    ];
    assert_eq!(
        edges_of(&files),
        ["a.rs -> b.rs: Thing", "a.rs -> c.rs: VALUE"]
    );
}

#[test]
fn a_re_export_leads_to_the_definition() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "mod inner; pub use self::inner::Thing as Other;"),
        ("a/inner.rs", "pub struct Thing;"),
        ("b.rs", "fn f(_: crate::a::Other) {}"),
    ];
    assert_eq!(edges_of(&files), ["b.rs -> a/inner.rs: Thing"]);
}

#[test]
fn a_re_export_of_another_crate_belongs_to_the_module_that_has_it() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub use other_crate::Thing;"),
        ("b.rs", "use crate::a::Thing;"),
    ];
    assert_eq!(edges_of(&files), ["b.rs -> a.rs: Thing"]);
}

#[test]
fn an_imported_module_counts_where_its_items_are_named() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        (
            "a.rs",
            "use crate::{b, c::{self, Thing}}; fn f() { b::g(); let _: Thing; c::h() }",
        ),
        ("b.rs", "pub fn g() {}"),
        ("c.rs", "pub struct Thing; pub fn h() {}"),
    ];
    assert_eq!(
        edges_of(&files),
        ["a.rs -> b.rs: g", "a.rs -> c.rs: Thing, h"]
    );
}

#[test]
fn arguments_of_macros_and_attributes_count() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "#[derive(Thing)] #[with(path = crate::b::parse)] struct S; fn f() { print!(\"{}\", crate::b::text()) }",
        ),
        ("b.rs", "pub fn parse() {} pub fn text() {}"),
    ];
    assert_eq!(edges_of(&files), ["a.rs -> b.rs: parse, text"]);
}

#[test]
fn a_glob_import_counts_for_the_names_that_come_from_it() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::*; fn f(_: Thing) {}"),
        ("b.rs", "pub struct Thing;"),
    ];
    assert_eq!(edges_of(&files), ["a.rs -> b.rs: Thing"]);
}

#[test]
fn parent_and_child_that_name_each_other_are_a_circle() {
    let files = [
        ("lib.rs", "mod a;"),
        ("a.rs", "mod inner; pub struct Thing; fn f() { inner::g() }"),
        ("a/inner.rs", "use super::Thing; pub fn g() {}"),
    ];
    assert_eq!(circle_sizes(&files), [2]);
}

#[test]
fn a_parent_that_only_re_exports_its_child_is_in_no_circle_with_it() {
    let child = ("a/inner.rs", "use super::Thing; pub struct Inner;");
    let exports = "mod inner; pub use inner::Inner; pub struct Thing;";
    let files = [("lib.rs", "mod a;"), ("a.rs", exports), child];
    assert_eq!(circle_sizes(&files), [0; 0]);
    let uses = "mod inner; pub use inner::Inner; pub struct Thing(Inner);";
    let files = [("lib.rs", "mod a;"), ("a.rs", uses), child];
    assert_eq!(circle_sizes(&files), [2]);
}

#[test]
fn a_circle_over_three_files_is_one() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
        ("d.rs", "use crate::a::A;"),
    ];
    assert_eq!(circle_sizes(&files), [3]);
}

#[test]
fn tests_are_left_out() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "pub struct A; #[cfg(test)] mod tests { use crate::b::B; } #[cfg(all(test, unix))] fn f(_: crate::b::B) {}",
        ),
        (
            "b.rs",
            "use crate::a::A; pub struct B; #[cfg(test)] mod tests;",
        ),
    ];
    assert_eq!(circle_sizes(&files), [0; 0]);
}

#[test]
fn an_inline_module_shares_the_file_and_its_children_have_a_folder() {
    let files = [
        (
            "lib.rs",
            "mod a; pub mod outer { pub mod deep; pub struct Here; }",
        ),
        ("a.rs", "use crate::outer::{Here, deep::Thing};"),
        ("outer/deep.rs", "pub struct Thing;"),
    ];
    assert_eq!(
        edges_of(&files),
        ["a.rs -> lib.rs: Here", "a.rs -> outer/deep.rs: Thing"]
    );
}
