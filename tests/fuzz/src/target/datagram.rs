//! Datagram knocks: the encrypted message, and the request in it.

use std::sync::LazyLock;

use knock_common::{
    datagram::DATAGRAM_LEN,
    protocol::{
        datagram::{OpenError, REQUEST_LEN, Request},
        identity::{KEY_LEN, KeyPair, PrivateKey},
    },
};

static SERVER: LazyLock<KeyPair> = LazyLock::new(|| PrivateKey::new([7; KEY_LEN]).into());
static CLIENT: LazyLock<KeyPair> = LazyLock::new(|| PrivateKey::new([8; KEY_LEN]).into());

/// The reverse of `seal` is `open`: for a whole datagram, and for a request that is sealed here,
/// because fuzzing makes no valid message.
pub(crate) fn run(input: &[u8]) {
    if let Ok(datagram) = <&[u8; DATAGRAM_LEN]>::try_from(input) {
        match Request::open(&SERVER, datagram) {
            Ok((client, request)) => {
                assert_eq!(client, CLIENT.public(), "nobody has another key");
                assert_eq!(Request::decode(&request.encode()), Ok(request));
            }
            Err(OpenError::Forged | OpenError::Invalid(..)) => {}
        }
        return;
    }
    let Ok(bytes) = <&[u8; REQUEST_LEN]>::try_from(input) else {
        return;
    };
    let Ok(request) = Request::decode(bytes) else {
        return;
    };
    assert_eq!(*request.encode(), *bytes, "{request:?}");
    // Three multiplications on the curve: only for few of the requests.
    if bytes[REQUEST_LEN - 3] == 0 {
        let ephemeral = PrivateKey::new(std::array::from_fn(|index| bytes[index]));
        let sealed = request.seal(&CLIENT, &SERVER.public(), ephemeral);
        let sealed = sealed.expect("the server has a key pair");
        let opened = Request::open(&SERVER, &sealed);
        assert_eq!(opened, Ok((CLIENT.public(), request)));
    }
}
