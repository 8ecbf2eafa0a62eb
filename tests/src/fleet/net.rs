//! The networks of a fleet: a client, a router that spreads its packets over three nodes, and a net of
//! their own for the nodes and three servers of the engine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{nats::Seat, netns::Namespace};
use anyhow::{Context as _, Result};

/// The nodes, and the servers of the engine.
pub const NODES: usize = 3;

/// The address that every node has, and that clients know.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

/// The address of the client.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A second address of the client, which the gate trusts.
pub const WITNESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

/// Further addresses of the client, for what one address does not do as often.
pub const CROWD: &str = "10.16.0.0/12";

/// The interface of a node towards the router.
pub const UPLINK: &str = "up0";

/// The interface of a node or a server towards the engine.
const ENGINE: &str = "eng0";

/// What the router looks at to choose a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A hash of addresses and ports, if the packet has none. A packet that has not left the machine has
    /// that of its socket, so copies of a SYN go to any node.
    Ports,
    /// Addresses and ports, as a router does that has received the packet from another machine: copies
    /// of a SYN go to one node.
    Flow,
    /// The source address.
    Source,
}

impl Policy {
    /// `fib_multipath_hash_policy`.
    fn number(self) -> u8 {
        match self {
            Self::Ports => 1,
            Self::Flow | Self::Source => 3,
        }
    }

    /// `fib_multipath_hash_fields`, which the others ignore: both addresses, the protocol and both ports,
    /// or the source address.
    fn fields(self) -> u8 {
        match self {
            Self::Ports | Self::Flow => 0x37,
            Self::Source => 0x01,
        }
    }
}

/// The hosts and their links.
#[derive(Debug)]
pub struct Net {
    /// The host of the client.
    pub client: Namespace,
    /// The host that spreads what clients send over the nodes.
    pub router: Namespace,
    /// The hosts of the nodes.
    pub nodes: Vec<Namespace>,
    /// The hosts of the engine.
    pub servers: Vec<Namespace>,
    switch: Namespace,
}

impl Net {
    /// Connects all hosts. The router chooses by addresses alone, the default of Linux.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses an operation.
    pub fn new() -> Result<Self> {
        let namespaces = || {
            (0..NODES)
                .map(|_| Namespace::new())
                .collect::<Result<Vec<_>>>()
        };
        let net = Self {
            client: Namespace::new()?,
            router: Namespace::new()?,
            nodes: namespaces()?,
            servers: namespaces()?,
            switch: Namespace::new()?,
        };
        net.connect_client()?;
        net.switch.ip("link add br0 type bridge")?;
        net.switch.ip("link set br0 up")?;
        for index in 0..NODES {
            net.connect_node(index)?;
            net.attach(&net.nodes[index], &format!("n{index}"), node_address(index))?;
            net.attach(
                &net.servers[index],
                &format!("s{index}"),
                server_address(index),
            )?;
        }
        let hops = (0..NODES).map(|index| format!(" nexthop via 10.8.{index}.2"));
        let hops: String = hops.collect();
        net.router.ip(&format!("route add {SERVICE}/32{hops}"))?;
        net.router.set("net.ipv4.ip_forward", 1)?;
        Ok(net)
    }

    fn connect_client(&self) -> Result<()> {
        let client = self.client.path();
        self.router.ip(&format!(
            "link add cli0 type veth peer name eth0 netns {}",
            client.display()
        ))?;
        self.router.ip("address add 192.0.2.1/24 dev cli0")?;
        self.router.ip("link set cli0 up")?;
        for address in [CLIENT, WITNESS] {
            self.client
                .ip(&format!("address add {address}/24 dev eth0"))?;
        }
        self.client.ip("link set eth0 up")?;
        self.client.ip("route add default via 192.0.2.1")?;
        self.client.ip(&format!("route add local {CROWD} dev lo"))?;
        Ok(())
    }

    fn connect_node(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        self.router.ip(&format!(
            "link add n{index} type veth peer name {UPLINK} netns {}",
            node.path().display()
        ))?;
        self.router
            .ip(&format!("address add 10.8.{index}.1/30 dev n{index}"))?;
        self.router.ip(&format!("link set n{index} up"))?;
        node.ip(&format!("address add 10.8.{index}.2/30 dev {UPLINK}"))?;
        node.ip(&format!("link set {UPLINK} up"))?;
        node.ip(&format!("address add {SERVICE}/32 dev lo"))?;
        node.ip(&format!("route add default via 10.8.{index}.1"))?;
        Ok(())
    }

    /// Gives a host an address of the net of the engine.
    fn attach(&self, host: &Namespace, port: &str, address: IpAddr) -> Result<()> {
        self.switch.ip(&format!(
            "link add {port} type veth peer name {ENGINE} netns {}",
            host.path().display()
        ))?;
        self.switch.ip(&format!("link set {port} master br0 up"))?;
        host.ip(&format!("address add {address}/24 dev {ENGINE}"))?;
        host.ip(&format!("link set {ENGINE} up"))?;
        Ok(())
    }

    /// Where the servers of the engine run.
    #[must_use]
    pub fn seats(&self) -> Vec<Seat<'_>> {
        let seats = self
            .servers
            .iter()
            .enumerate()
            .map(|(index, namespace)| Seat {
                namespace,
                address: server_address(index),
            });
        seats.collect()
    }

    /// Sets what the router looks at to choose a node.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses an operation.
    pub fn choose_by(&self, policy: Policy) -> Result<()> {
        self.router
            .set("net.ipv4.fib_multipath_hash_fields", policy.fields())?;
        self.router
            .set("net.ipv4.fib_multipath_hash_policy", policy.number())
    }

    /// Cuts a node off the engine, or connects it again.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses an operation.
    pub fn link_node(&self, index: usize, up: bool) -> Result<()> {
        self.link(&format!("n{index}"), up)
    }

    /// Cuts a server of the engine off, or connects it again.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses an operation.
    pub fn link_server(&self, index: usize, up: bool) -> Result<()> {
        self.link(&format!("s{index}"), up)
    }

    fn link(&self, port: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.switch
            .ip(&format!("link set {port} {state}"))
            .map(drop)
    }

    /// Sends clients to this node alone.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses an operation.
    pub fn route_to(&self, index: usize) -> Result<()> {
        let hop = format!("route replace {SERVICE}/32 via 10.8.{index}.2");
        self.router.ip(&hop).map(drop)
    }

    /// The address of port 22 of the service.
    #[must_use]
    pub fn ssh() -> SocketAddr {
        SocketAddr::new(SERVICE.into(), 22)
    }
}

/// A host whose kernel parameters can be set.
trait Parameters {
    fn set(&self, name: &str, value: u8) -> Result<()>;
}

impl Parameters for Namespace {
    fn set(&self, name: &str, value: u8) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| std::fs::write(&path, value.to_string()).context(name.to_owned()))
    }
}

/// The address of a node that no other node has.
pub fn uplink_address(index: usize) -> IpAddr {
    let text = format!("10.8.{index}.2");
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn server_address(index: usize) -> IpAddr {
    host("10.7.0.1", index)
}

fn node_address(index: usize) -> IpAddr {
    host("10.7.0.2", index)
}

fn host(prefix: &str, index: usize) -> IpAddr {
    let text = format!("{prefix}{}", index + 1);
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}
