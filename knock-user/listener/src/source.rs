//! Where SYNs come from: the XDP program's ring buffer, or lines of text.

pub mod lines;
pub mod ring;
