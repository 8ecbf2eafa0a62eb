//! The firewall scripts and how the tests run them.

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
    /// The iptables script with the legacy backend, which takes a lock for the whole system, unlike
    /// the nft backend.
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

    /// The PATH with the programs of this variant.
    pub(crate) fn path(self) -> String {
        let system = "/usr/sbin:/usr/bin:/sbin:/bin";
        match self {
            Self::Nftables | Self::Iptables => system.to_owned(),
            Self::Legacy => format!("{}:{system}", legacy_programs().display()),
        }
    }

    /// Whether this host can run the variant. Only the legacy backend may be missing.
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

/// A folder in which the iptables names refer to the legacy backend. It belongs to the owner of the
/// target directory, who must be able to delete it and may not be root.
fn legacy_programs() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let owner = target.metadata().unwrap();
    let chown = |path: &Path| lchown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    let folder = target.join("iptables-legacy");
    fs::create_dir_all(&folder).unwrap();
    chown(&folder);
    for name in [
        "iptables",
        "iptables-restore",
        "ip6tables",
        "ip6tables-restore",
    ] {
        let link = folder.join(name);
        match symlink("/usr/sbin/xtables-legacy-multi", &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => panic!("{error}"),
            _ => chown(&link),
        }
    }
    folder
}

/// A script in a namespace, run with only PATH in its environment, as the daemon runs it.
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

    /// Runs the script, which must succeed, and returns its standard output.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} failed: {errors}");
        assert_eq!(errors, "", "{arguments:?} printed errors");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the script, which must fail with `code`, and returns its error message.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(
            output.stdout.is_empty(),
            "{arguments:?} printed its error to stdout"
        );
        String::from_utf8(output.stderr).unwrap()
    }

    /// All rules in the namespace.
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

    /// Runs the script and asserts that it changes no rule.
    #[track_caller]
    pub(crate) fn changes_nothing(&self, arguments: &[&str]) {
        let before = self.rules();
        self.run(arguments);
        assert_eq!(self.rules(), before, "{arguments:?} changed the rules");
    }
}
