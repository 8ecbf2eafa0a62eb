//! Benchmarks of enciphering and deciphering one block.

use std::{hint::black_box, net::Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use knock_common::protocol::{
    classic::Sequence,
    key::{ClassicKey, SealedKey, SecretKey},
    sealed::{Binding, DoorTag, Request, RequestedLease, Time40},
};

criterion_group!(codec, sealed, classic);
criterion_main!(codec);

fn sealed(criterion: &mut Criterion) {
    let key = SealedKey::new(&SecretKey::new([7; 32]));
    let request = Request {
        door: DoorTag::of("ssh"),
        time: Time40::from_unix_ms(1_800_000_000_000),
        binding: Binding::to(Ipv4Addr::new(192, 0, 2, 2).into()).expect("a valid address"),
        lease: RequestedLease::DoorsDefault,
        random: 1,
    };
    let block = request.seal(&key);
    criterion.bench_function("seal", |bencher| {
        bencher.iter(|| black_box(&request).seal(black_box(&key)));
    });
    criterion.bench_function("open", |bencher| {
        bencher.iter(|| Request::open(black_box(&key), black_box(&block)));
    });
    criterion.bench_function("open under another key", |bencher| {
        let other = SealedKey::new(&SecretKey::new([8; 32]));
        bencher.iter(|| Request::open(black_box(&other), black_box(&block)));
    });
}

fn classic(criterion: &mut Criterion) {
    let key = ClassicKey::from_passphrase(b"correct horse battery staple");
    let sequence = Sequence::new(&[1, 2, 3, 4]).expect("four bytes are a valid sequence");
    let block = key.encipher(sequence.plaintext());
    criterion.bench_function("classic decipher", |bencher| {
        bencher.iter(|| black_box(&key).decipher(black_box(&block)));
    });
}
