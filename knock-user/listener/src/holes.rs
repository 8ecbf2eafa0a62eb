//! Counts SYN knocks of which only a part has arrived, and tells the fleet of these and of whole ones.

use knockd_runtime::clock::monotonic;

use crate::state::Listener;

impl Listener {
    /// Removes the sources whose SYNs have expired.
    pub(crate) fn forget_sources(&mut self) {
        self.assembler.forget(monotonic());
        self.count_holes();
    }

    /// Counts the knocks with holes that have expired since the last call.
    pub(crate) fn count_holes(&mut self) {
        let total = self.assembler.knocks_with_holes();
        let new = total - self.counters.knocks_with_holes;
        if new == 0 {
            return;
        }
        self.counters.knocks_with_holes = total;
        if let Some(fleet) = &mut self.fleet {
            fleet.note_holes(new, monotonic());
        }
    }

    /// Tells the fleet of a knock whose SYNs have all arrived.
    pub(crate) fn count_whole(&mut self) {
        if let Some(fleet) = &mut self.fleet {
            fleet.note_whole(monotonic());
        }
    }
}
