//! What doors ask for when they open and close, and what becomes of it.

use std::time::Duration;

use tracing::info;

use crate::state::Entry;
use crate::state::Supervisor;
use crate::{
    doors::{Action, Step, Task},
    exec::Ending,
    outbox::Outbox,
};
use knockd_config::template::Expansion;
use knockd_ipc::message::{Effect, Message};
use knockd_runtime::clock::monotonic;
use knockd_types::{command::Command, event::Event};

impl Supervisor {
    /// Does `task`: the gate first, then the command; and tells of it, and of the `entry` that has
    /// led to it, only then. To write the log takes longer than all else.
    pub(crate) fn start(&mut self, task: &Task, entry: Option<Entry>) {
        let visit = task.visit;
        let let_in = match task.action {
            Action::Open => Some(self.let_in(visit)),
            Action::Close => {
                self.close_gate(visit);
                None
            }
        };
        let is_kept_out = matches!(let_in, Some(Err(_)));
        let knocked = entry.as_ref().and_then(|entry| entry.knocked);
        if let (Some(Ok(true)), Some(knocked)) = (&let_in, knocked) {
            took(&self.outbox, Effect::Gate, knocked);
        }
        let is_running = !is_kept_out && self.run_command(task, knocked);
        if let Some(entry) = entry {
            self.reporter.report(Event::Opening(entry.visitor));
        }
        if let Some(let_in) = let_in {
            self.report_let_in(visit, let_in);
        }
        if is_kept_out {
            self.doors.forget(visit);
            self.end_lease(visit);
        } else if !is_running {
            self.rehearse_command(task);
            self.done(task, true);
        }
    }

    /// Starts the command of `task`, if there is one to run. If it is a knock that has led to it,
    /// its last SYN came at `knocked`.
    fn run_command(&self, task: &Task, knocked: Option<Duration>) -> bool {
        if self.dry_run {
            return false;
        }
        let Some((label, command)) = self.command(task) else {
            return false;
        };
        let outbox = self.outbox.clone();
        self.executor.start(*task, label, command, move || {
            if let Some(knocked) = knocked {
                took(&outbox, Effect::Command, knocked);
            }
        });
        true
    }

    fn rehearse_command(&self, task: &Task) {
        if let Some((label, command)) = self.command(task).filter(|_| self.dry_run) {
            info!(
                "would run {label}: {:?} {:?}",
                command.program, command.arguments
            );
        }
    }

    /// The command of `task`, behind what it is called in the log; `None` if it has none.
    fn command(&self, task: &Task) -> Option<(String, Command)> {
        let visit = task.visit;
        let door = self.catalog.door(visit.door);
        let (name, template) = match task.action {
            Action::Open => ("run", door.run.as_ref()?),
            Action::Close => ("close", door.close.as_ref()?),
        };
        let expansion = Expansion {
            source: visit.source,
            door: &door.name,
            client: self.catalog.client(task.client),
            seconds: task.lease.as_secs(),
        };
        let command = Command {
            account: door.account.clone(),
            ..template.expand(&expansion)
        };
        let label = format!("{name} of door {:?} for {}", door.name, visit.source);
        Some((label, command))
    }

    /// Hears that the command of `task` has ended.
    pub(crate) fn ended(&mut self, task: &Task, ending: &Ending) {
        let ok = ending.succeeded();
        if ok {
            self.counters.commands_succeeded += 1;
        } else {
            self.counters.commands_failed += 1;
        }
        let step = self.finish(task, ok);
        self.reporter.report(Event::Command {
            door: self.catalog.door(task.visit.door).name.clone(),
            source: task.visit.source,
            command: match task.action {
                Action::Open => "run".into(),
                Action::Close => "close".into(),
            },
            ending: ending.to_string(),
            ok,
        });
        if let Some(step) = step {
            self.step(step);
        }
    }

    fn done(&mut self, task: &Task, ok: bool) {
        if let Some(step) = self.finish(task, ok) {
            self.step(step);
        }
    }

    fn finish(&mut self, task: &Task, ok: bool) -> Option<Step> {
        let step = self.doors.finished(task.visit, ok, monotonic());
        if step.is_none() {
            // Message only when it is on disk that the door is open.
            self.keep_lease(task.visit);
        }
        step
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Start(task) => {
                if task.action == Action::Open {
                    self.keep_lease(task.visit);
                }
                self.start(&task, None);
            }
            Step::Closed(visit) => {
                self.end_lease(visit);
                self.reporter.report(Event::Closed {
                    door: self.catalog.door(visit.door).name.clone(),
                    source: visit.source,
                });
            }
            // It stays on disk: the next start tries again.
            Step::GaveUp(visit) => {
                self.counters.closings_given_up += 1;
                self.trouble(format!(
                    "door {:?} may still be open to {}: its closing command failed, and is run again at the next start",
                    self.catalog.door(visit.door).name, visit.source
                ));
            }
        }
    }
}

/// Tells how long it took to `effect` since a knock's last SYN came at `knocked`.
fn took(outbox: &Outbox, effect: Effect, knocked: Duration) {
    let time = monotonic().saturating_sub(knocked);
    // A listener that takes nothing is found out by the next thing that it has to take.
    let _ = outbox.send(Message::Took(effect, time));
}
