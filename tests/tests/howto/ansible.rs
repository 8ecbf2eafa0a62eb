//! The role of docs/examples, which Ansible plays on the host itself: without systemd, and with it.

mod controlled;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use knock_tests::{
    certificates::{Authority, Validity},
    link::Pair,
    machine::Machine,
    needs_bpf,
    process::Running,
    scene::{LAPTOP_KEY, LAPTOP_PUBLIC, SERVER_KEY, SOON, program},
    service::{Greeter, is_admitted},
};
use serde_json::{Value, json};

use self::controlled::{Controlled, Played, playbook};
use crate::page::Page;

/// The public key of a client that never knocks.
const OTHER_PUBLIC: &str = "0iwA2BrX1liN0SVIFdL419C0RcwmnJ8wsaE_V3M7bVc";

/// A key of a fleet.
const FLEET_KEY: &str = "knockd-fleet1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// An address that the gate always admits.
const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

/// Values for the variables of the example's playbook, with these clients.
fn variables(clients: &[(&str, &str)]) -> Value {
    let client = |(name, key): &(&str, &str)| json!({"name": name, "public_key": key});
    json!({
        "knockd_settings": {
            "interfaces": [Pair::SERVER_INTERFACE],
            "gate": {"protect": ["tcp/22"], "trusted": [format!("{TRUSTED}/32")]},
        },
        "knockd_clients": clients.iter().map(client).collect::<Vec<_>>(),
    })
}

/// A host to be configured, and one that knocks.
struct Site {
    pair: Pair,
    _ssh: Greeter,
}

impl Site {
    fn new() -> Self {
        let pair = Pair::new().unwrap();
        pair.add_client_address(TRUSTED).unwrap();
        let service = Greeter::start(&pair.server, 22).unwrap();
        Self {
            pair,
            _ssh: service,
        }
    }

    /// Whether the client reaches the service.
    fn admits_client(&self) -> bool {
        let ssh = SocketAddr::new(Pair::SERVER_V4.into(), 22);
        is_admitted(&self.pair.client, Pair::CLIENT_V4.into(), TRUSTED, ssh).unwrap()
    }

    /// The command with which the client `laptop` knocks, with `options`.
    fn knock(&self, host: &Controlled<'_>, key_file: &Path, options: &[&str]) -> Command {
        fs::write(key_file, LAPTOP_KEY).unwrap();
        fs::set_permissions(key_file, fs::Permissions::from_mode(0o600)).unwrap();
        let public = host.command("knockd").arg("public-key").output().unwrap();
        assert!(public.status.success(), "{public:?}");
        let public = String::from_utf8(public.stdout).unwrap();
        let mut knock = self.pair.client.command(program("knock").unwrap());
        knock.args(["--client", "laptop", "--server-key", public.trim_end()]);
        knock.arg("--key-file").arg(key_file).args(options);
        knock.args(["192.0.2.1", "ssh"]);
        knock
    }

    /// The client knocks until it is admitted.
    fn opens(&self, host: &Controlled<'_>) {
        assert!(!self.admits_client(), "it is admitted before it knocks");
        let folder = tempfile::tempdir().unwrap();
        let options = ["--for", "1h", "--verify", "tcp/22"];
        let mut knock = self.knock(host, &folder.path().join("key"), &options);
        let output = knock.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(self.admits_client());
    }

    /// The client knocks, which the daemon refuses.
    fn is_refused(&self, host: &Controlled<'_>, knockd: &Running) {
        let folder = tempfile::tempdir().unwrap();
        let mark = knockd.mark();
        let mut knock = self.knock(host, &folder.path().join("key"), &[]);
        assert!(knock.status().unwrap().success());
        let refused = |line: &str| line.contains("refused source=192.0.2.2 reason=bad-parity");
        knockd.wait_for_after(mark, refused, SOON).unwrap();
        assert!(!self.admits_client());
    }
}

fn changes(played: &Played) -> bool {
    assert!(played.succeeded, "{}", played.output);
    played.changed > 0
}

#[test]
fn the_page_shows_the_playbook_of_the_example() {
    let shown = Page::read("ansible").sample("The role", "yaml");
    assert_eq!(format!("---\n{shown}"), playbook("site.yml"));
    let shown = Page::read("ansible").sample("A fleet", "yaml");
    assert!(playbook("fleet.yml").contains(&shown));
}

#[test]
fn the_role_makes_a_host_a_node_of_a_fleet() {
    needs_bpf!();
    let site = Site::new();
    let Some(host) = Controlled::namespace(&site.pair.server) else {
        return;
    };
    let secrets = tempfile::tempdir().unwrap();
    // The only host of the inventory, which is named after the group of the playbook.
    let node = "knock_servers";
    let authority = Authority::new(secrets.path()).unwrap();
    authority.issue(&[node], Validity::Valid).unwrap();
    let secret = |name: &str| secrets.path().join(name);
    fs::write(secret("server.key"), SERVER_KEY).unwrap();
    fs::write(secret("fleet.key"), FLEET_KEY).unwrap();
    let variables = json!({"secrets": secrets.path(), "knockd_systemd": false});
    let play = |option: &[&str]| host.play_book("fleet.yml", option, &variables);

    let first = play(&["--diff"]);
    assert!(changes(&first));
    for key in [SERVER_KEY, FLEET_KEY] {
        assert!(!first.output.contains(key), "{}", first.output);
    }
    let files = host.files();
    let names: Vec<_> = files.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "ca.pem",
        "conf.d/admin.toml",
        "fleet.key",
        "knockd.toml",
        "node.key",
        "node.pem",
        "server.key",
    ];
    assert_eq!(names, expected);
    // It refuses a key that others can read.
    let check = host.command("knockd").arg("check").output().unwrap();
    assert!(check.status.success(), "{check:?}");

    // Check mode does not ask for a file that it would have installed.
    let remove = ["/etc/knockd/fleet.key"];
    assert!(host.command("rm").args(remove).status().unwrap().success());
    let rest: Vec<_> = files
        .into_iter()
        .filter(|(path, _)| path != "fleet.key")
        .collect();
    assert!(changes(&play(&["--check"])));
    assert_eq!(host.files(), rest);
}

#[test]
fn a_client_that_the_role_adds_opens_the_door_until_the_role_removes_it() {
    needs_bpf!();
    let site = Site::new();
    let Some(host) = Controlled::namespace(&site.pair.server) else {
        return;
    };
    let play = |option: &[&str], clients: &[(&str, &str)]| {
        let mut variables = variables(clients);
        variables["knockd_systemd"] = json!(false);
        host.play(option, &variables)
    };
    let one = [("other", OTHER_PUBLIC)];
    let two = [("other", OTHER_PUBLIC), ("laptop", LAPTOP_PUBLIC)];

    assert!(changes(&play(&["--check"], &one)));
    assert_eq!(host.files(), Vec::new());
    assert!(changes(&play(&[], &one)));
    let first = host.files();
    let names: Vec<_> = first.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["conf.d/other.toml", "knockd.toml", "server.key"]);
    let mut knockd = host.command("knockd");
    knockd.args(["--log", "debug"]);
    let knockd = Running::spawn(knockd).unwrap();
    let is_up = |line: &str| line.contains("listening on ");
    knockd.wait_for(is_up, SOON).unwrap();

    assert!(!changes(&play(&[], &one)));
    assert!(changes(&play(&["--check"], &two)));
    assert_eq!(host.files(), first);
    assert!(changes(&play(&[], &two)));
    site.opens(&host);

    // What is wrong in one file keeps all of them from being replaced.
    let second = host.files();
    let wrong = play(&[], &[("laptop", LAPTOP_PUBLIC), ("spare", "no key")]);
    assert!(!wrong.succeeded, "{}", wrong.output);
    assert!(
        wrong.output.contains("/spare.toml:5: public_key: "),
        "{}",
        wrong.output
    );
    assert_eq!(host.files(), second);
    assert!(site.admits_client());

    assert!(changes(&play(&[], &one)));
    assert!(!site.admits_client(), "what it has opened is still open");
    assert_eq!(host.files(), first);
    site.is_refused(&host, &knockd);
}

#[test]
fn the_role_starts_the_service() {
    needs_bpf!();
    let site = Site::new();
    let Some(machine) = Machine::boot(&site.pair.server).unwrap() else {
        return;
    };
    for (from, to, mode) in [
        ("knockd-xdp.service", "/etc/systemd/system/", 0o644),
        ("knockd-xdp.sysusers", "/usr/lib/sysusers.d/", 0o644),
        ("knockd-xdp.tmpfile", "/usr/lib/tmpfiles.d/", 0o644),
    ] {
        let systemd = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../knock-user/packaging/systemd"
        );
        let (name, kind) = from.rsplit_once('.').unwrap();
        let extension = if kind == "service" { kind } else { "conf" };
        let to = format!("{to}{name}.{extension}");
        machine
            .install(&Path::new(systemd).join(from), &to, mode)
            .unwrap();
    }
    let knockd = program("knockd").unwrap();
    machine.install(&knockd, "/usr/sbin/knockd", 0o755).unwrap();
    machine.run("systemd-sysusers knockd-xdp.conf").unwrap();
    machine
        .run("systemd-tmpfiles --create knockd-xdp.conf")
        .unwrap();
    let Some(host) = Controlled::machine(&machine) else {
        return;
    };
    let variables = variables(&[("laptop", LAPTOP_PUBLIC)]);
    assert!(changes(&host.play(&[], &variables)));
    let state = |verb| machine.run(&format!("systemctl {verb} knockd-xdp"));
    assert_eq!(state("is-active").unwrap(), "active\n");
    assert_eq!(state("is-enabled").unwrap(), "enabled\n");
    site.opens(&host);
}
