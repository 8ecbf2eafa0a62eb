//! Problems in a configuration, with their position.

use std::{
    borrow::Cow,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use knock_common::legible::escaped;

/// The index of the file that names the others.
pub(super) const MAIN: usize = 0;

/// A file of the configuration.
pub(super) struct SourceFile<'t> {
    pub(super) path: PathBuf,
    pub(super) text: Cow<'t, str>,
}

impl SourceFile<'_> {
    /// The folder that relative paths in the file begin in.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

/// One problem, as a byte range of a file.
#[derive(Debug)]
pub(super) struct Problem {
    /// The index of the file.
    file: usize,
    span: Option<Range<usize>>,
    message: String,
}

impl Problem {
    /// A problem of the whole file.
    pub(super) fn anywhere(file: usize, message: String) -> Self {
        Self {
            file,
            span: None,
            message,
        }
    }

    /// A problem at the bytes `span`.
    pub(super) fn at(file: usize, span: Range<usize>, message: String) -> Self {
        Self {
            file,
            span: Some(span),
            message,
        }
    }

    /// A problem that the parser found.
    pub(super) fn parsing(file: usize, error: &toml::de::Error) -> Self {
        Self {
            file,
            span: error.span(),
            // The error's own text quotes the line, which may contain a secret sequence.
            message: error.message().replace('\n', ", "),
        }
    }
}

/// All problems in the order of the files, one per line: `FILE:LINE: KEY: MESSAGE`.
#[derive(Debug)]
pub(super) struct Problems(Vec<PlacedProblem>);

#[derive(Debug)]
struct PlacedProblem {
    path: PathBuf,
    place: Option<Place>,
    message: String,
}

#[derive(Debug)]
struct Place {
    line: usize,
    key: Option<String>,
}

impl Problems {
    pub(super) fn new(files: &[SourceFile<'_>], mut problems: Vec<Problem>) -> Self {
        let place = |problem: &Problem| {
            let start = problem.span.as_ref().map(|span| span.start);
            (problem.file, start)
        };
        problems.sort_by_key(place);
        let placed = problems.into_iter().filter_map(|problem| {
            let file = files.get(problem.file)?;
            let span = problem.span;
            Some(PlacedProblem {
                path: file.path.clone(),
                place: span.map(|span| Place::of(&file.text, span.start)),
                message: problem.message,
            })
        });
        Self(placed.collect())
    }
}

impl Place {
    /// The line of the byte at `start`, and the key of the value there.
    fn of(text: &str, start: usize) -> Self {
        let before = text.get(..start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        // A value, such as an array, may have begun on an earlier line.
        let key = text.lines().take(line).collect::<Vec<_>>();
        let key = key.iter().rev().find_map(|line| key_of(line));
        Self { line, key }
    }
}

/// `path` in a message, which has one line.
pub(super) fn legible(path: &Path) -> String {
    escaped(&path.to_string_lossy()).collect()
}

/// The `key` of `key = value` or `[key]`.
fn key_of(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with('[') && line.ends_with(']') {
        let table = line.trim_start_matches('[').trim_end_matches(']').trim();
        return is_key(table).then(|| table.to_owned());
    }
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    is_key(key).then(|| key.to_owned())
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"'))
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", legible(&problem.path))?;
            if let Some(Place { line, key }) = &problem.place {
                write!(f, ":{line}")?;
                if let Some(key) = key {
                    write!(f, ": {key}")?;
                }
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
