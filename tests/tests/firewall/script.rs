//! The scripts, and how they are run.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt as _, lchown, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use knock_tests::{netns::Namespace, privilege};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Nftables,
    Iptables,
    /// The script for iptables on the older of its two back ends, which unlike the newer
    /// takes a lock for the whole machine.
    Legacy,
}

impl Variant {
    pub(crate) fn script(self) -> PathBuf {
        let name = match self {
            Self::Nftables => "portknock-nftables",
            Self::Iptables | Self::Legacy => "portknock-iptables",
        };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../knock-user/packaging/firewall")
            .join(name)
    }

    /// The PATH on which the script finds this variant's programs.
    pub(crate) fn path(self) -> String {
        let system = "/usr/sbin:/usr/bin:/sbin:/bin";
        match self {
            Self::Nftables | Self::Iptables => system.to_owned(),
            Self::Legacy => format!("{}:{system}", legacy_programs().display()),
        }
    }

    /// Whether this machine can run the variant. Only the old back end may be missing.
    pub(crate) fn is_testable(self) -> bool {
        if !privilege::namespaces() {
            return false;
        }
        if self != Self::Legacy {
            return true;
        }
        let namespace = Namespace::new().unwrap();
        let works = ["iptables", "ip6tables"].iter().all(|program| {
            let mut command = namespace.command("env");
            command.arg(format!("PATH={}", self.path()));
            let output = command.args([program, "-S"]).output().unwrap();
            output.status.success()
        });
        if !works {
            eprintln!("skipped: this machine has no legacy iptables");
        }
        works
    }
}

/// A folder where the names of iptables mean its old back end. It belongs to the owner of
/// the target directory, who may be no root and wants to clean up one day.
fn legacy_programs() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let owner = target.metadata().unwrap();
    let give = |path: &Path| lchown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    let folder = target.join("iptables-legacy");
    fs::create_dir_all(&folder).unwrap();
    give(&folder);
    for name in [
        "iptables",
        "iptables-restore",
        "ip6tables",
        "ip6tables-restore",
    ] {
        let link = folder.join(name);
        match symlink("/usr/sbin/xtables-legacy-multi", &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => panic!("{error}"),
            _ => give(&link),
        }
    }
    folder
}

/// The script in a namespace, run like the daemon does: with nothing but a PATH.
pub(crate) struct Firewall<'a> {
    pub(crate) variant: Variant,
    pub(crate) namespace: &'a Namespace,
}

impl Firewall<'_> {
    pub(crate) fn command(&self, variables: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.namespace.command("env");
        command
            .arg("-i")
            .arg(format!("PATH={}", self.variant.path()))
            .args(variables)
            .arg(self.variant.script())
            .args(arguments);
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(&[], arguments).output().unwrap()
    }

    /// Runs the script, which has to succeed, and returns what it prints.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} failed: {errors}");
        assert_eq!(errors, "", "{arguments:?} complained");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the script, which has to fail with `code`, and returns its complaint.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(
            output.stdout.is_empty(),
            "{arguments:?} printed its complaint to stdout"
        );
        String::from_utf8(output.stderr).unwrap()
    }

    /// All rules that hold in the namespace.
    pub(crate) fn rules(&self) -> String {
        let programs: &[&[&str]] = match self.variant {
            Variant::Nftables => &[&["nft", "list", "ruleset"]],
            Variant::Iptables | Variant::Legacy => {
                &[&["iptables", "-w", "-S"], &["ip6tables", "-w", "-S"]]
            }
        };
        let listed = programs.iter().map(|program| {
            let mut command = self.namespace.command("env");
            command.arg(format!("PATH={}", self.variant.path()));
            let output = command.args(*program).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        });
        listed.collect()
    }

    /// Runs the script, which must leave every rule as it is.
    #[track_caller]
    pub(crate) fn changes_nothing(&self, arguments: &[&str]) {
        let before = self.rules();
        self.run(arguments);
        assert_eq!(self.rules(), before, "{arguments:?} changed the rules");
    }
}
