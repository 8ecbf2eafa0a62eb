//! The supervisor's event loop.

use std::time::Duration;

use anyhow::Result;
use knockd_ipc::{channel::Received, message::Message};
use knockd_runtime::clock::{monotonic, sleep_until_monotonic};
use tracing::{info, warn};

use crate::{
    child::{self, Child},
    doors::DoorKey,
    interfaces,
    resources::{Sockets, Source},
    signals::{Asked, StopSignals},
    state::Supervisor,
};

impl Supervisor {
    /// Starts the listener and runs until a signal asks it to stop or the lines have ended, and
    /// until every door is closed after that.
    ///
    /// # Errors
    ///
    /// The listener could not be started, or the source cannot be watched any more.
    pub(crate) async fn run(mut self, mut stop: StopSignals, sockets: Sockets) -> Result<()> {
        let result = self.serve(&mut stop, &sockets).await;
        self.shut_down(&mut stop, result.is_ok()).await;
        result
    }

    /// Serves until it is to stop.
    async fn serve(&mut self, stop: &mut StopSignals, sockets: &Sockets) -> Result<()> {
        self.start_listener(sockets)?;
        loop {
            if matches!(self.source, Source::Ended) && self.doors.is_empty() {
                return Ok(());
            }
            let watchdog = self.watchdog_deadline();
            // In this order: what strangers bring about must not keep anything else waiting.
            tokio::select! {
                biased;
                asked = stop.recv() => match asked {
                    Asked::Reload => self.reread(None),
                    Asked::Stop(signal) => {
                        info!("{signal}: closing every open door, then stopping");
                        return Ok(());
                    }
                },
                Some(reread) = self.rereads.1.recv() => self.reread_done(reread),
                Some((task, ending)) = self.endings.recv() => self.ended(&task, &ending),
                () = sleep_until_monotonic(watchdog) => self.feed_watchdog(),
                () = sleep_until_monotonic(self.doors.next_deadline()) => self.expire(),
                changed = interfaces::changed(&mut self.watch) => {
                    changed?;
                    self.follow_interfaces();
                }
                () = sleep_until_monotonic(self.retry_interfaces) => self.follow_interfaces(),
                () = sleep_until_monotonic(self.unstarted.next_start()) => {
                    self.start_listener(sockets)?;
                }
                heard = child::recv(&self.child) => match heard? {
                    Received::Request(order) => self.handle_request(order),
                    Received::Invalid(garbled) => self.kill(&garbled),
                    Received::Closed => self.reap().await?,
                },
                event = self.exporter.next_event() => self.handle_exporter(&event),
                logged = self.source.logged() => {
                    logged?;
                    self.flush_kernel_log();
                }
            }
        }
    }

    /// Closes what has to be closed, and lets the listener go. The gate goes too if it is to.
    async fn shut_down(&mut self, stop: &mut StopSignals, leaves_gate: bool) {
        self.service_manager.stopping();
        let gate_stays = self.gate_stays();
        if leaves_gate {
            self.leave_gate();
        }
        self.close(stop, gate_stays).await;
        if let Some(child) = self.child.take() {
            child.stop().await;
        }
        self.exporter.stop().await;
    }

    /// Closes the doors that a daemon before this one left open, and does nothing else. Those
    /// that the gate closes by itself are left to it.
    pub(crate) async fn close_what_is_left(mut self, stop: &mut StopSignals) {
        let gate_stays = self.gate.is_some();
        self.close(stop, gate_stays).await;
    }

    /// Closes every door, and does nothing else.
    pub(crate) async fn close_everything(mut self, stop: &mut StopSignals) {
        self.close(stop, false).await;
    }

    /// Closes every door that does not close without this process, and waits for the
    /// commands, or for a second signal.
    async fn close(&mut self, stop: &mut StopSignals, gate_stays: bool) {
        let catalog = &self.catalog;
        let stays = |visit: &DoorKey| gate_stays && catalog.door(visit.door).close.is_none();
        for step in self.doors.stop(stays) {
            self.step(step);
        }
        while !self.doors.is_empty() {
            tokio::select! {
                Some((task, ending)) = self.endings.recv() => self.ended(&task, &ending),
                () = sleep_until_monotonic(self.service_manager.watchdog_deadline()) => {
                    self.service_manager.feed_watchdog();
                }
                signal = stop.stop() => {
                    let left = self.doors.open().count();
                    warn!("{signal} again: stopping at once; {left} doors may be open still");
                    break;
                }
            }
        }
    }

    /// Nothing is heard of a daemon that is not ready yet.
    fn watchdog_deadline(&self) -> Option<Duration> {
        self.service_manager
            .watchdog_deadline()
            .filter(|_| self.unstarted.was_ready())
    }

    /// The watchdog hears of this process alone, which looks after the listener in the same
    /// time: one that has not answered is ended, and another one started.
    fn feed_watchdog(&mut self) {
        self.service_manager.feed_watchdog();
        if self.child.as_mut().is_none_or(Child::answers) {
            self.send(Message::Ping);
        } else {
            self.kill(&"it does not answer");
        }
    }

    fn expire(&mut self) {
        let now = monotonic();
        while let Some(visit) = self.doors.due(now) {
            if let Some(until) = self.in_use_until(visit, now) {
                self.doors.prolong(visit, until);
                self.keep_lease(visit);
            } else if let Some(step) = self.doors.expire(now) {
                self.step(step);
            }
        }
    }
}
