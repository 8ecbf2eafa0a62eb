//! The datapath: the source of SYNs, and with a gate the kernel leases and the pins.
//!
//! The gate, its pins and the attachments always belong to the program that is in force. With pins
//! the gate outlives this process.

mod interfaces;
mod leases;
mod replace;
mod status;

use std::{fs, future, io, os::fd::OwnedFd, time::Duration};

use anyhow::{Error, Result};
use knockd_config::{Config, model::OnStop};
use knockd_types::{counters::Counters, interface::Wanted};
use knockd_xdp::{
    interfaces::Watch,
    leases::Gate,
    pins::{Owner, PinDir},
};
use tracing::{info, warn};

use crate::{reporter::Reporter, source::Source};

/// The source of SYNs and the gate.
pub(crate) struct Datapath {
    source: Source,
    /// The leases that the kernel enforces, if there is a gate.
    gate: Option<Gate>,
    /// The pins that keep the gate in force without this process; `None` if it is not pinned.
    pins: Option<PinDir>,
    /// Whose pins they are; `None` if nothing is to be pinned.
    owner: Option<Owner>,
    /// Whether the gate of an earlier daemon was pinned when this one started.
    found_gate: bool,
    /// Watches for changes of interfaces; `None` if no interface is used.
    watch: Option<Watch>,
    /// The time at which to check the interfaces without a notification: to retry those that refused
    /// the program, and to find those that do not run it.
    retry_at: Option<Duration>,
    /// The time of the last attachment, on the monotonic clock.
    attached_at: Duration,
    /// Whether the eBPF program writes a log line per packet.
    logs_packets: bool,
    reporter: Reporter,
    counters: Counters,
}

impl Datapath {
    /// A datapath without a source and without a gate.
    pub(crate) fn new(reporter: Reporter) -> Self {
        Self {
            source: Source::Ended,
            gate: None,
            pins: None,
            owner: None,
            found_gate: false,
            watch: None,
            retry_at: None,
            attached_at: Duration::ZERO,
            logs_packets: false,
            reporter,
            counters: Counters::default(),
        }
    }

    /// Sets the source of SYNs and the gate in which leases are granted.
    pub(crate) fn set_source(&mut self, source: Source, gate: Option<Gate>) {
        self.source = source;
        self.gate = gate;
    }

    /// Sets whose pins a reload may have to create.
    pub(crate) fn set_owner(&mut self, owner: Owner) {
        self.owner = Some(owner);
    }

    /// Sets the watch for changes of interfaces.
    pub(crate) fn set_watch(&mut self, watch: Option<Watch>) {
        self.watch = watch;
    }

    /// Attaches to the interfaces and replaces the program that is `pinned` there. With a gate,
    /// pins the links and maps, unless `can_pin` is an error. Without a gate, `pinned` can be `None`.
    ///
    /// # Errors
    ///
    /// Returns an error if an interface refuses the program. The pinned program is still in force.
    pub(crate) fn attach(
        &mut self,
        interfaces: &Wanted,
        pinned: Option<PinDir>,
        can_pin: Result<()>,
    ) -> Result<()> {
        let Source::Xdp(xdp) = &mut self.source else {
            return Ok(());
        };
        self.found_gate = pinned.as_ref().is_some_and(|pins| !pins.is_empty());
        let missing = xdp.attach(interfaces, pinned.as_ref())?;
        self.await_interfaces(&missing);
        let Some(pinned) = pinned else {
            return Ok(());
        };
        let (Source::Xdp(xdp), Some(gate)) = (&mut self.source, &self.gate) else {
            if !pinned.is_empty() {
                warn!("the gate of a previous knockd is removed: the configuration has no [gate]");
                pinned.remove();
            }
            return Ok(());
        };
        match can_pin.and_then(|()| xdp.pin(gate, &pinned)) {
            Ok(()) => self.pins = Some(pinned),
            Err(error) => self.report_unpinned(&error),
        }
        self.report_gate();
        Ok(())
    }

    /// Attaches to the interfaces for the life of this process.
    ///
    /// # Errors
    ///
    /// Returns an error if an interface refuses the program.
    pub(crate) fn attach_unpinned(&mut self, interfaces: &Wanted) -> Result<()> {
        if let Source::Xdp(xdp) = &mut self.source {
            let missing = xdp.attach(interfaces, None)?;
            self.await_interfaces(&missing);
        }
        Ok(())
    }

    /// Logs what the gate protects, and where. It protects nothing on an interface that is awaited.
    fn report_gate(&self) {
        let Source::Xdp(xdp) = &self.source else {
            return;
        };
        let ports = self.protected();
        if xdp.attachments().next().is_none() {
            warn!("the gate does not protect {ports} yet: it is attached to no interface");
        } else {
            info!("the gate protects {ports} on {}", self.listening());
        }
    }

    fn report_unpinned(&self, error: &Error) {
        self.reporter.problem(format!(
            "the gate ends with this process, which leaves the ports that it protects open: {error:#}"
        ));
    }

    /// Whether the gate stays in force when this process ends.
    pub(crate) fn gate_stays(&self, config: &Config) -> bool {
        let on_stop = config.gate.as_ref().map(|gate| gate.on_stop);
        self.pins.is_some() && on_stop == Some(OnStop::Closed)
    }

    /// Removes the gate, unless it stays in force. Returns whether it does.
    pub(crate) fn leave_gate(&mut self, config: &Config) -> bool {
        let stays = self.gate_stays(config);
        if stays {
            self.keep_gate();
        } else if let Some(pins) = self.pins.take() {
            pins.remove();
            warn!(
                "the gate is removed (`on_stop`): {} is open to every source",
                self.protected()
            );
        }
        stays
    }

    /// Logs whether the gate stays in force when this process ends, and returns it.
    pub(crate) fn keep_gate(&mut self) -> bool {
        if self.pins.is_some() {
            info!("the gate stays in force for {}", self.protected());
        }
        self.pins.is_some()
    }

    /// Undoes what the start of this process has pinned. A gate that was in force before stays in
    /// force. Returns whether it does.
    pub(crate) fn undo_start(&mut self) -> bool {
        if self.found_gate {
            return self.keep_gate();
        }
        if let Some(pins) = self.pins.take() {
            pins.remove();
            warn!(
                "the start failed: its gate is removed again, and {} is open to every source",
                self.protected()
            );
        }
        false
    }

    /// The protected ports, for the log.
    fn protected(&self) -> String {
        let ports = self.gate.as_ref().map(Gate::protected).unwrap_or_default();
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        ports.join(", ")
    }

    /// The two events of the datapath: an interface has changed, for
    /// [`Datapath::follow_interfaces`], and the kernel has logged something, for
    /// [`Datapath::flush_kernel_log`]. Both are cancel-safe.
    pub(crate) fn events(
        &mut self,
    ) -> (
        impl Future<Output = io::Result<()>>,
        impl Future<Output = io::Result<()>>,
    ) {
        (changed(&mut self.watch), self.source.logged())
    }

    /// The file descriptors from which the listener reads: the ring buffers or the lines.
    ///
    /// # Errors
    ///
    /// Returns an error if the limit of open files is reached.
    pub(crate) fn input(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(match &self.source {
            Source::Xdp(xdp) => xdp.rings()?,
            Source::Lines(lines, _) => vec![lines.try_clone()?],
            Source::Ended => vec![fs::File::open("/dev/null")?.into()],
        })
    }

    /// Whether SYNs are read as lines.
    pub(crate) fn reads_lines(&self) -> bool {
        !matches!(self.source, Source::Xdp(_))
    }

    /// Whether there is no source of SYNs, because the lines have ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    /// Records that the lines have ended. Returns `false` if no lines are read.
    pub(crate) fn end_lines(&mut self) -> bool {
        let reads = matches!(self.source, Source::Lines(..));
        if reads {
            self.source = Source::Ended;
        }
        reads
    }

    /// Switches the eBPF program's log line per packet on or off.
    pub(crate) fn set_kernel_log(&mut self, logs_packets: bool) {
        self.logs_packets = logs_packets;
        if let Source::Xdp(xdp) = &mut self.source
            && let Err(error) = xdp.set_log(logs_packets)
        {
            warn!("cannot switch the kernel's log lines: {error:#}");
        }
    }

    /// Reports the pending log lines of the eBPF program.
    pub(crate) fn flush_kernel_log(&mut self) {
        if let Source::Xdp(xdp) = &mut self.source {
            xdp.flush_log();
        }
    }

    /// The numbers of attached and lost interfaces.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }
}

/// Returns when an interface has changed; never without a watch. Cancel-safe.
async fn changed(watch: &mut Option<Watch>) -> io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests;
