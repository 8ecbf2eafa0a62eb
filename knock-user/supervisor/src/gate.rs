//! The kernel's leases, kept in step with the doors.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use knock_common::gate::LeaseKey;
use tracing::{info, warn};

use crate::doors::DoorKey;
use crate::{resources::Source, state::Supervisor};
use knockd_config::model::OnStop;
use knockd_runtime::clock::monotonic;
use knockd_types::event::Event;
use knockd_xdp::{
    leases::{Gate, OpenError},
    pins::PinDir,
};

/// What two clocks may differ by when they are read one after the other.
const CLOCKS_APART: Duration = Duration::from_millis(1);

impl Supervisor {
    /// Attaches to the configured interfaces, at once in the place of what is `pinned` there.
    /// With a gate, what is attached is pinned, if there is a place for that.
    ///
    /// # Errors
    ///
    /// A sentence that says which interface is missing or taken. What was pinned is in force
    /// still.
    pub(crate) fn attach(&mut self, pinned: PinDir, can_pin: Result<()>) -> Result<()> {
        let Source::Xdp(xdp) = &mut self.source else {
            return Ok(());
        };
        let missing = xdp.attach(&self.config.interfaces, Some(&pinned))?;
        self.await_interfaces(&missing);
        let (Source::Xdp(xdp), Some(gate)) = (&mut self.source, &self.gate) else {
            if !pinned.is_empty() {
                warn!(
                    "the gate that a knockd before this one has left is taken away: the configuration has none"
                );
                pinned.remove();
            }
            return Ok(());
        };
        match can_pin.and_then(|()| xdp.pin(gate, &pinned)) {
            Ok(()) => self.pins = Some(pinned),
            Err(error) => self.trouble(format!(
                "the gate ends with this process, and the ports that it protects are open then: {error:#}"
            )),
        }
        info!(
            "the gate protects {}",
            gate_ports(self.gate.as_ref()).join(", ")
        );
        Ok(())
    }

    /// Attaches to the configured interfaces for as long as this process lives.
    ///
    /// # Errors
    ///
    /// A sentence that says which interface is missing or taken.
    pub(crate) fn attach_for_now(&mut self) -> Result<()> {
        if let Source::Xdp(xdp) = &mut self.source {
            let missing = xdp.attach(&self.config.interfaces, None)?;
            self.await_interfaces(&missing);
        }
        Ok(())
    }

    /// Whether the leases go on in the kernel when this process ends.
    pub(crate) fn gate_stays(&self) -> bool {
        let on_stop = self.config.gate.as_ref().map(|gate| gate.on_stop);
        self.pins.is_some() && on_stop == Some(OnStop::Closed)
    }

    /// Takes the gate away, unless it is to stay.
    pub(crate) fn leave_gate(&mut self) {
        if self.gate_stays() {
            let protected = gate_ports(self.gate.as_ref());
            info!("the gate stays in force for {}", protected.join(", "));
        } else if let Some(pins) = self.pins.take() {
            pins.remove();
            warn!(
                "the gate is gone (`on_stop`): {} can be reached by everybody",
                gate_ports(self.gate.as_ref()).join(", ")
            );
        }
    }

    /// Lets the visitor in for as long as his door is open, and tells that, or why not.
    pub(crate) fn open_gate(&mut self, visit: DoorKey) {
        let let_in = self.let_in(visit);
        self.report_let_in(visit, let_in);
    }

    /// Lets the visitor in for as long as his door is open; whether there is a gate that does.
    pub(crate) fn let_in(&mut self, visit: DoorKey) -> Result<bool, OpenError> {
        let keys = self.keys(visit);
        let (Some(gate), Some(open)) = (&mut self.gate, self.doors.get(&visit)) else {
            return Ok(false);
        };
        if keys.is_empty() {
            return Ok(false);
        }
        gate.open(&keys, open.until.saturating_sub(monotonic()))?;
        Ok(true)
    }

    /// Tells what came of letting the visitor in.
    pub(crate) fn report_let_in(&mut self, visit: DoorKey, let_in: Result<bool, OpenError>) {
        match let_in {
            Ok(true) => self.report_gate(visit, true),
            Ok(false) => {}
            Err(error) => {
                if let OpenError::Full = error {
                    self.counters.refused_gate_full += 1;
                }
                let door = &self.catalog.door(visit.door).name;
                self.trouble(format!(
                    "door {door:?} is not opened to {}: {error}",
                    visit.source
                ));
            }
        }
    }

    /// Lets the visitor in no longer, but for what other doors have opened to him.
    pub(crate) fn close_gate(&mut self, visit: DoorKey) {
        let now = monotonic();
        for key in self.keys(visit) {
            let others = self.doors.open().filter(|open| {
                open.visit != visit
                    && open.lets_in
                    // Asked first, since it is cheap: only IPv6 has leases for several sources.
                    && (open.visit.source == visit.source || visit.source.is_ipv6())
                    && self.keys(open.visit).contains(&key)
            });
            let until = others.map(|open| open.until).max();
            let Some(gate) = &mut self.gate else { return };
            let closed = match until {
                Some(until) => gate.shorten(&key, until.saturating_sub(now)),
                None => gate.close(&[key]),
            };
            if let Err(error) = closed {
                warn!("a lease in the kernel cannot be taken away, and ends by itself: {error}");
            }
        }
        if !self.keys(visit).is_empty() {
            self.report_gate(visit, false);
        }
    }

    /// Until when the visitor's datagrams keep his door open, if they do.
    pub(crate) fn in_use_until(&self, visit: DoorKey, now: Duration) -> Option<Duration> {
        let left = self.gate.as_ref()?.in_use(&self.keys(visit));
        (left > CLOCKS_APART).then(|| now + left)
    }

    /// The leases that belong to `visit`; none without a gate.
    pub(crate) fn keys(&self, visit: DoorKey) -> Vec<LeaseKey> {
        if self.gate.is_none() {
            return Vec::new();
        }
        self.opening_keys(visit.door, visit.source)
    }

    pub(crate) fn opening_keys(&self, door: usize, source: IpAddr) -> Vec<LeaseKey> {
        self.catalog.door(door).opening.keys(source)
    }

    fn report_gate(&self, visit: DoorKey, is_open: bool) {
        let door = self.catalog.door(visit.door);
        let ports: Vec<_> = door.opening.ports.iter().map(ToString::to_string).collect();
        self.reporter.report(Event::Gate {
            door: door.name.clone(),
            source: visit.source,
            ports: ports.join(","),
            is_open,
        });
    }
}

fn gate_ports(gate: Option<&Gate>) -> Vec<String> {
    let ports = gate.map(Gate::protected).unwrap_or_default();
    ports.iter().map(ToString::to_string).collect()
}
