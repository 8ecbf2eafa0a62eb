//! Tests that `--dry-run` prints a knock that the daemon can decode.

use std::time::Duration;

use knock_common::{
    protocol::{
        block::Block,
        key::{SealedKey, SecretKey},
        sealed::{Binding, DoorTag, Request, RequestedLease},
    },
    window::Window,
};

use crate::{
    door::request,
    program::{Home, sealed_key, text},
};

fn printed(home: &Home, args: &[&str], window: Window) -> Block {
    let output = home.run(&[&["--dry-run"], args].concat());
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success());
    let ports = text(&output.stdout).split_whitespace();
    let offsets = ports.map(|port| window.offset_of(port.parse().unwrap()).unwrap());
    Block(offsets.collect::<Vec<u8>>().try_into().unwrap())
}

fn requested(home: &Home, args: &[&str]) -> Request {
    let key = home.key_file();
    let args = [&["--key-file", &key], args].concat();
    request(&sealed_key(), &printed(home, &args, Window::DEFAULT))
}

#[test]
fn a_request_has_the_requested_fields() {
    let home = Home::new();
    let plain = requested(&home, &["127.0.0.1", "ssh"]);
    assert_eq!(plain.door, DoorTag::of("ssh"));
    assert_eq!(plain.lease, RequestedLease::DoorsDefault);
    // A loopback address is never used as a binding.
    assert_eq!(plain.binding, Binding::Unbound);

    let full = requested(
        &home,
        &[
            "--for=10m",
            "--source-ip=2001:db8::1",
            "nowhere.invalid",
            "web admin",
        ],
    );
    assert_eq!(full.door, DoorTag::of("web admin"));
    let lease = RequestedLease::of(Duration::from_secs(600)).unwrap();
    assert_eq!(full.lease, lease);
    let source = "2001:db8::1".parse().unwrap();
    assert_eq!(full.binding, Binding::to(source).unwrap());
}

#[test]
fn no_two_are_the_same() {
    let home = Home::new();
    let args = ["--source-ip=none", "nowhere.invalid", "ssh"];
    assert_ne!(requested(&home, &args), requested(&home, &args));
}

#[test]
fn a_passphrase_makes_the_key_of_the_vectors() {
    const KEY: &[u8] = b"knock1:u5Z8OLe8ipVQgH7gkw1BivvztP8mHqFSAOX_kDqar4c";
    let home = Home::new();
    let file = home.secret("passphrase", "correct horse battery staple");
    let args = [
        "--passphrase-file",
        &file,
        "--client=laptop",
        "--base=40000",
        "127.0.0.1",
        "ssh",
    ];
    let block = printed(&home, &args, Window::new(40000).unwrap());
    let key = SealedKey::new(&SecretKey::from_key_file(KEY).unwrap());
    assert_eq!(request(&key, &block).door, DoorTag::of("ssh"));
}
