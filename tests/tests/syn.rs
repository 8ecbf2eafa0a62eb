//! SYN knocks over a real link to the real daemon: each opens a door once, from the address that
//! it is bound to, while it is fresh.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, net::SocketAddr, time::Duration};

use knock_common::protocol::{
    block::Block,
    door::ShortTag,
    identity::{KEY_LEN, KeyPair, PrivateKey},
    lease::RequestedLease,
    syn::{Binding, Request, Time40},
};
use knock_tests::{
    link::Pair,
    process::Running,
    scene::{
        LAPTOP_KEY, PAIR_CONFIGURATION, PHONE, SERVER_KEY, SERVER_PUBLIC, SOON, SOURCE, STRANGER,
        Scene, TABLET, laptop, program, request, request_of, seal, syn_key, tablet, unbound,
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn scene() -> Scene {
    Scene::with(PAIR_CONFIGURATION).unwrap()
}

fn made(offset_ms: i64) -> Request {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let now = u64::try_from(now).unwrap();
    Request {
        time: Time40::from_unix_ms(now.saturating_add_signed(offset_ms)),
        ..unbound().unwrap()
    }
}

#[test]
fn a_knock_opens_over_both_families_with_key_and_passphrase() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let v6 = SocketAddr::new(Pair::CLIENT_V6.into(), 40_000);
    for source in [SOURCE, v6] {
        let block = seal(&request("ssh", source.ip()).unwrap()).unwrap();
        scene.send_block(block, source).unwrap();
        scene.opened("ssh", source.ip()).unwrap();
    }
    let key = syn_key(&tablet().unwrap()).unwrap();
    let block = request_of(&key, "backup", SOURCE.ip()).unwrap().seal(&key);
    scene.send_block(block, SOURCE).unwrap();
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
fn the_real_client_knocks_with_a_passphrase() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let mut knock = scene.pair.client.command(program("knock").unwrap());
    knock.args(["--server-key", SERVER_PUBLIC]);
    knock.args(["--client", "tablet", "--passphrase-file"]);
    knock.arg(scene.files.path("tablet.passphrase"));
    // The door requires a binding. There is no NAT, so the source address is the one that the
    // client binds to.
    let output = knock.args(["192.0.2.1", "backup"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    scene.opened("backup", SOURCE.ip()).unwrap();
}

#[test]
fn a_configuration_with_a_thousand_clients_works() {
    knock_tests::needs_bpf!();
    let client = |n: u32| {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        KeyPair::from(PrivateKey::new(bytes))
    };
    let mut configuration = PAIR_CONFIGURATION.to_owned();
    for n in 0..1000 {
        let public = client(n).public();
        configuration += &format!("\n[[client]]\nname = \"c{n}\"\npublic_key = \"{public}\"\n");
    }
    let scene = Scene::with(&configuration).unwrap();
    let last = syn_key(&client(999)).unwrap();
    let block = request_of(&last, "ssh", SOURCE.ip()).unwrap().seal(&last);
    scene.send_block(block, SOURCE).unwrap();
    scene
        .logged(&["accepted door=\"ssh\" client=\"c999\" source=192.0.2.2"])
        .unwrap();
}

#[test]
fn the_requested_lease_is_granted_up_to_the_doors_maximum() {
    knock_tests::needs_bpf!();
    let scene = scene();
    for (last, asked, granted) in [(11, 600, 600), (12, 7200, 7200), (13, 65_534, 7200)] {
        let source = SocketAddr::new([192, 0, 2, last].into(), 40_000);
        let lease = RequestedLease::of(Duration::from_secs(asked)).unwrap();
        let block = seal(&Request {
            lease: lease.try_into().unwrap(),
            ..request("ssh", source.ip()).unwrap()
        })
        .unwrap();
        scene.send_block(block, source).unwrap();
        scene
            .logged(&[
                "accepted",
                &format!("source={} lease={granted}s", source.ip()),
            ])
            .unwrap();
    }
}

#[test]
fn every_refusal_has_a_reason_and_a_counter() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let template = request("ssh", SOURCE.ip()).unwrap();
    let tablet = syn_key(&tablet().unwrap()).unwrap();
    let backup = request("backup", SOURCE.ip()).unwrap();
    let unknown = Request {
        door: ShortTag::of("nowhere"),
        ..template
    };
    let elsewhere = Request {
        binding: Binding::to(STRANGER.ip(), &syn_key(&laptop().unwrap()).unwrap()),
        ..template
    };
    let cases: [(Block, &str, &str); 8] = [
        (Block([7; 16]), "reason=bad-parity", "refused_bad_parity"),
        (
            seal(&unknown).unwrap(),
            "reason=unknown-door",
            "refused_unknown_tag",
        ),
        (
            seal(&backup).unwrap(),
            "may not open this door",
            "refused_client_not_allowed",
        ),
        (
            seal(&made(-62_000)).unwrap(),
            "stale by 62",
            "refused_stale",
        ),
        (
            seal(&made(62_500)).unwrap(),
            "in the future: check the client's clock",
            "refused_stale",
        ),
        (
            seal(&made(-900_000_000)).unwrap(),
            "an old knock sent again",
            "refused_stale",
        ),
        (
            seal(&elsewhere).unwrap(),
            "bound to another address",
            "refused_binding",
        ),
        (
            Request {
                binding: Binding::Unbound,
                ..backup
            }
            .seal(&tablet),
            "not bound to an address, which this door requires",
            "refused_binding",
        ),
    ];
    for (i, (block, reason, counter)) in (0_u16..).zip(cases) {
        let before = scene.status().unwrap()["daemon"][counter].as_u64().unwrap();
        let source = SocketAddr::new(SOURCE.ip(), 10_000 + 100 * i);
        scene.send_block(block, source).unwrap();
        scene.logged(&["refused source=192.0.2.2", reason]).unwrap();
        // Blocks that mix SYNs of two cases are refused too, usually for bad parity.
        let after = scene.status().unwrap()["daemon"][counter].as_u64().unwrap();
        assert!(after > before, "{counter}");
    }
    assert!(scene.accepted().is_empty());
}

#[test]
fn a_knock_just_within_the_clock_skew_is_accepted() {
    knock_tests::needs_bpf!();
    let scene = scene();
    for (last, offset) in [(21, -58_000), (22, 58_000)] {
        let source = SocketAddr::new([192, 0, 2, last].into(), 40_000);
        scene
            .send_block(seal(&made(offset)).unwrap(), source)
            .unwrap();
        scene.opened("ssh", source.ip()).unwrap();
    }
}

#[test]
fn a_knock_is_accepted_only_once_even_after_a_restart() {
    knock_tests::needs_bpf!();
    let mut scene = scene();
    let sources: Vec<_> = (100..120)
        .map(|last| SocketAddr::new([192, 0, 2, last].into(), 40_000))
        .collect();
    let blocks: Vec<_> = sources
        .iter()
        .map(|_| seal(&unbound().unwrap()).unwrap())
        .collect();
    for (block, source) in blocks.iter().zip(&sources) {
        scene.send_block(*block, *source).unwrap();
        scene.opened("ssh", source.ip()).unwrap();
    }
    let replay_all = |scene: &Scene| {
        for (i, block) in (0_u16..).zip(&blocks) {
            // Sent from the original address with other ports, from the original address and ports,
            // and from another address.
            let own = sources[usize::from(i)];
            for source in [SocketAddr::new(own.ip(), 30_000), own, STRANGER] {
                let port = source.port() + 16 * i;
                scene
                    .send_block(*block, SocketAddr::new(source.ip(), port))
                    .unwrap();
            }
        }
        scene.settle().unwrap();
    };
    replay_all(&scene);
    assert_eq!(scene.accepted().len(), sources.len());
    scene.stop().unwrap();
    scene.restart().unwrap();
    replay_all(&scene);
    assert!(scene.accepted().is_empty(), "{:?}", scene.accepted());
    let status = scene.status().unwrap();
    assert!(
        status["daemon"]["refused_replayed"].as_u64().unwrap() >= 40,
        "{status}"
    );
    let opened = scene.files.commands();
    let opened = opened.iter().filter(|line| line.starts_with("open "));
    let opened: Vec<_> = opened.collect();
    assert_eq!(
        opened.len(),
        sources.len() + 2,
        "expected the knocks and two calls of settle(): {opened:?}"
    );
}

#[test]
fn a_second_copy_is_reported_as_a_copy() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let block = seal(&unbound().unwrap()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    // A copy that arrives before the knock is tried is a retransmission of its SYNs.
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene
        .logged(&[
            "reason=copy client=\"laptop\": a further copy of the knock that was just accepted",
        ])
        .unwrap();
    scene.settle().unwrap();
    let status = scene.status().unwrap();
    assert_eq!(status["daemon"]["copies"], 1);
    assert_eq!(status["daemon"]["refused_replayed"], 0);
}

#[test]
fn copies_after_a_restart_are_not_reported_as_replays() {
    knock_tests::needs_bpf!();
    let mut scene = scene();
    let bound = seal(&request("ssh", SOURCE.ip()).unwrap()).unwrap();
    let unbound = seal(&unbound().unwrap()).unwrap();
    let nat = SocketAddr::new([192, 0, 2, 30].into(), 40_000);
    let knocks = [(bound, SOURCE), (unbound, nat)];
    for (block, source) in knocks {
        scene.send_block(block, source).unwrap();
        scene.opened("ssh", source.ip()).unwrap();
    }
    scene.stop().unwrap();
    scene.restart().unwrap();
    for (block, source) in knocks {
        scene.send_block(block, source).unwrap();
        let refused = format!("refused source={} reason=repeated", source.ip());
        scene.logged(&[&refused]).unwrap();
    }
}

#[test]
fn secrets_do_not_appear_in_logs_status_or_stores() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let tail = Running::spawn(scene.watch("tail").unwrap()).unwrap();
    tail.wait_for(|line| line.contains("following"), SOON)
        .unwrap();
    scene
        .send_block(seal(&unbound().unwrap()).unwrap(), SOURCE)
        .unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.send_block(Block([9; 16]), SOURCE).unwrap();
    scene.settle().unwrap();
    tail.wait_for(|line| line.contains("192.0.2.250 succeeded"), SOON)
        .unwrap();

    let processes = [scene.knockd.id(), scene.listener().unwrap()];
    let of_processes = processes.into_iter().flat_map(|process| {
        let file = move |name| fs::read(format!("/proc/{process}/{name}")).unwrap();
        ["cmdline", "environ"].map(file)
    });
    let mut texts: Vec<_> = of_processes.collect();
    texts.extend([
        scene.status().unwrap().to_string().into_bytes(),
        fs::read(scene.files.path("state/knocks/accepted.journal")).unwrap(),
        fs::read(scene.files.path("state/leases.journal")).unwrap(),
    ]);
    for line in scene.knockd.lines().into_iter().chain(tail.lines()) {
        texts.push(line.text.into_bytes());
    }
    let raw_key: Vec<u8> = (0..32).collect();
    let key_text = LAPTOP_KEY.trim_start_matches("knock2:");
    let server_text = SERVER_KEY.trim_start_matches("knockd2:");
    for secret in [
        key_text.as_bytes(),
        server_text.as_bytes(),
        &raw_key,
        PHONE.as_bytes(),
        TABLET.as_bytes(),
    ] {
        for text in &texts {
            let found = text.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{}", String::from_utf8_lossy(text));
        }
    }
}

/// All of the flood, and the knock after it, are on the ring buffer before the listener goes on. The
/// knock and the administrator's question are answered before the blocks of the flood were tried.
#[test]
fn a_flood_of_sequences_delays_neither_a_knock_nor_the_administrator() {
    knock_tests::needs_bpf!();
    const ADDRESSES: u8 = 200;
    let others = (1..=2000_u16).map(|number| {
        let mut key = [1; KEY_LEN];
        key[8..10].copy_from_slice(&number.to_be_bytes());
        let public = PrivateKey::new(key).public();
        format!("[[client]]\nname = \"client{number}\"\npublic_key = \"{public}\"\n")
    });
    let configuration = PAIR_CONFIGURATION.to_owned() + &others.collect::<String>();
    let scene = Scene::with(&configuration).unwrap();
    let listener = Pid::from_raw(scene.listener().unwrap().try_into().unwrap());
    kill(listener, Signal::SIGSTOP).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    for address in 1..=ADDRESSES {
        // 48 SYNs, of which the last 33 complete a block each.
        for first_port in [30_000, 30_016, 30_032] {
            let block = Block(std::array::from_fn(|_| random.u8(..)));
            let source = SocketAddr::new([198, 18, 0, address].into(), first_port);
            scene.send_block(block, source).unwrap();
        }
    }
    let knock = seal(&request("ssh", SOURCE.ip()).unwrap()).unwrap();
    scene.send_block(knock, SOURCE).unwrap();
    kill(listener, Signal::SIGCONT).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let tried = scene.status().unwrap()["daemon"]["attempts"].as_u64();
    let all = u64::from(ADDRESSES) * 33;
    assert!(tried.unwrap() < all, "{tried:?} of {all}");
}
