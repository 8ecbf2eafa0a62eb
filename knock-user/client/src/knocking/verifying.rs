//! Knocks until the door's port answers.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, bail};

use super::{
    report::{causes, done},
    session::Session,
};
use crate::verify::{Attempts, Doorway, Outcome, TcpPort, Timeout, verify};

/// Knocks until `port` answers or `timeout` is over, and prints the result.
pub(super) fn verify_port(
    mut session: Session<'_, '_>,
    port: TcpPort,
    timeout: Timeout,
) -> Result<()> {
    let plan = session.plan;
    let outcome = knock_until(&mut session, port, timeout)?;
    let done = |count| done(&session.reached, count, plan);
    let line = match outcome {
        Outcome::WasOpen => format!(
            "{port} answered before the knock; {} anyway, to renew the lease",
            done(1)
        ),
        Outcome::Opened(count) => format!("{}; {port} answers", done(count)),
        // Reported as an error.
        Outcome::Silent(_) => return Ok(()),
    };
    session.console.print(&line)
}

/// Knocks until `port` answers.
///
/// # Errors
///
/// Returns an error with the likely causes if it does not answer within `timeout`.
pub(super) fn knock_until(
    session: &mut Session<'_, '_>,
    port: TcpPort,
    timeout: Timeout,
) -> Result<Outcome> {
    let (plan, server) = (session.plan, &session.plan.server);
    let targets = session.addresses.iter().map(|it| it.with_port(port.get()));
    let mut doorway = SystemDoorway {
        attempts: Attempts::at(targets.collect()),
        port,
        session,
    };
    doorway
        .session
        .console
        .wait(&format!("knocking until {port} on {server} answers"));
    let outcome = verify(&mut doorway, plan.syns_per_knock(), timeout)?;
    let refused = doorway.attempts.refused();
    session.console.quiet();
    let Outcome::Silent(count) = outcome else {
        return Ok(outcome);
    };
    let silence = if refused {
        "refuses connections"
    } else {
        "does not answer"
    };
    let times = if count == 1 {
        "a knock".to_owned()
    } else {
        format!("{count} knocks")
    };
    bail!(
        "{port} on {server} still {silence} after {times} in {timeout}. {}",
        causes(plan, port, session.is_bound(), SystemTime::now())
    )
}

/// The door's port, for [`verify`].
struct SystemDoorway<'s, 'a, 'c> {
    session: &'s mut Session<'a, 'c>,
    attempts: Attempts,
    port: TcpPort,
}

impl Doorway for SystemDoorway<'_, '_, '_> {
    type Error = anyhow::Error;

    fn knock(&mut self, count: u32) -> Result<()> {
        let lease = self.session.plan.lease();
        if count == 1 {
            return self.session.knock(lease);
        }
        self.session.console.wait_longer(&format!(
            "{} on {} does not answer yet: knocking again ({count})",
            self.port, self.session.plan.server
        ))?;
        // The network may recover before the timeout.
        match self.session.knock(lease) {
            Err(error) => self.session.note(format!("{error:#}")),
            knocked => knocked,
        }
    }

    fn try_port(&mut self) {
        self.attempts.start();
    }

    fn answers(&mut self) -> bool {
        self.attempts.succeeded()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&mut self, pause: Duration) {
        thread::sleep(pause);
    }
}
