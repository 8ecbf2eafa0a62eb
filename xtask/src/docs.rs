//! The book in `docs`, and the other Markdown files for readers: builds the one and checks all.

mod links;
mod page;
mod problem;
mod references;
mod samples;
mod staging;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use self::page::Page;
use crate::{
    setup,
    tools::{self, MDBOOK},
    workspace::{Workspace, output},
};

/// The part of `book.toml` that is used here.
#[derive(Deserialize)]
struct Settings {
    book: BookSettings,
}

#[derive(Deserialize)]
struct BookSettings {
    #[serde(default = "default_source")]
    src: PathBuf,
}

fn default_source() -> PathBuf {
    "src".into()
}

/// Checks the pages, and builds the book in the folder `docs` of the target directory.
pub(crate) fn docs(workspace: &Workspace) -> Result<()> {
    check(workspace)?;
    tools::provide_mdbook(workspace)?;
    // For the page that lets a browser knock.
    setup::provide_wasm(&workspace.tools(), None)?;
    build(workspace)?;
    println!("{}", folder(workspace).join("index.html").display());
    Ok(())
}

/// Builds the book if mdBook is installed. That takes minutes to compile, which is too long for one
/// check.
pub(crate) fn build_if_possible(workspace: &Workspace) -> Result<()> {
    if !tools::mdbook(workspace).is_file() {
        println!("skipped: {MDBOOK} is not installed; `cargo xtask docs` installs it");
        return Ok(());
    }
    build(workspace)
}

fn build(workspace: &Workspace) -> Result<()> {
    let source = book_source(workspace)?;
    let staged = workspace.target.join("docs-source");
    staging::stage(workspace, &pages(workspace, &source)?, &source, &staged)?;
    let mut build = workspace.command(tools::mdbook(workspace));
    build.args(["build", "--dest-dir"]);
    output(build.arg(folder(workspace)).arg(staged))?;
    Ok(())
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("docs")
}

/// Checks links, code samples, and the pages and headings that comments of the source name.
///
/// # Errors
///
/// Returns an error that lists everything that is wrong.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let source = book_source(workspace)?;
    let pages = pages(workspace, &source)?;
    let mut problems = links::check(&pages, &source);
    let mut samples = 0;
    for page in &pages {
        let (checked, wrong) = samples::check(page)?;
        samples += checked;
        problems.extend(wrong);
    }
    let mut sources = workspace.command("git");
    sources.args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]);
    for file in output(&mut sources)?.lines() {
        let path = workspace.root.join(file);
        // A file may be deleted and not yet committed.
        if let Ok(text) = fs::read_to_string(&path) {
            problems.extend(references::check(&path, &text, &pages, &workspace.root));
        }
    }
    let problems: Vec<_> = problems
        .iter()
        .map(|problem| {
            let path = workspace.relative(&problem.path).display();
            format!("{path}:{}: {}", problem.line, problem.text)
        })
        .collect();
    ensure!(
        problems.is_empty(),
        "documentation:\n{}",
        problems.join("\n")
    );
    println!("{} pages and {samples} code samples", pages.len());
    Ok(())
}

/// The folder of the book's pages.
fn book_source(workspace: &Workspace) -> Result<PathBuf> {
    let path = workspace.docs().join("book.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let settings: Settings = toml::from_str(&text).context("book.toml")?;
    // Without `.`, so that paths can be compared.
    let source: PathBuf = settings.book.src.components().collect();
    Ok(workspace
        .docs()
        .join(source.strip_prefix(".").unwrap_or(&source)))
}

/// The pages of the book, and the Markdown files for visitors of the repository.
fn pages(workspace: &Workspace, source: &Path) -> Result<Vec<Page>> {
    let mut paths = Vec::new();
    markdown_in(source, &mut paths)?;
    for folder in [workspace.root.clone(), workspace.root.join(".github")] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            if is_markdown(&path) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(Page::read).collect()
}

fn markdown_in(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            markdown_in(&path, paths)?;
        } else if is_markdown(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}
