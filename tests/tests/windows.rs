//! The client for Windows, under wine, knocks on the real daemon.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use knock_tests::{
    link::Pair,
    needs_bpf,
    privilege::granted,
    process::Running,
    scene::{LAPTOP_KEY, PAIR_CONFIGURATION, Scene, server},
};

/// Where Debian has the programs of wine.
const WINE: &str = "/usr/lib/wine/wine64";
const WINE_SERVER: &str = "/usr/lib/wine/wineserver64";

/// The number of knocks of each kind.
const KNOCKS: u64 = 5;

/// The folder that cargo builds into.
fn target() -> PathBuf {
    env::current_exe()
        .unwrap()
        .ancestors()
        .nth(3)
        .unwrap()
        .to_owned()
}

/// A computer with Windows: the client's side of `scene`. All processes of wine run in its namespace,
/// since the one that serves the others has the sockets.
struct Computer<'a> {
    scene: &'a Scene,
    folder: tempfile::TempDir,
    client: PathBuf,
    server: Option<Running>,
}

impl<'a> Computer<'a> {
    /// `None` if this machine cannot run the client for Windows.
    fn new(scene: &'a Scene) -> Option<Self> {
        let client = target().join("x86_64-pc-windows-gnu/debug/knock.exe");
        let library = target().join("tools/wine/bcryptprimitives.dll");
        let is_there = [Path::new(WINE), Path::new(WINE_SERVER), &client, &library]
            .iter()
            .all(|file| file.is_file());
        if !granted(
            is_there,
            "the client for Windows: run `cargo xtask windows`",
        ) {
            return None;
        }
        let mut computer = Self {
            scene,
            folder: tempfile::tempdir().unwrap(),
            client,
            server: None,
        };
        let server = computer.command(WINE_SERVER, &["--foreground", "--persistent"]);
        computer.server = Some(Running::spawn(server).unwrap());
        computer.succeed(computer.command(WINE, &["wineboot", "--init"]));
        let system = computer.folder.path().join("wine/drive_c/windows/system32");
        fs::copy(library, system.join("bcryptprimitives.dll")).unwrap();
        Some(computer)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.scene.pair.client.command(program);
        command
            .args(arguments)
            .env("WINEPREFIX", self.folder.path().join("wine"))
            .env("WINEARCH", "win64")
            .env("WINEDEBUG", "-all")
            .env("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe=")
            .env("KNOCK_CONFIG_DIR", "C:\\knock")
            .env_remove("DISPLAY");
        command
    }

    fn knock(&self, arguments: &[&str]) -> Output {
        let client = self.client.to_str().unwrap();
        self.command(WINE, &[&[client], arguments].concat())
            .output()
            .unwrap()
    }

    fn succeed(&self, mut command: Command) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// The path of a file, which is the same under wine.
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

fn accepted(scene: &Scene) -> u64 {
    scene.status().unwrap()["daemon"]["accepted"]
        .as_u64()
        .unwrap()
}

#[test]
fn the_client_for_windows_opens_and_closes_doors() {
    needs_bpf!();
    let scene = Scene::with(PAIR_CONFIGURATION).unwrap();
    let Some(computer) = Computer::new(&scene) else {
        return;
    };
    let key = computer.path("laptop.key");
    fs::write(&key, LAPTOP_KEY).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let server_key = server().unwrap().to_string();
    let keys = ["--key-file", &key, "--server-key", &server_key];
    let ipv4 = Pair::SERVER_V4.to_string();
    let ipv6 = Pair::SERVER_V6.to_string();
    for (transport, to) in [("--syn", &ipv4), ("--syn", &ipv6), ("--udp", &ipv4)] {
        let before = accepted(&scene);
        for _ in 0..KNOCKS {
            let output = computer.knock(&[&keys[..], &[transport, to, "ssh"]].concat());
            assert!(output.status.success(), "{output:?}");
        }
        scene.settle().unwrap();
        // That of `settle` is one more.
        assert_eq!(accepted(&scene), before + KNOCKS + 1, "{transport} {to}");
    }
    let close = computer.knock(&[&keys[..], &["--close", &ipv4, "ssh"]].concat());
    assert!(close.status.success(), "{close:?}");
    let address = Pair::CLIENT_V4.to_string();
    scene.logged(&["closed door=\"ssh\"", &address]).unwrap();
}

#[test]
fn a_key_that_others_can_read_is_refused_and_a_new_one_is_private() {
    needs_bpf!();
    let scene = Scene::with(PAIR_CONFIGURATION).unwrap();
    let Some(computer) = Computer::new(&scene) else {
        return;
    };
    let path = computer.path("new.key");
    let made = computer.knock(&["keygen", &path]);
    assert!(made.status.success(), "{made:?}");
    // wine keeps access control lists as modes.
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
    assert!(computer.knock(&["pubkey", &path]).status.success());

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = computer.knock(&["pubkey", &path]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("icacls"),
        "{text}"
    );
}
