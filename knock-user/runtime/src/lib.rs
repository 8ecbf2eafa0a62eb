//! Operating system services for knockd's processes: clocks, the log, the sandbox, user accounts
//! and crash-safe database files.

pub mod account;
pub mod async_fd;
pub mod clock;
pub mod log;
pub mod role;
pub mod sandbox;
pub mod store;
