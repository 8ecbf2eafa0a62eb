//! What the configuration grants to a knock. The listener has checked all of it, but it must not be
//! trusted with that.

use std::{net::IpAddr, time::Duration};

use knockd_config::Config;

use crate::{
    catalog::Catalog,
    doors::{DoorKey, Grant},
    refusal::Refusal,
};

/// What a knock asks for, by the numbers of the catalog.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) door: u32,
    pub(super) client: u32,
    /// The address that the door is opened for.
    pub(super) source: IpAddr,
    /// The address that the knock came from.
    pub(super) sender: IpAddr,
    pub(super) lease: Duration,
}

/// What `config`, the last adopted configuration of `catalog`, grants to a knock at `now`, in Unix
/// milliseconds.
///
/// # Errors
///
/// Returns the reason for which the door must not open.
pub(super) fn granted(
    catalog: &Catalog,
    config: &Config,
    wanted: &Wanted,
    now: u64,
) -> Result<(DoorKey, Grant), Refusal> {
    let door = catalog.requested_door(wanted.door)?;
    let client = catalog.requested_client(wanted.client)?;
    if !catalog.may_open(config, client, door) {
        return Err(Refusal::Denied(format!(
            "client {:?} may not open door {:?}",
            catalog.client(client),
            catalog.door(door).name
        )));
    }
    // The listener vouches for the sender only where it may differ from the address that is opened for.
    let sender = match catalog.door(door).allow_other {
        true => wanted.sender,
        false => wanted.source,
    };
    let left = time_left(catalog, config, client, sender, now)?;
    let key = DoorKey {
        door,
        source: wanted.source,
    };
    let grant = Grant {
        client,
        // A reload may have lowered the limit since the knock was verified.
        lease: wanted.lease.min(catalog.door(door).max_lease).min(left),
    };
    Ok((key, grant))
}

/// The time until the client expires, in whole seconds as every lease.
fn time_left(
    catalog: &Catalog,
    config: &Config,
    client: usize,
    sender: IpAddr,
    now: u64,
) -> Result<Duration, Refusal> {
    let conditions = catalog.conditions(config, client);
    let name = catalog.client(client);
    let left = conditions.map_or(0, |conditions| conditions.time_left(now).as_secs());
    if left == 0 {
        return Err(Refusal::Denied(format!("client {name:?} has expired")));
    }
    if !conditions.is_some_and(|conditions| conditions.is_from(sender)) {
        return Err(Refusal::Denied(format!(
            "client {name:?} may not knock from {sender}"
        )));
    }
    Ok(Duration::from_secs(left))
}

#[cfg(test)]
mod tests {
    use knockd_types::names::BY_HAND_NUMBER;

    use super::*;
    use crate::fixture::{TWO_CLIENTS, config};

    const NOW: u64 = 1_800_000_000_000;
    const HERE: [u8; 4] = [192, 0, 2, 7];
    const ELSEWHERE: [u8; 4] = [198, 51, 100, 7];
    const SSH: u32 = 0;
    const WEB: u32 = 1;
    const BACKUP: u32 = 2;

    /// What is granted if the laptop, which is from the network of [`HERE`] and expires `expires` after
    /// [`NOW`] in milliseconds, or the phone asks for an hour. `web` opens for others.
    fn ask(
        (client, door): (&str, u32),
        expires: u64,
        source: [u8; 4],
        sender: [u8; 4],
    ) -> Result<(DoorKey, Grant), Refusal> {
        let from = "\"laptop.pass\"\nfrom = [\"192.0.2.0/24\"]\nexpires = 9999-01-01T00:00:00Z";
        let text = TWO_CLIENTS.replacen("\"laptop.pass\"", from, 1).replacen(
            "name = \"web\"",
            "name = \"web\"\nallow_other = true",
            1,
        );
        let mut config = config(&text);
        config.clients[0].conditions.expires = Some(NOW + expires);
        let mut catalog = Catalog::new(&config);
        let wanted = Wanted {
            door,
            client: catalog.number_of_client(client).try_into().unwrap(),
            source: source.into(),
            sender: sender.into(),
            lease: Duration::from_secs(3600),
        };
        granted(&catalog, &config, &wanted, NOW)
    }

    fn lease(granted: Result<(DoorKey, Grant), Refusal>) -> u64 {
        granted.unwrap().1.lease.as_secs()
    }

    #[test]
    fn a_knock_gets_the_door_and_the_client_that_it_names_for_as_long_as_the_door_allows() {
        let (key, grant) = ask(("laptop", BACKUP), 60_000, HERE, HERE).unwrap();
        assert_eq!((key.door, key.source), (2, IpAddr::from(HERE)));
        assert_eq!((grant.client, grant.lease.as_secs()), (1, 30));
        assert_eq!(lease(ask(("phone", SSH), 0, ELSEWHERE, ELSEWHERE)), 30);
    }

    #[test]
    fn only_a_client_of_the_door_gets_it() {
        let denied = ask(("phone", BACKUP), 60_000, HERE, HERE).unwrap_err();
        let expected = "client \"phone\" may not open door \"backup\"";
        assert_eq!(denied, Refusal::Denied(expected.into()));
        let config = config(TWO_CLIENTS);
        let catalog = Catalog::new(&config);
        let wanted = |door, client| Wanted {
            door,
            client,
            source: HERE.into(),
            sender: HERE.into(),
            lease: Duration::from_secs(1),
        };
        let by_hand = granted(&catalog, &config, &wanted(SSH, BY_HAND_NUMBER), NOW);
        assert!(matches!(by_hand, Err(Refusal::Denied(_))), "{by_hand:?}");
        for (door, client) in [(3, 1), (SSH, 3)] {
            let unknown = granted(&catalog, &config, &wanted(door, client), NOW);
            assert!(matches!(unknown, Err(Refusal::Invalid(_))), "{unknown:?}");
        }
    }

    #[test]
    fn nothing_is_granted_for_longer_than_the_client_lasts() {
        for (left, expected) in [(60_000, 30), (30_000, 30), (29_999, 29), (1000, 1)] {
            assert_eq!(lease(ask(("laptop", SSH), left, HERE, HERE)), expected);
        }
        for left in [999, 0] {
            let expired = ask(("laptop", SSH), left, HERE, HERE).unwrap_err();
            let expected = "client \"laptop\" has expired";
            assert_eq!(expired, Refusal::Denied(expected.into()));
        }
    }

    #[test]
    fn a_client_knocks_from_its_networks_and_the_sender_counts_where_a_door_opens_for_others() {
        let may = |door, source, sender| ask(("laptop", door), 60_000, source, sender).is_ok();
        for (door, source, sender, expected) in [
            (SSH, HERE, HERE, true),
            (SSH, ELSEWHERE, ELSEWHERE, false),
            // Whatever the listener says of the sender.
            (SSH, ELSEWHERE, HERE, false),
            (SSH, HERE, ELSEWHERE, true),
            (WEB, ELSEWHERE, HERE, true),
            (WEB, HERE, ELSEWHERE, false),
        ] {
            assert_eq!(may(door, source, sender), expected, "{door} {source:?}");
        }
    }
}
