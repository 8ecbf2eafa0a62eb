//! Operating system services for knockd's processes: clocks, the log, the sandbox, user accounts
//! and files that survive a crash.

pub mod account;
pub mod async_fd;
pub mod clock;
pub mod durable;
pub mod isolation;
pub mod log;
pub mod open_files;
pub mod role;
pub mod sandbox;
pub mod wall_timer;
