//! The protocols between knockd's processes.
//!
//! The *supervisor* is privileged: it attaches the XDP program, manages the doors and runs their
//! commands. The *listener* reads untrusted network input and has no privileges. A Unix socket of
//! sequenced packets connects them. The listener sends a [`request::Request`], a record of fixed
//! length in which every byte is checked. A packet that is not a request, or a request that
//! [`phase::Phase`] does not allow, makes the supervisor kill the listener. The supervisor sends a
//! [`message::Message`], which the listener trusts as it trusts its own code.

pub mod channel;
pub mod fleet;
pub mod kind;
pub mod message;
pub mod metrics;
pub mod phase;
pub mod request;
