//! Tests that no random block is accepted as a SYN knock, and no random datagram as a datagram knock.
//!
//! Ignored by default, because it needs a release build:
//!
//! ```text
//! cargo test --release -p knock-common --features protocol --test random_blocks -- --ignored --nocapture
//! ```
//!
//! The test prints its random seed; `KNOCK_SEED` repeats a run with that seed. `KNOCK_BLOCKS` sets
//! the number of blocks, 10^8 by default.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use knock_common::{
    datagram::{DATAGRAM_LEN, MAC1_AT, mac1},
    protocol::{
        block::Block,
        datagram::{self, mac1_key},
        door::ShortTag,
        identity::{KEY_LEN, KeyPair, PrivateKey},
        lease::ShortLease,
        syn::{Binding, OpenError, Request, SYN_SECRET_LEN, SynKey, SynSecret, Time40},
    },
};

const DEFAULT_BLOCKS: u64 = 100_000_000;
const NOW: u64 = 1_800_000_000_000;
const MAX_SKEW: Duration = Duration::from_secs(60);
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// The number of blocks that each check rejected, in the order of the checks.
#[derive(Debug, Default)]
struct Tally {
    parity: u64,
    version: u64,
    door: u64,
    time: u64,
    binding: u64,
    accepted: u64,
}

/// The daemon's checks of a candidate block for one key. The door table and the replay store are
/// left out, because they can only reject more.
fn verify(key: &SynKey, door: ShortTag, block: &Block, tally: &mut Tally) {
    let stopped_by = match Request::open(key, block) {
        Err(OpenError::BadParity) => &mut tally.parity,
        Err(OpenError::UnknownVersion(_)) => &mut tally.version,
        Ok(request) if request.door != door => &mut tally.door,
        Ok(request) if request.check_time(NOW, MAX_SKEW).is_err() => &mut tally.time,
        Ok(request) if !request.binding.allows(SOURCE, key) => &mut tally.binding,
        Ok(_) => &mut tally.accepted,
    };
    *stopped_by += 1;
}

/// Whether `count` successes are plausible for `trials` with probability `1 / odds`: within six
/// standard deviations, which a correct codec exceeds once in 500 million runs.
fn plausible(count: u64, trials: u64, odds: u64) -> bool {
    let expected = trials / odds;
    count.abs_diff(expected).pow(2) <= 36 * expected
}

#[test]
#[ignore = "needs a release build"]
fn no_random_block_is_accepted() {
    let seed = env::var("KNOCK_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("KNOCK_SEED={seed}");
    let blocks = env::var("KNOCK_BLOCKS").map_or(DEFAULT_BLOCKS, |blocks| blocks.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut secret = [0; SYN_SECRET_LEN];
    rng.fill(&mut secret);
    let key = SynKey::new(&SynSecret::new(secret));
    let door = ShortTag::of("ssh");

    let start = Instant::now();
    let mut tally = Tally::default();
    for _ in 0..blocks {
        let block = Block(rng.u128(..).to_ne_bytes());
        verify(&key, door, &block, &mut tally);
    }
    let elapsed = start.elapsed();
    println!("{blocks} blocks in {elapsed:.2?}: {tally:?}");
    assert_eq!(tally.accepted, 0);

    // Each check saw its expected share of the blocks that passed the check before it.
    let past_parity = blocks - tally.parity;
    let past_version = past_parity - tally.version;
    assert!(plausible(past_parity, blocks, 256), "{past_parity}");
    assert!(plausible(past_version, past_parity, 256), "{past_version}");

    // A valid knock passes all checks.
    let request = Request {
        door,
        time: Time40::from_unix_ms(NOW),
        binding: Binding::to(SOURCE, &key),
        lease: ShortLease::DOORS_DEFAULT,
        random: rng.u8(..),
    };
    verify(&key, door, &request.seal(&key), &mut tally);
    assert_eq!(tally.accepted, 1);
}

/// The number of random datagrams that are also decrypted, although their `mac1` is wrong.
const DECRYPTED: u64 = 20_000;

#[test]
#[ignore = "needs a release build"]
fn no_random_datagram_is_accepted() {
    let seed = env::var("KNOCK_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("KNOCK_SEED={seed}");
    let count = env::var("KNOCK_BLOCKS").map_or(DEFAULT_BLOCKS, |count| count.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut private = [0; KEY_LEN];
    rng.fill(&mut private);
    let server = KeyPair::from(PrivateKey::new(private));
    let key = mac1_key(&server.public());

    let start = Instant::now();
    let mut datagram = [0; DATAGRAM_LEN];
    let mut of_mac1 = [0; DATAGRAM_LEN - MAC1_AT];
    let (mut right, mut similar) = (0_u64, 0_u64);
    for number in 0..count {
        rng.fill(&mut datagram);
        let (covered, rest) = datagram.split_at(MAC1_AT);
        of_mac1.copy_from_slice(rest);
        let expected = mac1(key, covered.try_into().unwrap());
        right += u64::from(expected == of_mac1);
        // One datagram in 256 has the right first byte.
        similar += u64::from(expected[0] == of_mac1[0]);
        if number < DECRYPTED {
            assert_eq!(
                datagram::Request::open(&server, &datagram),
                Err(datagram::OpenError::Forged)
            );
        }
    }
    println!("{count} datagrams in {:.2?}", start.elapsed());
    assert_eq!(right, 0);
    assert!(plausible(similar, count, 256), "{similar}");
}
