//! The service on a host that a real systemd has booted.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use knock_tests::{
    link::Pair,
    machine::Machine,
    needs_bpf,
    process::Running,
    scene::{SOON, program},
    service::{Greeter, try_connect},
};
use serde_json::Value;

use crate::project;

/// What is added to the configuration of `knockd init`.
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

/// As the README has it for a firewall, which a boot leaves empty.
const FIREWALL: &str = "[Service]\nExecStartPre=/usr/local/sbin/portknock setup 22\n";

/// A hang is not waited for as long as elsewhere.
const IMPATIENT: &str = "[Service]\nWatchdogSec=4s\nRestartSec=100ms\n";

/// How long nothing must come from a closed port.
const SILENCE: Duration = Duration::from_millis(300);

const NFTABLES: &str = "firewall/portknock-nftables";
const IPTABLES: &str = "firewall/portknock-iptables";

/// A host whose port 22 is closed by the service until somebody knocks.
struct Host {
    pair: Pair,
    machine: Machine,
    journal: Running,
    _ssh: Greeter,
}

impl Host {
    /// Boots it and starts the service, with the shipped script `firewall`.
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

    /// The id that the network-facing process has on the machine.
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

    /// Sends `signal` to a process by the id that it has on the machine.
    fn signal(&self, signal: &str, process: &str) -> Result<()> {
        let mut shell = self.machine.command("sh");
        let output = shell
            .args(["-c", &format!("kill -{signal} {process}")])
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    /// The real client, on the other host, until it gets in.
    fn knock(&self) -> Result<()> {
        let mut knock = self.pair.client.command(program("knock")?);
        knock
            .arg("--key-file")
            .arg(self.machine.path("/etc/knockd/laptop.key"));
        knock.args(["--client", "laptop", "--for", "1h", "--verify", "tcp/22"]);
        let output = knock.args(["192.0.2.1", "ssh"]).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    fn lets_in(&self, patience: Duration) -> bool {
        let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
        try_connect(&self.pair.client, None, server, patience).is_ok()
    }

    /// Does `disturb`, and waits for the line of the journal that has `part`.
    fn says<T>(&self, part: &str, disturb: impl FnOnce() -> Result<T>) -> Result<()> {
        let mark = self.journal.mark();
        disturb()?;
        let wanted = |line: &str| line.contains(part);
        self.journal.wait_for_after(mark, wanted, SOON).map(drop)
    }

    /// What the journal has of warnings and worse.
    fn complaints(&self) -> Result<String> {
        self.machine.run("journalctl --sync")?;
        let journal = "journalctl --quiet --output=cat --priority=warning --unit";
        self.machine.run(&format!("{journal} {UNIT}"))
    }
}

/// A configuration of `knockd init`, with a gate and an interface.
fn configure(machine: &Machine) -> Result<()> {
    machine.run("knockd init --server 192.0.2.1")?;
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
fn it_is_started_and_does_its_work() {
    needs_bpf!();
    let Some(host) = Host::start(NFTABLES).unwrap() else {
        return;
    };
    assert_eq!(host.property("ActiveState").unwrap(), "active");
    assert_eq!(host.property("StatusText").unwrap(), "listening on srv0");
    let metrics = || Ok(TcpStream::connect("127.0.0.1:9811")?);
    host.pair.server.run(metrics).unwrap();
    assert!(!host.lets_in(SILENCE));
    host.says("lease=3600s: opening", || host.knock()).unwrap();
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
    host.says(nobody, || host.machine.run(open)).unwrap();
    assert_eq!(host.complaints().unwrap(), "");
}

#[test]
fn it_is_reloaded_and_stopped() {
    needs_bpf!();
    let Some(host) = Host::start(NFTABLES).unwrap() else {
        return;
    };
    host.knock().unwrap();
    host.systemctl("reload").unwrap();
    assert!(host.lets_in(SOON));
    let closed = "command close door=\"ssh\" source=192.0.2.2 succeeded";
    host.says(closed, || host.systemctl("stop")).unwrap();
    assert_eq!(host.property("Result").unwrap(), "success");
    host.machine.run("nft flush ruleset").unwrap();
    assert!(!host.lets_in(SILENCE), "the gate stays");
    let taken = "in the place of a knockd before this one";
    host.says(taken, || host.systemctl("start")).unwrap();
    assert_eq!(host.complaints().unwrap(), "");

    host.machine.write(CONFIGURATION, "no such thing").unwrap();
    assert!(host.systemctl("reload").is_err());
    assert_eq!(host.property("ActiveState").unwrap(), "active");
    assert!(host.complaints().unwrap().contains("stays in force"));
}

/// Each time the door is still open afterwards.
#[test]
fn whatever_ends_it_it_is_back() {
    needs_bpf!();
    let Some(host) = Host::start(NFTABLES).unwrap() else {
        return;
    };
    host.knock().unwrap();
    let main = || host.property("MainPID");
    let listener = || host.listener().map(|id| id.to_string());

    let first = main().unwrap();
    host.says("listening again on srv0", || {
        host.signal("KILL", &listener()?)
    })
    .unwrap();
    assert_eq!(main().unwrap(), first, "the other process goes on");
    host.says("open already, extended", || host.knock())
        .unwrap();

    let back = "listening on srv0";
    host.says(back, || host.signal("KILL", &main()?)).unwrap();
    assert!(host.lets_in(SOON));
    host.change("impatient", IMPATIENT).unwrap();
    host.says(back, || host.systemctl("restart")).unwrap();
    assert!(!host.lets_in(SILENCE), "a restart closes every door");
    host.knock().unwrap();
    host.says(back, || host.signal("STOP", &main()?)).unwrap();
    assert!(host.lets_in(SOON));
    let second = main().unwrap();
    host.says("listening again on srv0", || {
        host.signal("STOP", &listener()?)
    })
    .unwrap();
    assert!(host.lets_in(SOON));
    assert_eq!(main().unwrap(), second, "the other process goes on");
    // Of the process that was stopped. `systemctl restart` has begun the count again.
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
    host.says(closed, || host.machine.run("knockd close 192.0.2.2"))
        .unwrap();
    assert_eq!(host.complaints().unwrap(), "");
}
