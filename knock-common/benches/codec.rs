//! Benchmarks of enciphering and deciphering one block.

use std::{hint::black_box, net::Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use knock_common::protocol::{
    classic::{ClassicKey, Sequence},
    datagram::{self, Beneficiary},
    door::{LongTag, ShortTag},
    identity::{KEY_LEN, KeyPair, PrivateKey},
    lease::{RequestedLease, ShortLease},
    syn::{Binding, Request, SYN_SECRET_LEN, SynKey, SynSecret, Time40},
};

criterion_group!(codec, syn, datagram, classic);
criterion_main!(codec);

fn syn(criterion: &mut Criterion) {
    let key = SynKey::new(&SynSecret::new([7; SYN_SECRET_LEN]));
    let request = Request {
        door: ShortTag::of("ssh"),
        time: Time40::from_unix_ms(1_800_000_000_000),
        binding: Binding::to(Ipv4Addr::new(192, 0, 2, 2).into(), &key),
        lease: ShortLease::DOORS_DEFAULT,
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
        let other = SynKey::new(&SynSecret::new([8; SYN_SECRET_LEN]));
        bencher.iter(|| Request::open(black_box(&other), black_box(&block)));
    });
}

fn datagram(criterion: &mut Criterion) {
    let pair = |byte| KeyPair::from(PrivateKey::new([byte; KEY_LEN]));
    let (client, server, stranger) = (pair(1), pair(2), pair(3));
    let request = datagram::Request {
        door: LongTag::of("ssh"),
        unix_ms: 1_800_000_000_000,
        beneficiary: Beneficiary::Sender,
        lease: RequestedLease::DOORS_DEFAULT,
    };
    let seal = || {
        let ephemeral = PrivateKey::new([9; KEY_LEN]);
        black_box(&request).seal(&client, &server.public(), ephemeral)
    };
    let message = seal().expect("the server's key is valid");
    criterion.bench_function("datagram seal", |bencher| bencher.iter(seal));
    criterion.bench_function("datagram open", |bencher| {
        bencher.iter(|| datagram::Request::open(black_box(&server), black_box(&message)));
    });
    criterion.bench_function("datagram open by another server", |bencher| {
        bencher.iter(|| datagram::Request::open(black_box(&stranger), black_box(&message)));
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
