//! What knockd's two processes send each other.
//!
//! The *supervisor* is privileged: it attaches the program, keeps the doors and runs their
//! commands. The *listener* reads untrusted network input and has no rights. A Unix socket of
//! sequenced packets connects them. The listener sends a [`request::Request`], a record of fixed
//! length in which every byte is checked. A packet that is not a request, or a request that
//! [`phase::Phase`] does not allow, ends the listener. The supervisor sends a
//! [`message::Message`], which the listener trusts as it trusts its own code.

pub mod channel;
pub mod kind;
pub mod message;
pub mod metrics;
pub mod phase;
pub mod request;
