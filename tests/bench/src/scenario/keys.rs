//! Many clients whose keys are tried.

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
    key::{ClassicSecret, SECRET_KEY_LEN, SecretKey},
};
use knock_user::daemon::auth::{Arrival, Authenticator, Client, Door, Secret, Terms};

use super::{Context, Scenario};
use crate::{
    clock::per_each,
    plot::Plot,
    record::{Measurement, Subject, Unit, interleave, thousands},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "keys",
    title: "Keys that are tried",
    method: "The daemon's authenticator with a block that no client's key fits, so that all of \
             them are tried, beside as many bare AES decryptions of one block (AES-256 for sealed \
             clients, AES-128 for classic ones; crate `aes`, every key schedule ready).",
    run,
    plot: Some(Plot::Lines {
        unit: Unit::Nanoseconds,
        x: "clients",
    }),
};

const COUNTS: [u32; 3] = [1, 100, 10_000];

/// The attempt with ten thousand keys may cost that much more than a hundred times the one
/// with a hundred.
const LINEAR: f64 = 1.5;

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for kind in [Kind::Sealed, Kind::Classic] {
        let mut medians = Vec::new();
        for count in COUNTS {
            let [bare, knockd] = attempt(kind, count, context)?;
            medians.push([bare.median(), knockd.median()]);
            found.extend([bare, knockd]);
        }
        found.extend(slope(kind, &medians));
    }
    Ok(found)
}

/// How a client knocks, which is a choice of cipher.
#[derive(Clone, Copy)]
enum Kind {
    Sealed,
    Classic,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Classic => "classic",
        }
    }

    fn subject(self) -> String {
        format!("knockd, {}", self.name())
    }

    fn bare(self) -> &'static str {
        match self {
            Self::Sealed => "AES-256 alone",
            Self::Classic => "AES-128 alone",
        }
    }

    fn secret(self, bytes: [u8; SECRET_KEY_LEN]) -> Secret {
        match self {
            Self::Sealed => Secret::Sealed(SecretKey::new(bytes)),
            Self::Classic => Secret::Classic(ClassicSecret::from_passphrase(&bytes)),
        }
    }
}

/// One block against `count` keys, bare and by the authenticator.
fn attempt(kind: Kind, count: u32, context: &Context) -> Result<[Measurement; 2]> {
    let mut random = fastrand::Rng::with_seed(1);
    let keys: Vec<[u8; SECRET_KEY_LEN]> = (0..count)
        .map(|_| std::array::from_fn(|_| random.u8(..)))
        .collect();
    let blocks: Vec<Block> = (0..64)
        .map(|_| Block(std::array::from_fn(|_| random.u8(..))))
        .collect();
    // So many that the clock is not what is measured.
    let attempts = (context.effort.pick(50_000, 500_000) / count).max(1);
    let authenticator = authenticator(kind, &keys);
    let bare: Subject<'_> = match kind {
        Kind::Sealed => decryptions::<Aes256>(&keys, &blocks, attempts),
        Kind::Classic => decryptions::<Aes128>(&keys, &blocks, attempts),
    };
    let verify: Subject<'_> = Box::new(|| {
        per_block(&blocks, attempts, |block| {
            authenticator.verify(block, &ARRIVAL).is_err()
        })
    });
    let samples = interleave(context.effort.pick(7, 21), &mut [bare, verify])?;
    let case = match count {
        1 => format!("one {} client", kind.name()),
        _ => format!("{} {} clients", thousands(f64::from(count)), kind.name()),
    };
    let subjects = [kind.bare().to_owned(), kind.subject()];
    let [bare, knockd] = std::array::from_fn(|place| {
        Measurement::new(&case, &subjects[place], Unit::Nanoseconds, &samples[place])
            .at(f64::from(count))
    });
    Ok([bare, knockd.beside(kind.bare())])
}

const ARRIVAL: Arrival = Arrival {
    source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    now: 1_800_000_000_000,
    max_skew: Duration::from_secs(60),
};

fn authenticator(kind: Kind, keys: &[[u8; SECRET_KEY_LEN]]) -> Authenticator {
    let clients: Vec<_> = keys
        .iter()
        .map(|key| Client {
            number: 0,
            name: "client".to_owned(),
            secret: kind.secret(*key),
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
    };
    Authenticator::new(&Terms {
        clients,
        doors: vec![door],
    })
}

/// Decrypts each of `blocks` once with each of `keys`, and looks at nothing.
fn decryptions<'a, C>(
    keys: &[[u8; SECRET_KEY_LEN]],
    blocks: &'a [Block],
    attempts: u32,
) -> Subject<'a>
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

/// A cipher with its key schedule ready.
trait Cipher {
    fn ready(key: &[u8; SECRET_KEY_LEN]) -> Self;
    fn decrypted(&self, block: [u8; BLOCK_LEN]) -> [u8; BLOCK_LEN];
}

impl Cipher for Aes256 {
    fn ready(key: &[u8; SECRET_KEY_LEN]) -> Self {
        Self::new(key.into())
    }

    fn decrypted(&self, block: [u8; BLOCK_LEN]) -> [u8; BLOCK_LEN] {
        let mut block = Bare::from(block);
        self.decrypt_block(&mut block);
        block.into()
    }
}

impl Cipher for Aes128 {
    fn ready(key: &[u8; SECRET_KEY_LEN]) -> Self {
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

/// Nanoseconds for each of `attempts` with one of `blocks` after the other; each has to go as
/// it is meant to.
fn per_block(
    blocks: &[Block],
    attempts: u32,
    mut attempt: impl FnMut(&Block) -> bool,
) -> Result<f64> {
    per_each(attempts, || {
        let blocks = blocks.iter().cycle().take(attempts as usize);
        let as_meant = blocks.fold(true, |as_meant, block| as_meant & attempt(black_box(block)));
        ensure!(as_meant, "a key fits that ought not to");
        Ok(())
    })
}

/// What each further key costs, from the attempts with a hundred and with ten thousand.
fn slope(kind: Kind, medians: &[[f64; 2]]) -> Vec<Measurement> {
    let [_, hundred, most] = medians else {
        return Vec::new();
    };
    let case = format!("each further {} client", kind.name());
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
            .target("linear in the clients", linear),
    ]
}
