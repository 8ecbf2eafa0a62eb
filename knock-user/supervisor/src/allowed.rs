//! Which doors may be open under a configuration.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use knockd_config::{
    Config,
    model::{Client, Door},
};
use knockd_runtime::clock::unix_ms;
use knockd_types::names::BY_HAND;

/// The doors that a configuration allows to be open, by the names of client and door.
pub(crate) struct Allowed<'c> {
    clients: HashMap<&'c str, AllowedClient<'c>>,
    doors: HashMap<&'c str, &'c Door>,
    /// The time, in Unix milliseconds.
    now: u64,
}

/// A client of the configuration.
struct AllowedClient<'c> {
    /// Its place in the configuration.
    place: usize,
    client: &'c Client,
    /// Whether the networks that it may knock from have changed.
    has_moved: bool,
}

impl<'c> Allowed<'c> {
    /// What `config` allows now.
    pub(crate) fn by(config: &'c Config) -> Self {
        let clients = config.clients.iter().enumerate();
        let doors = config.doors.iter();
        let allowed = |(place, client)| AllowedClient {
            place,
            client,
            has_moved: false,
        };
        Self {
            clients: clients
                .map(|client| (client.1.name.as_str(), allowed(client)))
                .collect(),
            doors: doors.map(|door| (door.name.as_str(), door)).collect(),
            now: unix_ms(),
        }
    }

    /// What `next` allows of that which was opened under `current`. A client without one of its keys
    /// is another client: whoever has that key may keep nothing open.
    pub(crate) fn after(current: &Config, next: &'c Config) -> Self {
        let mut allowed = Self::by(next);
        for client in &current.clients {
            let name = client.name.as_str();
            let Some(one) = allowed.clients.get_mut(name) else {
                continue;
            };
            one.has_moved = one.client.conditions.from != client.conditions.from;
            let now = allowed.now;
            if client.secrets(now).any(|key| !one.client.has(key, now)) {
                allowed.clients.remove(name);
            }
        }
        allowed
    }

    /// The door, and for how long `client` may have it open for `source`; `None` if it may not.
    pub(crate) fn door(
        &self,
        client: &str,
        door: &str,
        source: IpAddr,
    ) -> Option<(&'c Door, Duration)> {
        let door = *self.doors.get(door)?;
        // The administrator's doors have no limit.
        if client == BY_HAND {
            return Some((door, Duration::MAX));
        }
        let AllowedClient {
            place,
            client,
            has_moved,
        } = self.clients.get(client)?;
        let conditions = &client.conditions;
        // Where the knock came from is unknown if it may have opened the door for another address.
        let may_be_other = door.allow_other && !has_moved;
        let may = door.clients.binary_search(place).is_ok()
            && !conditions.has_expired(self.now)
            && (may_be_other || conditions.is_from(source));
        let limit = door.max_lease.min(conditions.time_left(self.now));
        may.then_some((door, limit))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::fixture::{TWO_CLIENTS, config};

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    /// [`TWO_CLIENTS`] with these keys of the laptop.
    fn with(keys: &str) -> String {
        let file = "\"laptop.pass\"";
        TWO_CLIENTS.replacen(file, &format!("{file}\n{keys}"), 1)
    }

    fn limit(allowed: &Allowed<'_>, door: &str) -> Option<Duration> {
        let (_, limit) = allowed.door("laptop", door, SOURCE)?;
        Some(limit)
    }

    #[test]
    fn nothing_is_open_longer_than_its_client_lasts() {
        let mut config = config(&with("expires = 9999-01-01T00:00:00Z"));
        let max_lease = Duration::from_secs(30);
        assert_eq!(limit(&Allowed::by(&config), "web"), Some(max_lease));
        config.clients[0].conditions.expires = Some(unix_ms() + 10_000);
        let left = limit(&Allowed::by(&config), "web").unwrap();
        assert!(left <= Duration::from_secs(10), "{left:?}");
        config.clients[0].conditions.expires = Some(unix_ms());
        assert_eq!(limit(&Allowed::by(&config), "web"), None);
    }

    #[test]
    fn a_door_for_others_is_closed_if_the_networks_of_its_client_change() {
        let for_others = |text: &str| {
            let name = "name = \"ssh\"";
            config(&text.replacen(name, &format!("{name}\nallow_other = true"), 1))
        };
        let before = for_others(TWO_CLIENTS);
        let after = for_others(&with("from = [\"198.51.100.0/24\"]"));
        assert_eq!(limit(&Allowed::by(&after), "web"), None);
        assert!(limit(&Allowed::by(&after), "ssh").is_some());
        assert!(limit(&Allowed::after(&after, &after), "ssh").is_some());
        assert_eq!(limit(&Allowed::after(&before, &after), "ssh"), None);
        assert!(limit(&Allowed::after(&after, &before), "ssh").is_some());
    }

    #[test]
    fn a_client_without_one_of_its_keys_is_another_one() {
        const OLD: &str = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8";
        const NEW: &str = "0iwA2BrX1liN0SVIFdL419C0RcwmnJ8wsaE_V3M7bVc";
        let keys = |key: &str, previous: &str| {
            let client = format!("[[client]]\nname = \"tablet\"\npublic_key = \"{key}\"\n");
            config(&format!("{TWO_CLIENTS}{client}{previous}"))
        };
        let until =
            |time: &str| format!("previous_key = \"{OLD}\"\nprevious_until = {time}T00:00:00Z\n");
        let before = keys(OLD, "");
        let both = keys(NEW, &until("9999-01-01"));
        let ended = keys(NEW, &until("1990-01-01"));
        let after = keys(NEW, "");
        for (current, next, is_same) in [
            (&before, &both, true),
            (&ended, &after, true),
            (&both, &after, false),
            (&both, &ended, false),
            (&before, &after, false),
            (&before, &ended, false),
        ] {
            let allowed = Allowed::after(current, next);
            let may = allowed.door("tablet", "web", SOURCE).is_some();
            assert_eq!(may, is_same);
        }
    }
}
