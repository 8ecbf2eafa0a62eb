//! Where knocks come from: an interface, or lines of text.

pub mod interfaces;
pub mod lines;
pub mod xdp;
