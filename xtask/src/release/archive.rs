//! Archives whose bytes depend on nothing but the files in them: sorted, with one time and one owner.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

use crate::workspace::run;

/// Packs what is in `folder` into `tar`. `epoch` is the time of all files, in Unix seconds.
pub(super) fn tar(folder: &Path, tar: &Path, epoch: &str) -> Result<()> {
    let mut command = Command::new("tar");
    command.args(["--create", "--format=gnu", "--sort=name", "--numeric-owner"]);
    command.args(["--owner=0", "--group=0", "--mode=u=rwX,go=rX"]);
    command.arg(format!("--mtime=@{epoch}"));
    command
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(folder);
    // Not `.`: that would set the mode of the folder into which this is unpacked.
    let mut entries = names(folder)?;
    entries.sort();
    run(command.args(entries))
}

/// Compresses `file`, which is removed. Returns the path of the result.
pub(super) fn gzip(file: &Path) -> Result<PathBuf> {
    run(Command::new("gzip")
        .args(["--force", "--best", "--no-name"])
        .arg(file))?;
    let mut name = file.as_os_str().to_owned();
    name.push(".gz");
    Ok(name.into())
}

/// Packs the files in `folder`, which has no folders, into `zip`.
pub(super) fn zip(folder: &Path, zip: &Path, epoch: &str) -> Result<()> {
    let seconds = epoch
        .parse()
        .context("the time of the source is no number")?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let mut files = names(folder)?;
    files.sort();
    for name in &files {
        File::open(folder.join(name))?.set_modified(time)?;
    }
    let mut command = Command::new("zip");
    // The format has local times.
    command.env("TZ", "UTC").current_dir(folder);
    command.args(["--quiet", "-X", "-9"]).arg(zip).args(files);
    run(&mut command)
}

/// The names of what is in `folder`.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let name = |name: OsString| {
        let text = name.into_string();
        text.map_err(|name| anyhow::anyhow!("{} is not UTF-8", name.display()))
    };
    fs::read_dir(folder)?
        .map(|entry| name(entry?.file_name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::is_installed;

    /// Two folders with the same files, made in another order and at another time.
    fn twins() -> [tempfile::TempDir; 2] {
        [["b", "a"], ["a", "b"]].map(|names| {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(folder.path().join(name), name).unwrap();
            }
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(names[0].len() as u64);
            let file = File::open(folder.path().join(names[0])).unwrap();
            file.set_modified(time).unwrap();
            folder
        })
    }

    fn depends_on_the_files_alone(pack: fn(&Path, &Path, &str) -> Result<()>, name: &str) {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join(name);
        let made = twins().map(|folder| {
            pack(folder.path(), &path, "1700000000").unwrap();
            let content = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            content
        });
        assert!(made[0] == made[1] && made[0].len() > 100);
    }

    #[test]
    fn a_tar_archive_depends_on_the_files_alone() {
        depends_on_the_files_alone(tar, "archive.tar");
    }

    #[test]
    fn a_zip_archive_depends_on_the_files_alone() {
        if is_installed("zip") {
            depends_on_the_files_alone(zip, "archive.zip");
        } else {
            assert!(std::env::var_os("CI").is_none(), "there is no zip");
            eprintln!("skipped: there is no zip");
        }
    }
}
