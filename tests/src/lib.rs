//! What knockd's scenarios are made of: network namespaces joined by a link, processes in
//! them, frames on the link, and a service to knock for.
//!
//! Everything is owned by file descriptors and by threads of this process. Nothing has a
//! name outside it, so nothing is left behind, not even after SIGKILL. But for a machine's cgroup,
//! which a process of its own removes then.

pub mod clock;
pub mod frame;
#[cfg(target_arch = "x86_64")]
pub mod hijack;
pub mod kernel_log;
pub mod link;
pub mod machine;
pub mod netns;
pub mod privilege;
pub mod process;
pub mod pty;
pub mod relay;
pub mod scene;
pub mod service;
pub mod strace;
pub mod wire;
