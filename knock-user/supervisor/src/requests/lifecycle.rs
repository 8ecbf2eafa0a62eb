//! The listener is ready, and its lines have ended.

use tracing::info;

use crate::state::Supervisor;

impl Supervisor {
    /// The listener reads input from here on.
    pub(super) fn listener_ready(&mut self) {
        let listening = self.datapath.listening();
        if self.listener.ready() {
            info!("listening on {listening}");
            self.service_manager.ready(&listening);
        } else {
            info!("the listener has restarted, listening again on {listening}");
        }
        // The subscribers of the previous listener are gone.
        self.datapath.set_kernel_log(false);
    }

    /// The lines have ended. Nothing else opens a door except the administrator.
    pub(super) fn lines_ended(&mut self) {
        if self.datapath.end_lines() {
            info!("the lines have ended: waiting until every open door is closed");
        }
    }
}
