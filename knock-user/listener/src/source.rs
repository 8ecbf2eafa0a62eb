//! The sources of SYNs: the XDP program's ring buffer, or lines of text.

pub mod lines;
pub mod ring;
