//! Closes doors, for the administrator.

use knockd_ipc::request::CloseDoors;
use knockd_types::history::How;
use tracing::info;

use crate::{refusal::Refusal, state::Supervisor};

impl Supervisor {
    /// Closes the doors of a source, or one of them.
    pub(super) fn close(&mut self, request: CloseDoors) {
        let outcome = self.close_manually(&request);
        self.answer(request.query, outcome);
    }

    /// Returns the names of the doors that were open.
    fn close_manually(&mut self, request: &CloseDoors) -> Result<Vec<String>, Refusal> {
        let requested = |number| self.ledger.catalog().requested_door(number);
        let door = request.door.map(requested).transpose()?;
        let mut open = self.ledger.open_for(&self.datapath, request.source);
        open.retain(|key| door.is_none_or(|door| key.door == door));
        let mut names = Vec::new();
        for key in open {
            let name = self.ledger.catalog().door(key.door).name.clone();
            info!("closing door {name:?} to {} manually", key.source);
            self.ledger.revoke(&mut self.datapath, key, How::ByHand);
            names.push(name);
        }
        Ok(names)
    }
}
