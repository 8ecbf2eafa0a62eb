//! Problems in a configuration, with their position.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

/// One problem, as a byte range of the file.
#[derive(Debug)]
pub(super) struct Problem {
    span: Option<Range<usize>>,
    message: String,
}

impl Problem {
    /// A problem of the whole file.
    pub(super) fn anywhere(message: String) -> Self {
        Self {
            span: None,
            message,
        }
    }

    /// A problem at the bytes `span`.
    pub(super) fn at(span: Range<usize>, message: String) -> Self {
        Self {
            span: Some(span),
            message,
        }
    }
}

impl From<toml::de::Error> for Problem {
    fn from(error: toml::de::Error) -> Self {
        // The error's own text quotes the line, which may contain a secret sequence.
        Self {
            span: error.span(),
            message: error.message().replace('\n', ", "),
        }
    }
}

/// All problems of a file in file order, one per line: `FILE:LINE: KEY: MESSAGE`.
#[derive(Debug)]
pub(super) struct Problems {
    path: PathBuf,
    placed: Vec<(Option<Place>, String)>,
}

#[derive(Debug)]
struct Place {
    line: usize,
    key: Option<String>,
}

impl Problems {
    pub(super) fn new(path: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        let placed = problems
            .into_iter()
            .map(|Problem { span, message }| {
                (span.map(|span| Place::of(text, span.start)), message)
            })
            .collect();
        Self {
            path: path.to_owned(),
            placed,
        }
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
        for (index, (place, message)) in self.placed.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.path.display())?;
            if let Some(Place { line, key }) = place {
                write!(f, ":{line}")?;
                if let Some(key) = key {
                    write!(f, ": {key}")?;
                }
            }
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
