//! Tests of the harness: namespaces, the link between two hosts, processes, raw frames.

use std::{
    env, fs,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::maps::MapInfo;
use etherparse::SlicedPacket;
use knock_common::{
    settings::{DEFAULT_EVENT_RATE, Settings, Verdict},
    window::Window,
};
use knock_tests::kernel_log::KernelLog;
use knock_tests::{
    frame::{Content, Extension, Frame, Protocol, Segment, Tag, bit_flips, truncations},
    link::Pair,
    netns::Namespace,
    privilege,
    process::{Running, Signal, Stream},
    service::{Greeter, Session, try_connect},
    wire::{Capture, Direction, Sender},
};
use knockd_xdp::{pins::PinDir, program::Xdp};
use tokio::runtime::Builder;

/// Time limit for anything that should happen immediately; only a failing test waits this long.
const SOON: Duration = Duration::from_secs(10);

/// How long a test waits to show that something does not happen.
const SILENCE: Duration = Duration::from_millis(300);

/// The path at which [`pin`] pins the program.
const PIN: &str = "/sys/fs/bpf/program";

const SERVER: [IpAddr; 2] = [IpAddr::V4(Pair::SERVER_V4), IpAddr::V6(Pair::SERVER_V6)];
const CLIENT: [IpAddr; 2] = [IpAddr::V4(Pair::CLIENT_V4), IpAddr::V6(Pair::CLIENT_V6)];

#[test]
fn a_service_greets_over_both_families() {
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let service = Greeter::start(&pair.server, 0).unwrap();
    let port = service.port().unwrap();
    for address in SERVER {
        let destination = SocketAddr::new(address, port);
        let greeting = try_connect(&pair.client, None, destination, SOON).unwrap();
        assert_eq!(greeting, Greeter::GREETING);
        let mut session = Session::open(&pair.client, None, destination, SOON).unwrap();
        assert_eq!(session.ask("still there?").unwrap(), "still there?");
    }

    drop(service);
    for address in SERVER {
        let refused = try_connect(&pair.client, None, SocketAddr::new(address, port), SOON);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_second_client_address_can_be_the_source() {
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let service = Greeter::start(&pair.server, 0).unwrap();
    let port = service.port().unwrap();
    let capture = Capture::new(&pair.server, Pair::SERVER_INTERFACE).unwrap();
    for (source, server) in ["192.0.2.3", "2001:db8::3"].into_iter().zip(SERVER) {
        let source = source.parse().unwrap();
        pair.add_client_address(source).unwrap();
        let destination = SocketAddr::new(server, port);
        try_connect(&pair.client, Some(source), destination, SOON).unwrap();
        let frames = capture.drain().unwrap();
        let segments = frames
            .iter()
            .filter_map(|frame| Segment::read(&frame.bytes));
        assert!(segments.into_iter().any(|it| it.source.ip() == source));
    }
}

#[test]
fn a_raw_syn_arrives_and_its_answer_is_captured() {
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let capture = Capture::new(&pair.server, Pair::SERVER_INTERFACE).unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    for (source, destination) in CLIENT.into_iter().zip(SERVER) {
        let source = SocketAddr::new(source, 40000);
        let destination = SocketAddr::new(destination, 61000);
        let frame = Frame::syn(source, destination).bytes().unwrap();
        sender.send(&frame).unwrap();

        // No socket is bound, so the kernel answers with a RST. With a wrong checksum it would not
        // answer.
        let frames = capture
            .until(
                |frame| {
                    Segment::read(&frame.bytes)
                        .is_some_and(|answer| answer.header.rst && answer.destination == source)
                        && frame.direction == Direction::Out
                },
                SOON,
            )
            .unwrap();
        // Multicast reports of the host may arrive first.
        let arrived = frames
            .iter()
            .filter(|it| it.direction == Direction::In)
            .find(|it| Segment::read(&it.bytes).is_some());
        assert_eq!(arrived.unwrap().bytes, frame);
    }
}

#[test]
fn the_kernel_accepts_options_extensions_and_fragments() {
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let capture = Capture::new(&pair.server, Pair::SERVER_INTERFACE).unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let syn = |family: usize, port| {
        let source = SocketAddr::new(CLIENT[family], port);
        Frame::syn(source, SocketAddr::new(SERVER[family], 61000))
    };
    let options = syn(0, 1001).ipv4_options([1, 1, 1, 1]);
    let extended = syn(1, 1002)
        .extension(Extension::hop_by_hop())
        .extension(Extension::destination_options())
        .tcp(|tcp| (tcp.ece, tcp.cwr) = (true, true));
    let one = |frame: &Frame| vec![frame.bytes().unwrap()];
    for (port, frames) in [
        (1001, one(&options)),
        (1002, one(&extended)),
        (1003, syn(0, 1003).payload([7; 9]).fragments(24).unwrap()),
        (1004, syn(1, 1004).payload([7; 9]).fragments(24).unwrap()),
        (1005, syn(1, 1005).fragments(64).unwrap()),
    ] {
        for frame in frames {
            sender.send(&frame).unwrap();
        }
        let answered =
            |frame: &[u8]| Segment::read(frame).is_some_and(|it| it.destination.port() == port);
        capture.until(|it| answered(&it.bytes), SOON).unwrap();
    }
    assert_eq!(syn(0, 1).payload([7; 9]).fragments(24).unwrap().len(), 2);
}

#[test]
fn a_missing_answer_is_detected() {
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let capture = Capture::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let syn = |port| {
        let source = SocketAddr::new(CLIENT[0], port);
        Frame::syn(source, SocketAddr::new(SERVER[0], 61000))
    };
    // The kernel never answers a RST without ACK to a closed port, but it answers the SYN after it.
    let reset = syn(1001).tcp(|tcp| (tcp.syn, tcp.rst) = (false, true));
    sender.send(&reset.bytes().unwrap()).unwrap();
    sender.send(&syn(1002).bytes().unwrap()).unwrap();
    let answers = |port| {
        move |bytes: &[u8]| Segment::read(bytes).is_some_and(|it| it.destination.port() == port)
    };
    let frames = capture.until(|it| answers(1002)(&it.bytes), SOON).unwrap();
    assert!(!frames.iter().any(|it| answers(1001)(&it.bytes)));
    let error = capture.until(|it| answers(1001)(&it.bytes), SILENCE);
    assert!(error.unwrap_err().to_string().contains("did not come"));
}

#[test]
fn tags_and_headers_are_in_order() {
    let source = SocketAddr::new(CLIENT[1], 1);
    let frame = Frame::syn(source, SocketAddr::new(SERVER[1], 2))
        .tag(Tag::Provider(10))
        .tag(Tag::Customer(20))
        .tag(Tag::Customer(30))
        .extension(Extension::routing())
        .extension(Extension::Authentication(vec![0; 12]))
        .extension(Extension::destination_options());
    let bytes = frame.bytes().unwrap();
    let tags = [
        0x88, 0xa8, 0, 10, 0x81, 0, 0, 20, 0x81, 0, 0, 30, 0x86, 0xdd,
    ];
    assert_eq!(bytes[12..26], tags);
    let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
    assert_eq!(packet.link_exts.len(), 3);
    assert_eq!(Segment::read(&bytes).unwrap().source, source);

    assert_eq!(truncations(&bytes).count(), bytes.len());
    assert!(bit_flips(&bytes).all(|flipped| flipped != bytes && flipped.len() == bytes.len()));
    let mixed = Frame::new(
        CLIENT[0],
        SERVER[1],
        Content::Other {
            protocol: Protocol::UDP,
            bytes: Vec::new(),
        },
    );
    mixed.bytes().unwrap_err();
}

#[test]
fn dropping_a_namespace_destroys_it() {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let path = namespace.path();
    let inode = path.metadata().unwrap().ino();
    let mut command = namespace.command("readlink");
    let inside = command.arg("/proc/self/ns/net").output().unwrap();
    assert_eq!(
        String::from_utf8(inside.stdout).unwrap(),
        format!("net:[{inode}]\n")
    );
    drop(namespace);

    // Another file may reuse the file descriptor's number; the namespace must be gone.
    let gone = path.metadata().map_or(true, |now| now.ino() != inode);
    assert!(gone);
    let held = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!held.contains(&format!("net:[{inode}]")));
}

#[test]
fn a_pin_is_visible_in_its_namespace_only() {
    knock_tests::needs_bpf!();
    let namespace = Namespace::new().unwrap();
    let maps = pin(&namespace).unwrap();
    assert!(
        maps.iter().all(|id| exists(*id)),
        "the pin keeps the maps alive"
    );
    let other = Namespace::new().unwrap();
    let sees = |namespace: &Namespace| {
        let seen = namespace.run(|| Ok(Path::new(PIN).exists())).unwrap();
        let mut command = namespace.command("test");
        let listed = command.args(["-e", PIN]).status().unwrap();
        assert_eq!(
            listed.success(),
            seen,
            "a command and a thread see the same pins"
        );
        seen
    };
    assert!(sees(&namespace) && !sees(&other));
    assert!(!Path::new(PIN).exists());
}

#[test]
fn a_pin_is_gone_with_its_namespace() {
    knock_tests::needs_bpf!();
    let namespace = Namespace::new().unwrap();
    let maps = pin(&namespace).unwrap();
    let process = {
        let mut command = namespace.command("sh");
        command.args(["-c", "echo up; exec sleep 60"]);
        Running::spawn(command).unwrap()
    };
    process.wait_for(|line| line == "up", SOON).unwrap();
    drop(namespace);
    assert!(
        maps.iter().all(|id| exists(*id)),
        "the process keeps the namespace alive"
    );
    drop(process);
    wait_until_freed(&maps);
}

#[test]
fn a_pin_is_gone_when_the_owner_is_killed() {
    knock_tests::needs_bpf!();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "holds_a_pin", "--ignored", "--nocapture"]);
    let (mut process, _stdin) = Running::spawn_fed(command).unwrap();
    let line = process
        .wait_for(|line| line.contains("maps: "), SOON)
        .unwrap();
    let ids = line.rsplit("maps: ").next().unwrap();
    let maps: Vec<u32> = ids.split(' ').map(|id| id.parse().unwrap()).collect();
    assert!(maps.iter().all(|id| exists(*id)));
    process.signal(Signal::SIGKILL).unwrap();
    assert!(!process.wait(SOON).unwrap().success());
    wait_until_freed(&maps);
}

#[test]
#[ignore = "run in a child process that another test kills"]
fn holds_a_pin() {
    let namespace = Namespace::new().unwrap();
    let ids: Vec<String> = pin(&namespace)
        .unwrap()
        .iter()
        .map(u32::to_string)
        .collect();
    println!("maps: {}", ids.join(" "));
    // Ends with the parent process.
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Pins the daemon's program in `namespace`, so that nothing else refers to it, and returns the ids
/// of its maps.
fn pin(namespace: &Namespace) -> Result<Vec<u32>> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    namespace.run(|| {
        let _entered = runtime.enter();
        let settings = Settings::new(Window::DEFAULT, Verdict::Drop, DEFAULT_EVENT_RATE);
        let mut xdp = Xdp::load(settings, KernelLog::discarded())?;
        let program = xdp.program()?;
        program.pin(PIN)?;
        let maps = program
            .info()?
            .map_ids()?
            .context("the program has no maps")?;
        Ok(maps)
    })
}

/// Whether the kernel has a map with this id. Ids are not reused soon.
fn exists(map: u32) -> bool {
    MapInfo::from_id(map).is_ok()
}

/// Waits until all `maps` are freed. The kernel destroys namespaces asynchronously and without
/// notification.
fn wait_until_freed(maps: &[u32]) {
    let deadline = Instant::now() + SOON;
    while maps.iter().any(|id| exists(*id)) {
        assert!(Instant::now() < deadline, "{maps:?} are still there");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_namespace_can_be_without_a_bpf_filesystem() {
    knock_tests::needs_bpf!();
    let kind = |namespace: &Namespace| {
        let mut command = namespace.command("stat");
        command.args(["--file-system", "--format=%T", "/sys/fs/bpf"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(kind(&Namespace::new().unwrap()), "bpf_fs\n");
    let namespace = Namespace::without_bpffs().unwrap();
    assert_eq!(kind(&namespace), "tmpfs\n");
    // knockd mounts it, and every process in the namespace sees it.
    let root = Path::new("/sys/fs/bpf/knockd");
    namespace
        .run(|| PinDir::prepare(root).map(|()| assert!(PinDir::at(root).is_empty())))
        .unwrap();
    assert_eq!(kind(&namespace), "bpf_fs\n");
    assert!(!root.exists());
}

#[test]
fn commands_in_a_namespace_keep_the_working_directory() {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = env::current_dir().unwrap();
    assert_ne!(folder, Path::new("/"));
    assert_eq!(namespace.run(|| Ok(env::current_dir()?)).unwrap(), folder);
    let output = namespace.command("/bin/pwd").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(Path::new(printed.trim_end()), folder);
    assert_eq!(env::current_dir().unwrap(), folder);
}

#[test]
fn a_process_is_killed_when_its_spawning_thread_ends() {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let mut process = std::thread::scope(|scope| {
        let spawned = scope.spawn(|| {
            let mut command = namespace.command("sh");
            command.args(["-c", "echo up; exec sleep 60"]);
            let process = Running::spawn(command).unwrap();
            process.wait_for(|line| line == "up", SOON).unwrap();
            process
        });
        spawned.join().unwrap()
    });
    assert!(!process.wait(SOON).unwrap().success());
}

#[test]
fn wait_for_returns_matching_output() {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let script =
        "trap 'echo bye >&2; exit 3' TERM; echo ready; while read line; do echo got $line; done";
    let mut command = namespace.command("sh");
    command.args(["-c", script]);
    let (mut process, mut stdin) = Running::spawn_fed(command).unwrap();
    process.wait_for(|line| line == "ready", SOON).unwrap();
    let mark = process.mark();
    stdin.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(
        process
            .wait_for_after(mark, |line| line.starts_with("got"), SOON)
            .unwrap(),
        "got one"
    );
    process.wait_for(|line| line == "got two", SOON).unwrap();

    let start = Instant::now();
    let error = process
        .wait_for(|line| line == "three", SILENCE)
        .unwrap_err();
    assert!(start.elapsed() >= SILENCE);
    assert!(error.to_string().contains("got two"), "{error}");
    process.wait(SILENCE).unwrap_err();

    process.signal(Signal::SIGTERM).unwrap();
    drop(stdin);
    assert_eq!(process.wait(SOON).unwrap().code(), Some(3));
    assert_eq!(process.text(Stream::Err), "bye\n");
    let error = process.wait_for(|line| line == "three", SOON).unwrap_err();
    assert!(error.to_string().contains("it ended"), "{error}");
}

#[test]
fn an_unprivileged_command_has_no_capability() {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let output = namespace
        .unprivileged_command("/bin/cat")
        .arg("/proc/self/status")
        .output()
        .unwrap();
    let status = String::from_utf8(output.stdout).unwrap();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert!(
            status.contains(&format!("{set}:\t0000000000000000")),
            "{status}"
        );
    }
}
