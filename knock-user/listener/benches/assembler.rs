//! The cost of a SYN in the assembler.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    time::Duration,
};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use knockd_listener::assembler::Assembler;
use knockd_types::syn::Syn;

criterion_group!(assembler, push);
criterion_main!(assembler);

/// Like the daemon's default.
const TIMEOUT: Duration = Duration::from_secs(15);
const SOURCES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);

fn push(criterion: &mut Criterion) {
    // The first of a knock, one in its middle, the one that completes it, and one of a source
    // whose queue is full of SYNs with consecutive ports.
    for before in [0, 8, 15, 64] {
        let name = format!("push after {before} SYNs");
        criterion.bench_function(&name, |bencher| {
            let filled = || {
                let mut assembler = Assembler::new(TIMEOUT, SOURCES);
                for number in 0..before {
                    assembler.push(&syn(number));
                }
                assembler
            };
            bencher.iter_batched_ref(
                filled,
                |assembler| assembler.push(black_box(&syn(before))),
                BatchSize::SmallInput,
            );
        });
    }
    // In a flood from many sources, one of which expires with each SYN.
    for left in [1, 4, 16, 64] {
        let name = format!("push while a source with {left} SYNs expires");
        criterion.bench_function(&name, |bencher| {
            let filled = || {
                let mut assembler = Assembler::new(TIMEOUT, SOURCES);
                for number in 0..left {
                    assembler.push(&part(number));
                }
                assembler
            };
            let next = Syn {
                source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)),
                at: 2 * TIMEOUT,
                ..syn(0)
            };
            bencher.iter_batched_ref(
                filled,
                |assembler| assembler.push(black_box(&next)),
                BatchSize::SmallInput,
            );
        });
    }
    criterion.bench_function("push of a retransmission", |bencher| {
        let mut assembler = Assembler::new(TIMEOUT, SOURCES);
        assembler.push(&syn(0));
        bencher.iter(|| assembler.push(black_box(&syn(0))));
    });
}

/// The SYN number `number` of one source, whose SYNs look like knocks with holes: what takes longest
/// to tell when they expire.
fn part(number: u8) -> Syn {
    let (knock, place) = (u16::from(number / 4), u16::from(number % 4));
    Syn {
        source_port: Some(10_000 + 100 * knock + 4 * place),
        ..syn(number)
    }
}

/// The SYN number `number` of one source.
fn syn(number: u8) -> Syn {
    Syn {
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
        source_port: Some(40_000 + u16::from(number)),
        offset: number.wrapping_mul(73),
        at: Duration::from_millis(2 * u64::from(number)),
    }
}
