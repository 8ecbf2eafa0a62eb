//! Links within the project: to files, and to headings of pages.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::{page::Page, problem::Problem};

/// The page that lists those of the book. mdBook renders no others.
const SUMMARY: &str = "SUMMARY.md";

/// Checks the links of all `pages`; the book's are those in `book`.
pub(super) fn check(pages: &[Page], book: &Path) -> Vec<Problem> {
    let anchors: BTreeMap<_, _> = pages
        .iter()
        .map(|page| (page.path.as_path(), &page.anchors))
        .collect();
    let mut errors = Vec::new();
    for page in pages {
        for link in &page.links {
            if let Err(text) = check_link(page, &link.to, &anchors) {
                errors.push(Problem {
                    path: page.path.clone(),
                    line: link.line,
                    text: format!("{}: {text}", link.to),
                });
            }
        }
    }
    errors.extend(unlisted(pages, book));
    errors
}

fn check_link(
    page: &Page,
    link: &str,
    anchors: &BTreeMap<&Path, &BTreeSet<String>>,
) -> Result<(), &'static str> {
    if link.starts_with("https:") || link.starts_with("http:") || link.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => page.path.clone(),
        _ if path.starts_with('/') => return Err("the path has to be relative"),
        _ => normal(&page.path.with_file_name("").join(path)),
    };
    if !target.exists() {
        return Err("there is no such file");
    }
    match anchors.get(target.as_path()) {
        Some(anchors) if !anchor.is_empty() && !anchors.contains(anchor) => {
            Err("the page has no such heading")
        }
        _ => Ok(()),
    }
}

/// The pages of the book that its summary does not list.
fn unlisted(pages: &[Page], book: &Path) -> Vec<Problem> {
    let path = book.join(SUMMARY);
    let Some(summary) = pages.iter().find(|page| page.path == path) else {
        return Vec::new();
    };
    let listed: BTreeSet<_> = summary
        .links
        .iter()
        .map(|link| normal(&book.join(&link.to)))
        .collect();
    pages
        .iter()
        .filter(|page| page.path.starts_with(book) && page.path != path)
        .filter(|page| !listed.contains(&page.path))
        .map(|page| Problem {
            path: page.path.clone(),
            line: 1,
            text: format!("{SUMMARY} does not list this page"),
        })
        .collect()
}

/// `path` without `.` and `..`.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The errors of a project with these files; the book is in `docs`.
    fn errors(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let pages: Vec<_> = files
            .iter()
            .map(|(name, text)| {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
                Page::parse(path, text)
            })
            .collect();
        check(&pages, &folder.path().join("docs"))
            .into_iter()
            .map(|error| error.text)
            .collect()
    }

    #[test]
    fn links_to_pages_and_headings_are_followed() {
        let files = [
            ("README.md", "[a](docs/a.md#two) [b](docs/b.md#x) [c](c.md)"),
            ("docs/a.md", "# One\n## Two\n[self](#one) [up](sub/../a.md)"),
            (
                "docs/b.md",
                "[w](https://example.net/#nothing) [none](#none)",
            ),
        ];
        assert_eq!(
            errors(&files),
            [
                "docs/b.md#x: the page has no such heading",
                "c.md: there is no such file",
                "#none: the page has no such heading"
            ]
        );
    }

    #[test]
    fn the_book_lists_its_pages() {
        let files = [
            ("docs/SUMMARY.md", "- [A](a.md)"),
            ("docs/a.md", "# A"),
            ("docs/b.md", "# B"),
        ];
        assert_eq!(errors(&files), ["SUMMARY.md does not list this page"]);
    }
}
