//! Tests that `--dry-run` prints a knock that the daemon can decode.

use std::time::Duration;

use knock_common::{
    protocol::{
        block::Block,
        door::DoorTag,
        identity::{KeyPair, PrivateKey},
        lease::{RequestedLease, ShortLease},
        syn::{Binding, Request, SynKey, SynSecret},
    },
    window::Window,
};

use crate::{
    door::request,
    program::{Home, SERVER, server, syn_key, text},
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
    let keys = home.keys();
    let keys = keys.each_ref().map(String::as_str);
    let args = [&keys, args].concat();
    request(&syn_key(), &printed(home, &args, Window::DEFAULT))
}

#[test]
fn a_request_has_the_requested_fields() {
    let home = Home::new();
    let plain = requested(&home, &["127.0.0.1", "ssh"]);
    assert_eq!(plain.door, DoorTag::of("ssh"));
    assert_eq!(plain.lease, ShortLease::DOORS_DEFAULT);
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
    assert_eq!(Ok(full.lease), lease.try_into());
    let source = "2001:db8::1".parse().unwrap();
    assert_eq!(full.binding, Binding::to(source, &syn_key()));
}

#[test]
fn no_two_are_the_same() {
    let home = Home::new();
    let args = ["--source-ip=none", "nowhere.invalid", "ssh"];
    assert_ne!(requested(&home, &args), requested(&home, &args));
}

#[test]
fn a_passphrase_makes_the_key_of_the_vectors() {
    const PRIVATE: [u8; 32] = *b"\x0b\xfb\x3c\x15\x0b\xbf\x16\xf6\xb6\xef\xf5\x75\x92\x56\x81\x1c\
        \x9e\x60\x44\xef\x34\x62\xa7\x9a\xd3\x49\xeb\x2d\x31\xf6\x38\xdb";
    let home = Home::new();
    let file = home.secret("passphrase", "correct horse battery staple");
    let args = [
        "--passphrase-file",
        &file,
        "--client=laptop",
        "--server-key",
        SERVER,
        "--base=40000",
        "127.0.0.1",
        "ssh",
    ];
    let block = printed(&home, &args, Window::new(40000).unwrap());
    let client = KeyPair::from(PrivateKey::new(PRIVATE));
    let secret = SynSecret::of_server(&server(), &client.public()).unwrap();
    assert_eq!(
        request(&SynKey::new(&secret), &block).door,
        DoorTag::of("ssh")
    );
}
