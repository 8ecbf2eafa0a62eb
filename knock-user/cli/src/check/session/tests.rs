use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

const CONNECTION: &str = "192.0.2.5 50022 192.0.2.1 22";

fn session(peer: &str, number: u16) -> Session {
    Session {
        peer: peer.parse().unwrap(),
        port: Port {
            transport: Transport::Tcp,
            number,
        },
    }
}

/// A `/proc` with processes: each has an id, its parent's id, and its environment, if that is
/// readable. The first one is this process.
struct Proc(tempfile::TempDir);

impl Proc {
    fn new(processes: &[(u32, u32, Option<&str>)]) -> Self {
        let proc = Self(tempfile::tempdir().unwrap());
        for (id, parent, environment) in processes {
            let folder = proc.0.path().join(id.to_string());
            fs::create_dir(&folder).unwrap();
            let status = format!("Name:\tPPid: 1\nTgid:\t{id}\nPPid:\t{parent}\nUid:\t0\n");
            fs::write(folder.join("status"), status).unwrap();
            if let Some(environment) = environment {
                fs::write(folder.join("environ"), environment).unwrap();
            }
        }
        let first = processes[0].0.to_string();
        std::os::unix::fs::symlink(first, proc.0.path().join("self")).unwrap();
        proc
    }

    fn session(&self) -> Option<Session> {
        Session::of_ancestors(self.0.path())
    }
}

#[test]
fn a_connection_is_four_fields() {
    for (connection, peer, port) in [
        (CONNECTION, "192.0.2.5", 22),
        ("2001:db8::5 1 2001:db8::1 65535", "2001:db8::5", 65535),
        ("fe80::5%eth0 50022 fe80::1%eth0 2222", "fe80::5", 2222),
        ("::ffff:192.0.2.5 1 ::ffff:192.0.2.1 22", "192.0.2.5", 22),
    ] {
        let found = Session::parse(connection);
        assert_eq!(found, Some(session(peer, port)), "{connection}");
    }
    for connection in [
        "",
        "192.0.2.5 50022 22",
        "192.0.2.5 50022 192.0.2.1 22 ",
        "192.0.2.5  50022 192.0.2.1 22",
        "192.0.2.5 50022 192.0.2.1 22 tcp",
        "192.0.2.5 50022 192.0.2.1 0",
        "192.0.2.5 50022 192.0.2.1 +22",
        "192.0.2.5 50022 192.0.2.1 65536",
        "192.0.2.5 50022 192.0.2.1 ",
        "192.0.2.5 x 192.0.2.1 22",
        "192.0.2.5 50022 server 22",
        "192.0.2.5/24 50022 192.0.2.1 22",
        "192.0.2.5%eth0 50022 192.0.2.1 22",
        "fe80::5% 50022 fe80::1 22",
        "UNKNOWN 65535 UNKNOWN 65535",
    ] {
        assert_eq!(Session::parse(connection), None, "{connection:?}");
    }
}

#[test]
fn the_nearest_ancestor_with_a_session_counts() {
    let far = "HOME=/root\0SSH_CONNECTION=192.0.2.9 1 192.0.2.1 22\0";
    let near = "A=1\0SSH_CONNECTION=192.0.2.5 50022 192.0.2.1 22\0B=2\0";
    let no_name = "XSSH_CONNECTION=192.0.2.7 1 192.0.2.1 22\0SSH_CONNECTION_2=x\0";
    let proc = Proc::new(&[
        (70, 60, Some("")),
        (60, 50, Some(no_name)),
        // Of another user.
        (50, 40, None),
        (40, 30, Some(near)),
        (30, 1, Some(far)),
        (1, 0, Some("")),
    ]);
    assert_eq!(proc.session(), Some(session("192.0.2.5", 22)));
}

#[test]
fn what_is_no_session_is_passed_over() {
    let good = format!("SSH_CONNECTION={CONNECTION}\0");
    for broken in ["SSH_CONNECTION=\0", "SSH_CONNECTION\0", "\0\0", "="] {
        let proc = Proc::new(&[(9, 8, None), (8, 7, Some(broken)), (7, 1, Some(&good))]);
        assert_eq!(proc.session(), Some(session("192.0.2.5", 22)), "{broken:?}");
    }
    assert_eq!(
        Session::in_environment(b"SSH_CONNECTION=\xff 1 \xff 2"),
        None
    );
}

#[test]
fn the_walk_ends() {
    let good = format!("SSH_CONNECTION={CONNECTION}\0");
    // At the first process, at one that has exited, and in a cycle, which reused ids could form.
    let ends = Proc::new(&[(2, 1, None), (1, 0, None), (0, 0, Some(&good))]);
    assert_eq!(ends.session(), None);
    assert_eq!(Proc::new(&[(2, 3, None)]).session(), None);
    assert_eq!(Proc::new(&[(2, 3, None), (3, 2, None)]).session(), None);
    assert_eq!(Session::of_ancestors(Path::new("/nowhere")), None);

    let chain = |len: u32| {
        let mut processes: Vec<_> = (1..=len).rev().map(|id| (id, id - 1, None)).collect();
        processes.last_mut().unwrap().2 = Some(&good[..]);
        Proc::new(&processes).session()
    };
    let max = u32::try_from(MAX_ANCESTORS).unwrap();
    assert!(chain(max + 1).is_some());
    assert_eq!(chain(max + 2), None);
}

#[test]
fn this_machines_processes_have_parents() {
    let own = parent(Path::new("/proc/self")).unwrap();
    let expected = format!("/proc/{}", std::os::unix::process::parent_id());
    assert_eq!(own, Path::new(&expected));
}

fn config(gate: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("server.key");
    let text = "knockd2:kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw\n";
    fs::write(&key, text).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "server_key_file = \"server.key\"\n\
         [[client]]\nname = \"laptop\"\n\
         public_key = \"j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8\"\n\
         [[door]]\nname = \"ssh\"\nrun = [\"true\"]\n{gate}"
    );
    Config::parse(&text, &folder.path().join("knockd.toml")).unwrap()
}

#[test]
fn who_would_be_kept_out_is_warned() {
    let opened = config(
        "open = [\"tcp/22\"]\n[gate]\nprotect = [\"tcp/22\", \"tcp/2222\"]\n\
         trusted = [\"198.51.100.0/24\", \"2001:db8:1::/48\"]",
    );
    let text = |peer, port| warning_for(&opened, session(peer, port));
    assert_eq!(
        text("192.0.2.5", 22).unwrap(),
        "this ssh session comes from 192.0.2.5 to tcp/22, which the gate protects, and 192.0.2.5 \
         is not in `gate.trusted`: this session continues, the next one needs a knock. Keep this one \
         open until a knock has admitted another one, or add 192.0.2.5 to `trusted`"
    );
    assert!(text("2001:db8:2::5", 22).unwrap().contains("a knock"));
    let unopened = text("192.0.2.5", 2222).unwrap();
    assert!(unopened.contains("no door opens that port. Add a door that does, or add 192.0.2.5"));

    for (peer, port) in [
        ("198.51.100.7", 22),
        ("2001:db8:1::7", 22),
        ("192.0.2.5", 23),
        ("127.0.0.1", 22),
        ("::1", 22),
    ] {
        assert_eq!(text(peer, port), None, "{peer} to {port}");
    }
}

#[test]
fn nobody_is_warned_of_a_gate_that_keeps_nobody_out() {
    let ssh = session("192.0.2.5", 22);
    assert_eq!(warning_for(&config(""), ssh), None);
    let observing = config("[gate]\nprotect = [\"tcp/22\"]\nmode = \"observe\"");
    assert_eq!(warning_for(&observing, ssh), None);
    let datagrams = config("[gate]\nprotect = [\"udp/22\"]");
    assert_eq!(warning_for(&datagrams, ssh), None);
    assert!(warning_for(&config("[gate]\nprotect = [\"tcp/22\"]"), ssh).is_some());
}

proptest! {
    #[test]
    fn no_environment_panics(environment: Vec<u8>, connection in "[0-9a-f:.% ]{0,40}") {
        let _ = Session::in_environment(&environment);
        let _ = Session::parse(&connection);
    }
}
