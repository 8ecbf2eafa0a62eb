//! Log lines of the kernel, for `tail` subscribers.

use knockd_ipc::message::Message;

use crate::state::Supervisor;

impl Supervisor {
    /// Reports what the kernel has logged so far, and confirms that.
    pub(super) fn flush(&mut self) {
        self.datapath.flush_kernel_log();
        self.listener.send(Message::Flushed);
    }
}
