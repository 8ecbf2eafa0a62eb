//! A bad cable between those who knock and a server.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::Result;
use knock_tests::{
    link::Pair,
    netns::Namespace,
    relay::{Impairment, Relay},
    wire::Sender,
};

use crate::{
    lab::{FIREWALL, Site, knocker, run},
    peer::{Daemon, Subject},
    scenario::Context,
};

/// A client with many addresses, a server with as many, and a daemon on it. From each of the
/// client's addresses one of the server's is reached, so that the route chooses the source.
pub(crate) struct Line {
    pub(crate) client: Namespace,
    pub(crate) site: Site,
    // In the order in which they are to go.
    _daemon: Daemon,
    _relay: Relay,
    _cable: Namespace,
    _server: Namespace,
}

/// The address under which the `index`-th of those who knock reaches the server.
pub(crate) fn server(index: u32) -> Ipv4Addr {
    knocker(index + (1 << 16))
}

const PERFECT: Impairment = Impairment {
    loss: 0.0,
    duplication: 0.0,
    reordering: 0.0,
    hold: Duration::from_millis(1),
};

impl Line {
    /// With `knockers` addresses. What happens on the way follows from `impairment` and `seed`.
    pub(crate) fn new(
        context: &Context,
        subject: Subject,
        knockers: u32,
        impairment: Impairment,
        seed: u64,
    ) -> Result<Self> {
        let (server, cable, client) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        for (host, ours, theirs, [.., mac]) in [
            (&server, "srv0", "left", Pair::SERVER_MAC),
            (&client, "cli0", "right", Pair::CLIENT_MAC),
        ] {
            let path = cable.path();
            host.ip(&format!(
                "link add {ours} address 02:00:00:00:00:{mac:02x} type veth peer name {theirs} \
                 netns {}",
                path.display()
            ))?;
            // The relay passes on what it sees: checksums have to be there already.
            run(host.command("ethtool").args(["-K", ours, "tx", "off"]))?;
            host.ip(&format!("link set {ours} up"))?;
            cable.ip(&format!("link set {theirs} up"))?;
        }
        let site = Site::new(context.out())?;
        addresses(&site, &server, &client, knockers)?;
        site.firewall(&server, FIREWALL)?;
        let sender = Sender::new(&client, Pair::CLIENT_INTERFACE)?;
        let relay = |impairment| Relay::start(&cable, "left", "right", impairment, seed);
        let daemon = {
            let _relay = relay(PERFECT)?;
            subject.start(context, &server, &site, &sender)?
        };
        site.stamps.forget();
        Ok(Self {
            client,
            site,
            _daemon: daemon,
            _relay: relay(impairment)?,
            _cable: cable,
            _server: server,
        })
    }
}

fn addresses(site: &Site, host: &Namespace, client: &Namespace, knockers: u32) -> Result<()> {
    let mut theirs = format!("address add {}/24 dev srv0\n", Pair::SERVER_V4);
    let mut ours = String::new();
    let mac = Pair::SERVER_MAC.map(|byte| format!("{byte:02x}")).join(":");
    for index in 0..knockers {
        let (source, server) = (knocker(index), server(index));
        theirs += &format!("address add {server}/15 dev srv0\n");
        ours += &format!("address add {source}/15 dev cli0\n");
        ours += &format!("route add {server}/32 dev cli0 src {source}\n");
        // A client knows its router: SYNs that wait for an answer of the neighbour may overtake
        // each other.
        ours += &format!("neighbour add {server} lladdr {mac} dev cli0 nud permanent\n");
    }
    for (namespace, batch) in [(host, theirs), (client, ours)] {
        let file = site.write("addresses", &batch)?;
        run(ip(namespace).arg(file))?;
    }
    Ok(())
}

fn ip(namespace: &Namespace) -> Command {
    let mut ip = namespace.command("ip");
    ip.arg("-batch");
    ip
}
