//! Another configuration under a running daemon: at once, or not at all.

use std::{os::fd::OwnedFd, time::Duration};

use anyhow::{Context as _, Result, bail};
use knockd_config::Config;
use knockd_ipc::message::Message;
use knockd_runtime::clock::monotonic;
use knockd_types::event::Event;
use knockd_xdp::{leases::Gate, pins::PinDir};
use rustix::thread::{MembarrierCommand, membarrier};
use tokio::task::{JoinError, spawn_blocking};
use tracing::warn;

use crate::{
    child,
    doors::DoorKey,
    origin::Reread,
    resources::{self, Source},
    state::Supervisor,
};

/// Configurations that are read at the same time at most: whoever asks may ask often.
const MAX_READING: usize = 4;

impl Supervisor {
    /// Reads the configuration again, beside everything else: a passphrase takes a while.
    pub(crate) fn reread(&mut self, question: Option<u32>) {
        let Some(origin) = self.origin.clone() else {
            return;
        };
        if self.rereading == MAX_READING {
            let busy = "the configuration is being read already";
            match question {
                Some(question) => self.send(Message::Answer(question, Err(busy.into()))),
                None => warn!("{busy}"),
            }
            return;
        }
        self.rereading += 1;
        self.service_manager.reloading();
        let rereads = self.rereads.0.clone();
        tokio::spawn(async move {
            let read = spawn_blocking(move || origin.read()).await;
            let config = read.unwrap_or_else(|error: JoinError| Err(error.into()));
            // Nobody listens any more only when the daemon has stopped.
            let _ = rereads.send(Reread { config, question });
        });
    }

    /// Goes over to the configuration, if it is right and can be.
    pub(crate) fn reread_done(&mut self, reread: Reread) {
        self.rereading -= 1;
        let outcome = reread.config.and_then(|config| self.reload(config));
        match &outcome {
            Ok(()) => {
                self.counters.reloads += 1;
                self.reporter.report(Event::Reloaded {
                    listening: self.listening(),
                });
            }
            Err(error) => {
                self.counters.reloads_refused += 1;
                self.trouble(format!("the configuration stays as it was: {error:#}"));
            }
        }
        // Also when it was refused: the old one is in force.
        self.service_manager.ready(&self.listening());
        if let Some(question) = reread.question {
            let outcome = outcome.map(|()| Vec::new());
            let outcome = outcome.map_err(|error| format!("{error:#}"));
            self.send(Message::Answer(question, outcome));
        }
    }

    fn reload(&mut self, mut config: Config) -> Result<()> {
        self.require_same(&config)?;
        if self.dry_run {
            resources::force_observe(&mut config);
        }
        let store = match &self.store {
            None => resources::open_store(&config, &self.reporter)?,
            Some(_) => None,
        };
        // From here on nothing fails before the kernel has gone over, and nothing after.
        let ring = match &self.source {
            Source::Xdp(_) => Some(self.replace_program(&config)?),
            Source::Lines(..) | Source::Ended => None,
        };
        if store.is_some() {
            self.store = store;
        }
        self.catalog.update(&config);
        let limits = config.limits;
        self.doors.set_max(limits.open_doors);
        self.executor
            .set_limits(limits.commands, limits.command_timeout);
        self.config = config;
        let terms = Box::new(child::terms(&self.config, &self.catalog));
        let files = ring.into_iter().collect();
        if let Err(stuck) = self.outbox.send_with(Message::Change(terms), files) {
            self.kill(&stuck);
        }
        self.revoke_what_is_gone();
        self.follow_interfaces();
        Ok(())
    }

    /// What cannot change while the daemon runs.
    fn require_same(&self, config: &Config) -> Result<()> {
        let ours = &self.config;
        let pin_dir = |config: &Config| config.gate.as_ref().map(|gate| gate.pin_dir.clone());
        let moves_pins = matches!(
            (pin_dir(ours), pin_dir(config)),
            (Some(ours), Some(theirs)) if ours != theirs
        );
        let reads_lines = matches!(self.source, Source::Lines(..) | Source::Ended);
        for (key, differs) in [
            ("state_dir", ours.state_dir != config.state_dir),
            (
                "control_socket",
                ours.control_socket != config.control_socket,
            ),
            ("gate.pin_dir", moves_pins),
            ("metrics", ours.metrics != config.metrics),
            ("user", ours.user != config.user),
            ("window", reads_lines && ours.window != config.window),
        ] {
            if differs {
                bail!("`{key}` takes effect only when knockd is started again");
            }
        }
        if config.has_sealed_clients() && !ours.has_sealed_clients() && !self.can_remember {
            bail!(
                "the first sealed client takes effect only when knockd is started again: its knocks have to be remembered"
            );
        }
        if !reads_lines && config.interfaces.is_empty() {
            bail!("there is no interface to listen on: set `interfaces`");
        }
        if reads_lines && config.gate.is_some() {
            bail!("[gate] is enforced on interfaces, and this daemon reads lines");
        }
        Ok(())
    }

    /// Puts a program with the settings of `config`, and with the leases that are in force, in
    /// the place of the one that runs, on each interface at once. Returns its
    /// ring; what the other one put on its own is still there for the listener.
    fn replace_program(&mut self, config: &Config) -> Result<OwnedFd> {
        let (mut next, mut gate) = resources::load(config, &self.reporter)?;
        let ring = next.events()?;
        let left = self.left_of_open_doors();
        copy(&left, config, &self.catalog_names(&left), gate.as_mut())?;
        let Source::Xdp(current) = &mut self.source else {
            bail!("there is no program");
        };
        let missing = next.replace(current, &config.interfaces)?;
        // Datagrams that came meanwhile have kept their leases going in the old map.
        let left = self.left_of_open_doors();
        let copied = copy(&left, config, &self.catalog_names(&left), gate.as_mut());
        if let Err(error) = copied {
            warn!("a lease is not extended: {error:#}");
        }
        // Waits until no CPU runs the old program any more: the kernel makes it of synchronize_rcu().
        if let Err(error) = membarrier(MembarrierCommand::Global) {
            // Then the last event of the old program may be missed.
            warn!("the old program may be running still: {error}");
        }
        if let Err(error) = next.set_log(self.followed) {
            warn!("the kernel's log lines cannot be switched: {error:#}");
        }
        self.gate = gate;
        self.source = Source::Xdp(Box::new(next));
        self.pin_again(config);
        self.await_interfaces(&missing);
        Ok(ring)
    }

    /// PinDir what is in force now, or removes the pins of a gate that is gone.
    fn pin_again(&mut self, config: &Config) {
        let (Source::Xdp(xdp), Some(gate)) = (&mut self.source, &self.gate) else {
            if let Some(pins) = self.pins.take() {
                warn!("the gate is taken away: the configuration has none any more");
                pins.remove();
            }
            return;
        };
        if self.dry_run {
            return;
        }
        let root = config.gate.as_ref().map(|gate| gate.pin_dir.clone());
        let root = root.unwrap_or_default();
        let pins = self.pins.take().unwrap_or_else(|| PinDir::at(&root));
        match PinDir::prepare(&root).and_then(|()| xdp.pin(gate, &pins)) {
            Ok(()) => self.pins = Some(pins),
            Err(error) => self.trouble(format!(
                "the gate ends with this process, and the ports that it protects are open then: {error:#}"
            )),
        }
    }

    /// For how long each door that lets somebody in does so yet.
    fn left_of_open_doors(&self) -> Vec<(DoorKey, Duration)> {
        let now = monotonic();
        self.doors
            .open()
            .filter(|open| open.lets_in && self.catalog.has_client(open.client))
            .map(|open| {
                let until = open.until.saturating_sub(now);
                let in_use = self.in_use_until(open.visit, now);
                let in_use = in_use.map_or(Duration::ZERO, |until| until.saturating_sub(now));
                (open.visit, until.max(in_use))
            })
            .collect()
    }

    fn catalog_names(&self, left: &[(DoorKey, Duration)]) -> Vec<String> {
        let name = |visit: &DoorKey| self.catalog.door(visit.door).name.clone();
        left.iter().map(|(visit, _)| name(visit)).collect()
    }

    /// Closes the doors that are in the configuration no longer, and those of clients that
    /// are not.
    fn revoke_what_is_gone(&mut self) {
        let gone: Vec<_> = self
            .doors
            .open()
            .filter(|open| {
                !self.catalog.has_door(open.visit.door) || !self.catalog.has_client(open.client)
            })
            .map(|open| open.visit)
            .collect();
        for visit in gone {
            self.revoke(visit);
        }
    }
}

/// Lets those in through `gate` who have a door open that `config` has too: `names` are those
/// of the doors.
fn copy(
    left: &[(DoorKey, Duration)],
    config: &Config,
    names: &[String],
    gate: Option<&mut Gate>,
) -> Result<()> {
    let Some(gate) = gate else { return Ok(()) };
    for ((visit, left), name) in left.iter().zip(names) {
        if let Some(door) = config.doors.iter().find(|door| door.name == *name) {
            gate.open(&door.opening.keys(visit.source), *left)
                .context("the new gate")?;
        }
    }
    Ok(())
}
