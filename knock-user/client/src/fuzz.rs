//! The fuzzing targets of this crate, for `tests/fuzz`. They panic if a parser breaks a rule.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{ntp, profile::file, service::Answer, stun};

/// An answer of a STUN server to a request of the same transaction: an address is canonical.
pub fn stun(input: &[u8]) {
    let mut transaction = stun::Transaction::default();
    if let Some(own) = input.get(8..20) {
        transaction.copy_from_slice(own);
    }
    if let Answer::Good(ip) = stun::read(input, transaction) {
        assert_eq!(ip, ip.to_canonical());
    }
    transaction[0] ^= 1;
    let other = stun::read(input, transaction);
    assert!(matches!(other, Answer::Unrelated), "of another transaction");
}

/// An answer of a time server to a request with the same number: any times give a time.
pub fn ntp(input: &[u8]) {
    let mut nonce = [0; 8];
    if let Some(own) = input.get(24..32) {
        nonce.copy_from_slice(own);
    }
    if let Answer::Good(times) = ntp::read(input, nonce) {
        let sent = Instant::now();
        let wait = Duration::from_secs(2);
        let [at_once, late] = [sent, sent + wait].map(|answered| times.at(sent, answered));
        assert!(at_once <= late && late <= at_once + wait, "{times:?}");
    }
    nonce[0] ^= 1;
    let other = ntp::read(input, nonce);
    assert!(matches!(other, Answer::Unrelated), "of another request");
}

/// The file of profiles: a mistake is one line, and names are unique.
pub fn profile(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    match file::parse(text, Path::new("/nowhere")) {
        Ok(profiles) => {
            for (index, profile) in profiles.iter().enumerate() {
                let others = &profiles[..index];
                assert!(others.iter().all(|other| other.name != profile.name));
            }
        }
        Err(mistake) => assert!(!mistake.to_string().contains('\n'), "{mistake}"),
    }
}
