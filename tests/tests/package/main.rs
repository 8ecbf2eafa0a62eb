//! The Debian package on a separate host: installed, used, upgraded, removed and purged.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod host;

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use knock_tests::{
    link::Pair,
    needs_bpf,
    scene::SOON,
    service::{Greeter, try_connect},
};
use tempfile::TempDir;

use self::host::{Host, stdout};

/// An unauthenticated source.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));

/// Whether `source` can connect to the service behind the door.
fn can_connect(host: &Host, source: IpAddr) -> bool {
    let ssh = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    let timeout = Duration::from_millis(500);
    try_connect(&host.pair.client, Some(source), ssh, timeout).is_ok()
}

/// Runs `knockd init` and enables the gate as the file's comments describe. Returns the client's
/// import command.
fn configure(host: &Host) -> String {
    host.pair
        .server
        .ip("route add default via 192.0.2.2")
        .unwrap();
    let line = host.sh("knockd init --server 192.0.2.1").unwrap();
    // `check` prints no warning, so the scripts are where `init` expects them.
    let warned = host.command("knockd").arg("check").output().unwrap();
    assert!(warned.status.success(), "{warned:?}");
    let warnings = String::from_utf8_lossy(&warned.stderr);
    // The clock is that of the machine that runs the test.
    let mut warnings = warnings
        .lines()
        .filter(|line| !line.contains("the clock of this host"));
    assert_eq!(warnings.next(), None);
    let path = "etc/knockd/knockd.toml";
    let text = host.read(path).unwrap();
    let lines = text.lines().filter_map(|line| match line {
        _ if line.starts_with("run = ") || line.starts_with("close = ") => None,
        "# [gate]" | "# protect = [\"tcp/22\"]" => line.strip_prefix("# "),
        _ if line.starts_with("# open = ") => line.strip_prefix("# "),
        _ => Some(line),
    });
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    host.write(path, &text, 0o600).unwrap();
    host.sh("knockd check").unwrap();
    line
}

/// A user's home directory on the client, with the packaged `knock`.
struct User<'a> {
    host: &'a Host,
    home: TempDir,
}

impl<'a> User<'a> {
    fn new(host: &'a Host) -> Self {
        let home = tempfile::tempdir().unwrap();
        host.copy_out("usr/bin/knock", &home.path().join("knock"))
            .unwrap();
        Self { host, home }
    }

    fn knock(&self) -> Command {
        let program = self.home.path().join("knock");
        let mut knock = self.host.pair.client.unprivileged_command(program);
        knock.env("HOME", self.home.path());
        knock
    }

    fn import(&self, line: &str) {
        let uri = line.trim_end().strip_prefix("knock import ").unwrap();
        let uri = uri.trim_matches('\'');
        let file = self.home.path().join("invitation");
        fs::write(&file, uri).unwrap();
        let mut import = self.knock();
        import.args(["import", "--name", "home"]);
        stdout(import.stdin(File::open(file).unwrap()).output().unwrap()).unwrap();
    }
}

#[test]
fn the_installed_package_admits_clients_and_its_removal_detaches_the_gate() {
    needs_bpf!();
    let Some(host) = Host::new().unwrap() else {
        return;
    };
    host.pair.add_client_address(STRANGER).unwrap();
    let _ssh = Greeter::start(&host.pair.server, 22).unwrap();
    host.install().unwrap();
    let line = configure(&host);
    assert!(can_connect(&host, STRANGER));

    let mut knockd = host.start_service().unwrap();
    assert!(!can_connect(&host, STRANGER));
    let user = User::new(&host);
    user.import(&line);
    let mut knock = user.knock();
    knock.args(["--verify", "tcp/22", "home", "ssh"]);
    stdout(knock.output().unwrap()).unwrap();
    assert!(can_connect(&host, Pair::CLIENT_V4.into()));
    assert!(!can_connect(&host, STRANGER));

    host.systemctl_calls().unwrap();
    let removed = host.dpkg(&["--remove", "knockd-xdp"]).unwrap();
    assert!(removed.status.success(), "{removed:?}");
    let calls = host.systemctl_calls().unwrap();
    assert!(calls[0].ends_with("stop knockd-xdp.service"), "{calls:?}");
    assert!(knockd.wait(SOON).unwrap().success());
    assert!(can_connect(&host, STRANGER));
    assert!(!host.exists("sys/fs/bpf/knockd").unwrap());
    let link = host.pair.server.ip("-details link show dev srv0").unwrap();
    assert!(!link.contains("xdp"), "{link}");
    assert!(host.exists("etc/knockd/knockd.toml").unwrap());

    stdout(host.dpkg(&["--purge", "knockd-xdp"]).unwrap()).unwrap();
    assert_eq!(host.changes().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn installing_starts_nothing_and_purging_leaves_nothing() {
    needs_bpf!();
    let Some(host) = Host::new().unwrap() else {
        return;
    };
    assert_eq!(host.changes().unwrap(), Vec::<PathBuf>::new());
    host.install().unwrap();
    let calls = host.systemctl_calls().unwrap();
    let is_reload = |line: &String| line.ends_with("daemon-reload");
    assert!(calls.iter().all(is_reload), "{calls:?}");
    assert!(
        host.sh("getent passwd knockd")
            .unwrap()
            .contains("/var/lib/knockd")
    );
    assert!(host.sh("portknock help").unwrap().contains("nftables"));
    host.sh("update-alternatives --set portknock /usr/sbin/portknock-iptables")
        .unwrap();
    assert!(host.sh("portknock help").unwrap().contains("iptables"));

    stdout(host.dpkg(&["--purge", "knockd-xdp"]).unwrap()).unwrap();
    assert_eq!(host.changes().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn an_upgrade_restarts_the_service_and_keeps_the_gate() {
    needs_bpf!();
    let Some(host) = Host::new().unwrap() else {
        return;
    };
    host.pair.add_client_address(STRANGER).unwrap();
    let _ssh = Greeter::start(&host.pair.server, 22).unwrap();
    host.install().unwrap();
    configure(&host);
    let mut knockd = host.start_service().unwrap();
    host.systemctl_calls().unwrap();
    host.install().unwrap();
    let calls = host.systemctl_calls().unwrap();
    let commands: Vec<_> = calls
        .iter()
        .filter(|line| line.contains("knockd-xdp"))
        .collect();
    assert_eq!(commands.len(), 1, "{calls:?}");
    assert!(
        commands[0].ends_with("restart knockd-xdp.service"),
        "{calls:?}"
    );
    assert!(!can_connect(&host, STRANGER));

    // A daemon outside of systemd keeps the gate, so dpkg refuses to remove the package.
    host.sh("rm /run/knockd.pid").unwrap();
    let refused = host.dpkg(&["--remove", "knockd-xdp"]).unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("another knockd listens on"), "{errors}");
    assert!(host.exists("usr/sbin/knockd").unwrap());
    assert!(!can_connect(&host, STRANGER));
    host.stop(&mut knockd).unwrap();
    stdout(host.dpkg(&["--purge", "knockd-xdp"]).unwrap()).unwrap();
    assert!(can_connect(&host, STRANGER));
    assert_eq!(host.changes().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn the_package_does_not_replace_the_package_knockd() {
    needs_bpf!();
    let Some(host) = Host::new().unwrap() else {
        return;
    };
    host.sh("mkdir -p /run/other/DEBIAN
         cat > /run/other/DEBIAN/control <<END
Package: knockd
Version: 0.8-2
Architecture: all
Maintainer: Somebody <somebody@example.net>
Description: the other knockd
END
         dpkg-deb --build /run/other /run/other.deb")
        .unwrap();
    stdout(host.dpkg(&["--install", "/run/other.deb"]).unwrap()).unwrap();
    let refused = host.dpkg(&["--install", "/run/knockd-xdp.deb"]).unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(
        errors.contains("knockd-xdp conflicts with knockd"),
        "{errors}"
    );
    assert!(!host.exists("usr/sbin/knockd").unwrap());
}

#[test]
fn manual_pages_and_shell_completions_are_valid() {
    needs_bpf!();
    let Some(host) = Host::new().unwrap() else {
        return;
    };
    host.install().unwrap();
    for (page, word) in [
        ("man1/knock.1", "--verify"),
        ("man5/knockd.toml.5", "udp_idle"),
        ("man8/knockd.8", "knockd detach"),
    ] {
        let path = format!("/usr/share/man/{page}.gz");
        // whatis(1) and apropos(1) need a valid NAME section.
        host.sh(&format!("lexgrog {path}")).unwrap();
        let mut man = host.command("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file", &path]);
        let man = man.env("MANWIDTH", "100").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&man.stderr), "", "{page}");
        let text = stdout(man).unwrap();
        assert!(text.contains("SEE ALSO") && text.contains(word), "{text}");
    }
    for program in ["knock", "knockd"] {
        let path = format!("/usr/share/bash-completion/completions/{program}");
        let load = format!("bash -c '. {path} && complete -p {program}'");
        let loaded = host.sh(&load).unwrap();
        assert!(loaded.contains(&format!("-F _{program}")), "{loaded}");
        host.sh(&format!(
            "zsh --no-exec /usr/share/zsh/vendor-completions/_{program}"
        ))
        .unwrap();
        let fish = format!("/usr/share/fish/vendor_completions.d/{program}.fish");
        let complete = format!("fish -c 'source {fish}; complete --do-complete \"{program} --\"'");
        let completed = host.sh(&complete).unwrap();
        assert!(completed.contains("--help"), "{completed}");
    }
}
