//! SYN knocks: blocks of the current protocol and of the classic one, and their plaintexts.

use std::{sync::LazyLock, time::Duration};

use knock_common::protocol::{
    block::{BLOCK_LEN, Block, Plaintext},
    classic::{ClassicKey, Sequence},
    syn::{Request, SYN_SECRET_LEN, SynKey, SynSecret},
};

static KEY: LazyLock<SynKey> = LazyLock::new(|| SynKey::new(&SynSecret::new([7; SYN_SECRET_LEN])));
static CLASSIC: LazyLock<ClassicKey> =
    LazyLock::new(|| ClassicKey::from_passphrase(b"correct horse battery staple"));

/// The input is a plaintext, whose parity byte is set here, and then a block. A request that is sealed
/// again is the same.
pub(crate) fn run(input: &[u8]) {
    let Ok(bytes) = <[u8; BLOCK_LEN]>::try_from(input) else {
        // Of any other length, it may be a sequence.
        let _ = Sequence::new(input);
        return;
    };
    let body = std::array::from_fn(|index| bytes[index]);
    if let Ok(request) = Request::from_plaintext(&Plaintext::new(&body)) {
        let sealed = request.seal(&KEY);
        assert_eq!(Request::open(&KEY, &sealed), Ok(request));
        let now = u64::from_le_bytes(std::array::from_fn(|index| bytes[index]));
        let _ = request.check_time(now, Duration::from_secs(60));
        assert_eq!(
            *request.plaintext().as_bytes(),
            *Plaintext::new(&body).as_bytes()
        );
    }
    let block = Block(bytes);
    if let Ok(request) = Request::open(&KEY, &block) {
        assert_eq!(request.seal(&KEY), block);
    }
    if let Ok(plaintext) = CLASSIC.decipher(&block) {
        assert_eq!(CLASSIC.encipher(&plaintext), block);
    }
}
