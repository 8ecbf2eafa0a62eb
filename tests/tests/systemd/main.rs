//! The daemon as a service: what it tells systemd, and the unit that it is started by.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod notify;
mod unit;
