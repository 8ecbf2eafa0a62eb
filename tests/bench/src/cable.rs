//! A client and a server with an impaired link between them.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::Result;
use knock_tests::{
    link::Pair,
    netns::Namespace,
    relay::{Impairment, Relay},
    wire::Sender,
};

use crate::{
    context::Context,
    lab::{FIREWALL, Site, client_address, run},
    peer::{Daemon, Subject},
};

/// A client and a server with the same number of addresses, and a daemon on the server. The client
/// has one route per address pair, so that the destination address determines the source address.
pub(crate) struct Line {
    pub(crate) client: Namespace,
    pub(crate) site: Site,
    // Fields are dropped in this order.
    _daemon: Daemon,
    _relay: Relay,
    _cable: Namespace,
    _server: Namespace,
}

/// The server address for the `index`-th client address.
pub(crate) fn server_address(index: u32) -> Ipv4Addr {
    client_address(index + (1 << 16))
}

const PERFECT: Impairment = Impairment {
    loss: 0.0,
    duplication: 0.0,
    reordering: 0.0,
    hold: Duration::from_millis(1),
};

impl Line {
    /// A line with `clients` client addresses. `impairment` and `seed` determine which packets are
    /// lost or delayed.
    pub(crate) fn new(
        context: &Context,
        subject: Subject,
        clients: u32,
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
            // The relay forwards frames unchanged, so the sender must compute the checksums.
            run(host.command("ethtool").args(["-K", ours, "tx", "off"]))?;
            host.ip(&format!("link set {ours} up"))?;
            cable.ip(&format!("link set {theirs} up"))?;
        }
        let site = Site::new(context.out())?;
        addresses(&site, &server, &client, clients)?;
        site.firewall(&server, FIREWALL)?;
        let sender = Sender::new(&client, Pair::CLIENT_INTERFACE)?;
        let relay = |impairment| Relay::start(&cable, "left", "right", impairment, seed);
        let daemon = {
            let _relay = relay(PERFECT)?;
            subject.start(context, &server, &site, &sender)?
        };
        site.stamps.clear();
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

fn addresses(site: &Site, host: &Namespace, client: &Namespace, clients: u32) -> Result<()> {
    let mut theirs = format!("address add {}/24 dev srv0\n", Pair::SERVER_V4);
    let mut ours = String::new();
    let mac = Pair::SERVER_MAC.map(|byte| format!("{byte:02x}")).join(":");
    for index in 0..clients {
        let (source, server) = (client_address(index), server_address(index));
        theirs += &format!("address add {server}/15 dev srv0\n");
        ours += &format!("address add {source}/15 dev cli0\n");
        ours += &format!("route add {server}/32 dev cli0 src {source}\n");
        // SYNs that wait for neighbour discovery could be reordered.
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
