use std::fs;

use clap::Parser as _;

use super::*;
use crate::cli::Cli;

/// The server's public key in the profiles and on the command line.
const SERVER: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";

const PROFILES: &str = r#"
[[profile]]
name = "home"
host = "192.0.2.7"
client = "laptop"
server_key = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI"
base = 40000
key_file = "keys/home.key"
for = "10m"
source_ip = "none"
verify = "tcp/22"

[[profile]]
name = "typed"
host = "192.0.2.8"
client = "phone"
server_key = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI"
udp = 5353
transport = "udp"
for = "30h"
time_offset = "-2h"
"#;

fn plan(args: &str) -> Result<Plan, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("knock.toml"), PROFILES).unwrap();
    let profiles = Profiles::load(folder.path().to_owned()).unwrap();
    let args = ["knock"].into_iter().chain(args.split_whitespace());
    let args = Cli::try_parse_from(args).unwrap().knock.unwrap();
    Plan::new(&args, &profiles).map_err(|error| format!("{error:#}"))
}

fn keyed(args: &str) -> Keyed {
    match plan(args).unwrap().protocol {
        Protocol::Keyed(keyed) => keyed,
        classic @ Protocol::Classic { .. } => panic!("{classic:?}"),
    }
}

fn refused(args: &str) -> String {
    plan(args).unwrap_err()
}

fn lease(text: &str) -> RequestedLease {
    crate::cli::lease(text).unwrap()
}

#[test]
fn a_profile_is_all_that_is_needed() {
    let plan = plan("home ssh").unwrap();
    assert_eq!(plan.server.as_str(), "192.0.2.7");
    assert_eq!(plan.window.base(), 40000);
    let port = "tcp/22".parse().unwrap();
    assert_eq!(plan.verify, Some((port, Timeout::DEFAULT)));
    assert_eq!(plan.transport(), Transport::Syn);
    assert_eq!(plan.syns_per_knock(), 48);
    let keyed = keyed("home ssh");
    assert!(matches!(&keyed.secret, Secret::KeyFile(file) if file.ends_with("keys/home.key")));
    assert_eq!(keyed.door.as_str(), "ssh");
    assert_eq!(keyed.lease, lease("10m"));
    assert_eq!(keyed.whom, Whom::Sender(SourceIp::None));
    assert_eq!(keyed.server_key.to_string(), SERVER);
    assert_eq!(keyed.time, TimeSource::System);

    let typed = self::keyed("typed ssh");
    assert_eq!(typed.transport, Transport::Udp);
    assert_eq!(typed.udp.get(), 5353);
    assert_eq!(typed.lease, lease("30h"));
    assert_eq!(typed.time, TimeSource::Offset("-2h".parse().unwrap()));
}

#[test]
fn options_come_before_the_profile() {
    let plan = plan(
        "home ssh --base 50000 --for 5s --source-ip 2001:db8::1 --verify tcp/443 --timeout 3s --key-file mine",
    )
    .unwrap();
    assert_eq!(plan.window.base(), 50000);
    assert_eq!(plan.families, Families::Ipv6);
    let port = "tcp/443".parse().unwrap();
    assert_eq!(plan.verify, Some((port, "3s".parse().unwrap())));
    let Protocol::Keyed(keyed) = plan.protocol else {
        panic!("{plan:?}")
    };
    assert_eq!(keyed.secret, Secret::KeyFile("mine".into()));
    assert_eq!(keyed.lease, lease("5s"));
    let source_ip = "2001:db8::1".parse().unwrap();
    assert_eq!(keyed.whom, Whom::Sender(source_ip));
}

#[test]
fn a_profiles_verification_can_be_left_out() {
    assert_eq!(plan("home ssh --verify none").unwrap().verify, None);
    assert_eq!(plan("home ssh --dry-run").unwrap().verify, None);
    let timeout = plan("home ssh --timeout 3s").unwrap().verify.unwrap().1;
    assert_eq!(timeout, "3s".parse().unwrap());
    let error = plan("typed ssh --timeout 3s").unwrap_err();
    assert!(error.contains("--verify"), "{error}");
}

#[test]
fn the_key_is_the_one_that_was_named() {
    let secret = |args: &str| keyed(args).secret;
    let elsewhere = |args: &str| secret(&format!("192.0.2.9 ssh --server-key {SERVER} {args}"));
    let file = || Some(PathBuf::from("f"));
    let name = |name: &str| name.parse::<Name>().unwrap();
    assert_eq!(secret("typed ssh"), Secret::Passphrase(None, name("phone")));
    assert_eq!(
        secret("typed ssh --client tablet"),
        Secret::Passphrase(None, name("tablet"))
    );
    assert_eq!(
        secret("home ssh --passphrase-file f"),
        Secret::Passphrase(file(), name("laptop"))
    );
    assert_eq!(
        elsewhere("--client laptop"),
        Secret::Passphrase(None, name("laptop"))
    );
    assert_eq!(elsewhere("--key-file f"), Secret::KeyFile("f".into()));
    let error = plan("hoem ssh").unwrap_err();
    assert!(error.contains("no profile `hoem`"), "{error}");
    for option in ["--key-file", "--client", "--server-key"] {
        assert!(error.contains(option), "{error}");
    }
    let error = refused("192.0.2.9 ssh --key-file f");
    assert!(error.contains("--server-key PUBLIC"), "{error}");
}

#[test]
fn a_classic_knock_takes_server_and_window_from_the_profile() {
    let plan = plan("--classic --sequence 1,2 home").unwrap();
    assert_eq!(plan.server.as_str(), "192.0.2.7");
    assert_eq!(plan.window.base(), 40000);
    assert!(matches!(plan.protocol, Protocol::Classic { .. }));
}

#[test]
fn a_binding_chooses_the_family() {
    let families = |args: &str| plan(&format!("home ssh {args}")).map(|plan| plan.families);
    assert_eq!(families(""), Ok(Families::Both));
    assert_eq!(families("-4"), Ok(Families::Ipv4));
    assert_eq!(families("--source-ip 192.0.2.1"), Ok(Families::Ipv4));
    assert_eq!(families("--source-ip 192.0.2.1 -4"), Ok(Families::Ipv4));
    assert!(families("--source-ip 192.0.2.1 -6").is_err());
    assert!(families("--source-ip 2001:db8::1 -4").is_err());
    let plan = plan("home ssh --source-ip 2001:db8::1").unwrap();
    let error = format!("{:#}", plan.addresses().unwrap_err());
    assert!(error.contains("--source-ip"), "{error}");
}

#[test]
fn a_knock_port_cannot_be_verified() {
    let error = plan("home ssh --verify tcp/40255").unwrap_err();
    assert!(error.contains("tcp/40255"), "{error}");
    assert!(plan("home ssh --verify tcp/40256").is_ok());
}

#[test]
fn the_transport_is_the_one_that_was_named() {
    let transport = |args: &str| keyed(args).transport;
    assert_eq!(transport("home ssh --udp"), Transport::Udp);
    assert_eq!(transport("home ssh --udp --syn"), Transport::Both);
    assert_eq!(transport("typed ssh --syn --for 1m"), Transport::Syn);
    assert_eq!(keyed("home ssh --udp").udp, UdpPort::default());
    assert_eq!(keyed("typed ssh --udp-port 53").udp.get(), 53);
    let error = refused("home ssh --udp-port 53");
    assert!(error.contains("add --udp"), "{error}");
    assert_eq!(plan("typed ssh").unwrap().syns_per_knock(), 0);
}

#[test]
fn a_lease_that_the_transport_cannot_carry_is_refused() {
    for args in ["home ssh --for 19h", "home ssh --udp --syn --for 65535s"] {
        let error = refused(args);
        assert!(
            error.contains("--for: a knock can ask for 1 to 65534"),
            "{error}"
        );
        assert!(error.contains("--udp"), "{error}");
    }
    assert_eq!(keyed("home ssh --udp --for 19h").lease, lease("19h"));
    let error = refused("typed ssh --syn");
    assert!(error.contains("the profile's `for`"), "{error}");
}

#[test]
fn a_door_is_opened_for_another_host_by_a_datagram_alone() {
    let other = Whom::Other("192.0.2.99".parse().unwrap());
    let keyed = keyed("home ssh --udp --open-for 192.0.2.99");
    assert_eq!(keyed.whom, other);
    // The port would have to answer this host.
    let plan = plan("home ssh --udp --open-for 192.0.2.99").unwrap();
    assert_eq!(plan.verify, None);
    for args in [
        "home ssh --open-for ::1",
        "home ssh --udp --syn --open-for ::1",
    ] {
        let error = refused(args);
        assert!(error.contains("use --udp"), "{error}");
    }
}

#[test]
fn closing_neither_leases_nor_verifies() {
    let plan = plan("home ssh --close").unwrap();
    assert_eq!(plan.verify, None);
    assert_eq!(keyed("home ssh --close").lease, RequestedLease::CLOSE);
    // Every transport can say it.
    assert_eq!(
        keyed("typed ssh --close --syn").lease,
        RequestedLease::CLOSE
    );
}

#[test]
fn copies_and_delay_are_for_each_transport() {
    let paces = |args: &str| plan(args).map(|plan| (plan.syns, plan.datagrams)).unwrap();
    assert_eq!(paces("home ssh"), (Pace::SYNS, Pace::DATAGRAMS));
    let given = Pace {
        delay: "20ms".parse().unwrap(),
        copies: "5".parse().unwrap(),
    };
    assert_eq!(paces("home ssh --copies 5 --delay 20ms"), (given, given));
}

#[test]
fn a_held_door_is_knocked_on_three_times_in_a_lease() {
    let hold = |args: &str| {
        let plan = plan(&format!("{args} -- sleep 1")).unwrap();
        (plan.lease(), plan.hold.unwrap().period.as_secs())
    };
    assert_eq!(hold("--hold home ssh"), (lease("10m"), 200));
    assert_eq!(hold("--hold --for 30s home ssh"), (lease("30s"), 10));
    // The door's default is not known here.
    let elsewhere = format!("--hold --key-file f --server-key {SERVER} host ssh");
    assert_eq!(hold(&elsewhere), (lease("1m"), 20));
    let error = refused("--hold --for 9s home ssh -- true");
    assert!(error.contains("at least 10s"), "{error}");
    assert_eq!(plan("home ssh").unwrap().hold, None);
}

#[test]
fn the_command_of_a_held_door_is_taken_as_it_is() {
    let hold = plan("--hold home ssh -- ls -l --for x")
        .unwrap()
        .hold
        .unwrap();
    assert_eq!(hold.program, "ls");
    assert_eq!(hold.arguments, ["-l", "--for", "x"]);
    let hold = plan("--hold -- home ssh ls -- -l").unwrap().hold.unwrap();
    assert_eq!(hold.arguments, ["--", "-l"]);
    let hold = plan("home --hold ssh ls -l").unwrap().hold.unwrap();
    assert_eq!(hold.arguments, ["-l"]);
}

#[test]
fn one_source_of_time_is_used() {
    let time = |args: &str| keyed(args).time;
    let offset = |text: &str| TimeSource::Offset(text.parse().unwrap());
    let ntp: TimeSource = "ntp:192.0.2.123".parse().unwrap();
    assert_eq!(time("home ssh --time-offset 5s"), offset("5s"));
    assert_eq!(time("typed ssh --time-offset 5s"), offset("5s"));
    assert_eq!(time("typed ssh --time ntp:192.0.2.123"), ntp);
    assert_eq!(time("typed ssh --time system"), TimeSource::System);
}

#[test]
fn a_resolver_is_for_an_address_that_is_not_known() {
    let stun: ResolveIp = "stun:192.0.2.3".parse().unwrap();
    assert_eq!(keyed("home ssh").resolve_ip, ResolveIp::Nobody);
    assert_eq!(
        keyed("typed ssh --resolve-ip stun:192.0.2.3").resolve_ip,
        stun
    );
    let args = "home ssh --source-ip auto --resolve-ip stun:192.0.2.3";
    assert_eq!(keyed(args).resolve_ip, stun);
    let error = refused("home ssh --resolve-ip stun:192.0.2.3");
    assert!(error.contains("--source-ip auto"), "{error}");
}
