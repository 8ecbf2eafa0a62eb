//! Interfaces that appear and disappear.

use std::time::Duration;

use knockd_runtime::clock::monotonic;
use knockd_types::{
    interface::Wanted,
    status::{Attachment, Traffic},
};
use knockd_xdp::interfaces;
use tracing::warn;

use super::Datapath;
use crate::source::Source;

/// The interval between attempts to attach to an interface that has another XDP program. The kernel
/// sends no notification of the removal of that program.
const RETRY: Duration = Duration::from_secs(5);

/// The intervals of the check whether the program sees the packets of the interfaces: soon after it
/// was attached, and later.
const CHECK_SOON: Duration = Duration::from_secs(1);
const CHECK: Duration = Duration::from_secs(30);

/// How long after the last attachment [`CHECK_SOON`] applies.
const SOON: Duration = Duration::from_secs(60);

impl Datapath {
    /// Attaches to configured interfaces that have appeared, and detaches from those that have
    /// disappeared. Returns whether the attachments have changed.
    pub(crate) fn follow_interfaces(&mut self, interfaces: &Wanted) -> bool {
        let Source::Xdp(xdp) = &mut self.source else {
            return false;
        };
        let followed = xdp.follow(interfaces, self.pins.as_ref());
        let has_changed = match followed {
            Ok(changes) => {
                self.counters.interfaces_attached += changes.attached;
                self.counters.interfaces_lost += changes.lost;
                self.counters.interfaces_refused += changes.refused;
                if changes.attached > 0 {
                    self.attached_at = monotonic();
                }
                changes.attached + changes.lost > 0
            }
            Err(error) => {
                warn!("{error:#}");
                false
            }
        };
        self.schedule_check();
        has_changed
    }

    /// The time at which to call [`Datapath::follow_interfaces`] without a change of an interface.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    fn schedule_check(&mut self) {
        let Source::Xdp(xdp) = &self.source else {
            self.retry_at = None;
            return;
        };
        let now = monotonic();
        let is_awaited = |attachment: Attachment| attachment.traffic == Traffic::Awaited;
        let interval = if now < self.attached_at + SOON && xdp.attachments().any(is_awaited) {
            CHECK_SOON
        } else if xdp.refused().next().is_some() {
            RETRY
        } else {
            CHECK
        };
        self.retry_at = Some(now + interval);
    }

    /// Counts the attachments, and logs which interfaces are `missing`.
    pub(super) fn await_interfaces(&mut self, missing: &[String]) {
        for message in interfaces::unknown(missing) {
            warn!("{message}");
        }
        if let Source::Xdp(xdp) = &mut self.source {
            self.counters.interfaces_attached += xdp.attachments().count() as u64;
            self.counters.interfaces_refused += xdp.take_refusals();
        }
        self.attached_at = monotonic();
        self.schedule_check();
    }
}
