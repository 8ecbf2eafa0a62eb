//! The listener's part of the configuration.

use knock_common::protocol::identity::PrivateKey;
use knockd_config::Config;
use knockd_ipc::message::{FleetConfig, ListenerConfig};
use knockd_types::policy::{Client, Door, Policy, ServerKey};

use crate::{catalog::Catalog, fleet_digest};

/// The listener's part of `config`, with the numbers of `catalog`.
pub(crate) fn listener_config(config: &Config, catalog: &Catalog) -> ListenerConfig {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let clients = config
        .clients
        .iter()
        .enumerate()
        .map(|(index, client)| Client {
            number: number(catalog.configured_client(index)),
            name: client.name.clone(),
            secret: client.secret.clone(),
            previous: client.previous.clone(),
            conditions: client.conditions.clone(),
        });
    let doors = config.doors.iter().enumerate().map(|(index, door)| Door {
        number: number(catalog.configured_door(index)),
        name: door.name.clone(),
        clients: door.clients.clone(),
        sequence: door.sequence.clone(),
        lease: door.lease,
        max_lease: door.max_lease,
        require_binding: door.require_binding,
        allow_other: door.allow_other,
        everywhere: door.everywhere,
    });
    // The listener decrypts nothing but datagrams with the server's key.
    let server = config
        .server
        .as_ref()
        .filter(|_| config.datagram_port.is_some())
        .map(|server| ServerKey(PrivateKey::new(*server.private().expose())));
    let auth = Policy {
        clients: clients.collect(),
        doors: doors.collect(),
        server,
    };
    let fleet = config.fleet.as_ref().map(|fleet| FleetConfig {
        key: fleet.key.clone(),
        node: fleet.node.clone(),
        when_unreachable: fleet.when_unreachable,
        patience: fleet.patience,
        digest: fleet_digest::digest(config, fleet),
    });
    ListenerConfig::new(
        config.window,
        config.max_skew,
        config.sequence_timeout,
        config.limits.sources,
        auth,
        fleet,
    )
}
