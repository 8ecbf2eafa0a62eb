//! The content of a log entry, independent of the format.

use std::fmt::Debug;

use serde_json::{Map, Value};
use tracing::{
    Event,
    field::{Field, Visit},
};

/// The field with the JSON of a [`knockd_types::event::Event`].
pub const EVENT: &str = "event";

/// The keys that every entry has. Other fields must not override them.
const RESERVED: [&str; 3] = ["time", "level", "message"];

/// A message and the fields of its event.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) message: String,
    pub(super) fields: Map<String, Value>,
}

impl Entry {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut entry = Self::default();
        event.record(&mut entry);
        entry
            .fields
            .retain(|name, value| !RESERVED.contains(&name.as_str()) && !value.is_null());
        entry
    }

    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match serde_json::from_str(value) {
            Ok(Value::Object(fields)) if field.name() == EVENT => self.fields.extend(fields),
            _ => self.set(field, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = super::escape::one_line(&text);
        } else {
            self.set(field, text);
        }
    }
}
