//! What `positions` accesses shared memory with. In its model another module of this name takes the place
//! of this one.

pub(super) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
