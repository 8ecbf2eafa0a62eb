//! Decryption attempts with the keys of many clients.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use aes::{
    Aes128, Aes256, Block as Bare,
    cipher::{BlockCipherDecrypt, KeyInit as _},
};
use anyhow::{Result, ensure};
use knock_common::protocol::{
    block::{BLOCK_LEN, Block},
    classic::ClassicSecret,
    datagram,
    identity::{KEY_LEN, Owner, PrivateKey, PublicKey},
    syn::{SYN_SECRET_LEN, SynSecret},
};
use knock_tests::scene;
use knockd_listener::auth::{Arrival, Attempt, Authenticator};
use knockd_types::{
    conditions::Conditions,
    policy::{Client, Door, Peer, Policy, Secret},
};

use super::definition::Scenario;
use crate::{
    clock::per_each,
    context::Context,
    plot::Plot,
    record::{Measurement, Subject, Unit, interleave, thousands},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "keys",
    title: "Search for the client's key",
    method: "The daemon's authenticator checks a block that is invalid under every key, so it tries \
             all keys. The baseline is the same number of plain AES decryptions of one block \
             (AES-256 for SYN knocks, AES-128 for classic clients; crate `aes`, precomputed \
             key schedules). In a flood the daemon tries 64 blocks together, which is measured per \
             block. A knock datagram names its client: it is \
             decrypted once, with two multiplications on the curve.",
    run,
    plot: Some(Plot::Lines {
        unit: Unit::Nanoseconds,
        x: "clients",
    }),
};

const COUNTS: [u32; 3] = [1, 100, 10_000];

/// Blocks that the daemon tries together in a flood.
const TOGETHER: u32 = 64;

/// The cost with 10,000 keys may be this factor above 100 times the cost with 100 keys.
const LINEAR: f64 = 1.5;

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for kind in [Kind::Syn, Kind::Classic] {
        let mut medians = Vec::new();
        for count in COUNTS {
            let measured = attempt(kind, count, context)?;
            let [bare, knockd, _] = &measured;
            medians.push([bare.median(), knockd.median()]);
            found.extend(measured);
        }
        found.extend(slope(kind, &medians));
    }
    found.push(datagram(context)?);
    Ok(found)
}

/// Measures the decryption of a knock datagram.
fn datagram(context: &Context) -> Result<Measurement> {
    let request = scene::datagram_request("ssh", ARRIVAL.source)?;
    let datagram = scene::seal_datagram(&scene::laptop()?, &request)?;
    let server = PrivateKey::from_key_file(Owner::Server, scene::SERVER_KEY.as_bytes())?.into();
    let repetitions = context.effort.pick(100, 1000);
    let mut samples = Vec::new();
    for _ in 0..context.effort.pick(7, 21) {
        samples.push(per_each(repetitions, || {
            for _ in 0..repetitions {
                let opened = datagram::Request::open(&server, black_box(&datagram));
                ensure!(opened.is_ok(), "a knock datagram is not valid");
            }
            Ok(())
        })?);
    }
    let subject = "knockd, datagram";
    Ok(Measurement::new(
        "one datagram",
        subject,
        Unit::Nanoseconds,
        &samples,
    ))
}

/// The protocol of the clients, which determines the cipher.
#[derive(Clone, Copy)]
enum Kind {
    Syn,
    Classic,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Syn => "SYN",
            Self::Classic => "classic",
        }
    }

    fn subject(self) -> String {
        format!("knockd, {}", self.name())
    }

    fn bare(self) -> &'static str {
        match self {
            Self::Syn => "AES-256 alone",
            Self::Classic => "AES-128 alone",
        }
    }

    fn secret(self, bytes: [u8; KEY_LEN]) -> Secret {
        match self {
            Self::Syn => {
                let mut syn = [0; SYN_SECRET_LEN];
                syn[..KEY_LEN].copy_from_slice(&bytes);
                Secret::Pair(Peer {
                    public: PublicKey(bytes),
                    syn: SynSecret::new(syn),
                })
            }
            Self::Classic => Secret::Classic(ClassicSecret::from_passphrase(&bytes)),
        }
    }
}

/// Measures one block against `count` keys: plain decryptions, and the authenticator with one block at
/// a time and with [`TOGETHER`].
fn attempt(kind: Kind, count: u32, context: &Context) -> Result<[Measurement; 3]> {
    let mut random = fastrand::Rng::with_seed(1);
    let keys: Vec<[u8; KEY_LEN]> = (0..count)
        .map(|_| std::array::from_fn(|_| random.u8(..)))
        .collect();
    let blocks: Vec<Block> = (0..TOGETHER)
        .map(|_| Block(std::array::from_fn(|_| random.u8(..))))
        .collect();
    // Enough attempts that the overhead of the clock is negligible.
    let attempts = (context.effort.pick(50_000, 500_000) / count).max(1);
    let authenticator = authenticator(kind, &keys);
    let bare: Subject<'_> = match kind {
        Kind::Syn => decryptions::<Aes256>(&keys, &blocks, attempts),
        Kind::Classic => decryptions::<Aes128>(&keys, &blocks, attempts),
    };
    let verify: Subject<'_> = Box::new(|| {
        per_block(&blocks, attempts, |block| {
            let (block, arrival) = (*block, ARRIVAL);
            authenticator.verify(&[Attempt { block, arrival }])[0].is_err()
        })
    });
    let all: Vec<_> = blocks
        .iter()
        .map(|block| Attempt {
            block: *block,
            arrival: ARRIVAL,
        })
        .collect();
    let together: Subject<'_> = Box::new(|| {
        let tiles = (attempts / TOGETHER).max(1);
        let per_tile = per_each(tiles, || {
            for _ in 0..tiles {
                let outcomes = authenticator.verify(black_box(&all));
                ensure!(
                    outcomes.iter().all(Result::is_err),
                    "a random block is valid under a key"
                );
            }
            Ok(())
        })?;
        Ok(per_tile / f64::from(TOGETHER))
    });
    let samples = interleave(context.effort.pick(7, 21), &mut [bare, verify, together])?;
    let case = match count {
        1 => format!("one {} client", kind.name()),
        _ => format!("{} {} clients", thousands(f64::from(count)), kind.name()),
    };
    let subjects = [
        kind.bare().to_owned(),
        kind.subject(),
        format!("{}, {TOGETHER} blocks together", kind.subject()),
    ];
    let [bare, knockd, together] = std::array::from_fn(|place| {
        Measurement::new(&case, &subjects[place], Unit::Nanoseconds, &samples[place])
            .at(f64::from(count))
    });
    let per_key = together.median() / f64::from(count);
    let mut together = together.beside(kind.bare());
    if count == COUNTS[2] {
        let target = format!("≤ 3 ns for each key ({per_key:.1} ns)");
        together = together.target(target, per_key <= 3.0);
    }
    Ok([bare, knockd.beside(kind.bare()), together])
}

const ARRIVAL: Arrival = Arrival {
    source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    now: 1_800_000_000_000,
    max_skew: Duration::from_secs(60),
};

fn authenticator(kind: Kind, keys: &[[u8; KEY_LEN]]) -> Authenticator {
    let clients: Vec<_> = keys
        .iter()
        .map(|key| Client {
            number: 0,
            name: "client".to_owned(),
            secret: kind.secret(*key),
            previous: None,
            conditions: Conditions::default(),
        })
        .collect();
    let door = Door {
        number: 0,
        name: "ssh".to_owned(),
        clients: (0..clients.len()).collect(),
        sequence: None,
        lease: Duration::from_secs(30),
        max_lease: Duration::from_secs(30),
        require_binding: false,
        allow_other: false,
        everywhere: true,
    };
    Authenticator::new(&Policy {
        clients,
        doors: vec![door],
        server: None,
    })
}

/// Decrypts blocks with each of `keys`, and ignores the results.
fn decryptions<'a, C>(keys: &[[u8; KEY_LEN]], blocks: &'a [Block], attempts: u32) -> Subject<'a>
where
    C: Cipher + 'a,
{
    let ciphers: Vec<C> = keys.iter().map(|key| C::ready(key)).collect();
    Box::new(move || {
        per_block(blocks, attempts, |block| {
            for cipher in &ciphers {
                black_box(cipher.decrypted(block.0));
            }
            true
        })
    })
}

/// A cipher with a precomputed key schedule.
trait Cipher {
    fn ready(key: &[u8; KEY_LEN]) -> Self;
    fn decrypted(&self, block: [u8; BLOCK_LEN]) -> [u8; BLOCK_LEN];
}

impl Cipher for Aes256 {
    fn ready(key: &[u8; KEY_LEN]) -> Self {
        Self::new(key.into())
    }

    fn decrypted(&self, block: [u8; BLOCK_LEN]) -> [u8; BLOCK_LEN] {
        let mut block = Bare::from(block);
        self.decrypt_block(&mut block);
        block.into()
    }
}

impl Cipher for Aes128 {
    fn ready(key: &[u8; KEY_LEN]) -> Self {
        let mut half = [0; BLOCK_LEN];
        half.copy_from_slice(&key[..BLOCK_LEN]);
        Self::new(&half.into())
    }

    fn decrypted(&self, block: [u8; BLOCK_LEN]) -> [u8; BLOCK_LEN] {
        let mut block = Bare::from(block);
        self.decrypt_block(&mut block);
        block.into()
    }
}

/// Nanoseconds per attempt. Attempts use `blocks` in turn; each `attempt` must return true.
fn per_block(
    blocks: &[Block],
    attempts: u32,
    mut attempt: impl FnMut(&Block) -> bool,
) -> Result<f64> {
    per_each(attempts, || {
        let blocks = blocks.iter().cycle().take(attempts as usize);
        let invalid = blocks.fold(true, |invalid, block| invalid & attempt(black_box(block)));
        ensure!(invalid, "a random block is valid under a key");
        Ok(())
    })
}

/// The cost of each additional key, from the attempts with 100 and with 10,000 keys.
fn slope(kind: Kind, medians: &[[f64; 2]]) -> Vec<Measurement> {
    let [_, hundred, most] = medians else {
        return Vec::new();
    };
    let case = format!("each additional {} client", kind.name());
    let keys = f64::from(COUNTS[2] - COUNTS[1]);
    let cost = |subject: usize| (most[subject] - hundred[subject]) / keys;
    let linear = most[1] <= LINEAR * 100.0 * hundred[1];
    let [bare, knockd] =
        [(kind.bare().to_owned(), 0), (kind.subject(), 1)].map(|(subject, place)| {
            Measurement::new(&case, subject, Unit::Nanoseconds, &[cost(place)])
        });
    vec![
        bare,
        knockd
            .beside(kind.bare())
            .target("linear in the number of clients", linear),
    ]
}
