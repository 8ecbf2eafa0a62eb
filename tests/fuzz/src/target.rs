//! The targets. Those of private parsers are in the crates of the parsers, in their module `fuzz`.

pub(crate) mod config;
pub(crate) mod datagram;
pub(crate) mod frame;
pub(crate) mod import;
pub(crate) mod invitation;
pub(crate) mod key_file;
pub(crate) mod message;
pub(crate) mod page;
pub(crate) mod request;
pub(crate) mod served;
pub(crate) mod snapshot;
pub(crate) mod syn;
