//! The book as mdBook gets it. In the repository its pages may link to any file of the project; in
//! the built book there are only the files of the book. So pictures from elsewhere are copied into
//! it, and other links lead to the repository on the web. The page that lets a browser knock is put
//! beside the book, where links to its source lead.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{links::normal, page::Page};
use crate::workspace::{PAGE, PAGE_SOURCE, PROGRAMS, Workspace, run};

/// The folder for pictures from outside of the book.
const PICTURES: &str = "pictures";

/// The folder for the page that lets a browser knock. The scope of its worker ends with this folder, so
/// that it has nothing to do with the book.
const APP: &str = "app";

/// Copies the folder of `book.toml` to `to`, which is emptied first, and rewrites the links in
/// `pages` that lead out of the book in `source`.
pub(super) fn stage(workspace: &Workspace, pages: &[Page], source: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    copy(&workspace.docs(), to)?;
    let app = to.join(source.strip_prefix(workspace.docs())?).join(APP);
    let mut write = workspace.cargo("run --quiet --example hosted --package");
    run(write.arg(PAGE).arg("--").arg(app))?;
    let repository = repository(workspace)?;
    for page in pages.iter().filter(|page| page.path.starts_with(source)) {
        let mut text = fs::read_to_string(&page.path)?;
        for link in &page.links {
            let Some(target) = outside(page, &link.to, source) else {
                continue;
            };
            let path = workspace.relative(&target);
            let new = match is_picture(path) {
                _ if path == Path::new(PAGE_SOURCE) => {
                    format!("{}{APP}/index.html", ascent(page, source))
                }
                true => {
                    let copied = source.join(PICTURES).join(path);
                    let staged = to.join(copied.strip_prefix(workspace.docs())?);
                    fs::create_dir_all(staged.with_file_name(""))?;
                    fs::copy(&target, staged)?;
                    format!("{}{PICTURES}/{}", ascent(page, source), path.display())
                }
                false => on_the_web(&repository, &target, path, &link.to),
            };
            text = replace(&text, &link.to, &new);
        }
        fs::write(to.join(page.path.strip_prefix(workspace.docs())?), text)?;
    }
    Ok(())
}

/// The file that `link` names, if it is outside of the book.
fn outside(page: &Page, link: &str, source: &Path) -> Option<PathBuf> {
    let path = link.split('#').next().unwrap_or_default();
    let target = normal(&page.path.with_file_name("").join(path));
    (!path.is_empty() && target.exists() && !target.starts_with(source)).then_some(target)
}

fn is_picture(path: &Path) -> bool {
    path.extension()
        .is_some_and(|kind| kind == "svg" || kind == "png")
}

/// How a path from the folder of `page` to the root of the book starts.
fn ascent(page: &Page, source: &Path) -> String {
    let depth = page
        .path
        .strip_prefix(source)
        .map_or(0, |path| path.components().count() - 1);
    "../".repeat(depth)
}

fn on_the_web(repository: &str, target: &Path, path: &Path, link: &str) -> String {
    let kind = if target.is_dir() { "tree" } else { "blob" };
    let anchor = link.find('#').map_or("", |at| &link[at..]);
    format!("{repository}/{kind}/main/{}{anchor}", path.display())
}

/// Replaces a link, in any of the forms that a page may have it.
fn replace(text: &str, old: &str, new: &str) -> String {
    let mut text = text.to_owned();
    for (before, after) in [("](", ")"), ("](<", ">)"), ("]: ", "\n"), ("=\"", "\"")] {
        text = text.replace(
            &format!("{before}{old}{after}"),
            &format!("{before}{new}{after}"),
        );
    }
    text
}

fn repository(workspace: &Workspace) -> Result<String> {
    let metadata = workspace.metadata()?;
    let mut packages = metadata.workspace_packages().into_iter();
    let package = packages.find(|package| package.name == PROGRAMS);
    package
        .and_then(|package| package.repository.clone())
        .context("the package has no repository")
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied)?;
        } else {
            fs::copy(&path, copied)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_book_are_replaced_in_every_form() {
        let text =
            "[a](../x.rs) ![b](<../x.rs>) <img src=\"../x.rs\">\n\n[c]: ../x.rs\n[d](../x.rst)";
        assert_eq!(
            replace(text, "../x.rs", "y"),
            "[a](y) ![b](<y>) <img src=\"y\">\n\n[c]: y\n[d](../x.rst)"
        );
    }

    #[test]
    fn a_page_in_a_folder_reaches_the_root_of_the_book() {
        let page = Page::parse("/docs/howto/ssh.md".into(), "");
        assert_eq!(ascent(&page, Path::new("/docs")), "../");
        let page = Page::parse("/docs/ssh.md".into(), "");
        assert_eq!(ascent(&page, Path::new("/docs")), "");
    }
}
