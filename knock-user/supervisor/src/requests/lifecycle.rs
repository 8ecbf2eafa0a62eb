//! Handles the start of a listener and the end of its lines.

use tracing::info;

use crate::state::Supervisor;

impl Supervisor {
    /// Handles the readiness of the listener.
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

    /// Handles the end of the lines. After it only the administrator can open a door.
    pub(super) fn lines_ended(&mut self) {
        if self.datapath.end_lines() {
            info!("the lines have ended: waiting until every open door is closed");
        }
    }
}
