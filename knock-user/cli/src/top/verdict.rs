//! Formats the outcome of a knock as one line.

use knockd_types::event::{AdmissionInfo, Event, Notice};

use crate::top::text;

/// The longest line that is kept, in characters. Wider than any screen.
const MAX_LINE: usize = 400;

/// What an event means for the administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing to do.
    Nothing,
    /// A client is admitted.
    Good,
    /// Possibly a problem.
    Care,
    /// A problem.
    Bad,
}

/// One line, safe to display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The time of day of the last occurrence, in UTC.
    pub time: String,
    /// The meaning.
    pub meaning: Meaning,
    /// The text.
    pub text: String,
    /// The number of consecutive occurrences.
    pub times: u64,
}

impl Verdict {
    /// The line for `notice`, or `None` if the rest of the screen shows the same information.
    #[must_use]
    pub fn of(notice: &Notice) -> Option<Self> {
        let (meaning, text) = line(&notice.event)?;
        // The time of day in RFC 3339. Any other text is cut in the same way.
        let time = notice.time.chars().skip(11).take(8).collect::<String>();
        Some(Self {
            time: text::plain(&time),
            meaning,
            text: text::plain(&text.chars().take(MAX_LINE).collect::<String>()),
            times: 1,
        })
    }

    /// Whether both have the same meaning and text.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        (self.meaning, &self.text) == (other.meaning, &other.text)
    }
}

fn line(event: &Event) -> Option<(Meaning, String)> {
    Some(match event {
        Event::Refused {
            source,
            reason,
            detail,
            ..
        } => (
            if reason.is_noise() {
                Meaning::Nothing
            } else {
                Meaning::Care
            },
            format!("refused {source}: {detail}"),
        ),
        Event::Reloaded { listening } => (
            Meaning::Nothing,
            format!("reloaded, listening on {listening}"),
        ),
        Event::Opening(admission) => (Meaning::Good, accepted(admission, "opens")),
        Event::Extended(admission) => (Meaning::Good, accepted(admission, "extends")),
        Event::OldKey { client, source, .. } => (
            Meaning::Care,
            format!("{client} at {source} still knocks with its previous key"),
        ),
        Event::Closed { door, source } => (Meaning::Nothing, format!("closed {door} to {source}")),
        Event::Command {
            door,
            source,
            command,
            ending,
            ok: false,
        } => (
            Meaning::Bad,
            format!("{command} of {door} for {source} {ending}"),
        ),
        Event::Observed { message } => (Meaning::Care, format!("gate would drop {message}")),
        Event::Trouble { message } => (Meaning::Bad, message.clone()),
        Event::Lost { notices } => (
            Meaning::Care,
            format!("{notices} verdicts dropped: too many at once"),
        ),
        Event::Following { .. }
        | Event::Kernel { .. }
        | Event::LeftOut { .. }
        | Event::Gate { .. }
        | Event::Command { ok: true, .. } => return None,
    })
}

fn accepted(admission: &AdmissionInfo, verb: &str) -> String {
    let AdmissionInfo {
        client,
        door,
        source,
        seconds,
    } = admission;
    let lease = text::duration(*seconds);
    format!("accepted {source}: {client} {verb} {door} for {lease}")
}

#[cfg(test)]
mod tests {
    use knockd_types::reason::Reason;

    use super::*;

    fn verdict(event: Event) -> Option<Verdict> {
        Verdict::of(&Notice {
            time: "2026-01-02T03:04:05.678Z".into(),
            event,
        })
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = Event::Refused {
            source: [192, 0, 2, 7].into(),
            reason: Reason::Stale,
            client: None,
            detail: "stale".into(),
        };
        let refused = verdict(refused).unwrap();
        assert_eq!(refused.time, "03:04:05");
        assert_eq!(refused.text, "refused 192.0.2.7: stale");
        assert_eq!(refused.meaning, Meaning::Care);
    }

    #[test]
    fn a_command_is_shown_only_if_it_failed() {
        let ended = |ok| Event::Command {
            door: "ssh".into(),
            source: [192, 0, 2, 7].into(),
            command: "run".into(),
            ending: "failed: exit status: 7".into(),
            ok,
        };
        assert_eq!(verdict(ended(true)), None);
        let failed = verdict(ended(false)).unwrap();
        assert_eq!(
            failed.text,
            "run of ssh for 192.0.2.7 failed: exit status: 7"
        );
        assert_eq!(failed.meaning, Meaning::Bad);
    }

    #[test]
    fn a_message_is_safe_and_has_an_end() {
        let message = format!("\u{1b}]0;title\u{7}{}", "x".repeat(100_000));
        let problem = verdict(Event::Trouble { message }).unwrap();
        assert!(problem.text.starts_with(r"\u{1b}]0;title\u{7}x"));
        assert!(!problem.text.contains(char::is_control));
        assert!(problem.text.len() < 2 * MAX_LINE);
    }

    #[test]
    fn the_kernels_lines_are_no_verdicts() {
        let message = "SYN".to_owned();
        assert_eq!(verdict(Event::Kernel { message }), None);
    }
}
