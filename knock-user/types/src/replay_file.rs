//! The size of the replay store's file, which one process creates and another one uses.

/// The first bytes of the file.
pub const MAGIC: &[u8] = b"knockd replay store 2\n";

/// The length of a record, in bytes.
pub const RECORD_LEN: usize = 64;

/// The number of records. There are more than the store keeps: the place of a removed record is used
/// again only after many others were written, whose horizon covers it.
pub const RECORDS: usize = 66_560;

/// The length of the file without its header, in bytes.
pub const CONTENT_LEN: usize = RECORDS * RECORD_LEN;
