//! Knocks over a real link to the real daemon: which ones open a door, and which do not.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs, iter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{MetadataExt as _, chown},
    time::Duration,
};

use knock_common::{protocol::block::Block, window::Window};
use knock_tests::{
    frame::{Frame, Segment, Tag},
    link::Pair,
    scene::{BACKUP, LAPTOP, PHONE, SOON, SSH, Scene, classic, program, syns},
    wire::{Capture, Direction},
};

const V4: IpAddr = IpAddr::V4(Pair::SERVER_V4);
const V6: IpAddr = IpAddr::V6(Pair::SERVER_V6);

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(Pair::CLIENT_V4.into(), port)
}

fn client_v6(port: u16) -> SocketAddr {
    SocketAddr::new(Pair::CLIENT_V6.into(), port)
}

/// The knock of client `laptop` at door `ssh`.
fn knock(source: SocketAddr) -> Vec<Frame> {
    let server = if source.is_ipv4() { V4 } else { V6 };
    classic(LAPTOP, SSH, source, server).unwrap()
}

/// SYNs to the window that belong to no knock.
fn unrelated_syns(source: SocketAddr, len: u16) -> Vec<Frame> {
    (0..len)
        .map(|i| {
            let port = Window::DEFAULT.port(u8::try_from(i * 7 % 256).unwrap());
            let source = SocketAddr::new(source.ip(), source.port() + 3 * i);
            Frame::syn(source, SocketAddr::new(V4, port))
        })
        .collect()
}

/// Asserts that `frames` open door `ssh` for `source` exactly once.
fn opens(frames: &[Frame], source: IpAddr) {
    let scene = Scene::new().unwrap();
    scene.send(frames).unwrap();
    scene.opened("ssh", source).unwrap();
    scene.settle().unwrap();
    let opened = format!("open ssh {source} laptop 3600");
    assert_eq!(scene.files.commands()[..1], [opened]);
    assert_eq!(
        scene.files.commands().len(),
        2,
        "the knock and that of settle()"
    );
}

/// Asserts that `frames` open no door.
fn opens_nothing(frames: &[Frame]) {
    let scene = Scene::new().unwrap();
    scene.send(frames).unwrap();
    scene.settle().unwrap();
    assert!(scene.accepted().is_empty(), "{:?}", scene.accepted());
    assert_eq!(
        scene.files.commands().len(),
        1,
        "only the knock of settle()"
    );
}

#[test]
fn the_real_client_opens_a_door_over_both_families() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let program = program("knock").unwrap();
    // The client runs as the user who built it, who cannot read the daemon's files.
    let folder = tempfile::tempdir().unwrap();
    let passphrase = folder.path().join("passphrase");
    fs::copy(scene.files.path("laptop.passphrase"), &passphrase).unwrap();
    let user = program.metadata().unwrap();
    for path in [folder.path(), &passphrase] {
        chown(path, Some(user.uid()), Some(user.gid())).unwrap();
    }
    for (server, source) in [(V4, client(0).ip()), (V6, client_v6(0).ip())] {
        let mut knock = scene.pair.client.unprivileged_command(&program);
        knock.args(["--classic", "--sequence", "1,2,3,4", "--passphrase-file"]);
        knock.arg(&passphrase);
        let output = knock.arg(server.to_string()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        scene.opened("ssh", source).unwrap();
    }
}

#[test]
fn ipv4_and_ipv6_open() {
    knock_tests::needs_bpf!();
    opens(&knock(client(40_000)), client(0).ip());
    opens(&knock(client_v6(40_000)), client_v6(0).ip());
}

#[test]
fn vlan_tags_do_not_hide_a_knock() {
    knock_tests::needs_bpf!();
    let tagged: Vec<_> = knock(client(40_000))
        .into_iter()
        .map(|frame| frame.tag(Tag::Provider(7)).tag(Tag::Customer(9)))
        .collect();
    opens(&tagged, client(0).ip());
    let tagged: Vec<_> = knock(client_v6(40_000))
        .into_iter()
        .map(|frame| frame.tag(Tag::Customer(9)))
        .collect();
    opens(&tagged, client_v6(0).ip());
}

#[test]
fn ip_options_and_ecn_do_not_hide_a_knock() {
    knock_tests::needs_bpf!();
    let frames: Vec<_> = knock(client(40_000))
        .into_iter()
        .map(|frame| {
            frame.ipv4_options([1; 40]).tcp(|tcp| {
                tcp.ece = true;
                tcp.cwr = true;
            })
        })
        .collect();
    opens(&frames, client(0).ip());
}

#[test]
fn a_repeated_port_is_not_a_retransmission() {
    knock_tests::needs_bpf!();
    // The block of this knock contains the same byte twice.
    let frames = knock(client(40_000));
    let mut ports: Vec<_> = frames.iter().map(destination_port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 15);
    opens(&frames, client(0).ip());
}

fn destination_port(frame: &Frame) -> u16 {
    let segment = Segment::read(&frame.bytes().unwrap()).unwrap();
    segment.destination.port()
}

#[test]
fn source_ports_put_reversed_syns_in_order() {
    knock_tests::needs_bpf!();
    let mut frames = knock(client(40_000));
    frames.reverse();
    opens(&frames, client(0).ip());
}

#[test]
fn arrival_order_is_enough_behind_a_nat() {
    knock_tests::needs_bpf!();
    let mut frames = knock(client(40_000));
    for (frame, port) in frames.iter_mut().zip((1024..).step_by(77)) {
        *frame = frame.clone().tcp(|tcp| tcp.source_port = port);
    }
    opens(&frames, client(0).ip());
}

#[test]
fn triplicated_syns_are_one_knock() {
    knock_tests::needs_bpf!();
    let frames: Vec<_> = knock(client(40_000))
        .into_iter()
        .flat_map(|frame| iter::repeat_n(frame, 3))
        .collect();
    opens(&frames, client(0).ip());
}

#[test]
fn noise_from_the_same_source_does_not_prevent_a_knock() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    scene.send(&unrelated_syns(client(1024), 21)).unwrap();
    scene.send(&knock(client(40_000))).unwrap();
    scene.opened("ssh", client(0).ip()).unwrap();
    scene.send(&unrelated_syns(client(2048), 13)).unwrap();
    let backup = classic(PHONE, BACKUP, client(50_000), V4).unwrap();
    scene.send(&backup).unwrap();
    scene.opened("backup", client(0).ip()).unwrap();
    assert_eq!(
        scene.files.commands(),
        ["open ssh 192.0.2.2 laptop 3600", "open backup 192.0.2.2"]
    );
}

#[test]
fn two_clients_may_knock_at_the_same_time() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let other = SocketAddr::new([192, 0, 2, 77].into(), 40_000);
    let other_knock = classic(PHONE, BACKUP, other, V4).unwrap();
    for (own_knock, other_knock) in knock(client(40_000)).iter().zip(&other_knock) {
        scene.send([own_knock, other_knock]).unwrap();
    }
    scene.opened("ssh", client(0).ip()).unwrap();
    scene.opened("backup", other.ip()).unwrap();
}

#[test]
fn a_knock_at_an_open_door_runs_nothing_twice() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    scene.send(&knock(client(40_000))).unwrap();
    scene.send(&knock(client(41_000))).unwrap();
    scene.logged(&["open already, extended"]).unwrap();
    scene.settle().unwrap();
    assert_eq!(
        scene.files.commands().len(),
        2,
        "one command, and that of settle()"
    );
}

#[test]
fn an_incomplete_sequence_opens_no_door() {
    knock_tests::needs_bpf!();
    opens_nothing(&knock(client(40_000))[..15]);
    let mut late_first = knock(client(40_000));
    late_first.remove(0);
    opens_nothing(&late_first);
}

#[test]
fn an_invalid_knock_is_refused_and_the_reason_is_logged() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let wrong = classic("wrong horse", SSH, client(40_000), V4).unwrap();
    scene.send(&wrong).unwrap();
    scene
        .logged(&["refused source=192.0.2.2 reason=bad-parity"])
        .unwrap();
    // A valid passphrase at a door that this client may not open.
    let not_permitted = classic(LAPTOP, BACKUP, client(50_000), V4).unwrap();
    scene.send(&not_permitted).unwrap();
    scene
        .logged(&["refused", "this client may not open this door"])
        .unwrap();
    let unknown = classic(LAPTOP, &[4, 3, 2, 1], client(52_000), V4).unwrap();
    scene.send(&unknown).unwrap();
    scene
        .logged(&["refused", "no door has this sequence"])
        .unwrap();
    scene.settle().unwrap();
    assert!(scene.accepted().is_empty());
}

/// Addresses that no other host has, the last of them the server's own.
#[test]
fn a_knock_from_an_impossible_address_is_counted_and_nothing_else() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let sources = [
        "0.0.0.0",
        "0.0.0.1",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "ff02::1",
        "192.0.2.1",
    ];
    for source in sources {
        let source = SocketAddr::new(source.parse().unwrap(), 40_000);
        scene.send(&knock(source)).unwrap();
    }
    scene.settle().unwrap();
    let status = scene.status().unwrap();
    assert_eq!(status["kernel"]["martian"], 16 * sources.len());
    assert_eq!(scene.files.commands().len(), 1, "that of settle()");
}

#[test]
fn an_old_syn_does_not_finish_a_knock() {
    knock_tests::needs_bpf!();
    let configuration = format!(
        "sequence_timeout = \"1s\"\n{}",
        knock_tests::scene::CONFIGURATION
    );
    let scene = Scene::with(&configuration).unwrap();
    let frames = knock(client(40_000));
    scene.send(&frames[..15]).unwrap();
    // Only time invalidates the sequence.
    std::thread::sleep(Duration::from_millis(1100));
    scene.send(&frames[15..]).unwrap();
    scene.settle().unwrap();
    assert!(scene.accepted().is_empty());
}

#[test]
fn packets_other_than_syns_are_ignored() {
    knock_tests::needs_bpf!();
    let frames: Vec<_> = knock(client(40_000))
        .into_iter()
        .map(|frame| frame.tcp(|tcp| tcp.ack = true))
        .collect();
    opens_nothing(&frames);
}

#[test]
fn a_scan_of_the_window_is_not_answered() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let capture = Capture::new(&scene.pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let scanned = |port: u16| Frame::syn(client(40_000), SocketAddr::new(V4, port));
    let window: Vec<_> = (0..=255)
        .map(|i| scanned(Window::DEFAULT.port(i)))
        .collect();
    scene.send(&window).unwrap();
    // A port outside the window answers with a RST, and after all earlier packets.
    let beside = Window::DEFAULT.base() - 1;
    scene.send(&[scanned(beside)]).unwrap();
    let answers = capture
        .until(
            |frame| answered_port(&frame.bytes, frame.direction) == Some(beside),
            SOON,
        )
        .unwrap();
    let from_window: Vec<_> = answers
        .iter()
        .filter_map(|frame| answered_port(&frame.bytes, frame.direction))
        .filter(|port| Window::DEFAULT.offset_of(*port).is_some())
        .collect();
    assert!(from_window.is_empty(), "{from_window:?}");
    scene.settle().unwrap();
    assert!(scene.accepted().is_empty());
    // The bucket of a source has 128 tokens and is refilled slowly during the scan.
    let status = scene.status().unwrap();
    assert!(status["kernel"]["rate_limited"].as_u64().unwrap() > 64);
}

/// Each SYN of the flood has another forged source, so they stay in the kernel, and with them the
/// first SYNs of the knock until its fourth.
#[test]
fn a_knock_in_a_flood_of_forged_sources_opens() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let forged = (0..4000_u32).map(|number| {
        let ip = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 1).to_bits() + number);
        Frame::syn(
            SocketAddr::new(ip.into(), 40_000),
            SocketAddr::new(V4, Window::DEFAULT.port(7)),
        )
    });
    let forged: Vec<_> = forged.collect();
    let knock = knock(client(40_000));
    let mut frames: Vec<&Frame> = Vec::new();
    for (flood, syn) in forged.chunks(250).zip(&knock) {
        frames.extend(flood);
        frames.push(syn);
    }
    scene.send(frames).unwrap();
    scene.opened("ssh", client(0).ip()).unwrap();
    let kernel = &scene.status().unwrap()["kernel"];
    assert!(kernel["held"].as_u64().unwrap() > 1000, "{kernel}");
}

fn answered_port(frame: &[u8], direction: Direction) -> Option<u16> {
    let segment = Segment::read(frame).filter(|_| direction == Direction::In)?;
    Some(segment.source.port())
}

#[test]
fn with_verdict_pass_the_host_answers() {
    knock_tests::needs_bpf!();
    let configuration = format!(
        "{}\n[window]\nverdict = \"pass\"\n",
        knock_tests::scene::CONFIGURATION
    );
    let scene = Scene::with(&configuration).unwrap();
    let capture = Capture::new(&scene.pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let frames = knock(client(40_000));
    let last = destination_port(&frames[15]);
    scene.send(&frames).unwrap();
    scene.opened("ssh", client(0).ip()).unwrap();
    capture
        .until(
            |frame| answered_port(&frame.bytes, frame.direction) == Some(last),
            SOON,
        )
        .unwrap();
}

#[test]
fn a_block_of_equal_bytes_is_tried() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    scene
        .send(&syns(Block([0; 16]), client(40_000), V4))
        .unwrap();
    scene.logged(&["refused source=192.0.2.2"]).unwrap();
}
