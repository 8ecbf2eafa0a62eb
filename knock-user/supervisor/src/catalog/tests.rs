use knockd_types::names::BY_HAND_NUMBER;

use super::*;
use crate::fixture::{TWO_CLIENTS, config};

/// The configuration without the first `[[name]]` table that is called `value`.
fn without(table: &str, value: &str) -> String {
    let head = format!("[[{table}]]\nname = \"{value}\"");
    let start = TWO_CLIENTS.find(&head).unwrap();
    let end = TWO_CLIENTS[start + 1..].find("[[");
    let end = end.map_or(TWO_CLIENTS.len(), |end| start + 1 + end);
    format!("{}{}", &TWO_CLIENTS[..start], &TWO_CLIENTS[end..])
}

#[test]
fn a_name_keeps_its_number_across_reloads() {
    let mut catalog = Catalog::new(&config(TWO_CLIENTS));
    assert_eq!(catalog.door_named("web"), Some(1));
    assert_eq!(
        [0, 1, 2].map(|index| catalog.configured_door(index)),
        [0, 1, 2]
    );
    let reduced = config(&without("door", "ssh"));
    catalog.update(&reduced);
    assert_eq!(catalog.door_named("web"), Some(1));
    assert_eq!(catalog.configured_door(0), 1);
    assert_eq!(catalog.door_named("ssh"), None);
    assert_eq!(catalog.door(0).name, "ssh", "it may still be open");
    catalog.update(&config(TWO_CLIENTS));
    assert_eq!(catalog.door_named("ssh"), Some(0));
}

#[test]
fn a_door_of_a_later_configuration_replaces_the_one_of_its_name() {
    let mut catalog = Catalog::new(&config(TWO_CLIENTS));
    let changed = TWO_CLIENTS.replace("for = \"30s\"", "for = \"90s\"");
    catalog.update(&config(&changed));
    assert_eq!(catalog.door(0).lease.as_secs(), 90);
}

#[test]
fn removed_numbers_are_denied_and_unknown_numbers_are_invalid() {
    let mut catalog = Catalog::new(&config(TWO_CLIENTS));
    let phone = u32::try_from(catalog.configured_client(1)).unwrap();
    assert_eq!(catalog.requested_door(2), Ok(2));
    assert_eq!(catalog.requested_client(phone), Ok(phone as usize));
    catalog.update(&config(&without("door", "backup")));
    assert_eq!(
        catalog.requested_door(2),
        Err(Refusal::Denied("door \"backup\" is not configured".into()))
    );
    catalog.update(&config(&without("client", "phone")));
    assert_eq!(
        catalog.requested_client(phone),
        Err(Refusal::Denied("client \"phone\" is not configured".into()))
    );
    for number in [3, u32::MAX] {
        assert!(matches!(
            catalog.requested_door(number),
            Err(Refusal::Invalid(_))
        ));
        assert!(matches!(
            catalog.requested_client(number),
            Err(Refusal::Invalid(_))
        ));
    }
}

#[test]
fn only_the_clients_of_a_door_may_open_it() {
    let config = config(TWO_CLIENTS);
    let catalog = Catalog::new(&config);
    let [laptop, phone] = [0, 1].map(|index| catalog.configured_client(index));
    assert!(catalog.may_open(&config, laptop, 2) && !catalog.may_open(&config, phone, 2));
    assert!(catalog.may_open(&config, phone, 0));
    let administrator = BY_HAND_NUMBER as usize;
    assert!(
        !catalog.may_open(&config, administrator, 0),
        "not by a knock"
    );
    assert!(catalog.has_client(administrator));
    assert_eq!(catalog.client(administrator), BY_HAND);
}

#[test]
fn a_client_that_is_not_configured_has_a_number_but_no_doors() {
    let mut catalog = Catalog::new(&config(TWO_CLIENTS));
    let number = catalog.number_of_client("tablet");
    assert_eq!(catalog.number_of_client("tablet"), number);
    assert!(!catalog.has_client(number));
}
