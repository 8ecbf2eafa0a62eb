//! The cost of blocks that no client's key fits: one alone, and several together. A key that fits ends
//! the search early.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use knock_common::protocol::{block::Block, identity::PublicKey, syn::SynSecret};
use knockd_listener::auth::{Arrival, Attempt, Authenticator};
use knockd_types::{
    conditions::Conditions,
    policy::{Client, Door, Peer, Policy, Secret},
};

criterion_group!(verifier, verify);
criterion_main!(verifier);

const ARRIVAL: Arrival = Arrival {
    source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    now: 1_800_000_000_000,
    max_skew: Duration::from_secs(60),
};

fn verify(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut group = criterion.benchmark_group("verify");
    for clients in [1, 100, 10_000] {
        let authenticator = authenticator(clients, &mut random);
        // One in 256 blocks passes a key's first check by chance.
        let attempts: Vec<_> = (0..64)
            .map(|_| Attempt {
                block: Block(std::array::from_fn(|_| random.u8(..))),
                arrival: ARRIVAL,
            })
            .collect();
        for together in [1_usize, 8, 64] {
            let id = BenchmarkId::new(format!("{clients} keys"), format!("{together} blocks"));
            group.throughput(Throughput::Elements((together * clients) as u64));
            group.bench_function(id, |bencher| {
                let mut tiles = attempts.chunks(together).cycle();
                bencher.iter(|| {
                    let tile = tiles.next().map(black_box);
                    tile.map(|tile| authenticator.verify(tile))
                });
            });
        }
    }
    group.finish();
}

fn authenticator(clients: usize, random: &mut fastrand::Rng) -> Authenticator {
    let clients: Vec<_> = (0..clients)
        .map(|number| {
            let peer = Peer {
                public: PublicKey(std::array::from_fn(|_| random.u8(..))),
                syn: SynSecret::new(std::array::from_fn(|_| random.u8(..))),
            };
            Client {
                number: 0,
                name: format!("client{number}"),
                secret: Secret::Pair(peer),
                previous: None,
                conditions: Conditions::default(),
            }
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
