//! `knockd history`: shows the accepted knocks.

use std::{num::NonZeroUsize, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use knock_common::legible::escaped;
use knockd_runtime::{
    clock::{local, unix_ms},
    history::read,
    log::legible,
};
use knockd_types::history::{End, How, Knock, Moment};

use crate::{args::ConfigArg, output};

#[derive(Args, Debug)]
pub(crate) struct History {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    filter: Filter,
    /// Print JSON, one object a line; times are UTC
    #[arg(long)]
    json: bool,
}

/// Which knocks to show.
#[derive(Args, Debug, Default)]
struct Filter {
    /// Only knocks of this client; those of `knockd open` are of `by-hand`
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Only knocks for this door
    #[arg(long, value_name = "NAME")]
    door: Option<String>,
    /// Only knocks of this time until now, such as 2h or 7days
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only the last N of them
    #[arg(long, value_name = "N")]
    last: Option<NonZeroUsize>,
}

impl History {
    /// Prints the knocks, the oldest first.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration or the files cannot be read, or if standard output
    /// cannot be written.
    pub(crate) fn execute(&self) -> Result<()> {
        let state_dir = knockd_config::state_dir(&self.config.path)?;
        let describe = || {
            format!(
                "the history in {} cannot be read (are you root?)",
                state_dir.display()
            )
        };
        let knocks = read(&state_dir).with_context(describe)?;
        let is_empty = knocks.is_empty();
        let now = Moment::from_unix_ms(unix_ms());
        let knocks = self.filter.apply(knocks, now);
        let text = if self.json {
            let lines = knocks.iter().map(serde_json::to_string);
            let lines: Result<Vec<_>, _> = lines.collect();
            lines?.iter().map(|line| format!("{line}\n")).collect()
        } else if is_empty {
            format!("no accepted knock is recorded in {}\n", state_dir.display())
        } else if knocks.is_empty() {
            "no recorded knock matches\n".to_owned()
        } else {
            table(&knocks, now)
        };
        output::print_exactly(&legible(&text))
    }
}

impl Filter {
    /// The matching ones of `knocks`.
    fn apply(&self, mut knocks: Vec<Knock>, now: Moment) -> Vec<Knock> {
        let is_wanted = |wanted: &Option<String>, name: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == name)
        };
        knocks.retain(|Knock { accepted, .. }| {
            is_wanted(&self.client, &accepted.client)
                && is_wanted(&self.door, &accepted.door)
                && self
                    .since
                    .is_none_or(|since| accepted.time.after(since) >= now)
        });
        let first = self
            .last
            .map_or(0, |last| knocks.len().saturating_sub(last.get()));
        knocks.drain(..first);
        knocks
    }
}

/// The knocks in columns.
fn table(knocks: &[Knock], now: Moment) -> String {
    let mut rows = vec![["TIME", "CLIENT", "DOOR", "ADDRESS", "UNTIL"].map(str::to_owned)];
    rows.extend(knocks.iter().map(|knock| {
        let accepted = &knock.accepted;
        [
            local(accepted.time),
            accepted.client.clone(),
            accepted.door.clone(),
            accepted.source.to_string(),
            remarks(knock, now),
        ]
    }));
    // Of the text as it is shown.
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| row.map(|text| escaped(&text).collect::<String>()))
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths = [0, 1, 2, 3].map(width);
    rows.iter()
        .map(|[time, client, door, address, remarks]| {
            let [times, clients, doors, addresses] = widths;
            format!(
                "{time:times$}  {client:clients$}  {door:doors$}  {address:addresses$}  {remarks}\n"
            )
        })
        .collect()
}

/// How a knock ended, and what else is to be said about it.
fn remarks(knock: &Knock, now: Moment) -> String {
    let accepted = &knock.accepted;
    let mut remarks = vec![match knock.end {
        Some(End { closed, how }) => ended(&time_after(accepted.time, closed), how),
        None => {
            let until = time_after(accepted.time, accepted.until);
            match accepted.until > now {
                true => format!("{until}, if nothing has closed it"),
                false => until,
            }
        }
    }];
    if knock.extended {
        remarks.push("was open already".to_owned());
    }
    if let Some(sender) = accepted.sender {
        remarks.push(format!("opened by a knock from {sender}"));
    }
    if accepted.left_out > 0 {
        let left_out = accepted.left_out;
        remarks.push(format!(
            "{left_out} knocks of this client before it not shown"
        ));
    }
    remarks.join("; ")
}

fn ended(time: &str, how: How) -> String {
    match how {
        How::Expired => time.to_owned(),
        How::ByHand => format!("{time}, closed by hand"),
        How::ByClient => format!("{time}, closed by the client"),
        How::Revoked => format!("{time}, not allowed any more"),
        How::Stopped => format!("{time}, knockd was stopped"),
        How::CloseFailed => "its `close` command failed: it may still be open".to_owned(),
        How::NotOpened => "not opened: the gate had no room".to_owned(),
    }
}

/// The local time of `later`, without the date if that is the date of `earlier`.
fn time_after(earlier: Moment, later: Moment) -> String {
    let (earlier, later) = (local(earlier), local(later));
    match (earlier.split_once(' '), later.split_once(' ')) {
        (Some((date, _)), Some((same, time))) if date == same => time.to_owned(),
        _ => later,
    }
}

#[cfg(test)]
mod tests {
    use knockd_types::history::{Accepted, Via};

    use super::*;

    const TIME: Moment = Moment::from_unix_ms(1_800_000_000_000);

    fn knock(client: &str, second: u64, how: Option<How>) -> Knock {
        let time = TIME.after(Duration::from_secs(second));
        let end = how.map(|how| End {
            closed: time.after(Duration::from_secs(5)),
            how,
        });
        Knock {
            extended: false,
            accepted: Accepted {
                time,
                client: client.into(),
                door: "ssh".into(),
                source: [192, 0, 2, 7].into(),
                sender: None,
                until: time.after(Duration::from_secs(30)),
                via: Some(Via::Syn),
                left_out: 0,
            },
            end,
        }
    }

    fn after(second: u64) -> Moment {
        TIME.after(Duration::from_secs(second))
    }

    #[test]
    fn the_table_has_a_line_for_each_knock() {
        let mut extended = knock("a \u{1b}[2J\n", 3, None);
        extended.extended = true;
        extended.accepted.sender = Some("2001:db8::1".parse().unwrap());
        extended.accepted.left_out = 3;
        let knocks = [
            knock("laptop", 0, Some(How::ByHand)),
            knock("laptop", 1, None),
            extended,
        ];
        let text = table(&knocks, after(32));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].starts_with("TIME"), "{text}");
        assert!(lines[1].ends_with(":05, closed by hand"), "{text}");
        assert!(lines[2].ends_with(":31"), "{text}");
        let end = ":33, if nothing has closed it; was open already; opened by a knock from 2001:db8::1; 3 knocks of this client before it not shown";
        assert!(lines[3].ends_with(end), "{text}");
        assert!(
            lines[3].contains(r"  a \u{1b}[2J\n  ssh   192.0.2.7  "),
            "{text}"
        );
    }

    #[test]
    fn each_end_is_told() {
        let end = |how| remarks(&knock("laptop", 0, Some(how)), after(60));
        assert!(end(How::Expired).ends_with(":05"));
        for (how, text) in [
            (How::ByClient, "closed by the client"),
            (How::Revoked, "not allowed any more"),
            (How::Stopped, "knockd was stopped"),
            (How::CloseFailed, "may still be open"),
            (How::NotOpened, "no room"),
        ] {
            assert!(end(how).ends_with(text), "{}", end(how));
        }
    }

    #[test]
    fn a_date_is_shown_if_it_is_another_one() {
        assert_eq!(time_after(TIME, after(60)).len(), "09:00:00".len());
        let days = 3 * 24 * 60 * 60;
        assert_eq!(time_after(TIME, after(days)), local(after(days)));
    }

    #[test]
    fn filters_are_combined_and_the_last_ones_are_taken_from_what_is_left() {
        let mut backup = knock("laptop", 20, None);
        backup.accepted.door = "backup".into();
        let knocks = [
            knock("laptop", 0, None),
            knock("phone", 10, None),
            backup,
            knock("laptop", 30, None),
            knock("laptop", 40, None),
        ];
        let seconds = |filter: Filter| -> Vec<_> {
            let found = filter.apply(knocks.to_vec(), after(40));
            let times = found.iter().map(|knock| knock.accepted.time);
            times
                .map(|time| (time.unix_ms() - TIME.unix_ms()) / 1000)
                .collect()
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(seconds(Filter::default()), [0, 10, 20, 30, 40]);
        let since = Some(Duration::from_secs(20));
        let filter = Filter {
            since,
            ..Filter::default()
        };
        assert_eq!(seconds(filter), [20, 30, 40]);
        let filter = Filter {
            client: named("laptop"),
            door: named("ssh"),
            since,
            last: NonZeroUsize::new(1),
        };
        assert_eq!(seconds(filter), [40]);
        let filter = Filter {
            last: NonZeroUsize::new(9),
            client: named("phone"),
            ..Filter::default()
        };
        assert_eq!(seconds(filter), [10]);
    }
}
