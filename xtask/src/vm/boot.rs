//! A guest in qemu.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    kernel::Arch,
    nic::Nics,
    report::{self, Report},
};
use crate::{
    apt::{self, Provided},
    interrupt,
};

/// In MiB: enough for the initramfs, which takes its place twice while it is unpacked, and for the
/// project's test executables.
const MEMORY: &str = "1024";

/// How many lines of the serial console explain why a guest did not finish.
const TAIL: usize = 40;

/// How long a guest that does nothing takes at most with KVM, from its start to its end.
const KVM_LIMIT: Duration = Duration::from_secs(8);

/// The exit status of `timeout` when the time is over.
const TIMED_OUT: i32 = 124;

/// What is booted, and how.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    pub(super) arch: Arch,
    pub(super) image: &'a Path,
    pub(super) initramfs: &'a Path,
    pub(super) nics: &'a Nics,
    /// A word of the kernel's command line.
    pub(super) scope: &'static str,
    pub(super) limit: Duration,
}

impl Arch {
    /// Its qemu, which is installed if it is missing.
    pub(super) fn qemu(self) -> Result<&'static str> {
        let (program, package) = match self {
            Self::Amd64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Self::Arm64 => ("qemu-system-aarch64", "qemu-system-arm"),
        };
        apt::provide(&[Provided { program, package }])?;
        Ok(program)
    }

    /// The machine that it emulates, its processor, and its serial console.
    fn machine(self) -> [&'static str; 3] {
        match self {
            Self::Amd64 => ["q35", "max", "ttyS0"],
            // The standard's algorithm for signed pointers takes half of the time of an emulation.
            Self::Arm64 => ["virt", "max,pauth-impdef=on", "ttyAMA0"],
        }
    }
}

impl Guest<'_> {
    /// Boots it, and returns what it reported on its serial console, which goes to `log`.
    ///
    /// # Errors
    ///
    /// Returns an error with the end of the log if the guest did not finish in time.
    pub(super) fn run(&self, log: &Path) -> Result<Report> {
        let accelerator = self.accelerator(log)?;
        let begun = Instant::now();
        let output = interrupt::wait(&mut self.command(log, accelerator)?)?;
        let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        let text = String::from_utf8_lossy(&text);
        let mut report = Report::read(&text);
        report.took = begun.elapsed();
        if report.finished {
            return Ok(report);
        }
        report.print("unfinished");
        println!("the serial console, {}:", log.display());
        for line in report::tail(&text, TAIL) {
            println!("    {line}");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(TIMED_OUT) => bail!("the guest has not finished in {:?}", self.limit),
            _ => bail!(
                "the guest stopped before its checks were done ({}) {}",
                output.status,
                said.trim()
            ),
        }
    }

    fn command(&self, log: &Path, accelerator: &str) -> Result<Command> {
        let qemu = self.arch.qemu()?;
        let [machine, cpu, console] = self.arch.machine();
        // qemu has no limit of its own. A signal to `timeout` is passed on to qemu.
        let mut command = Command::new("timeout");
        command.arg("--kill-after=10");
        command.arg(self.limit.as_secs().to_string());
        command.args([qemu, "-machine", machine, "-cpu", cpu, "-smp", "2"]);
        command.args([
            "-m",
            MEMORY,
            "-no-reboot",
            "-nodefaults",
            "-display",
            "none",
        ]);
        command.args(["-accel", accelerator]);
        command.arg("-serial").arg(file(log)?);
        command.arg("-kernel").arg(self.image);
        command.arg("-initrd").arg(self.initramfs);
        // The kernel would panic if the emulated timer is late while it tests it: on a busy machine.
        command.arg("-append").arg(format!(
            "console={console} panic=-1 no_timer_check quiet loglevel=1 {} {}",
            self.scope,
            self.nics.word()
        ));
        command.args(self.nics.options());
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        Ok(command)
    }

    /// KVM if it works for this guest, else emulation. On some machines /dev/kvm runs guests, but
    /// a hundred times slower than emulation: only a guest that boots in time shows that it works.
    fn accelerator(&self, log: &Path) -> Result<&'static str> {
        static KVM: OnceLock<bool> = OnceLock::new();
        let device = File::options().read(true).write(true).open("/dev/kvm");
        if !self.arch.is_native() || device.is_err() {
            return Ok("tcg");
        }
        if KVM.get().is_none() {
            let probe = Guest {
                nics: &Nics::default(),
                scope: "vm_scope=none",
                limit: KVM_LIMIT,
                ..*self
            };
            let log = log.with_extension("kvm");
            interrupt::wait(&mut probe.command(&log, "kvm")?)?;
            let finished = fs::read(&log).is_ok_and(|text| {
                let text = String::from_utf8_lossy(&text);
                Report::read(&text).finished
            });
            if !finished {
                println!("KVM does not work here: emulating");
            }
            let _ = KVM.set(finished);
        }
        Ok(if KVM.get() == Some(&true) {
            "kvm"
        } else {
            "tcg"
        })
    }
}

/// qemu's name for a file that it writes.
fn file(path: &Path) -> Result<String> {
    let path = path.to_str().context("a path that is not UTF-8")?;
    Ok(format!("file:{}", path.replace(',', ",,")))
}
