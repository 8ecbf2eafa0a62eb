//! Interfaces that come and go.

use std::{future, io, time::Duration};

use tracing::warn;

use crate::{resources::Source, state::Supervisor};
use knockd_runtime::clock::monotonic;
use knockd_xdp::interfaces::Watch;

/// How often an interface is tried again that has a program of somebody else: the kernel does
/// not tell when that goes.
const RETRY: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Attaches to the wanted interfaces that have come, and lets go of those that have gone.
    pub(crate) fn follow_interfaces(&mut self) {
        let Source::Xdp(xdp) = &mut self.source else {
            return;
        };
        match xdp.follow(&self.config.interfaces, self.pins.as_ref()) {
            Ok(changes) => {
                self.counters.interfaces_attached += changes.attached;
                self.counters.interfaces_lost += changes.lost;
                if changes.attached + changes.lost > 0 {
                    self.service_manager.listening(&self.listening());
                }
            }
            Err(error) => warn!("{error:#}"),
        }
        self.plan_retry();
    }

    fn plan_retry(&mut self) {
        self.retry_interfaces = match &self.source {
            Source::Xdp(xdp) if xdp.refused().next().is_some() => Some(monotonic() + RETRY),
            _ => None,
        };
    }

    /// Says which of the wanted interfaces are not there.
    pub(crate) fn await_interfaces(&mut self, missing: &[String]) {
        for interface in missing {
            warn!(
                "there is no interface `{interface}`: waiting for it (`ip link` lists those that are there)"
            );
        }
        if let Source::Xdp(xdp) = &self.source {
            self.counters.interfaces_attached += xdp.attachments().count() as u64;
        }
        self.plan_retry();
    }
}

/// Returns when an interface has changed; never without a watch.
pub(crate) async fn changed(watch: &mut Option<Watch>) -> io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => future::pending().await,
    }
}
