//! The set-up of docs/getting-started.md and docs/howto/ssh.md, with the real programs: from
//! `knockd init` to an ssh configuration that knocks.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use knock_tests::{
    link::Pair,
    process::{Running, copy_program},
    scene::{SOON, program},
    service::{Greeter, try_connect},
};

/// A server that was set up with `knockd init`, and a user's home directory on the client.
struct Site {
    pair: Pair,
    folder: tempfile::TempDir,
    _service: Greeter,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .with_file_name("knock-user")
        .join("packaging/firewall/portknock-nftables")
}

fn expect_success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

impl Site {
    fn new() -> Self {
        let pair = Pair::new().unwrap();
        let service = Greeter::start(&pair.server, 22).unwrap();
        expect_success(
            &pair
                .server
                .command(script())
                .args(["setup", "22"])
                .output()
                .unwrap(),
        );
        let site = Self {
            pair,
            folder: tempfile::tempdir().unwrap(),
            _service: service,
        };
        // The client runs as the user who built it, who may not be root.
        let owner = fs::metadata(program("knock").unwrap()).unwrap();
        fs::create_dir(site.home()).unwrap();
        fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(site.home(), Some(owner.uid()), Some(owner.gid())).unwrap();
        site
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("etc/knockd.toml")
    }

    fn knockd(&self, arguments: &[&str]) -> Command {
        let mut knockd = self.pair.server.command(program("knockd").unwrap());
        knockd.args(arguments).arg("--config").arg(self.config());
        knockd
    }

    /// Runs `knockd init`, adapts the configuration to the test and returns the client's import
    /// command.
    fn init(&self) -> String {
        let state = self.folder.path().join("state");
        let mut init = self.knockd(&["init", "--server", "192.0.2.1"]);
        let line = expect_success(&init.arg("--state-dir").arg(state).output().unwrap());
        let text = fs::read_to_string(self.config()).unwrap();
        let script = format!("\"{}\"", script().display());
        let socket = self.folder.path().join("knockd.sock");
        let text = text.replace("\"portknock\"", &script);
        fs::write(
            self.config(),
            format!("control_socket = {socket:?}\n{text}"),
        )
        .unwrap();
        line
    }

    fn start(&self) -> Running {
        let knockd = Running::spawn(self.knockd(&["--iface", "srv0"])).unwrap();
        knockd
            .wait_for(|line| line.contains("listening on srv0"), SOON)
            .unwrap();
        knockd
    }

    fn user(&self, program_path: &Path) -> Command {
        let mut command = self.pair.client.unprivileged_command(program_path);
        command.env("HOME", self.home());
        command.env("XDG_CONFIG_HOME", self.home().join(".config"));
        command
    }

    fn knock(&self, arguments: &[&str]) -> Output {
        let mut knock = self.user(&program("knock").unwrap());
        knock.args(arguments).output().unwrap()
    }

    /// Runs `knock import`, with the invitation on standard input.
    fn import(&self, line: &str, name: &str) -> Output {
        let uri = line.trim_end().strip_prefix("knock import ").unwrap();
        let uri = uri.trim_matches('\'');
        let file = self.folder.path().join("invitation");
        fs::write(&file, uri).unwrap();
        let mut knock = self.user(&program("knock").unwrap());
        knock.args(["import", "--name", name]);
        knock.stdin(File::open(&file).unwrap()).output().unwrap()
    }

    fn is_open(&self) -> bool {
        let ssh = SocketAddr::new(Pair::SERVER_V4.into(), 22);
        try_connect(&self.pair.client, None, ssh, Duration::from_millis(500)).is_ok()
    }
}

#[test]
fn one_command_sets_up_a_client() {
    knock_tests::needs_bpf!();
    let site = Site::new();
    let line = site.init();
    let _knockd = site.start();
    expect_success(&site.import(&line, "home"));
    assert!(!site.is_open());
    let printed = expect_success(&site.knock(&["--verify", "tcp/22", "home", "ssh"]));
    assert!(printed.contains("tcp/22 answers"), "{printed}");
    assert!(site.is_open());

    let listed = expect_success(&site.knock(&["list"]));
    assert!(
        listed.contains("home") && listed.contains("laptop"),
        "{listed}"
    );
    let key = line.trim_end().trim_end_matches('\'');
    let key = key.rsplit('=').next().unwrap();
    assert!(!listed.contains(key));
    // Files with the key are readable by the user only, and a second import does not replace them.
    let mut stored = vec![site.home().join(".config")];
    let mut files = 0;
    while let Some(path) = stored.pop() {
        let metadata = fs::metadata(&path).unwrap();
        if metadata.is_dir() {
            stored.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if fs::read_to_string(&path).unwrap().contains(key) {
            files += 1;
            assert_eq!(metadata.mode() & 0o7777, 0o600, "{}", path.display());
        }
    }
    assert_eq!(files, 1);
    let again = site.import(&line, "home");
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(
        !String::from_utf8_lossy(&again.stderr).contains(key),
        "{again:?}"
    );
}

#[test]
fn each_client_has_its_own_key() {
    knock_tests::needs_bpf!();
    let site = Site::new();
    let laptop = site.init();
    let add = site
        .knockd(&["client", "add", "phone", "--server", "192.0.2.1"])
        .output()
        .unwrap();
    let phone = expect_success(&add);
    assert_ne!(laptop.rsplit('=').next(), phone.rsplit('=').next());
    let knockd = site.start();
    expect_success(&site.import(&phone, "as-phone"));
    expect_success(&site.knock(&["as-phone", "ssh"]));
    knockd
        .wait_for(
            |line| line.contains("accepted door=\"ssh\" client=\"phone\""),
            SOON,
        )
        .unwrap();
    let wrong = site.knock(&["--verify", "tcp/23", "--timeout", "1s", "as-phone", "ssh"]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
}

#[test]
fn ssh_knocks_through_match_exec() {
    knock_tests::needs_bpf!();
    let site = Site::new();
    let line = site.init();
    let _knockd = site.start();
    expect_success(&site.import(&line, "home"));
    let config = site.home().join("ssh_config");
    let knock = program("knock").unwrap();
    let text = format!(
        "Match host home exec \"{} --verify tcp/22 home ssh\"\n    HostName 192.0.2.1\n",
        knock.display()
    );
    fs::write(&config, text).unwrap();
    // `-G` evaluates the configuration as for a connection and prints the result. ssh is copied so
    // that it belongs to the user who built the client, as whom it runs.
    let owner = fs::metadata(&knock).unwrap();
    let ssh = site.folder.path().join("ssh");
    copy_program(Path::new("/usr/bin/ssh"), &ssh).unwrap();
    chown(&ssh, Some(owner.uid()), Some(owner.gid())).unwrap();
    let output = site
        .user(&ssh)
        .arg("-F")
        .arg(&config)
        .args(["-G", "home"])
        .output()
        .unwrap();
    let evaluated = expect_success(&output);
    assert!(evaluated.contains("hostname 192.0.2.1\n"), "{evaluated}");
    assert!(site.is_open());
}

#[test]
fn init_takes_the_interface_that_faces_the_network() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    for command in [
        "route add blackhole default",
        "-6 route add default via 2001:db8::2",
    ] {
        pair.server.ip(command).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etc/knockd.toml");
    let mut init = pair.server.command(program("knockd").unwrap());
    init.args(["init", "--server", "192.0.2.1", "--config"]);
    init.arg(&path).arg("--state-dir").arg(folder.path());
    let output = init.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("srv0 has the default route of IPv6"),
        "{told}"
    );
    let configuration = fs::read_to_string(path).unwrap();
    assert!(
        configuration.contains("\ninterfaces = [\"srv0\"]\n"),
        "{configuration}"
    );
}
