//! Interfaces that appear and disappear.

use std::{future, io, time::Duration};

use knockd_runtime::clock::monotonic;
use knockd_types::interface::Wanted;
use knockd_xdp::interfaces::Watch;
use tracing::warn;

use super::Datapath;
use crate::source::Source;

/// How often to try an interface again that has another XDP program. The kernel does not notify of
/// its removal.
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

    /// When to call [`Datapath::follow_interfaces`] although no interface has changed.
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

/// Returns when an interface has changed; never without a watch. Cancel-safe.
pub(super) async fn changed(watch: &mut Option<Watch>) -> io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => future::pending().await,
    }
}
