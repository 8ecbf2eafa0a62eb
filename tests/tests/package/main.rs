//! The Debian package on a host of its own: installed, used, upgraded, removed, purged.

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

use self::host::{Host, good};

/// Somebody who does not knock.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));

/// Whether `source` gets a connection to the service behind the door.
fn lets_in(host: &Host, source: IpAddr) -> bool {
    let ssh = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    let patience = Duration::from_millis(500);
    try_connect(&host.pair.client, Some(source), ssh, patience).is_ok()
}

/// `knockd init`, with its gate taken into use as the file itself says. Returns the client's line.
fn configure(host: &Host) -> String {
    host.pair
        .server
        .ip("route add default via 192.0.2.2")
        .unwrap();
    let line = host.sh("knockd init --server 192.0.2.1").unwrap();
    // The scripts are where `init` says.
    let warned = host.command("knockd").arg("check").output().unwrap();
    assert!(warned.status.success(), "{warned:?}");
    assert_eq!(String::from_utf8_lossy(&warned.stderr), "");
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

/// Somebody's home on the client, with the packaged `knock` in it.
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
        let file = self.home.path().join("invitation");
        fs::write(&file, uri).unwrap();
        let mut import = self.knock();
        import.args(["import", "--name", "home"]);
        good(import.stdin(File::open(file).unwrap()).output().unwrap()).unwrap();
    }
}

#[test]
fn what_is_installed_lets_in_who_knocks_and_its_removal_detaches_the_gate() {
    needs_bpf!();
    let Some(host) = Host::new().unwrap() else {
        return;
    };
    host.pair.add_client_address(STRANGER).unwrap();
    let _ssh = Greeter::start(&host.pair.server, 22).unwrap();
    host.install().unwrap();
    let line = configure(&host);
    assert!(lets_in(&host, STRANGER));

    let mut knockd = host.start_service().unwrap();
    assert!(!lets_in(&host, STRANGER));
    let user = User::new(&host);
    user.import(&line);
    let mut knock = user.knock();
    knock.args(["--verify", "tcp/22", "home", "ssh"]);
    good(knock.output().unwrap()).unwrap();
    assert!(lets_in(&host, Pair::CLIENT_V4.into()));
    assert!(!lets_in(&host, STRANGER));

    host.asked_systemd().unwrap();
    let removed = host.dpkg(&["--remove", "knockd-xdp"]).unwrap();
    assert!(removed.status.success(), "{removed:?}");
    let asked = host.asked_systemd().unwrap();
    assert!(asked[0].ends_with("stop knockd-xdp.service"), "{asked:?}");
    assert!(knockd.wait(SOON).unwrap().success());
    assert!(lets_in(&host, STRANGER));
    assert!(!host.exists("sys/fs/bpf/knockd").unwrap());
    let link = host.pair.server.ip("-details link show dev srv0").unwrap();
    assert!(!link.contains("xdp"), "{link}");
    assert!(host.exists("etc/knockd/knockd.toml").unwrap());

    good(host.dpkg(&["--purge", "knockd-xdp"]).unwrap()).unwrap();
    assert_eq!(host.changes().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn installing_it_starts_nothing_and_purging_it_leaves_nothing() {
    needs_bpf!();
    let Some(host) = Host::new().unwrap() else {
        return;
    };
    assert_eq!(host.changes().unwrap(), Vec::<PathBuf>::new());
    host.install().unwrap();
    let asked = host.asked_systemd().unwrap();
    let quiet = |line: &String| line.ends_with("daemon-reload");
    assert!(asked.iter().all(quiet), "{asked:?}");
    assert!(
        host.sh("getent passwd knockd")
            .unwrap()
            .contains("/var/lib/knockd")
    );
    assert!(host.sh("portknock help").unwrap().contains("nftables"));
    host.sh("update-alternatives --set portknock /usr/sbin/portknock-iptables")
        .unwrap();
    assert!(host.sh("portknock help").unwrap().contains("iptables"));

    good(host.dpkg(&["--purge", "knockd-xdp"]).unwrap()).unwrap();
    assert_eq!(host.changes().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn an_upgrade_restarts_the_service_and_the_gate_stays() {
    needs_bpf!();
    let Some(host) = Host::new().unwrap() else {
        return;
    };
    host.pair.add_client_address(STRANGER).unwrap();
    let _ssh = Greeter::start(&host.pair.server, 22).unwrap();
    host.install().unwrap();
    configure(&host);
    let mut knockd = host.start_service().unwrap();
    host.asked_systemd().unwrap();
    host.install().unwrap();
    let asked = host.asked_systemd().unwrap();
    let acts: Vec<_> = asked
        .iter()
        .filter(|line| line.contains("knockd-xdp"))
        .collect();
    assert_eq!(acts.len(), 1, "{asked:?}");
    assert!(acts[0].ends_with("restart knockd-xdp.service"), "{asked:?}");
    assert!(!lets_in(&host, STRANGER));

    // One that is no service keeps the gate, and so the package stays.
    host.sh("rm /run/knockd.pid").unwrap();
    let refused = host.dpkg(&["--remove", "knockd-xdp"]).unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("another knockd listens on"), "{said}");
    assert!(host.exists("usr/sbin/knockd").unwrap());
    assert!(!lets_in(&host, STRANGER));
    host.stop(&mut knockd).unwrap();
    good(host.dpkg(&["--purge", "knockd-xdp"]).unwrap()).unwrap();
    assert!(lets_in(&host, STRANGER));
    assert_eq!(host.changes().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn it_does_not_take_the_place_of_the_other_knockd_unasked() {
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
    good(host.dpkg(&["--install", "/run/other.deb"]).unwrap()).unwrap();
    let refused = host.dpkg(&["--install", "/run/knockd-xdp.deb"]).unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("knockd-xdp conflicts with knockd"), "{said}");
    assert!(!host.exists("usr/sbin/knockd").unwrap());
}

#[test]
fn its_pages_can_be_read_and_its_completions_loaded() {
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
        // For `whatis` and `apropos`.
        host.sh(&format!("lexgrog {path}")).unwrap();
        let mut man = host.command("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file", &path]);
        let man = man.env("MANWIDTH", "100").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&man.stderr), "", "{page}");
        let text = good(man).unwrap();
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
