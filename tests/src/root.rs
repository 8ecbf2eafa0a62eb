//! A root directory of its own on a host: an empty one, as of a container without a distribution, or
//! an overlay over another.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::netns::Namespace;

/// Mounts the directory, which is in memory, with what every container has. The second argument is the
/// directory below, if there is one. Changes go with the mount namespace.
const MOUNT: &str = r#"
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
if [ -n "$2" ]; then
    mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
fi
cd "$1/root"
mkdir -p dev etc proc run sys tmp
mount --rbind /proc proc
mount --rbind /sys sys
for device in null urandom; do
    [ -e "dev/$device" ] || : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
"#;

/// A root directory on a host.
#[derive(Debug)]
pub struct Root<'a> {
    host: &'a Namespace,
    folder: TempDir,
}

impl<'a> Root<'a> {
    /// A root directory without any program or library.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses, for instance without root.
    pub fn empty(host: &'a Namespace) -> Result<Self> {
        Self::mount(host, "".as_ref())
    }

    /// A root directory with the files of the directory `below`, which does not change.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses, for instance without root.
    pub fn over(host: &'a Namespace, below: &Path) -> Result<Self> {
        Self::mount(host, below.as_os_str())
    }

    fn mount(host: &'a Namespace, below: &OsStr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut mount = host.command("sh");
        mount
            .args(["-ec", MOUNT, "sh"])
            .arg(folder.path())
            .arg(below);
        let output = mount.output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(Self { host, folder })
    }

    /// Where the file or directory `path` is for the host. `path` has no leading slash.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// Writes a file with these permissions, and the directories above it.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]> + Sync, mode: u32) -> Result<()> {
        let path = self.path(path);
        self.host.run(|| {
            fs::create_dir_all(path.with_file_name(""))?;
            fs::write(&path, content.as_ref())?;
            Ok(fs::set_permissions(
                &path,
                fs::Permissions::from_mode(mode),
            )?)
        })
    }

    /// Adds the program at `from`.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be copied.
    pub fn add_program(&self, from: &Path, path: &str) -> Result<()> {
        let program = fs::read(from).with_context(|| from.display().to_string())?;
        self.write(path, program, 0o755)
    }

    /// A command that runs `program` in the directory as root with `capabilities`, such as
    /// `+setuid,+setgid`, and no others; it cannot gain any. `CAP_SYS_CHROOT` has to be among them.
    #[must_use]
    pub fn command(&self, capabilities: &str, program: &str) -> Command {
        let mut command = self.host.command("setpriv");
        command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set"]);
        command.arg(format!("-all,{capabilities}"));
        command.arg("chroot").arg(self.path("")).arg(program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// A command that runs `program` in the directory as root, without a restriction.
    #[must_use]
    pub fn as_root(&self, program: &str) -> Command {
        let mut command = self.host.command("chroot");
        command.arg(self.path("")).arg(program);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Unpacks a tar archive, compressed with gzip, into the directory.
    ///
    /// # Errors
    ///
    /// Returns an error if tar fails.
    pub fn unpack(&self, archive: &Path) -> Result<()> {
        let mut tar = self.host.command("tar");
        tar.args(["--extract", "--gzip", "--directory"]);
        let output = tar.arg(self.path("")).arg("--file").arg(archive).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    /// A command that runs rpm(8) of this machine for the packages in the directory.
    #[must_use]
    pub fn rpm(&self) -> Command {
        let mut command = self.host.command("rpm");
        command.arg("--root").arg(self.path(""));
        command
    }
}
