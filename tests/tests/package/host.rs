//! A host on which packages can be installed: an overlay over this machine's files. Changes go to a
//! tmpfs that is freed with its mount namespace.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result};
use knock_tests::{
    link::Pair,
    netns::Namespace,
    process::{Running, Signal},
    scene::SOON,
};
use tempfile::TempDir;

/// Mounts the overlay. /run is a separate tmpfs and looks as if systemd runs.
const MOUNT: &str = r#"
# The package creates the user that other tests find there.
for file in /etc/passwd /etc/group; do if mountpoint -q "$file"; then umount "$file"; fi; done
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for folder in dev proc sys; do mount --rbind "/$folder" "$1/root/$folder"; done
mount -t tmpfs tmpfs "$1/root/run"
mkdir -p "$1/root/run/systemd/system" "$1/root/run/bin"
cp "$2" "$1/root/run/knockd-xdp.deb"
# In containers, policy-rc.d often forbids packages to start and stop services.
policy="$1/root/usr/sbin/policy-rc.d"
if [ -e "$policy" ]; then mount --bind /dev/null "$policy"; fi
"#;

/// A replacement for systemctl: it records its arguments, reports whether the service is enabled,
/// and stops the daemon as systemd does.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> /run/calls
case "$*" in
    *is-enabled*) cat /run/enabled 2>/dev/null || { echo disabled; exit 1; } ;;
    *is-active*) [ -e /run/knockd.pid ] ;;
    *stop*knockd-xdp.service*)
        [ -e /run/knockd.pid ] || exit 0
        pid=$(cat /run/knockd.pid)
        rm /run/knockd.pid
        kill "$pid"
        # Its parent is the test, which reaps it later.
        until grep -qs '^State:.*Z' "/proc/$pid/status"; do sleep 0.02; done ;;
esac
"#;

/// Files that dpkg and the maintainer scripts' tools write about themselves and keep.
const DPKG_FILES: &[&str] = &[
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "var/cache/man",
    "var/lib/dpkg",
    "var/log/alternatives.log",
    "var/log/dpkg.log",
];

/// The server of a pair of hosts, with the overlay.
pub(crate) struct Host {
    pub(crate) pair: Pair,
    folder: TempDir,
}

impl Host {
    /// A host with the package in /run, not yet installed. Returns `None` and prints a message if
    /// there is no package, or an error if `CI` is set.
    pub(crate) fn new() -> Result<Option<Self>> {
        let Some(package) = package()? else {
            return Ok(None);
        };
        let host = Self {
            pair: Pair::new()?,
            folder: tempfile::tempdir()?,
        };
        let mut mount = host.server().command("sh");
        mount.args(["-ec", MOUNT, "sh"]);
        stdout(mount.arg(host.folder.path()).arg(package).output()?)?;
        host.write("run/bin/systemctl", SYSTEMCTL, 0o755)?;
        Ok(Some(host))
    }

    fn server(&self) -> &Namespace {
        &self.pair.server
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// A command on the host, as root.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.server().command("chroot");
        command.arg(self.path("")).arg(program.as_ref());
        command.env(
            "PATH",
            "/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a shell script and returns its standard output.
    pub(crate) fn sh(&self, script: &str) -> Result<String> {
        stdout(self.command("sh").args(["-ec", script]).output()?)
            .with_context(|| script.to_owned())
    }

    pub(crate) fn dpkg(&self, arguments: &[&str]) -> Result<Output> {
        let mut dpkg = self.command("dpkg");
        // dpkg may be configured to leave out documentation.
        dpkg.args(["--path-include=/usr/share/*", "--force-confnew"]);
        Ok(dpkg.args(arguments).output()?)
    }

    pub(crate) fn install(&self) -> Result<String> {
        stdout(self.dpkg(&["--install", "/run/knockd-xdp.deb"])?)
    }

    pub(crate) fn read(&self, path: &str) -> Result<String> {
        self.server()
            .run(|| fs::read_to_string(self.path(path)).with_context(|| path.to_owned()))
    }

    pub(crate) fn write(&self, path: &str, content: &str, mode: u32) -> Result<()> {
        self.server().run(|| {
            fs::write(self.path(path), content)?;
            Ok(fs::set_permissions(
                self.path(path),
                fs::Permissions::from_mode(mode),
            )?)
        })
    }

    pub(crate) fn exists(&self, path: &str) -> Result<bool> {
        self.server()
            .run(|| Ok(fs::symlink_metadata(self.path(path)).is_ok()))
    }

    /// Copies the file at `path` from the host to `to`.
    pub(crate) fn copy_out(&self, path: &str, to: &Path) -> Result<()> {
        let content = self.server().run(|| Ok(fs::read(self.path(path))?))?;
        fs::write(to, content)?;
        Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o755))?)
    }

    /// The calls of systemctl since the last call of this, without queries.
    pub(crate) fn systemctl_calls(&self) -> Result<Vec<String>> {
        let calls = self.read("run/calls").unwrap_or_default();
        let calls = calls.lines().filter(|line| !line.contains(" is-"));
        self.write("run/calls", "", 0o644)?;
        Ok(calls.map(str::to_owned).collect())
    }

    /// Starts the command of the installed unit and registers its process with `systemctl`.
    pub(crate) fn start_service(&self) -> Result<Running> {
        let unit = self.read("usr/lib/systemd/system/knockd-xdp.service")?;
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let mut words = line.context("the unit starts nothing")?.split_whitespace();
        let mut command = self.command(words.next().context("the unit starts nothing")?);
        command.args(words);
        let knockd = Running::spawn(command)?;
        knockd.wait_for(|line| line.contains("listening on srv0"), SOON)?;
        self.write("run/knockd.pid", &knockd.id().to_string(), 0o644)?;
        self.write("run/enabled", "enabled\n", 0o644)?;
        Ok(knockd)
    }

    /// Stops the daemon directly, without systemd.
    pub(crate) fn stop(&self, knockd: &mut Running) -> Result<()> {
        knockd.signal(Signal::SIGTERM)?;
        knockd.wait(SOON).map(|_| ())
    }

    /// The paths that were added, changed or removed on the host, without those of dpkg itself.
    pub(crate) fn changes(&self) -> Result<Vec<PathBuf>> {
        let upper = self.folder.path().join("upper");
        self.server().run(|| {
            let mut changes = Vec::new();
            let mut folders = vec![PathBuf::new()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(upper.join(&folder))? {
                    let path = folder.join(entry?.file_name());
                    let below = Path::new("/").join(&path);
                    if DPKG_FILES.iter().any(|own| path.starts_with(own)) {
                        continue;
                    }
                    let kind = fs::symlink_metadata(upper.join(&path))?.file_type();
                    if kind.is_dir() && below.is_dir() {
                        folders.push(path);
                    // A character device is an overlay whiteout: the path was removed.
                    } else if kind.is_char_device()
                        || !kind.is_file()
                        || fs::read(&below).ok() != Some(fs::read(upper.join(&path))?)
                    {
                        changes.push(path);
                    }
                }
            }
            Ok(changes)
        })
    }
}

/// The package that `cargo xtask package` has built.
fn package() -> Result<Option<PathBuf>> {
    let test = env::current_exe()?;
    let target = test.ancestors().nth(3).context("no target directory")?;
    let files = fs::read_dir(target.join("package"));
    let package = files
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let package = package
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    if package.is_none() {
        let refusal = "there is no package: run `cargo xtask package`";
        let required = env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        anyhow::ensure!(!required, "{refusal}");
        eprintln!("skipped: {refusal}");
    }
    Ok(package)
}

/// The standard output of a program that has succeeded.
pub(crate) fn stdout(output: Output) -> Result<String> {
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}
