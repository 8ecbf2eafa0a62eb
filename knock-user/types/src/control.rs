//! Requests of the control socket that change doors, and their reply.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A door that is to be opened by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// To whom.
    pub source: IpAddr,
    /// The door's name.
    pub door: String,
    /// For how long, at least a second; as long as for a client if it is not given.
    pub seconds: Option<u64>,
}

/// Doors that are to be closed by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseRequest {
    /// To whom.
    pub source: IpAddr,
    /// The one door's name, or all that are open to him.
    pub door: Option<String>,
}

/// What became of a request to move a door.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandReply {
    /// It is being done, for these doors.
    Doors(Vec<String>),
    /// It cannot be done.
    Error(String),
}
