use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use knock_common::legible::misleads;
use knockd_types::{
    event::{AdmissionInfo, Event},
    reason::Reason,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt as _};

use super::*;

/// The destination of a log.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }
}

impl io::Write for Sink {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.bytes().extend(entry);
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The output that `work` logs in `format`.
fn logged(format: Format, work: impl FnOnce()) -> String {
    let sink = Sink::default();
    let log = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(sink.clone());
    let _log = match format {
        Format::Text => log
            .with_target(false)
            .fmt_fields(format::debug_fn(text_field))
            .set_default(),
        Format::Json => log.event_format(Json).set_default(),
        Format::Journal => log.event_format(journal::Entries).set_default(),
    };
    work();
    String::from_utf8(sink.bytes().clone()).unwrap()
}

fn reported(format: Format, event: &Event) -> String {
    logged(format, || log_event(event))
}

fn knock(client: &str, door: &str) -> Event {
    Event::Opening(AdmissionInfo {
        client: client.into(),
        door: door.into(),
        source: [192, 0, 2, 7].into(),
        seconds: 30,
    })
}

fn refusal(client: &str, detail: &str) -> Event {
    Event::Refused {
        source: [192, 0, 2, 7].into(),
        reason: Reason::Replayed,
        client: Some(client.into()),
        detail: detail.into(),
    }
}

/// `line` without quoted text.
fn unquoted(line: &str) -> String {
    let (mut outside, mut is_quoted) = (String::new(), false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_quoted => drop(chars.next()),
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            _ => outside.push(c),
        }
    }
    outside
}

/// The field names of a journal entry.
fn names(entry: &str) -> Vec<&str> {
    let lines = entry.strip_suffix('\n').unwrap().split('\n');
    lines.map(|line| line.split_once('=').unwrap().0).collect()
}

#[test]
fn a_line_of_text_is_stable() {
    let line = reported(Format::Text, &knock("laptop", "ssh"));
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
    assert_eq!(
        rest,
        " INFO accepted door=\"ssh\" client=\"laptop\" source=192.0.2.7 lease=30s: opening\n"
    );
}

#[test]
fn a_line_of_json_has_the_events_fields() {
    let line = reported(Format::Json, &knock("laptop", "ssh"));
    let mut object: Value = serde_json::from_str(&line).unwrap();
    let time = object.as_object_mut().unwrap().remove("time").unwrap();
    assert!(humantime::parse_rfc3339(time.as_str().unwrap()).is_ok());
    assert_eq!(
        object,
        json!({
            "level": "info",
            "message": "accepted door=\"ssh\" client=\"laptop\" source=192.0.2.7 lease=30s: opening",
            "event": "opening",
            "client": "laptop",
            "door": "ssh",
            "source": "192.0.2.7",
            "lease": 30,
        })
    );
}

#[test]
fn an_entry_of_the_journal_has_them_too() {
    assert_eq!(
        reported(Format::Journal, &refusal("laptop", "accepted before")),
        "PRIORITY=6\n\
         SYSLOG_IDENTIFIER=knockd\n\
         MESSAGE=refused source=192.0.2.7 reason=replayed client=\"laptop\": accepted before\n\
         KNOCKD_CLIENT=laptop\n\
         KNOCKD_DETAIL=accepted before\n\
         KNOCKD_EVENT=refused\n\
         KNOCKD_REASON=replayed\n\
         KNOCKD_SOURCE=192.0.2.7\n"
    );
}

#[test]
fn a_message_without_an_event_is_logged_in_every_format() {
    let warn = || tracing::warn!("the \"clock\"\nwas set");
    let text = logged(Format::Text, warn);
    assert!(text.ends_with("  WARN the \"clock\"\\nwas set\n"), "{text}");
    let line = logged(Format::Json, warn);
    let object: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["message"], "the \"clock\"\\nwas set");
    assert_eq!(
        logged(Format::Journal, warn),
        "PRIORITY=4\nSYSLOG_IDENTIFIER=knockd\nMESSAGE=the \"clock\"\\nwas set\n"
    );
}

/// Names and reasons that an attacker could choose.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("\n"),
        Just("\r\n"),
        Just("\u{85}"),
        Just("\u{2028}"),
        Just("\u{202e}"),
        Just("\x1b[2K\r"),
        Just("\0"),
        Just("\""),
        Just("\\"),
        Just("\",\"source\":\"192.0.2.66\",\"x\":\""),
        Just("\" source=192.0.2.66 reason=replayed"),
        Just("\nKNOCKD_SOURCE=192.0.2.66\n"),
        Just("2026-01-01T00:00:00Z  INFO refused source=192.0.2.66 reason=replayed: x"),
    ]
    .prop_map(str::to_owned);
    let piece = prop_oneof![3 => pieces, 1 => any::<String>()];
    prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_name_forges_a_line_of_text_or_a_field(client in hostile(), door in hostile()) {
        let line = reported(Format::Text, &knock(&client, &door));
        let line = line.strip_suffix('\n').unwrap();
        prop_assert!(!line.contains(misleads), "{line:?}");
        let (_, message) = line.split_once(" INFO ").unwrap();
        prop_assert_eq!(
            unquoted(message),
            "accepted door= client= source=192.0.2.7 lease=30s: opening"
        );
    }

    #[test]
    fn nothing_stands_before_the_address_and_the_reason(client in hostile(), detail in hostile()) {
        let line = reported(Format::Text, &refusal(&client, &detail));
        let line = line.strip_suffix('\n').unwrap();
        prop_assert!(!line.contains(misleads), "{line:?}");
        let (_, message) = line.split_once(" INFO ").unwrap();
        prop_assert!(message.starts_with("refused source=192.0.2.7 reason=replayed client=\""));
    }

    #[test]
    fn nothing_forges_a_line_of_json_or_a_field(client in hostile(), detail in hostile()) {
        let line = reported(Format::Json, &refusal(&client, &detail));
        let line = line.strip_suffix('\n').unwrap();
        prop_assert!(!line.contains(misleads), "{line:?}");
        let object: Value = serde_json::from_str(line).unwrap();
        prop_assert_eq!(&object["source"], "192.0.2.7");
        prop_assert_eq!(&object["client"], &client);
        prop_assert_eq!(&object["detail"], &detail);
        prop_assert_eq!(object.as_object().unwrap().len(), 8);
        // Some readers use the last of several equal keys.
        let keys = unquoted(line).matches(':').count();
        prop_assert_eq!(keys, 8);
    }

    #[test]
    fn nothing_forges_a_field_of_the_journal(client in hostile(), message in hostile()) {
        let entry = reported(Format::Journal, &refusal(&client, &message));
        prop_assert_eq!(
            names(&entry),
            [
                "PRIORITY",
                "SYSLOG_IDENTIFIER",
                "MESSAGE",
                "KNOCKD_CLIENT",
                "KNOCKD_DETAIL",
                "KNOCKD_EVENT",
                "KNOCKD_REASON",
                "KNOCKD_SOURCE",
            ]
        );
        let problem = reported(Format::Journal, &Event::Trouble { message });
        prop_assert_eq!(
            names(&problem),
            ["PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE", "KNOCKD_EVENT"]
        );
    }

    #[test]
    fn no_message_forges_anything(message in hostile()) {
        for format in [Format::Text, Format::Json] {
            let line = logged(format, || tracing::info!("{message}"));
            let line = line.strip_suffix('\n').unwrap();
            prop_assert!(!line.contains(misleads), "{line:?}");
        }
        let entry = logged(Format::Journal, || tracing::info!("{message}"));
        prop_assert_eq!(names(&entry), ["PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE"]);
    }
}
