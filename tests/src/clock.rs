//! An adjustable wall clock for every process that is started in a namespace.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{netns::Namespace, scene::Files};

/// The source of the library that is preloaded into each process.
const SHIM: &str = include_str!("clock/shim.rs");

/// Mounts an overlay over the namespace's `/etc`, with the files that the dynamic linker and the
/// shim read.
const OVERLAY: &str = r#"
mount -t tmpfs clock "$1"
mkdir "$1/upper" "$1/work"
# They may be mounts of the namespace, which the overlay would hide.
cp /etc/passwd /etc/group "$1/upper"
cp "$2" "$1/upper/clock.so"
head -c 8 /dev/zero >"$1/upper/knockd-test-clock"
echo /etc/clock.so >"$1/upper/ld.so.preload"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" clock /etc
"#;

/// The adjustable clock. It shows the real time until [`Clock::set`] is called.
#[derive(Debug)]
pub struct Clock(File);

impl Clock {
    /// Creates a clock for the processes that are started in `namespace` after this call.
    ///
    /// # Errors
    ///
    /// Returns an error if the compiler cannot be run or the overlay cannot be mounted.
    pub fn new(namespace: &Namespace, files: &Files) -> Result<Self> {
        let (source, library) = (files.path("shim.rs"), files.path("shim.so"));
        fs::write(&source, SHIM)?;
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut rustc = Command::new(rustc);
        rustc.args([
            "--edition=2024",
            "--crate-type=cdylib",
            "-Cpanic=abort",
            "-o",
        ]);
        rustc.args([&library, &source]);
        run(rustc)?;
        let folder = files.path("clock");
        fs::create_dir(&folder)?;
        let mut mount = namespace.command("sh");
        mount.args(["-ec", OVERLAY, "sh"]).args([&folder, &library]);
        run(mount)?;
        let open = || {
            let options = File::options().write(true).open("/etc/knockd-test-clock")?;
            Ok(options)
        };
        Ok(Self(namespace.run(open)?))
    }

    /// Sets the clock to the real time plus `offset` seconds.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be written.
    pub fn set(&self, offset: i64) -> Result<()> {
        Ok(self.0.write_all_at(&offset.to_ne_bytes(), 0)?)
    }
}

fn run(mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(())
}
