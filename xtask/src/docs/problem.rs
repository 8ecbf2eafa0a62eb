//! Something wrong in a page.

use std::path::PathBuf;

#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) path: PathBuf,
    pub(super) line: usize,
    pub(super) text: String,
}
