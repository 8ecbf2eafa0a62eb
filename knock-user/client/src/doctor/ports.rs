//! Whether something on the way filters the ports of a knock.

use anyhow::Result;

use super::{
    contact::{self, Contact},
    report::{Level, Report},
    subject::Subject,
};
use crate::{server::Address, transport::UdpPort};

/// What to do about a port that is filtered on this host.
const OWN_FIREWALL: &str =
    "allow it in the firewall of this host (`nft list ruleset`, `iptables -S`)";

/// Tries the ports of a knock at each of `addresses`.
pub(super) fn examine(
    subject: &Subject,
    addresses: &[Address],
    report: &mut Report<'_, '_>,
) -> Result<()> {
    for address in addresses {
        if subject.transport.has_syns() {
            window(subject, *address, report)?;
        }
        if let Some(port) = subject.udp {
            let target = address.with_port(port.get());
            report
                .console
                .wait(&format!("trying udp/{port} of {address}"));
            let contact = contact::datagram(target);
            report.console.quiet();
            datagram(port, *address, &contact, report)?;
        }
    }
    Ok(())
}

/// Tries two ports of the window: fewer than a knock has, and a filter may know one of them.
fn window(subject: &Subject, address: Address, report: &mut Report<'_, '_>) -> Result<()> {
    let window = subject.window;
    let ports = [window.base(), window.port(u8::MAX)];
    report
        .console
        .wait(&format!("trying the knock ports of {address}"));
    let contacts = contact::connect(&ports.map(|port| address.with_port(port)));
    report.console.quiet();
    let worst = contacts.iter().max_by_key(|contact| gravity(contact));
    let worst = worst.unwrap_or(&Contact::Silent);
    let tried = format!(
        "1 SYN each to tcp/{} and tcp/{} of {address}",
        ports[0], ports[1]
    );
    let Verdict { level, seen, next } = of_syns(worst);
    report.add("syn", level, &format!("{tried}: {seen}"), next)
}

/// Which of two results says more.
fn gravity(contact: &Contact) -> u8 {
    match contact {
        Contact::Silent => 0,
        Contact::Refused => 1,
        Contact::Failed(_) => 2,
        Contact::Answered => 3,
        Contact::Unreachable(_) => 4,
        Contact::Forbidden(_) => 5,
    }
}

/// What a result means for a knock.
struct Verdict {
    level: Level,
    seen: String,
    next: Option<&'static str>,
}

impl Verdict {
    fn new(level: Level, seen: impl Into<String>, next: impl Into<Option<&'static str>>) -> Self {
        let (seen, next) = (seen.into(), next.into());
        Self { level, seen, next }
    }
}

fn of_syns(contact: &Contact) -> Verdict {
    match contact {
        Contact::Silent => Verdict::new(
            Level::Ok,
            "no answer, which is how knockd treats them; a firewall on the way that drops them \
             looks the same (`knockd tail` on the server shows what arrives)",
            None,
        ),
        Contact::Refused => Verdict::new(
            Level::Warning,
            "refused, which knockd does only with `verdict = \"pass\"`",
            "see with `knockd status` on the server whether it runs and listens on the right \
             interface; if it does, a firewall on the way rejects these ports: knock with --udp",
        ),
        Contact::Answered => Verdict::new(
            Level::Problem,
            "a connection succeeded, although nothing may listen on knock ports: a proxy on the \
             way answers, or this is another host",
            "see with `knockd tail` on the server whether SYNs arrive; else knock with --udp, or \
             from another network",
        ),
        Contact::Unreachable(error) => Verdict::new(
            Level::Problem,
            format!(
                "unreachable ({error}): a router or a firewall on the way says so, or that of the \
                 server, which is right only with `verdict = \"pass\"`"
            ),
            "knock with --udp, or from another network",
        ),
        Contact::Forbidden(error) => {
            Verdict::new(Level::Problem, format!("not sent ({error})"), OWN_FIREWALL)
        }
        Contact::Failed(error) => Verdict::new(
            Level::Warning,
            format!("the attempt failed ({error})"),
            "try again",
        ),
    }
}

fn datagram(
    port: UdpPort,
    address: Address,
    contact: &Contact,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let tried = format!("1 empty datagram to udp/{port} of {address}");
    let Verdict { level, seen, next } = of_datagram(contact);
    report.add("udp", level, &format!("{tried}: {seen}"), next)
}

fn of_datagram(contact: &Contact) -> Verdict {
    match contact {
        Contact::Silent => Verdict::new(
            Level::Ok,
            "no answer; it may have arrived or not (`knockd tail` on the server shows whether \
             knocks do)",
            None,
        ),
        Contact::Refused => Verdict::new(
            Level::Ok,
            "`port unreachable`, which a host answers where nothing listens; knockd takes a knock \
             before that",
            None,
        ),
        Contact::Answered => Verdict::new(
            Level::Ok,
            "a service answers, which a knock passes by",
            None,
        ),
        Contact::Unreachable(error) => Verdict::new(
            Level::Warning,
            format!(
                "unreachable ({error}): a router or a firewall says so; that of the server may, \
                 because this is no knock, and knockd takes a knock before it"
            ),
            "if it is one on the way, knock with --syn or from another network",
        ),
        Contact::Forbidden(error) => {
            Verdict::new(Level::Problem, format!("not sent ({error})"), OWN_FIREWALL)
        }
        Contact::Failed(error) => Verdict::new(
            Level::Warning,
            format!("the attempt failed ({error})"),
            "try again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn silence_is_no_problem_and_says_little() {
        for verdict in [of_syns(&Contact::Silent), of_datagram(&Contact::Silent)] {
            assert_eq!(verdict.level, Level::Ok);
            assert!(verdict.seen.contains("knockd tail"), "{}", verdict.seen);
        }
    }

    #[test]
    fn what_cannot_work_is_a_problem_with_a_way_out() {
        let unreachable = || Contact::Unreachable(io::ErrorKind::HostUnreachable.into());
        let forbidden = || Contact::Forbidden(io::ErrorKind::PermissionDenied.into());
        for (verdict, way_out) in [
            (of_syns(&Contact::Answered), "--udp"),
            (of_syns(&unreachable()), "--udp"),
            (of_syns(&forbidden()), "firewall of this host"),
            (of_datagram(&forbidden()), "firewall of this host"),
        ] {
            assert_eq!(verdict.level, Level::Problem);
            assert!(
                verdict.next.unwrap().contains(way_out),
                "{:?}",
                verdict.next
            );
        }
        assert_eq!(of_syns(&Contact::Refused).level, Level::Warning);
        assert_eq!(of_datagram(&Contact::Refused).level, Level::Ok);
        // The firewall of the server may reject what is no knock.
        let verdict = of_datagram(&unreachable());
        assert_eq!(verdict.level, Level::Warning);
        assert!(verdict.next.unwrap().contains("--syn"));
    }

    #[test]
    fn the_port_that_says_most_counts() {
        let contacts = [
            Contact::Silent,
            Contact::Forbidden(io::ErrorKind::PermissionDenied.into()),
            Contact::Refused,
        ];
        let worst = contacts
            .iter()
            .max_by_key(|contact| gravity(contact))
            .unwrap();
        assert!(matches!(worst, Contact::Forbidden(_)), "{worst:?}");
    }
}
