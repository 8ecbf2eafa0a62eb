//! Requests of the control socket that change doors, and their reply.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The request of an administrator to open a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// The source address to admit.
    pub source: IpAddr,
    /// The door's name.
    pub door: String,
    /// The lease in seconds, at least 1. `None`: the door's default lease.
    pub seconds: Option<u64>,
}

/// The request of an administrator to close doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseRequest {
    /// The source address that the doors are open for.
    pub source: IpAddr,
    /// The door's name. `None`: every door that is open for `source`.
    pub door: Option<String>,
}

/// The reply to an administrator's request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandReply {
    /// The request was accepted. The names of the doors that it affects.
    Doors(Vec<String>),
    /// The request was refused. A message for the administrator.
    Error(String),
}
