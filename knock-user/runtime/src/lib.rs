//! What knockd's processes run on: clocks, log formats, the sandbox, accounts, and files that
//! survive a crash.

pub mod account;
pub mod async_fd;
pub mod clock;
pub mod log;
pub mod role;
pub mod sandbox;
pub mod store;
