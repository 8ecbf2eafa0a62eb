//! Datagram knocks over a real link to the real daemon, and the service that shares their port.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Output,
    time::Duration,
};

use knock_common::{
    datagram::DATAGRAM_LEN,
    protocol::{
        datagram::{Beneficiary, Request},
        door::LongTag,
        identity::{KeyPair, PrivateKey},
        lease::RequestedLease,
    },
};
use knock_tests::{
    frame::Frame,
    link::Pair,
    scene::{
        DATAGRAM_PORT, PAIR_CONFIGURATION, SERVER_PUBLIC, SOON, SOURCE, STRANGER, Scene,
        datagram_request, laptop, program, seal_datagram, tablet, unix_ms,
    },
};

/// The configuration with a door that opens for other addresses.
fn configuration() -> String {
    format!(
        "{PAIR_CONFIGURATION}\n\
         [[door]]\n\
         name = \"guest\"\n\
         allow_other = true\n\
         run = [\"sh\", \"-c\", \"echo open %DOOR% $KNOCK_IP >> {{folder}}/commands\"]\n\
         close = [\"sh\", \"-c\", \"echo close %DOOR% $KNOCK_IP >> {{folder}}/commands\"]\n\
         for = \"1h\"\n"
    )
}

fn scene() -> Scene {
    Scene::with(&configuration()).unwrap()
}

fn request(door: &str) -> Request {
    datagram_request(door, SOURCE.ip()).unwrap()
}

fn sealed(request: &Request) -> [u8; DATAGRAM_LEN] {
    seal_datagram(&laptop().unwrap(), request).unwrap()
}

fn counter(scene: &Scene, name: &str) -> u64 {
    scene.status().unwrap()["daemon"][name].as_u64().unwrap()
}

fn knock(scene: &Scene, options: &[&str]) -> Output {
    let mut knock = scene.pair.client.command(program("knock").unwrap());
    knock.args(["--udp", "--client", "laptop", "--server-key", SERVER_PUBLIC]);
    knock.arg("--key-file").arg(scene.files.path("laptop.key"));
    let output = knock.args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
fn a_datagram_opens_over_both_families() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let v6 = SocketAddr::new(Pair::CLIENT_V6.into(), 40_000);
    for source in [SOURCE, v6] {
        let request = datagram_request("ssh", source.ip()).unwrap();
        scene.send_datagram(&sealed(&request), source).unwrap();
        scene.opened("ssh", source.ip()).unwrap();
    }
    let request = request("backup");
    let datagram = seal_datagram(&tablet().unwrap(), &request).unwrap();
    scene.send_datagram(&datagram, SOURCE).unwrap();
    scene.opened("backup", SOURCE.ip()).unwrap();
    assert_eq!(
        scene.files.commands(),
        [
            "open ssh 192.0.2.2 laptop 3600",
            "open ssh 2001:db8::2 laptop 3600",
            "open backup 192.0.2.2",
        ]
    );
}

#[test]
fn the_real_client_opens_and_closes() {
    knock_tests::needs_bpf!();
    let scene = scene();
    for (server, source) in [
        ("192.0.2.1", IpAddr::from(Pair::CLIENT_V4)),
        ("2001:db8::1", Pair::CLIENT_V6.into()),
    ] {
        knock(&scene, &["--for", "2h", server, "ssh"]);
        scene.opened("ssh", source).unwrap();
        scene
            .logged(&[&format!("source={source} lease=7200s")])
            .unwrap();
        knock(&scene, &["--close", server, "ssh"]);
        scene
            .logged(&["closed door=\"ssh\"", &format!("source={source}")])
            .unwrap();
    }
    // The client's copies are dropped in the kernel.
    assert_eq!(counter(&scene, "copies"), 0);
    assert_eq!(counter(&scene, "accepted"), 4);
}

#[test]
fn a_door_closes_only_for_the_client_that_opened_it() {
    knock_tests::needs_bpf!();
    let scene = scene();
    scene
        .send_datagram(&sealed(&request("ssh")), SOURCE)
        .unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let close = Request {
        lease: RequestedLease::CLOSE,
        ..request("ssh")
    };
    let of_another = seal_datagram(&tablet().unwrap(), &close).unwrap();
    scene.send_datagram(&of_another, SOURCE).unwrap();
    scene
        .logged(&["\"tablet\" asks to close door \"ssh\"", "not open for it"])
        .unwrap();
    assert_eq!(scene.files.commands().len(), 1);
    scene.send_datagram(&sealed(&close), SOURCE).unwrap();
    scene.logged(&["closed door=\"ssh\""]).unwrap();
    assert_eq!(scene.files.commands()[1], "close ssh 192.0.2.2");
}

#[test]
fn a_door_opens_for_another_address_only_if_it_may() {
    knock_tests::needs_bpf!();
    let scene = scene();
    knock(
        &scene,
        &["--open-for", "198.51.100.9", "192.0.2.1", "guest"],
    );
    scene
        .opened("guest", IpAddr::from([198, 51, 100, 9]))
        .unwrap();
    knock(&scene, &["--open-for", "198.51.100.9", "192.0.2.1", "ssh"]);
    scene
        .logged(&["refused source=192.0.2.2 reason=for-other client=\"laptop\""])
        .unwrap();
    assert_eq!(scene.files.commands(), ["open guest 198.51.100.9"]);
}

#[test]
fn every_refusal_has_a_reason_and_a_counter() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let now = unix_ms().unwrap();
    let made = |unix_ms| Request {
        unix_ms,
        ..request("ssh")
    };
    let with = |beneficiary| Request {
        beneficiary,
        ..request("ssh")
    };
    let stranger = KeyPair::from(PrivateKey::new([42; 32]));
    let mut changed = sealed(&request("ssh"));
    changed[100] ^= 1;
    // With a valid `mac1`, as anybody can make it who knows the server's public key.
    let mac1 = {
        use knock_common::{datagram::mac1, protocol::datagram::mac1_key};
        let key = mac1_key(&SERVER_PUBLIC.parse().unwrap());
        mac1(key, changed.first_chunk().unwrap())
    };
    changed[136..].copy_from_slice(&mac1);
    let unknown = Request {
        door: LongTag::of("nowhere"),
        ..request("ssh")
    };
    let backup = sealed(&request("backup"));
    let unbound = Request {
        beneficiary: Beneficiary::Sender,
        ..request("backup")
    };
    for (datagram, reason, counted) in [
        (changed, "reason=forged", "refused_forged"),
        (
            seal_datagram(&stranger, &request("ssh")).unwrap(),
            "reason=forged",
            "refused_forged",
        ),
        (
            sealed(&unknown),
            "reason=unknown-door",
            "refused_unknown_tag",
        ),
        (
            backup,
            "may not open this door",
            "refused_client_not_allowed",
        ),
        (sealed(&made(now - 600_000)), "stale by 60", "refused_stale"),
        (
            sealed(&made(now + 600_000)),
            "in the future: check the client's clock",
            "refused_stale",
        ),
        (
            sealed(&with(Beneficiary::Bound(STRANGER.ip()))),
            "bound to another address",
            "refused_binding",
        ),
        (
            seal_datagram(&tablet().unwrap(), &unbound).unwrap(),
            "not bound to an address, which this door requires",
            "refused_binding",
        ),
        (
            sealed(&with(Beneficiary::Other(STRANGER.ip()))),
            "for another address than its own",
            "refused_binding",
        ),
    ] {
        let before = counter(&scene, counted);
        scene.send_datagram(&datagram, SOURCE).unwrap();
        scene.logged(&["refused source=192.0.2.2", reason]).unwrap();
        assert_eq!(counter(&scene, counted), before + 1, "{reason}");
    }
    assert!(scene.accepted().is_empty());
}

#[test]
fn a_recording_opens_nothing_before_and_after_a_restart() {
    knock_tests::needs_bpf!();
    let mut scene = scene();
    let unbound = Request {
        beneficiary: Beneficiary::Sender,
        ..request("ssh")
    };
    let recorded = [sealed(&request("ssh")), sealed(&unbound)];
    // Faster than the genuine one: a bound datagram is refused there, and accepted later.
    scene.send_datagram(&recorded[0], STRANGER).unwrap();
    scene
        .logged(&["refused source=192.0.2.66 reason=elsewhere"])
        .unwrap();
    for datagram in &recorded {
        scene.send_datagram(datagram, SOURCE).unwrap();
    }
    scene.logged(&["open already, extended"]).unwrap();
    let replay = |scene: &Scene| {
        for (last, datagram) in (100..).zip(recorded.iter().cycle().take(40)) {
            let elsewhere = SocketAddr::new([192, 0, 2, last].into(), 40_000);
            scene.send_datagram(datagram, elsewhere).unwrap();
        }
        scene.settle().unwrap();
    };
    let accepted = counter(&scene, "accepted");
    replay(&scene);
    assert_eq!(counter(&scene, "accepted"), accepted + 1, "the witness's");
    // Decrypted once each, and never again.
    assert_eq!(
        counter(&scene, "datagrams") - counter(&scene, "datagrams_repeated"),
        2
    );
    scene.stop().unwrap();
    scene.restart().unwrap();
    replay(&scene);
    assert_eq!(counter(&scene, "accepted"), 1, "the witness's");
    assert!(counter(&scene, "refused_replayed") > 0);
}

/// A service on the port of datagram knocks. It receives everything that is no knock, unchanged.
#[test]
fn a_service_shares_the_port() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let address = SocketAddr::new(Pair::SERVER_V4.into(), DATAGRAM_PORT);
    let bind = move || Ok(UdpSocket::bind(address)?);
    let service = scene.pair.server.run(bind).unwrap();
    service.set_read_timeout(Some(SOON)).unwrap();
    let bind = || Ok(UdpSocket::bind((Pair::CLIENT_V4, 0))?);
    let user = scene.pair.client.run(bind).unwrap();
    user.set_read_timeout(Some(SOON)).unwrap();

    let knock = sealed(&request("ssh"));
    let mut forged = knock;
    forged[136] ^= 1;
    let messages: [&[u8]; 6] = [
        b"",
        b"a question",
        &knock[..143],
        &[&knock[..], &[0]].concat(),
        &forged,
        &[7; 1400],
    ];
    // A knock between them reaches the daemon and not the service.
    user.send_to(&knock, address).unwrap();
    let mut buffer = [0; 2048];
    for message in messages {
        user.send_to(message, address).unwrap();
        let (len, from) = service.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], message);
        service.send_to(&buffer[..len], from).unwrap();
        let (len, _) = user.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], message);
    }
    scene.opened("ssh", SOURCE.ip()).unwrap();
}

/// Spoofed SYNs with the client's address use up the budget of SYNs, and not that of datagrams.
#[test]
fn a_flood_of_syns_with_the_clients_address_does_not_stop_its_datagram() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let server = SocketAddr::new(Pair::SERVER_V4.into(), 61_007);
    for port in 0..2000 {
        let spoofed = SocketAddr::new(SOURCE.ip(), 20_000 + port);
        scene.send(&[Frame::syn(spoofed, server)]).unwrap();
    }
    scene
        .send_datagram(&sealed(&request("ssh")), SOURCE)
        .unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let limited = scene.status().unwrap()["kernel"]["rate_limited"].as_u64();
    assert!(limited.unwrap() > 0);
}

/// Without `[datagram]` a knock is a datagram like any other, and the listener does not have the
/// server's key.
#[test]
fn without_the_section_nothing_is_taken() {
    knock_tests::needs_bpf!();
    let off = PAIR_CONFIGURATION.replace("[datagram]\nport = 62201\n", "");
    let scene = Scene::with(&off).unwrap();
    let address = SocketAddr::new(Pair::SERVER_V4.into(), DATAGRAM_PORT);
    let bind = move || Ok(UdpSocket::bind(address)?);
    let service = scene.pair.server.run(bind).unwrap();
    service.set_read_timeout(Some(SOON)).unwrap();
    let datagram = sealed(&request("ssh"));
    scene.send_datagram(&datagram, SOURCE).unwrap();
    let mut buffer = [0; 2048];
    let (len, _) = service.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], datagram);
    assert_eq!(counter(&scene, "datagrams"), 0);
}

/// A reload switches datagram knocks on, moves their port, and changes the server's identity.
#[test]
fn a_reload_changes_the_port() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let moved = |text: &str| text.replace("port = 62201", "port = 443");
    let path = scene.files.path("knockd.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, moved(&text)).unwrap();
    let mut reload = scene.watch("reload").unwrap();
    assert!(reload.status().unwrap().success());
    let elsewhere = Frame::datagram(SOURCE, (Pair::SERVER_V4, 443).into());
    let datagram = sealed(&request("ssh"));
    scene.send_datagram(&datagram, SOURCE).unwrap();
    scene.send(&[elsewhere.payload(datagram)]).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    assert_eq!(counter(&scene, "datagrams"), 1);
}

/// From start to last packet a datagram knock takes milliseconds.
#[test]
fn the_client_sends_its_copies_at_once() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let bind = || Ok(UdpSocket::bind((Pair::SERVER_V4, 1000))?);
    let server = scene.pair.server.run(bind).unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    knock(&scene, &["--udp-port", "1000", "192.0.2.1", "ssh"]);
    let mut buffer = [0; 2048];
    let mut first = None;
    let mut copies = 0;
    server
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while let Ok(len) = server.recv(&mut buffer) {
        let datagram = buffer[..len].to_vec();
        assert_eq!(len, DATAGRAM_LEN);
        assert_eq!(*first.get_or_insert(datagram.clone()), datagram);
        copies += 1;
    }
    assert_eq!(copies, 4);
}
