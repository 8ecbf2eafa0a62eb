//! The port that the door opens, before a knock and after it.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;

use super::{
    contact::{self, Contact},
    report::{Level, Report},
    subject::Subject,
};
use crate::{
    cli::DoctorArgs,
    knocking::{causes, knock_once},
    plan::Plan,
    profile::Profiles,
    server::Address,
    verify::{Attempts, TcpPort},
};

/// How long the port may take to answer after the knock: the daemon opens a door within milliseconds,
/// a slow firewall script within seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two attempts. Only a new SYN finds a door open that has dropped the one before.
const GAP: Duration = Duration::from_millis(500);

/// How often the attempts are looked at.
const POLL: Duration = Duration::from_millis(10);

/// Looks at the port that the door opens, and with `--knock` again after one knock.
pub(super) fn examine(
    args: &DoctorArgs,
    subject: &Subject,
    addresses: &[Address],
    profiles: &Profiles,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    if let Some(port) = subject.verify {
        before(port, addresses, args.knock, report)?;
    }
    if args.knock {
        after(args, subject, addresses, profiles, report)?;
    }
    Ok(())
}

fn before(
    port: TcpPort,
    addresses: &[Address],
    is_before_knock: bool,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let targets: Vec<_> = addresses
        .iter()
        .map(|one| one.with_port(port.get()))
        .collect();
    report.console.wait(&format!("trying {port}"));
    let contacts = contact::connect(&targets);
    report.console.quiet();
    for (address, contact) in addresses.iter().zip(&contacts) {
        let (level, seen, next) = closed(contact, is_before_knock);
        let message = format!("1 SYN to {port} of {address}: {seen}");
        report.add("port", level, &message, next)?;
    }
    Ok(())
}

/// What the port's answer before a knock means, and what to do.
fn closed(contact: &Contact, is_before_knock: bool) -> (Level, String, Option<&'static str>) {
    let next = (!is_before_knock).then_some("--knock shows whether a knock opens it");
    match contact {
        Contact::Silent => (
            Level::Ok,
            "no answer: closed, or dropped on the way".into(),
            next,
        ),
        Contact::Refused => (Level::Ok, "refused: closed, and not silent".into(), next),
        Contact::Answered => (
            Level::Warning,
            "it answers without a knock".into(),
            Some("an earlier knock may have opened it; else nothing closes it on the server"),
        ),
        Contact::Unreachable(error) => (
            Level::Warning,
            format!(
                "a router or a firewall says that it cannot be reached ({error}); a knock opens it \
                 only if that is the firewall of the server"
            ),
            next,
        ),
        Contact::Forbidden(error) => (
            Level::Problem,
            format!("not sent ({error})"),
            Some("allow it in the firewall of this host"),
        ),
        Contact::Failed(error) => (
            Level::Warning,
            format!("the attempt failed ({error})"),
            Some("try again"),
        ),
    }
}

fn after(
    args: &DoctorArgs,
    subject: &Subject,
    addresses: &[Address],
    profiles: &Profiles,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let plan = match Plan::new(&args.knock_args(&subject.given), profiles) {
        Ok(plan) => plan,
        Err(error) => {
            let message = format!("none was sent: {error:#}");
            return report.problem("knock", &message, "correct that, and try again");
        }
    };
    report.console.wait("knocking");
    let knocked = knock_once(&plan, report.console);
    report.console.quiet();
    let (done, is_bound) = match knocked {
        Ok(knocked) => knocked,
        Err(error) => {
            let message = format!("it could not be sent: {error:#}");
            return report.problem("knock", &message, "see the lines above");
        }
    };
    let Some((port, _)) = plan.verify else {
        return report.warning(
            "knock",
            &format!("{done}; it is not known which port the door opens"),
            "name it with --verify tcp/PORT, or try the door",
        );
    };
    report.console.wait(&format!("waiting for {port}"));
    let answers = answers(port, addresses, PATIENCE);
    report.console.quiet();
    if answers {
        return report.ok("knock", &format!("{done}; {port} answers"));
    }
    let likely = causes(&plan, port, is_bound, SystemTime::now());
    report.problem(
        "knock",
        &format!(
            "{done}; {port} does not answer within {} s",
            PATIENCE.as_secs()
        ),
        &likely,
    )
}

/// Whether `port` answers within `time` at one of `addresses`.
fn answers(port: TcpPort, addresses: &[Address], time: Duration) -> bool {
    let targets = addresses.iter().map(|one| one.with_port(port.get()));
    let mut attempts = Attempts::at(targets.collect());
    let start = Instant::now();
    let mut next = start;
    while !attempts.succeeded() {
        let now = Instant::now();
        if now >= start + time {
            return false;
        }
        if now >= next {
            attempts.start();
            next = now + GAP;
        }
        thread::sleep(POLL);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};

    use super::*;
    use crate::doctor::tests::findings;

    fn here() -> [Address; 1] {
        [IpAddr::from(Ipv4Addr::LOCALHOST).into()]
    }

    fn port_of(listener: &TcpListener) -> TcpPort {
        let number = listener.local_addr().unwrap().port();
        format!("tcp/{number}").parse().unwrap()
    }

    #[test]
    fn a_port_that_answers_before_the_knock_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port_of(&listener);
        let found = findings(|report| before(port, &here(), false, report));
        assert_eq!(found[0].level, Level::Warning);
        assert!(answers(port, &here(), PATIENCE));
        drop(listener);
        let found = findings(|report| before(port, &here(), false, report));
        assert_eq!(found[0].level, Level::Ok);
        let next = found[0].next.as_deref().unwrap();
        assert!(next.contains("--knock"), "{found:?}");
        assert!(!answers(port, &here(), Duration::ZERO));
    }
}
