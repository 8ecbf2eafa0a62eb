//! The refusal of a request.

/// The reason that a request is not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is refused, with the reason for the log or the administrator.
    Denied(String),
    /// The request is invalid, with the reason for the log. Only a broken or compromised listener
    /// sends it.
    Invalid(&'static str),
}
