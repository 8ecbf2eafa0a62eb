//! Reads the files that a configuration includes.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use toml::Spanned;

use crate::{
    file::{Config, Included},
    model::NEW_EXTENSION,
    place::{Problem, legible},
    source::{self, MAIN, MAX_LEN, SourceFile},
    value::Include,
};

/// The most files that are included: a file for each of many clients.
const MAX_FILES: usize = 16_384;

/// Reads included files.
pub(super) struct Reader<'r, 't> {
    /// The files so far: at first the one that includes the others.
    files: &'r mut Vec<SourceFile<'t>>,
    /// Paths of files, each with the text that is taken instead of the content.
    changes: &'t [(&'t Path, &'t str)],
    /// How many bytes the other files may have together.
    room: u64,
}

impl<'r, 't> Reader<'r, 't> {
    pub(super) fn new(
        files: &'r mut Vec<SourceFile<'t>>,
        changes: &'t [(&'t Path, &'t str)],
    ) -> Self {
        Self {
            files,
            changes,
            room: MAX_LEN,
        }
    }

    /// Adds what the included files contain to `config`, and the files to those that are known.
    pub(super) fn read(mut self, config: &mut Config) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut known = HashSet::new();
        for include in &config.include {
            let at_include = |message| Problem::at(MAIN, include.span(), message);
            let paths = match self.matching(include) {
                Ok(paths) => paths,
                Err(message) => {
                    problems.push(at_include(message));
                    continue;
                }
            };
            // A file that two patterns match is read once.
            for path in paths.into_iter().filter(|path| known.insert(path.clone())) {
                if self.files.len() > MAX_FILES {
                    let message = format!("more than {MAX_FILES} files are included: merge some");
                    problems.push(at_include(message));
                    return Err(problems);
                }
                match self.read_file(path) {
                    Ok(included) => {
                        config.client.extend(included.client);
                        config.door.extend(included.door);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// The paths that `include` stands for, in the order of their names.
    fn matching(&self, include: &Spanned<Include>) -> Result<Vec<PathBuf>, String> {
        let main = &self.files[MAIN];
        let path = main.folder().join(PathBuf::from(include.get_ref().clone()));
        let paths = match path.file_name().and_then(split) {
            Some((start, end)) => {
                let folder = path.parent().filter(|folder| *folder != Path::new(""));
                let folder = folder.unwrap_or(Path::new("."));
                entries(folder, start, end)
                    .map_err(|error| format!("{} cannot be listed: {error}", legible(folder)))?
            }
            None => vec![existing(path)?],
        };
        let itself = |path: &PathBuf| {
            let real = fs::canonicalize(path).ok();
            real.is_some() && real == fs::canonicalize(&main.path).ok()
        };
        if paths.iter().any(itself) {
            return Err(
                "this includes the configuration itself: keep the other files in a folder of their own"
                    .into(),
            );
        }
        Ok(paths)
    }

    fn read_file(&mut self, path: PathBuf) -> Result<Included, Problem> {
        let file = self.files.len();
        let text = match self.changes.iter().find(|(changed, _)| *changed == path) {
            Some((_, text)) => Ok((*text).into()),
            None => source::read(&path).map(Into::into),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                self.files.push(SourceFile {
                    path,
                    text: "".into(),
                });
                return Err(Problem::anywhere(file, format!("{error:#}")));
            }
        };
        let source = SourceFile { path, text };
        let room = self.room.checked_sub(source.text.len() as u64);
        let parsed = room.map(|_| toml::from_str(&source.text));
        self.files.push(source);
        let (Some(room), Some(parsed)) = (room, parsed) else {
            let message = format!("the included files have more than {MAX_LEN} bytes together");
            return Err(Problem::anywhere(file, message));
        };
        self.room = room;
        let mut included: Included = parsed.map_err(|error| Problem::parsing(file, &error))?;
        let clients = included.client.iter_mut().map(|client| &mut client.file);
        let doors = included.door.iter_mut().map(|door| &mut door.file);
        clients.chain(doors).for_each(|place| *place = file);
        Ok(included)
    }
}

/// `path`, if it is that of a file.
fn existing(path: PathBuf) -> Result<PathBuf, String> {
    if path.is_dir() {
        return Err(format!(
            "{} is a folder: write {} for its files",
            legible(&path),
            legible(&path.join("*.toml"))
        ));
    }
    if !path.exists() {
        return Err(format!("{} does not exist", legible(&path)));
    }
    Ok(path)
}

/// What comes before and after the `*` in `name`, if it contains one.
fn split(name: &OsStr) -> Option<(&[u8], &[u8])> {
    let name = name.as_bytes();
    let at = name.iter().position(|byte| *byte == b'*')?;
    Some((&name[..at], &name[at + 1..]))
}

/// The paths in `folder` whose names begin with `start` and end with `end`, in the order of their
/// names. A folder that does not exist has none.
fn entries(folder: &Path, start: &[u8], end: &[u8]) -> io::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_bytes();
        // As in a shell, a `*` does not stand for the dot of a hidden file.
        let is_hidden = name.starts_with(b".") && start.is_empty();
        // A change that is being made, or whose command was killed, is not in force.
        let is_new = name.ends_with(format!(".{NEW_EXTENSION}").as_bytes());
        let fits = name
            .strip_prefix(start)
            .is_some_and(|rest| rest.ends_with(end));
        if fits && !is_hidden && !is_new {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_limited_together() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.toml", "b.toml"] {
            fs::write(folder.path().join(name), "# eleven b\n").unwrap();
        }
        let mut files = vec![SourceFile {
            path: folder.path().join("main"),
            text: "".into(),
        }];
        let mut config = toml::from_str("include = [\"*.toml\"]").unwrap();
        let mut read = |room| {
            let reader = Reader {
                room,
                ..Reader::new(&mut files, &[])
            };
            reader.read(&mut config).map_err(|problems| problems.len())
        };
        assert_eq!(read(22), Ok(()));
        assert_eq!(read(21), Err(1));
    }
}
