use std::{net::IpAddr, time::Duration};

use knock_common::protocol::datagram::MESSAGE_LEN;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::testing::hex;

#[derive(Deserialize)]
struct Vectors {
    datagram: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    client_private: String,
    server_public: String,
    ephemeral_private: String,
    door: String,
    unix_ms: u64,
    address: Option<IpAddr>,
    for_other: bool,
    lease_seconds: u32,
    datagram: String,
}

fn lease(seconds: u32) -> RequestedLease {
    match seconds {
        0 => RequestedLease::DOORS_DEFAULT,
        u32::MAX => RequestedLease::CLOSE,
        seconds => RequestedLease::of(Duration::from_secs(seconds.into())).unwrap(),
    }
}

#[test]
fn sends_the_datagram_of_every_vector() {
    let vectors = include_str!("../../../../knock-common/src/protocol/vectors.json");
    let vectors: Vectors = serde_json::from_str(vectors).unwrap();
    assert_eq!(vectors.datagram.len(), 5);
    for vector in vectors.datagram {
        let pair = KeyPair::from(PrivateKey::new(hex(&vector.client_private)));
        let server = PublicKey(hex(&vector.server_public));
        let beneficiary = match vector.address {
            None => Beneficiary::Sender,
            Some(address) if vector.for_other => Beneficiary::Other(address),
            Some(address) => Beneficiary::Bound(address),
        };
        let datagram = DatagramKnocks::new(pair, server, &vector.door)
            .knock(
                beneficiary,
                lease(vector.lease_seconds),
                vector.unix_ms,
                PrivateKey::new(hex(&vector.ephemeral_private)),
            )
            .unwrap();
        assert_eq!(datagram, hex(&vector.datagram));
    }
}

fn pair(byte: u8) -> KeyPair {
    KeyPair::from(PrivateKey::new([byte; 32]))
}

fn pace(delay: &str, copies: &str) -> Pace {
    Pace {
        delay: delay.parse().unwrap(),
        copies: copies.parse().unwrap(),
    }
}

#[test]
fn debug_shows_no_private_key() {
    let knocks = DatagramKnocks::new(pair(65), pair(66).public(), "ssh");
    let shown = format!("{knocks:?}");
    assert!(shown.contains("server") && !shown.contains("65"), "{shown}");
}

#[test]
fn a_server_key_of_low_order_is_refused() {
    let knocks = DatagramKnocks::new(pair(1), PublicKey([0; 32]), "ssh");
    let lease = RequestedLease::DOORS_DEFAULT;
    let ephemeral = PrivateKey::new([9; 32]);
    let made = knocks.knock(Beneficiary::Sender, lease, 0, ephemeral);
    assert_eq!(made, Err(LowOrder));
}

#[test]
fn every_copy_is_the_same_datagram() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let datagram: Datagram = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let to = server.local_addr().unwrap();
    let sent = send_datagrams(&[(to, datagram)], pace("0", "8"));
    assert_eq!(sent.into_iter().next().unwrap().unwrap(), 8);
    let mut sources = Vec::new();
    for _ in 0..8 {
        let mut buffer = [0; 2 * DATAGRAM_LEN];
        let (len, source) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..len], datagram);
        sources.push(source);
    }
    // One source port, so that a stateful firewall on the way sees one flow.
    sources.dedup();
    assert_eq!(sources.len(), 1);
}

#[test]
fn a_closed_port_does_not_stop_a_copy() {
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = closed.local_addr().unwrap();
    drop(closed);
    let sent = send_datagrams(&[(to, [0; DATAGRAM_LEN])], pace("1ms", "4"));
    assert_eq!(sent.into_iter().next().unwrap().unwrap(), 4);
}

#[test]
fn an_unreachable_target_does_not_stop_the_others() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Without permission to broadcast, the system sends nothing to this address.
    let refused: SocketAddr = (Ipv4Addr::BROADCAST, 9).into();
    let to = server.local_addr().unwrap();
    let datagram = [0; DATAGRAM_LEN];
    let sent = send_datagrams(&[(refused, datagram), (to, datagram)], pace("0", "2"));
    assert!(sent[0].is_err(), "{sent:?}");
    assert_eq!(*sent[1].as_ref().unwrap(), 2);
}

#[cfg_attr(windows, ignore = "the clock of Windows ticks every 16 ms")]
#[test]
fn the_defaults_take_less_than_3_ms() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = server.local_addr().unwrap();
    // The best of a few, because the other tests run at the same time.
    let best = (0..20)
        .map(|_| {
            let start = Instant::now();
            send_datagrams(&[(to, [0; DATAGRAM_LEN])], Pace::DATAGRAMS);
            start.elapsed()
        })
        .min()
        .unwrap();
    assert!(best >= Duration::from_micros(2250), "{best:?}");
    assert!(best < Duration::from_millis(3), "{best:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_server_reads_what_was_asked(address: IpAddr, unix_ms: u64, seconds: u32, ephemeral: u8) {
        let knocks = DatagramKnocks::new(pair(1), pair(2).public(), "ssh");
        let beneficiary = Beneficiary::Bound(address.to_canonical());
        let ephemeral = PrivateKey::new([ephemeral; 32]);
        let datagram = knocks.knock(beneficiary, lease(seconds), unix_ms, ephemeral).unwrap();
        prop_assert!(datagram[..MESSAGE_LEN].iter().any(|byte| *byte != 0));
        let request = Request { door: LongTag::of("ssh"), unix_ms, beneficiary, lease: lease(seconds) };
        prop_assert_eq!(Request::open(&pair(2), &datagram), Ok((pair(1).public(), request)));
    }
}
