//! The service on a host that a real systemd has booted.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use knock_tests::{
    link::Pair,
    machine::Machine,
    needs_bpf,
    process::Running,
    scene::{LAPTOP_KEY, LAPTOP_PUBLIC, SOON, program},
    service::{Greeter, try_connect},
};
use serde_json::Value;

use crate::project;

/// Added to the configuration that `knockd init` writes.
const REST: &str = r#"
[[door]]
name = "whoami"
run = ["id", "-un"]
user = "nobody"
for = "1h"

[gate]
protect = ["tcp/22"]

[metrics]
listen = "127.0.0.1:9811"
"#;

const UNIT: &str = "knockd-xdp";
const CONFIGURATION: &str = "/etc/knockd/knockd.toml";

/// The drop-in that docs/operations.md suggests for a firewall, because rules are empty after a boot.
const FIREWALL: &str = "[Service]\nExecStartPre=/usr/local/sbin/portknock setup 22\n";

/// Shorter watchdog and restart times for the test.
const FAST_RESTART: &str = "[Service]\nWatchdogSec=4s\nRestartSec=100ms\n";

/// Time limit after which a connection attempt counts as unanswered.
const SILENCE: Duration = Duration::from_millis(300);

const NFTABLES: &str = "firewall/portknock-nftables";
const IPTABLES: &str = "firewall/portknock-iptables";

/// A host whose service closes port 22 until a client knocks.
struct Host {
    pair: Pair,
    machine: Machine,
    journal: Running,
    _ssh: Greeter,
}

impl Host {
    /// Boots the host and starts the service with the packaged firewall script `firewall`. Returns
    /// `None` if this machine cannot run it.
    fn start(firewall: &str) -> Result<Option<Self>> {
        let pair = Pair::new()?;
        let Some(machine) = Machine::boot(&pair.server)? else {
            return Ok(None);
        };
        let shipped = |path: &str| project("knock-user/packaging").join(path);
        let unit = "systemd/knockd-xdp.service";
        for (from, to, mode) in [
            (program("knockd")?, "/usr/sbin/knockd", 0o755),
            (
                shipped(unit),
                "/etc/systemd/system/knockd-xdp.service",
                0o644,
            ),
            (
                shipped("systemd/knockd-xdp.sysusers"),
                "/usr/lib/sysusers.d/knockd-xdp.conf",
                0o644,
            ),
            (
                shipped("systemd/knockd-xdp.tmpfile"),
                "/usr/lib/tmpfiles.d/knockd-xdp.conf",
                0o644,
            ),
            (shipped(firewall), "/usr/local/sbin/portknock", 0o755),
        ] {
            machine.install(&from, to, mode)?;
        }
        machine.run("systemd-sysusers knockd-xdp.conf")?;
        machine.run("systemd-tmpfiles --create knockd-xdp.conf")?;
        configure(&machine)?;
        let host = Self {
            journal: machine.follow(UNIT)?,
            _ssh: Greeter::start(&pair.server, 22)?,
            pair,
            machine,
        };
        host.change("firewall", FIREWALL)?;
        host.systemctl("start")?;
        Ok(Some(host))
    }

    /// Adds the drop-in `name` to the unit.
    fn change(&self, name: &str, content: &str) -> Result<()> {
        let path = format!("/etc/systemd/system/{UNIT}.service.d/{name}.conf");
        self.machine.write(&path, content)?;
        self.machine.run("systemctl daemon-reload").map(drop)
    }

    fn systemctl(&self, verb: &str) -> Result<String> {
        self.machine.run(&format!("systemctl {verb} {UNIT}"))
    }

    fn property(&self, name: &str) -> Result<String> {
        let value = self.systemctl(&format!("show --value --property={name}"))?;
        Ok(value.trim_end().to_owned())
    }

    /// The process id of the listener in the machine's PID namespace.
    fn listener(&self) -> Result<u32> {
        let main = self.property("MainPID")?;
        let children = format!("/proc/{main}/task/{main}/children");
        let children = fs::read_to_string(self.machine.path(children))?;
        let children = children.split_whitespace();
        let is_listener = |child: &&str| {
            let name = fs::read(self.machine.path(format!("/proc/{child}/cmdline")));
            name.is_ok_and(|name| name.starts_with(b"knockd-listener\0"))
        };
        let mut listeners = children.filter(is_listener);
        Ok(listeners.next().context("no listener")?.parse()?)
    }

    /// Sends `signal` to a process, given by its id in the machine's PID namespace.
    fn signal(&self, signal: &str, process: &str) -> Result<()> {
        let mut shell = self.machine.command("sh");
        let output = shell
            .args(["-c", &format!("kill -{signal} {process}")])
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    /// Runs the real client on the other host until it can connect.
    fn knock(&self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let key = folder.path().join("laptop.key");
        fs::write(&key, LAPTOP_KEY)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let server_key = self.machine.run("knockd public-key")?;
        let mut knock = self.pair.client.command(program("knock")?);
        knock.args(["--server-key", server_key.trim_end()]);
        knock.arg("--key-file").arg(key);
        knock.args(["--client", "laptop", "--for", "1h", "--verify", "tcp/22"]);
        let output = knock.args(["192.0.2.1", "ssh"]).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    fn can_connect(&self, timeout: Duration) -> bool {
        let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
        try_connect(&self.pair.client, None, server, timeout).is_ok()
    }

    /// Runs `action` and waits for a later line of the journal that contains `part`.
    fn expect_log<T>(&self, part: &str, action: impl FnOnce() -> Result<T>) -> Result<()> {
        let mark = self.journal.mark();
        action()?;
        let wanted = |line: &str| line.contains(part);
        self.journal.wait_for_after(mark, wanted, SOON).map(drop)
    }

    /// The service's journal entries of priority warning and above.
    fn warnings(&self) -> Result<String> {
        self.machine.run("journalctl --sync")?;
        let journal = "journalctl --quiet --output=cat --priority=warning --unit";
        self.machine.run(&format!("{journal} {UNIT}"))
    }
}

/// Writes the configuration of `knockd init`, with a gate and an interface.
fn configure(machine: &Machine) -> Result<()> {
    machine.run(&format!(
        "knockd init --server 192.0.2.1 --public-key {LAPTOP_PUBLIC}"
    ))?;
    let starter = fs::read_to_string(machine.path(CONFIGURATION))?;
    let opened = starter.replacen("# open = [", "open = [", 1);
    ensure!(opened != starter, "there is no `open` in {starter}");
    let interface = Pair::SERVER_INTERFACE;
    machine.write(
        CONFIGURATION,
        &format!("interfaces = [\"{interface}\"]\n{opened}\n{REST}"),
    )
}

#[test]
fn the_service_starts_and_admits_clients() {
    needs_bpf!();
    let Some(host) = Host::start(NFTABLES).unwrap() else {
        return;
    };
    assert_eq!(host.property("ActiveState").unwrap(), "active");
    assert_eq!(host.property("StatusText").unwrap(), "listening on srv0");
    let metrics = || Ok(TcpStream::connect("127.0.0.1:9811")?);
    host.pair.server.run(metrics).unwrap();
    assert!(!host.can_connect(SILENCE));
    host.expect_log("lease=3600s: opening", || host.knock())
        .unwrap();
    let opening = "journalctl --quiet --output=json KNOCKD_EVENT=opening";
    let opening: Value = serde_json::from_str(&host.machine.run(opening).unwrap()).unwrap();
    for (field, value) in [
        ("KNOCKD_DOOR", "ssh"),
        ("KNOCKD_CLIENT", "laptop"),
        ("KNOCKD_SOURCE", "192.0.2.2"),
        ("KNOCKD_LEASE", "3600"),
        ("_SYSTEMD_UNIT", "knockd-xdp.service"),
        ("PRIORITY", "6"),
    ] {
        assert_eq!(opening[field], value, "{opening}");
    }
    let nobody = "run of door \"whoami\" for 192.0.2.9: nobody";
    let open = "knockd open 192.0.2.9 whoami";
    host.expect_log(nobody, || host.machine.run(open)).unwrap();
    assert_eq!(host.warnings().unwrap(), "");
}

#[test]
fn the_service_reloads_and_stops() {
    needs_bpf!();
    let Some(host) = Host::start(NFTABLES).unwrap() else {
        return;
    };
    host.knock().unwrap();
    host.systemctl("reload").unwrap();
    assert!(host.can_connect(SOON));
    let closed = "command close door=\"ssh\" source=192.0.2.2 succeeded";
    host.expect_log(closed, || host.systemctl("stop")).unwrap();
    assert_eq!(host.property("Result").unwrap(), "success");
    host.machine.run("nft flush ruleset").unwrap();
    assert!(!host.can_connect(SILENCE), "the gate stays");
    let taken = "replacing the program of an earlier knockd";
    host.expect_log(taken, || host.systemctl("start")).unwrap();
    assert_eq!(host.warnings().unwrap(), "");

    host.machine.write(CONFIGURATION, "no such thing").unwrap();
    assert!(host.systemctl("reload").is_err());
    assert_eq!(host.property("ActiveState").unwrap(), "active");
    assert!(host.warnings().unwrap().contains("stays in force"));
}

/// In each case the door is still open afterwards.
#[test]
fn the_service_recovers_from_crashes_and_hangs() {
    needs_bpf!();
    let Some(host) = Host::start(NFTABLES).unwrap() else {
        return;
    };
    host.knock().unwrap();
    let main = || host.property("MainPID");
    let listener = || host.listener().map(|id| id.to_string());

    let first = main().unwrap();
    host.expect_log("listening again on srv0", || {
        host.signal("KILL", &listener()?)
    })
    .unwrap();
    assert_eq!(main().unwrap(), first, "the supervisor was not restarted");
    host.expect_log("open already, extended", || host.knock())
        .unwrap();

    let back = "listening on srv0";
    host.expect_log(back, || host.signal("KILL", &main()?))
        .unwrap();
    assert!(host.can_connect(SOON));
    host.change("impatient", FAST_RESTART).unwrap();
    host.expect_log(back, || host.systemctl("restart")).unwrap();
    assert!(!host.can_connect(SILENCE), "a restart closes every door");
    host.knock().unwrap();
    host.expect_log(back, || host.signal("STOP", &main()?))
        .unwrap();
    assert!(host.can_connect(SOON));
    let second = main().unwrap();
    host.expect_log("listening again on srv0", || {
        host.signal("STOP", &listener()?)
    })
    .unwrap();
    assert!(host.can_connect(SOON));
    assert_eq!(main().unwrap(), second, "the supervisor was not restarted");
    // The restart after the watchdog timeout. `systemctl restart` has reset the counter.
    assert_eq!(host.property("NRestarts").unwrap(), "1");
}

#[test]
fn a_doors_command_can_use_iptables() {
    needs_bpf!();
    let Some(host) = Host::start(IPTABLES).unwrap() else {
        return;
    };
    host.knock().unwrap();
    let closed = "command close door=\"ssh\" source=192.0.2.2 succeeded";
    host.expect_log(closed, || host.machine.run("knockd close 192.0.2.2"))
        .unwrap();
    assert_eq!(host.warnings().unwrap(), "");
}
