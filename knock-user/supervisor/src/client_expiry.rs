//! Closes what clients have open when they expire.

use std::io;

use knockd_config::Config;
use knockd_runtime::{clock::unix_ms, wall_timer::WallTimer};

use crate::{allowed::Allowed, state::Supervisor};

/// Wakes the supervisor when the next client expires.
#[derive(Debug)]
pub(crate) struct ClientExpiry(WallTimer);

impl ClientExpiry {
    /// For no client yet.
    pub(crate) fn new() -> io::Result<Self> {
        WallTimer::new().map(Self)
    }

    /// Waits until a client may have expired: at its time, or because the clock was set. Cancel-safe.
    pub(crate) async fn due(&self) -> io::Result<()> {
        self.0.fired().await
    }

    /// Waits for the next client of `config` from now on.
    fn wait_for_next(&self, config: &Config) -> io::Result<()> {
        self.0.set(next_expiry(config, unix_ms()))
    }
}

/// The time at which the next client of `config` expires, after `now`. If all have expired that ever
/// do, it is a time that never comes: a clock that is set back has to be noticed.
fn next_expiry(config: &Config, now: u64) -> Option<u64> {
    let clients = config.clients.iter();
    let times = clients.filter_map(|client| client.conditions.expires);
    times
        .map(|time| if time > now { time } else { u64::MAX })
        .min()
}

impl Supervisor {
    /// Waits for the next client of the configuration that expires.
    pub(crate) fn await_client_expiry(&self) -> io::Result<()> {
        self.client_expiry.wait_for_next(&self.config)
    }

    /// Closes what the clients have open that have expired.
    pub(crate) fn expire_clients(&mut self) -> io::Result<()> {
        let allowed = Allowed::by(&self.config);
        self.ledger.revoke_disallowed(&mut self.datapath, &allowed);
        self.await_client_expiry()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{TWO_CLIENTS, config};

    #[test]
    fn the_next_client_is_waited_for() {
        let never = config(TWO_CLIENTS);
        assert_eq!(next_expiry(&never, 0), None);
        let expiring = TWO_CLIENTS
            .replace(
                "\"laptop.pass\"",
                "\"laptop.pass\"\nexpires = 1970-01-01T00:00:02Z",
            )
            .replace(
                "\"phone.pass\"",
                "\"phone.pass\"\nexpires = 1970-01-01T00:00:01Z",
            );
        let expiring = config(&expiring);
        for (now, next) in [(0, 1000), (999, 1000), (1000, 2000), (2000, u64::MAX)] {
            assert_eq!(next_expiry(&expiring, now), Some(next), "{now}");
        }
    }
}
