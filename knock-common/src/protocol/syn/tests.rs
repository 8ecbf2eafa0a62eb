use core::net::{IpAddr, Ipv4Addr};
use std::string::ToString as _;

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000_000;
const SKEW: Duration = Duration::from_secs(60);
const SKEW_MS: u64 = 60_000;
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn key(byte: u8) -> SynKey {
    SynKey::new(&SynSecret::new([byte; SYN_SECRET_LEN]))
}

fn request(unix_ms: u64) -> Request {
    Request {
        door: DoorTag::of("ssh"),
        time: Time40::from_unix_ms(unix_ms),
        binding: Binding::to(SOURCE, &key(1)),
        lease: ShortLease::DOORS_DEFAULT,
        random: 7,
    }
}

/// All checks of the daemon for the door "ssh", except for the replay store.
fn passes(key: &SynKey, block: &Block) -> bool {
    Request::open(key, block).is_ok_and(|request| {
        request.door == DoorTag::of("ssh")
            && request.check_time(NOW, SKEW).is_ok()
            && request.binding.allows(SOURCE, key)
    })
}

fn requests() -> impl Strategy<Value = Request> {
    any::<([u8; 2], u64, [u8; 4], [u8; 2], u8)>().prop_map(|(door, ms, binding, lease, random)| {
        Request {
            door: DoorTag(door),
            time: Time40::from_unix_ms(ms),
            binding: Binding::from_bytes(binding),
            lease: ShortLease::from_bytes(lease),
            random,
        }
    })
}

#[test]
fn time_is_checked_up_to_the_edge_on_both_sides() {
    // Far from the wrap, and with the wrap on either side of the request.
    for time in [NOW, 1 << 40, (1 << 40) - 1, (1 << 41) + 30_000] {
        let request = request(time);
        assert_eq!(request.check_time(time, SKEW), Ok(()));
        assert_eq!(request.check_time(time + SKEW_MS, SKEW), Ok(()));
        assert_eq!(request.check_time(time - SKEW_MS, SKEW), Ok(()));
        let late = request.check_time(time + SKEW_MS + 1, SKEW);
        assert_eq!(late, Err(Stale { age_ms: 60_001 }));
        let early = request.check_time(time - SKEW_MS - 1, SKEW);
        assert_eq!(early, Err(Stale { age_ms: -60_001 }));
    }
}

#[test]
fn each_field_alone_can_refuse() {
    let good = request(NOW);
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
    let unbound = Binding::Unbound;
    let lease = ShortLease::from_bytes([2, 88]);
    for (request, expected) in [
        (good, true),
        (
            Request {
                door: DoorTag::of("web"),
                ..good
            },
            false,
        ),
        (request(NOW - SKEW_MS - 1), false),
        (request(NOW + SKEW_MS + 1), false),
        (
            Request {
                binding: Binding::to(elsewhere, &key(1)),
                ..good
            },
            false,
        ),
        // The client may choose these freely.
        (
            Request {
                binding: unbound,
                ..good
            },
            true,
        ),
        (Request { lease, ..good }, true),
        (Request { random: 8, ..good }, true),
    ] {
        assert_eq!(
            passes(&key(1), &request.seal(&key(1))),
            expected,
            "{request:?}"
        );
        assert!(!passes(&key(2), &request.seal(&key(1))), "{request:?}");
    }
}

#[test]
fn a_clock_that_is_half_a_round_off_is_stale() {
    let age_ms = -(1 << 39);
    let checked = request(NOW).check_time(NOW + (1 << 39), SKEW);
    assert_eq!(checked, Err(Stale { age_ms }));
}

#[test]
fn error_texts_are_precise() {
    assert_eq!(OpenError::BadParity.to_string(), "bad parity");
    assert_eq!(
        OpenError::UnknownVersion(1).to_string(),
        "unknown version 1"
    );
}

#[test]
fn another_version_is_named() {
    for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
        let mut body = [0; BODY_LEN];
        body[0] = version;
        let block = key(1).encipher(&Plaintext::new(&body));
        let opened = Request::open(&key(1), &block);
        assert_eq!(opened, Err(OpenError::UnknownVersion(version)));
    }
}

proptest! {
    #[test]
    fn opens_what_was_sealed(request in requests(), secret: u8) {
        let key = key(secret);
        let block = request.seal(&key);
        prop_assert_eq!(Request::open(&key, &block), Ok(request));
        prop_assert_eq!(Request::from_plaintext(&request.plaintext()), Ok(request));
    }

    #[test]
    fn every_body_of_version_2_is_one_request(mut body: [u8; BODY_LEN]) {
        body[0] = VERSION;
        let plaintext = Plaintext::new(&body);
        let request = Request::from_plaintext(&plaintext).unwrap();
        prop_assert_eq!(request.plaintext(), plaintext);
    }

    #[test]
    fn a_changed_plaintext_is_refused(request in requests(), place in 0..16_usize, flip in 1_u8..) {
        let mut bytes = *request.plaintext().as_bytes();
        bytes[place] ^= flip;
        prop_assert_eq!(Plaintext::checked(bytes), Err(BadParity));
    }

    #[test]
    fn a_changed_offset_is_refused(
        age in 0..=SKEW_MS,
        random: u8,
        place in 0..16_usize,
        flip in 1_u8..,
    ) {
        let request = Request { random, ..request(NOW - age) };
        let mut block = request.seal(&key(1));
        prop_assert!(passes(&key(1), &block));
        block.0[place] ^= flip;
        prop_assert!(!passes(&key(1), &block));
    }

    #[test]
    fn two_exchanged_offsets_are_refused(random: u8, a in 0..16_usize, b in 0..16_usize) {
        let mut block = Request { random, ..request(NOW) }.seal(&key(1));
        prop_assume!(block.0[a] != block.0[b]);
        block.0.swap(a, b);
        prop_assert!(!passes(&key(1), &block));
    }

    #[test]
    fn another_key_opens_nothing_that_passes(secret: u8, random: u8) {
        prop_assume!(secret != 1);
        let block = Request { random, ..request(NOW) }.seal(&key(1));
        prop_assert!(!passes(&key(secret), &block));
    }

    #[test]
    fn a_request_is_fresh_up_to_its_last_moment(
        now in 1_u64 << 20..1 << 50,
        age in -60_000_i64..=60_000,
    ) {
        let time = now.checked_add_signed(-age).unwrap();
        let request = request(time);
        let until = request.time.nearest_unix_ms(now) + SKEW_MS;
        prop_assert_eq!(request.age_ms(now), age);
        prop_assert!(request.check_time(until, SKEW).is_ok());
        prop_assert!(request.check_time(until + 1, SKEW).is_err());
    }
}
