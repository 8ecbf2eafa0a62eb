//! What knockd's two processes send each other.
//!
//! The *supervisor* is privileged: it attaches the program, keeps the doors and runs their
//! commands. The *listener* reads untrusted network input and has no rights. A Unix socket of
//! sequenced packets connects them. The listener sends a [`request::Request`], a record of fixed
//! length in which every byte is checked; anything else ends the listener. The supervisor sends
//! a [`message::Message`], which the listener trusts as it trusts its own code.

pub mod channel;
pub mod message;
pub mod metrics;
pub mod request;
