//! An accepted knock, between its verification and its effect.

use std::net::IpAddr;

use knockd_ipc::request::Request;

use crate::auth::SingleUse;

/// An accepted knock that has had no effect yet.
#[derive(Debug)]
pub(crate) struct AcceptedKnock {
    pub(crate) request: Request,
    pub(crate) source: IpAddr,
    pub(crate) single_use: Option<SingleUse>,
    /// Whether it opens a door for no other address than its own.
    pub(crate) is_bound: bool,
    /// The key that it was made with, unless that is the client's current one.
    pub(crate) old_key: Option<OldKey>,
}

/// The key that a client had before.
#[derive(Debug)]
pub(crate) struct OldKey {
    /// The index of the client.
    pub(crate) client: usize,
    /// The time from which on the key is not accepted, in Unix milliseconds.
    pub(crate) until: u64,
}
