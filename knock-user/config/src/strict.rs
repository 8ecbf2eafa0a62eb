//! Whether users other than root and this one could replace a file or change it, checked for the file
//! and for each directory above it, as sshd(8) does with `StrictModes`.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf, absolute},
};

use rustix::process::geteuid;
use thiserror::Error;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Why a file is not trusted.
#[derive(Debug, Error)]
pub(crate) enum Untrusted {
    /// It cannot be inspected.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It, or a directory above it, belongs to another user.
    #[error(
        "{} belongs to user {owner}, who could replace what knockd reads: change its owner to root", path.display()
    )]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// It can be changed by others.
    #[error("others can change it (mode {0:04o}): use chmod go-w")]
    File(u32),
    /// A directory above it can be changed by others.
    #[error("others can replace it, because they can change {} (mode {mode:04o}): use chmod go-w", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Checks the file at `path`.
///
/// # Errors
///
/// Returns [`Untrusted`] if somebody else than root and this user could replace it or change it.
pub(crate) fn check(path: &Path) -> Result<(), Untrusted> {
    let real = fs::canonicalize(path)?;
    let metadata = fs::metadata(&real)?;
    check_owner(&real, &metadata)?;
    if is_changed_by_others(&metadata) {
        return Err(Untrusted::File(metadata.mode() & 0o7777));
    }
    // Whoever can replace a symbolic link can replace the file.
    let named = absolute(path)?;
    for directory in named.ancestors().skip(1).chain(real.ancestors().skip(1)) {
        let metadata = fs::metadata(directory)?;
        check_owner(directory, &metadata)?;
        // In a sticky directory others can only replace what is theirs.
        if is_changed_by_others(&metadata) && metadata.mode() & STICKY == 0 {
            return Err(Untrusted::Directory {
                path: directory.to_owned(),
                mode: metadata.mode() & 0o7777,
            });
        }
    }
    // There, a symbolic link leads where its owner wants.
    for link in named.ancestors() {
        if let Some(directory) = link.parent()
            && is_changed_by_others(&fs::metadata(directory)?)
        {
            check_owner(link, &fs::symlink_metadata(link)?)?;
        }
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), Untrusted> {
    let owner = metadata.uid();
    if owner == 0 || owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(Untrusted::Owner {
        path: path.to_owned(),
        owner,
    })
}

fn is_changed_by_others(metadata: &Metadata) -> bool {
    let mode = metadata.mode();
    mode & OTHERS_WRITE != 0 || mode & GROUP_WRITES != 0 && metadata.gid() != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

    use super::*;

    /// A file in two directories below a sticky one.
    fn file() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("etc/knockd/file");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        set_mode(&path, 0o644);
        (root, path)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> String {
        check(path).unwrap_err().to_string()
    }

    #[test]
    fn a_file_that_only_its_owner_can_change_is_trusted() {
        let (_root, path) = file();
        check(&path).unwrap();
        set_mode(path.parent().unwrap(), 0o1777);
        check(&path).unwrap();
        assert!(refusal(Path::new("/nowhere")).contains("No such file"));
    }

    #[test]
    fn neither_the_file_nor_a_directory_above_it_may_be_changed_by_others() {
        let (root, path) = file();
        set_mode(&path, 0o646);
        assert!(refusal(&path).contains("others can change it (mode 0646)"));
        set_mode(&path, 0o644);
        for directory in [root.path().join("etc"), root.path().join("etc/knockd")] {
            set_mode(&directory, 0o757);
            let error = refusal(&path);
            let expected = format!("they can change {} (mode 0757)", directory.display());
            assert!(error.contains(&expected), "{error}");
            set_mode(&directory, 0o755);
        }
        check(&path).unwrap();
    }

    #[test]
    fn the_directories_of_a_link_and_of_its_target_count() {
        let (root, path) = file();
        let (other, target) = file();
        let link = path.with_file_name("link");
        symlink(&target, &link).unwrap();
        check(&link).unwrap();
        for directory in [root.path().join("etc"), other.path().join("etc")] {
            set_mode(&directory, 0o777);
            assert!(refusal(&link).contains("others can replace it"));
            set_mode(&directory, 0o755);
        }
    }

    #[test]
    fn everything_belongs_to_this_user_or_to_root() {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can give files to others");
            return;
        }
        let (root, path) = file();
        for other in [path.clone(), root.path().join("etc")] {
            chown(&other, Some(1), None).unwrap();
            let expected = format!("{} belongs to user 1", other.display());
            assert!(refusal(&path).contains(&expected), "{}", refusal(&path));
            chown(&other, Some(0), None).unwrap();
        }
        check(&path).unwrap();
    }

    #[test]
    fn a_link_in_a_sticky_directory_belongs_to_this_user_or_to_root() {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can give files to others");
            return;
        }
        let (root, target) = file();
        let shared = root.path().join("shared");
        fs::create_dir(&shared).unwrap();
        set_mode(&shared, 0o1777);
        let links = [(&*target, "file"), (target.parent().unwrap(), "folder")];
        let links = links.map(|(to, name)| {
            let link = shared.join(name);
            symlink(to, &link).unwrap();
            link
        });
        let [file, folder] = &links;
        for (link, path) in [(file, file.clone()), (folder, folder.join("file"))] {
            check(&path).unwrap();
            lchown(link, Some(1), None).unwrap();
            let expected = format!("{} belongs to user 1", link.display());
            assert!(refusal(&path).contains(&expected), "{}", refusal(&path));
        }
    }
}
