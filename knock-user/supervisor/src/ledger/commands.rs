//! The commands of doors.

use std::time::Duration;

use knockd_config::template::Expansion;
use knockd_ipc::message::Effect;
use knockd_types::{command::Command, event::Event};
use tracing::info;

use super::Ledger;
use crate::{
    doors::{Action, Task},
    exec::{Ending, Lane},
    lease_gate::LeaseGate,
};

impl Ledger {
    /// Handles the end of the command of `task`.
    pub(crate) fn ended(&mut self, gate: &mut dyn LeaseGate, task: &Task, ending: &Ending) {
        let ok = ending.succeeded();
        if ok {
            self.counters.commands_succeeded += 1;
        } else {
            self.counters.commands_failed += 1;
        }
        let step = self.finish(gate, task, ok);
        // Not earlier: the record in the journal has to be written first.
        self.reporter.report(Event::Command {
            door: self.catalog.door(task.key.door).name.clone(),
            source: task.key.source,
            command: match task.action {
                Action::Open => "run".into(),
                Action::Close => "close".into(),
            },
            ending: ending.to_string(),
            ok,
        });
        if let Some(step) = step {
            self.step(gate, step);
        }
    }

    /// Starts the command of `task`. Returns `false` if there is none to run. `arrival` is the
    /// arrival of the knock's last packet, if the latency is measured.
    pub(super) fn run_command(&mut self, task: &Task, arrival: Option<Duration>) -> bool {
        if self.is_dry_run {
            return false;
        }
        let Some((label, command)) = self.command(task) else {
            return false;
        };
        let reporter = self.reporter.clone();
        let lane = lane(task);
        self.executor.start(*task, lane, label, command, move || {
            if let Some(arrival) = arrival {
                reporter.latency(Effect::Command, arrival);
            }
        });
        true
    }

    /// Logs the command that a dry run does not execute.
    pub(super) fn log_dry_run(&self, task: &Task) {
        if let Some((label, command)) = self.command(task).filter(|_| self.is_dry_run) {
            info!(
                "would run {label}: {:?} {:?}",
                command.program, command.arguments
            );
        }
    }

    /// The command of `task` with its name for the log; `None` if it has none.
    fn command(&self, task: &Task) -> Option<(String, Command)> {
        let source = task.key.source;
        let door = self.catalog.door(task.key.door);
        let (name, template) = match task.action {
            Action::Open => ("run", door.run.as_ref()?),
            Action::Close => ("close", door.close.as_ref()?),
        };
        let expansion = Expansion {
            source,
            door: &door.name,
            client: self.catalog.client(task.client),
            seconds: task.lease.as_secs(),
        };
        let command = Command {
            account: door.account.clone(),
            ..template.expand(&expansion)
        };
        let label = format!("{name} of door {:?} for {source}", door.name);
        Some((label, command))
    }
}

/// Among which commands that of `task` is one.
fn lane(task: &Task) -> Lane {
    Lane {
        closes: task.action == Action::Close,
        door: task.key.door,
        client: task.client,
    }
}

#[cfg(test)]
mod tests {
    use knockd_types::account::Account;

    use super::*;
    use crate::{
        doors::DoorKey,
        fixture::{TWO_CLIENTS, config},
        reporter::Reporter,
    };

    fn task(door: usize, action: Action) -> Task {
        Task {
            key: DoorKey {
                door,
                source: [192, 0, 2, 7].into(),
            },
            client: 1,
            action,
            lease: Duration::ZERO,
        }
    }

    #[test]
    fn what_closes_a_door_is_apart_from_what_opens_one() {
        for (action, closes) in [(Action::Open, false), (Action::Close, true)] {
            let lane = lane(&task(3, action));
            assert_eq!((lane.closes, lane.door, lane.client), (closes, 3, 1));
        }
    }

    #[test]
    fn a_command_has_the_account_of_its_door() {
        let account = Account {
            name: "worker".into(),
            uid: 1001,
            gid: 1002,
        };
        let mut config = config(TWO_CLIENTS);
        config.doors[0].account = Some(account.clone());
        let ledger = Ledger::new(&config, None, Reporter::default()).unwrap();
        for action in [Action::Open, Action::Close] {
            let (_, command) = ledger.command(&task(0, action)).unwrap();
            assert_eq!(command.account.as_ref(), Some(&account));
        }
        let (_, command) = ledger.command(&task(2, Action::Open)).unwrap();
        assert!(command.account.is_none());
    }
}
