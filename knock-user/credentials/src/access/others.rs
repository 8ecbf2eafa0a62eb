//! What others can do with a file.

/// What users other than the owner of a file can do with it. Administrators do not count: they can do
/// everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    /// Whether they can read it.
    pub read: bool,
    /// Whether they can change it, or who can.
    pub write: bool,
    /// Where that is stated, for messages: its mode, or its access control list.
    pub source: String,
}
