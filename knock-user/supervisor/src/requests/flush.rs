//! Log lines of the kernel, for `tail` subscribers.

use knockd_ipc::message::Message;

use crate::state::Supervisor;

impl Supervisor {
    /// Reports the pending log lines of the eBPF program, then confirms that.
    pub(super) fn flush(&mut self) {
        self.datapath.flush_kernel_log();
        self.listener.send(Message::Flushed);
    }
}
