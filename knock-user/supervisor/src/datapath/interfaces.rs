//! Interfaces that appear and disappear.

use std::time::Duration;

use knockd_runtime::clock::monotonic;
use knockd_types::interface::Wanted;
use tracing::warn;

use super::Datapath;
use crate::source::Source;

/// The interval between attempts to attach to an interface that has another XDP program. The kernel
/// sends no notification of the removal of that program.
const RETRY: Duration = Duration::from_secs(5);

impl Datapath {
    /// Attaches to configured interfaces that have appeared, and detaches from those that have
    /// disappeared. Returns whether the attachments have changed.
    pub(crate) fn follow_interfaces(&mut self, interfaces: &Wanted) -> bool {
        let Source::Xdp(xdp) = &mut self.source else {
            return false;
        };
        let followed = xdp.follow(interfaces, self.pins.as_ref());
        self.schedule_retry();
        match followed {
            Ok(changes) => {
                self.counters.interfaces_attached += changes.attached;
                self.counters.interfaces_lost += changes.lost;
                changes.attached + changes.lost > 0
            }
            Err(error) => {
                warn!("{error:#}");
                false
            }
        }
    }

    /// The time at which to call [`Datapath::follow_interfaces`] without a change of an interface.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    fn schedule_retry(&mut self) {
        self.retry_at = match &self.source {
            Source::Xdp(xdp) if xdp.refused().next().is_some() => Some(monotonic() + RETRY),
            _ => None,
        };
    }

    /// Counts the attachments, and logs which interfaces are `missing`.
    pub(super) fn await_interfaces(&mut self, missing: &[String]) {
        for interface in missing {
            warn!(
                "there is no interface `{interface}`: waiting for it (`ip link` lists the interfaces)"
            );
        }
        if let Source::Xdp(xdp) = &self.source {
            self.counters.interfaces_attached += xdp.attachments().count() as u64;
        }
        self.schedule_retry();
    }
}
