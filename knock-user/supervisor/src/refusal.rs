//! Why a request is not carried out.

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The reason, for the client or the administrator.
    Denied(String),
    /// An intact listener does not send such a request.
    Invalid(&'static str),
}
