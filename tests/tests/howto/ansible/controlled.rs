//! A host that Ansible configures, on which Ansible itself runs as well.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use knock_tests::{machine::Machine, netns::Namespace, privilege, scene::program};
use serde_json::Value;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/ansible");

/// Where a machine with systemd has copies of the example and of Ansible.
const COPIES: [&str; 2] = ["/opt/example", "/opt/ansible"];

/// Gives the host an /etc, /var/lib and /run of its own, with the folders that the package makes.
const MOUNT: &str = "
mount -t tmpfs tmpfs /run
mkdir -p /run/etc /run/work /run/lib/knockd /run/knockd
# The user that the harness has added.
cp /etc/passwd /etc/group /run/etc
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work /etc
mount --bind /run/lib /var/lib
";

/// What a play did.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) succeeded: bool,
    /// Number of tasks that have changed something, or would have.
    pub(super) changed: u32,
    pub(super) output: String,
}

impl From<Output> for Played {
    fn from(output: Output) -> Self {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        let changed = text.split("changed=").nth(1);
        let changed = changed.and_then(|rest| rest.split_whitespace().next());
        Self {
            succeeded: output.status.success(),
            changed: changed.map_or(0, |count| count.parse().unwrap()),
            output: text,
        }
    }
}

pub(super) enum Controlled<'h> {
    /// Without systemd.
    Namespace(&'h Namespace),
    Machine(&'h Machine),
}

/// The packages of Python that are ansible-core, if `cargo xtask test` has installed them. Panics if
/// not and `CI` is set.
fn packages() -> Option<PathBuf> {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(3).unwrap().join("tools/ansible/lib");
    let mut found = fs::read_dir(&folder).into_iter().flatten().flatten();
    let packages = found
        .next()
        .map(|python| python.path().join("site-packages"));
    let is_there = packages.as_ref().is_some_and(|packages| packages.is_dir());
    let needed = "ansible-core, which `cargo xtask test` installs";
    privilege::granted(is_there, needed)
        .then_some(packages)
        .flatten()
}

/// A playbook of the example.
pub(super) fn playbook(name: &str) -> String {
    fs::read_to_string(Path::new(EXAMPLE).join(name)).unwrap()
}

impl<'h> Controlled<'h> {
    /// `host`, which has the programs of this project and no configuration. Returns `None` without
    /// Ansible, so that the test is skipped.
    pub(super) fn namespace(host: &'h Namespace) -> Option<Self> {
        packages()?;
        let output = host.command("sh").args(["-ec", MOUNT]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(Self::Namespace(host))
    }

    /// The same for a machine on which the daemon is installed.
    pub(super) fn machine(host: &'h Machine) -> Option<Self> {
        for (from, to) in [Path::new(EXAMPLE), &packages()?].into_iter().zip(COPIES) {
            let mut copy = Command::new("cp");
            copy.arg("-rL").arg(from).arg(host.path(to));
            assert!(copy.status().unwrap().success());
        }
        Some(Self::Machine(host))
    }

    /// Plays the example's playbook with `options`, and these values for its variables.
    pub(super) fn play(&self, options: &[&str], variables: &Value) -> Played {
        self.play_book("site.yml", options, variables)
    }

    /// The same with another playbook of the example.
    pub(super) fn play_book(&self, book: &str, options: &[&str], variables: &Value) -> Played {
        let (mut python, example, packages) = match self {
            Self::Namespace(_) => (self.command("python3"), EXAMPLE.into(), packages().unwrap()),
            Self::Machine(host) => {
                let [example, packages] = COPIES.map(PathBuf::from);
                (host.command("python3"), example, packages)
            }
        };
        python.args(["-B", "-m", "ansible", "playbook"]);
        // The group of the playbook is the only host.
        python.args(["--inventory", "knock_servers,", "--connection", "local"]);
        python.args(["-e", "ansible_python_interpreter=/usr/bin/python3"]);
        python.arg("-e").arg(variables.to_string());
        python.args(options).arg(example.join(book));
        python.env("PYTHONPATH", packages);
        python.env("ANSIBLE_HOME", "/run/ansible");
        python.env("ANSIBLE_REMOTE_TEMP", "/run/ansible/tmp");
        python.env("ANSIBLE_PIPELINING", "1");
        python.env("LC_ALL", "C.UTF-8");
        if let Self::Namespace(_) = self {
            // Facts take seconds, and the values of the variables need none.
            python.env("ANSIBLE_GATHERING", "explicit");
        }
        python.output().unwrap().into()
    }

    /// The files of the configuration, each with its digest.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let mut shell = self.command("sh");
        let find = "cd /etc/knockd 2>/dev/null || exit 0; find . -type f -exec sha256sum {} +";
        let output = shell.args(["-ec", find]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| line.split_once("  ./").unwrap());
        let mut files: Vec<_> = lines.map(|(sum, path)| (path.into(), sum.into())).collect();
        files.sort();
        files
    }

    /// A command that runs `program`, or `knockd`, on the host.
    pub(super) fn command(&self, program_name: &str) -> Command {
        match self {
            Self::Namespace(host) => {
                let mut command = host.command(program_name);
                let folder = program("knockd").unwrap();
                let path = env::var("PATH").unwrap();
                let folder = folder.parent().unwrap().display();
                command.env("PATH", format!("{folder}:{path}"));
                command
            }
            Self::Machine(host) => host.command(program_name),
        }
    }
}
