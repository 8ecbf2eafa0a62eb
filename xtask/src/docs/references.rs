//! Pages and headings that comments of the source name, such as `docs/logs.md, "Reasons"`.

use std::{collections::BTreeMap, path::Path};

use super::{page::Page, problem::Problem};

/// Where the pages are, from the root of the project.
const FOLDER: &str = "docs/";

/// Checks the comments in `text`, which is the file at `path`, against the pages of the project at
/// `root`.
pub(super) fn check(path: &Path, text: &str, pages: &[Page], root: &Path) -> Vec<Problem> {
    let pages: BTreeMap<_, _> = pages
        .iter()
        .map(|page| (page.path.as_path(), page))
        .collect();
    let mut problems = Vec::new();
    for (line, comment) in comments(text) {
        for Reference { page, heading } in references(&comment) {
            let wrong = match pages.get(root.join(page).as_path()) {
                None => "there is no such page",
                Some(page) if heading.is_some_and(|heading| !page.has_heading(heading)) => {
                    "the page has no such heading"
                }
                Some(_) => continue,
            };
            problems.push(Problem {
                path: path.to_owned(),
                line,
                text: format!("{page}, {:?}: {wrong}", heading.unwrap_or_default()),
            });
        }
    }
    problems
}

#[derive(Debug, PartialEq)]
struct Reference<'a> {
    page: &'a str,
    heading: Option<&'a str>,
}

/// Each block of line comments, as one line, with the number of its first line.
fn comments(text: &str) -> Vec<(usize, String)> {
    let mut comments: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (number, line) in (1..).zip(text.lines()) {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            continues = false;
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim();
        match comments.last_mut() {
            Some((_, block)) if continues => {
                block.push(' ');
                block.push_str(comment);
            }
            _ => comments.push((number, comment.to_owned())),
        }
        continues = true;
    }
    comments
}

fn references(comment: &str) -> impl Iterator<Item = Reference<'_>> {
    comment.match_indices(FOLDER).filter_map(|(at, _)| {
        let rest = &comment[at..];
        let end = rest.find(|c: char| c.is_whitespace() || ",;:)`".contains(c));
        let (page, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let page = page.trim_end_matches('.');
        let heading = rest.strip_prefix(", \"").and_then(|it| it.split_once('"'));
        page.ends_with(".md").then_some(Reference {
            page,
            heading: heading.map(|(heading, _)| heading),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_may_span_lines() {
        let text =
            "/// One (docs/logs.md, \"Stable\n/// lines\").\nfn f() {}\n    // See docs/a/b.md.\n";
        let comments = comments(text);
        let found: Vec<_> = comments
            .iter()
            .flat_map(|(line, comment)| references(comment).map(move |one| (*line, one)))
            .collect();
        let reference = |page, heading| Reference { page, heading };
        assert_eq!(
            found,
            [
                (1, reference("docs/logs.md", Some("Stable lines"))),
                (4, reference("docs/a/b.md", None)),
            ]
        );
    }

    #[test]
    fn pages_and_headings_must_exist() {
        let root = Path::new("/project");
        let page = Page::parse(root.join("docs/logs.md"), "# Logs\n\n## Stable `lines`\n");
        let wrong = |text: &str| {
            let problems = check(Path::new("a.rs"), text, std::slice::from_ref(&page), root);
            problems.len()
        };
        assert_eq!(wrong("// docs/logs.md, \"Stable lines\""), 0);
        assert_eq!(wrong("// docs/logs.md; docs/pictures/x.svg; \"docs/\""), 0);
        assert_eq!(wrong("// docs/logs.md, \"The stable lines\""), 1);
        assert_eq!(wrong("// docs/log.md"), 1);
        assert_eq!(wrong("let path = \"docs/log.md\";"), 0);
    }
}
