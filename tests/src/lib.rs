//! The test harness of knockd: network namespaces joined by a link, processes inside them, raw
//! frames on the link, and a TCP service behind the gate.
//!
//! File descriptors and threads of the test process own every resource. Nothing has a name outside
//! the process, so nothing is left behind, even after SIGKILL. The one exception is the cgroup of a
//! [`machine::Machine`], which a separate process removes.

pub mod browser;
pub mod certificates;
pub mod clock;
pub mod fleet;
pub mod frame;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub mod hijack;
pub mod kernel_log;
pub mod link;
pub mod machine;
pub mod nats;
pub mod netns;
pub mod other_xdp;
pub mod privilege;
pub mod process;
pub mod pty;
pub mod relay;
pub mod root;
pub mod scene;
pub mod service;
pub mod strace;
pub mod tun;
pub mod wire;
