//! When and from where a client may knock.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The conditions under which the knocks of a client are accepted. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The time from which on no knock is accepted and nothing stays open, in Unix milliseconds.
    pub expires: Option<u64>,
    /// The networks that knocks are accepted from. If there are none: from everywhere.
    pub from: Vec<IpNet>,
}

impl Conditions {
    /// The time until the client expires, at `now` in Unix milliseconds. It is zero if the client has
    /// expired, and [`Duration::MAX`] if it never does.
    #[must_use]
    pub fn time_left(&self, now: u64) -> Duration {
        self.expires.map_or(Duration::MAX, |expires| {
            Duration::from_millis(expires.saturating_sub(now))
        })
    }

    /// Whether the client has expired at `now`, in Unix milliseconds.
    #[must_use]
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether a knock from `source` is accepted.
    #[must_use]
    pub fn is_from(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.from.is_empty() || self.from.iter().any(|network| network.contains(&source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_conditions_everything_is_accepted_for_ever() {
        let none = Conditions::default();
        assert_eq!(none.time_left(u64::MAX), Duration::MAX);
        assert!(!none.has_expired(u64::MAX));
        assert!(none.is_from([192, 0, 2, 7].into()));
    }

    #[test]
    fn a_client_expires_at_its_time() {
        let conditions = Conditions {
            expires: Some(5000),
            ..Conditions::default()
        };
        assert!(!conditions.has_expired(4999));
        assert_eq!(conditions.time_left(4999), Duration::from_millis(1));
        for now in [5000, 5001] {
            assert!(conditions.has_expired(now));
            assert_eq!(conditions.time_left(now), Duration::ZERO);
        }
    }

    #[test]
    fn a_source_is_in_one_of_the_networks() {
        let conditions = Conditions {
            from: ["192.0.2.0/24", "2001:db8::/32"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
            ..Conditions::default()
        };
        for (source, is_from) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.3.7", false),
            ("2001:db8::7", true),
            ("2001:db9::7", false),
        ] {
            assert_eq!(conditions.is_from(source.parse().unwrap()), is_from);
        }
    }
}
