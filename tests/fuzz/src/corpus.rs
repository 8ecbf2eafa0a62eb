//! The inputs that fuzzing starts from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The folder with the inputs of the target `name`.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

/// The inputs of the target `name` with their files, in the order of their names.
///
/// # Errors
///
/// Returns an error if they cannot be read.
pub fn inputs(name: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder(name))? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        inputs.push((path, bytes));
    }
    inputs.sort();
    Ok(inputs)
}
