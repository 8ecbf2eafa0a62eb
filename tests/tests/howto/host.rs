//! A host with the firewalls that `cargo xtask test` has unpacked.

use std::{env, fs, path::PathBuf};

use knock_tests::{link::Pair, netns::Namespace, privilege};

/// Puts the packages in folder $1 over the files of this machine, in the mount namespace of the
/// host. What is written to /etc, /run, /usr and the state of programs stays there.
const MOUNT: &str = r#"
mount -t tmpfs tmpfs /run
mkdir -p /run/upper/etc /run/upper/usr/lib /run/work/etc /run/work/usr /run/state /run/log
# The user that other tests find there.
cp /etc/passwd /etc/group /run/upper/etc
cd "$1"
cp -a lib/. /run/upper/usr/lib
for folder in etc usr; do
    mount -t overlay overlay \
        -o "lowerdir=$folder:/$folder,upperdir=/run/upper/$folder,workdir=/run/work/$folder" "/$folder"
done
mount --bind /run/state /var/lib
mount --bind /run/log /var/log
"#;

/// A pair of hosts whose server has the firewalls, none of which is active. Returns `None` if they
/// are missing, so that the test is skipped. Panics if `CI` is set.
pub(crate) fn pair() -> Option<Pair> {
    let test = env::current_exe().unwrap();
    let folder: PathBuf = test.ancestors().nth(3).unwrap().join("tools/firewalls");
    let needed = "the firewalls of Debian, which `cargo xtask test` unpacks";
    if !privilege::bpf() || !privilege::granted(folder.is_dir(), needed) {
        return None;
    }
    let pair = Pair::new().unwrap();
    let mut mount = pair.server.command("sh");
    mount
        .args(["-ec", MOUNT, "sh"])
        .arg(fs::canonicalize(folder).unwrap());
    let output = mount.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(pair)
}

/// Runs the commands in `script` one after the other, which must succeed, and returns what they
/// print.
#[track_caller]
pub(crate) fn run(host: &Namespace, script: &str) -> String {
    let mut shell = host.command("sh");
    // Bytecode in the overlay is of no use.
    shell.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = shell.args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
