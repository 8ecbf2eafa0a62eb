//! Leases: which source can connect, and what happens when a lease ends.

use std::net::{IpAddr, SocketAddr};

use knock_tests::{
    scene::SOON,
    service::{Greeter, Session},
};

use crate::{
    host::{CLIENT, Host, SERVER, TCP_PORT, enforced},
    row::{Judgement, Row, V4, V6, whole},
};

/// Other addresses of the client, without a lease.
const STRANGER: [&str; 2] = ["192.0.2.3", "2001:db8::3"];

#[test]
fn only_a_source_with_a_lease_can_connect() {
    knock_tests::needs_bpf!();
    let mut host = Host::with_gate(&enforced());
    for family in [V4, V6] {
        let stranger: IpAddr = STRANGER[family].parse().unwrap();
        host.pair.add_client_address(stranger).unwrap();
        host.open(CLIENT[family]);
        assert_eq!(connect(&host, family).greeting(), Greeter::GREETING);
        // The same packets from the address without a lease are dropped.
        for row in [
            Row::syn(family, "", whole),
            Row::datagram(family, "", whole),
        ] {
            let row = row.from(stranger);
            assert_eq!(host.send(&row, 20_000), (false, Some(Judgement::Refused)));
        }
        host.open(stranger);
        for row in [
            Row::syn(family, "", whole),
            Row::datagram(family, "", whole),
        ] {
            assert_eq!(host.send(&row.from(stranger), 20_001), (true, None));
        }
    }
}

#[test]
fn a_connection_outlives_its_lease_but_no_new_one_is_admitted() {
    knock_tests::needs_bpf!();
    let mut host = Host::with_gate(&enforced());
    for family in [V4, V6] {
        host.open(CLIENT[family]);
        let mut session = connect(&host, family);
        host.close(CLIENT[family]);
        assert_eq!(session.ask("still there?").unwrap(), "still there?");
        for row in [
            Row::syn(family, "", whole),
            Row::datagram(family, "", whole),
        ] {
            assert_eq!(host.send(&row, 20_000), (false, Some(Judgement::Refused)));
        }
        assert_eq!(session.ask("and now?").unwrap(), "and now?");
    }
}

fn connect(host: &Host, family: usize) -> Session {
    let destination = SocketAddr::new(SERVER[family], TCP_PORT);
    Session::open(&host.pair.client, Some(CLIENT[family]), destination, SOON).unwrap()
}
