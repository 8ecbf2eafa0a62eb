//! The knock protocol of `knockd`, and what its XDP program and its daemon share. Without `std` and
//! without I/O.
//!
//! A *knock* asks a server to open a *door*. It is one encrypted block, sent as 16 TCP SYNs to a
//! [`window`] of 256 ports, or one encrypted UDP [`datagram`] of 144 bytes. The server never
//! answers. A client needs its own key pair, the server's public key, the door's name, the time and
//! random numbers:
//!
//! ```
//! # #[cfg(feature = "protocol")] {
//! use knock_common::{
//!     protocol::{
//!         datagram::{self, Beneficiary},
//!         door::{LongTag, ShortTag},
//!         identity::{KeyPair, Owner, PrivateKey, PublicKey},
//!         lease::{RequestedLease, ShortLease},
//!         syn::{self, Binding, SynKey, SynSecret, Time40},
//!     },
//!     window::Window,
//! };
//!
//! // The line of a key file, and the server's public key as `knockd public-key` prints it.
//! let text = b"knock2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
//! let client = KeyPair::from(PrivateKey::from_key_file(Owner::Client, text).unwrap());
//! let server: PublicKey = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI".parse().unwrap();
//! let unix_ms = 1_800_000_000_001;
//!
//! // A SYN knock: send a SYN to each of these ports, in this order.
//! let key = SynKey::new(&SynSecret::of_client(&client, &server).unwrap());
//! let request = syn::Request {
//!     door: ShortTag::of("ssh"),
//!     time: Time40::from_unix_ms(unix_ms),
//!     binding: Binding::to([192, 0, 2, 7].into(), &key),
//!     lease: ShortLease::DOORS_DEFAULT,
//!     random: 255, // Random in each knock, except in an example.
//! };
//! let ports: [u16; 16] = request.seal(&key).ports(Window::DEFAULT);
//! assert_eq!(ports[..4], [61083, 61161, 61106, 61146]);
//!
//! // A datagram knock: send these bytes to the server's UDP port, some times over.
//! let ephemeral = PrivateKey::new([7; 32]); // Random in each knock, except in an example.
//! let request = datagram::Request {
//!     door: LongTag::of("ssh"),
//!     unix_ms,
//!     beneficiary: Beneficiary::Sender,
//!     lease: RequestedLease::DOORS_DEFAULT,
//! };
//! let payload: [u8; 144] = request.seal(&client, &server, ephemeral).unwrap();
//! # assert_eq!(payload.len(), knock_common::datagram::DATAGRAM_LEN);
//! # }
//! ```
//!
//! The crate `knock-client` does this, with sockets and a clock. The package contains the test vectors
//! of the protocol, for other implementations: `src/protocol/vectors.json`.
//!
//! # Modules
//!
//! `protocol`, [`window`], [`datagram`] and [`legible`] are shared by the client and the daemon;
//! [`address`], [`datagram`], [`event`], [`settings`], [`counters`], [`gate`] and [`rate`] by the XDP
//! program and the daemon. So every part can be tested without a kernel, and the shared types compile for
//! the BPF target.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `protocol`: the protocol, as above.
//! - `syn`: of the protocol only key pairs and SYN knocks, for programs without `std`.
//! - `passphrase`: private keys from passphrases. It needs `alloc`.
//! - `user`: for the daemon. It implements `aya::Pod` for what is shared with the XDP program.

#![no_std]

#[cfg(feature = "passphrase")]
extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod address;
pub mod counters;
pub mod datagram;
pub mod event;
pub mod gate;
pub mod legible;
#[cfg(feature = "syn")]
pub mod protocol;
pub mod rate;
pub mod settings;
pub mod window;
