//! Three nodes of a fleet on the real engine, and the client that knocks at them.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use knock_common::{
    datagram::DATAGRAM_LEN,
    protocol::{
        datagram::{Beneficiary, Request},
        lease::RequestedLease,
    },
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    files::{files, init, start},
    net::{CLIENT, NODES, Net, SERVICE, uplink_address},
};
use crate::{
    nats::Cluster,
    process::{Running, Signal},
    scene::{
        DATAGRAM_PORT, Files, SERVER_PUBLIC, SOON, datagram_request, laptop, program, seal_datagram,
    },
    service::Greeter,
};

/// The name of the stream of claims.
pub const STREAM: &str = "KNOCK_CLAIMS";

/// A node, its daemon and the service that it protects.
#[derive(Debug)]
pub struct Node {
    /// Its configuration and its state.
    pub files: Files,
    /// Its daemon.
    pub knockd: Running,
    _service: Greeter,
}

/// A fleet that runs. Everything is killed when this is dropped.
#[derive(Debug)]
pub struct Stage<'n> {
    /// Its networks.
    pub net: &'n Net,
    /// The servers of its engine.
    pub cluster: Cluster<'n>,
    /// Its nodes.
    pub nodes: Vec<Node>,
    _folder: TempDir,
}

impl<'n> Stage<'n> {
    /// Three nodes that are connected and have read the stream.
    ///
    /// # Errors
    ///
    /// Returns an error if a program does not start, or a node is not connected in time.
    pub fn new(net: &'n Net) -> Result<Self> {
        Self::with(net, "")
    }

    /// The same with further keys of `[fleet]`.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn with(net: &'n Net, extra: &str) -> Result<Self> {
        Self::with_each(net, [extra; NODES])
    }

    /// The same with further keys of each node.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn with_each(net: &'n Net, extra: [&str; NODES]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let cluster = Cluster::start(folder.path(), &net.seats())?;
        let files: Vec<_> = (0..NODES)
            .map(|index| files(&cluster, index, extra[index]))
            .collect::<Result<_>>()?;
        init(net, &cluster, &files[0], &[])?;
        let nodes = files.into_iter().zip(&net.nodes).map(|(files, namespace)| {
            let knockd = start(namespace, &files)?;
            let service = Greeter::start(namespace, 22)?;
            Ok(Node {
                files,
                knockd,
                _service: service,
            })
        });
        let stage = Self {
            nodes: nodes.collect::<Result<_>>()?,
            net,
            cluster,
            _folder: folder,
        };
        for index in 0..NODES {
            stage.wait(index, "is current", |fleet| fleet["current"] == true)?;
        }
        Ok(stage)
    }

    /// Starts the daemon of a node again after it was killed, and waits until it has read the stream.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.start_again(index)?;
        self.wait(index, "is current", |fleet| fleet["current"] == true)
    }

    /// The same without waiting for the stream.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn start_again(&mut self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let knockd = start(&self.net.nodes[index], &node.files)?;
        self.nodes[index].knockd = knockd;
        Ok(())
    }

    /// Waits until a node has lost the engine.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn wait_lost(&self, index: usize) -> Result<()> {
        self.wait(index, "the loss is noticed", |fleet| {
            fleet["connected"].is_null()
        })
    }

    /// Waits until a node is connected to the engine.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn wait_connected(&self, index: usize) -> Result<()> {
        self.wait(index, "the connection", |fleet| {
            fleet["connected"].is_string()
        })
    }

    /// Makes the stream, or changes it, as an administrator does. Returns what was printed.
    ///
    /// # Errors
    ///
    /// Returns an error if the program refuses.
    pub fn init(&self, options: &[&str]) -> Result<String> {
        init(self.net, &self.cluster, &self.nodes[0].files, options)
    }

    /// Kills the daemon of a node, which has no time to do anything.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not run.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        let knockd = &mut self.nodes[index].knockd;
        knockd.signal(Signal::SIGKILL)?;
        knockd.wait(SOON)?;
        Ok(())
    }

    /// The server that leads the stream, when there is one.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none in time.
    pub fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.cluster.leader(STREAM) {
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                leader => return leader,
            }
        }
    }

    /// A command of the daemon of a node.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be started.
    pub fn knockd(&self, index: usize, arguments: &[&str]) -> Result<Output> {
        let mut command = self.net.nodes[index].command(program("knockd")?);
        command.args(arguments).arg("--socket");
        command.arg(self.nodes[index].files.path("knockd.sock"));
        Ok(command.output()?)
    }

    /// What a command of the daemon of a node prints as JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses.
    pub fn json(&self, index: usize, arguments: &[&str]) -> Result<Value> {
        let output = self.knockd(index, &[arguments, &["--json"]].concat())?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The state of the fleet as a node sees it.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon does not answer.
    pub fn status(&self, index: usize) -> Result<Value> {
        self.json(index, &["fleet", "status"])
    }

    /// One of the counters of a node.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon does not answer, or has no such counter.
    pub fn counter(&self, index: usize, name: &str) -> Result<u64> {
        let status = self.json(index, &["status"])?;
        status["daemon"][name].as_u64().context("no such counter")
    }

    /// The addresses that door `ssh` of a node is open for.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon does not answer.
    pub fn open(&self, index: usize) -> Result<Vec<String>> {
        let leases = self.json(index, &["leases"])?;
        let leases = leases.as_array().context("no list")?;
        let open = leases.iter().filter(|door| door["state"] == "open");
        let sources = open.filter_map(|door| door["source"].as_str().map(str::to_owned));
        Ok(sources.collect())
    }

    /// Waits until the state of the fleet of a node is as `wanted`.
    ///
    /// # Errors
    ///
    /// Returns an error if that takes too long.
    pub fn wait(&self, index: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.status(index);
            if status.as_ref().is_ok_and(&wanted) {
                return Ok(());
            }
            let log = &self.nodes[index].knockd;
            ensure!(
                Instant::now() < deadline,
                "node {index}: {what} is awaited: {status:?}\n{:?}",
                log.lines()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until door `ssh` of a node is open for the client, or is not.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn wait_open(&self, index: usize, is_open: bool) -> Result<()> {
        self.wait_for(index, CLIENT, is_open)
    }

    /// Waits until door `ssh` of a node is open for an address, or is not.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn wait_for(&self, index: usize, address: Ipv4Addr, is_open: bool) -> Result<()> {
        let address = address.to_string();
        self.wait_doors(index, |open| open.contains(&address) == is_open)
    }

    /// Waits until door `ssh` of a node is open for so many addresses.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn wait_count(&self, index: usize, count: usize) -> Result<()> {
        self.wait_doors(index, |open| open.len() == count)
    }

    fn wait_doors(&self, index: usize, wanted: impl Fn(&[String]) -> bool) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let open = self.open(index)?;
            if wanted(&open) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "node {index}: the door stays open for {open:?}\n{:?}",
                self.nodes[index].knockd.lines()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until door `ssh` is open for the client on every node, or on none.
    ///
    /// # Errors
    ///
    /// Returns an error if that takes too long.
    pub fn wait_open_everywhere(&self, is_open: bool) -> Result<()> {
        (0..NODES).try_for_each(|index| self.wait_open(index, is_open))
    }

    /// Waits for a log line of a node that contains all of `parts`.
    ///
    /// # Errors
    ///
    /// Returns an error if that takes too long.
    pub fn logged(&self, index: usize, parts: &[&str]) -> Result<String> {
        let knockd = &self.nodes[index].knockd;
        knockd.wait_for(|line| parts.iter().all(|part| line.contains(part)), SOON)
    }

    /// Runs the real client for door `ssh` of the service.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be started.
    pub fn knock(&self, options: &[&str]) -> Result<Output> {
        let mut knock = self.net.client.command(program("knock")?);
        knock.args([
            "--client",
            "laptop",
            "--server-key",
            SERVER_PUBLIC,
            "--key-file",
        ]);
        knock.arg(self.nodes[0].files.path("laptop.key"));
        knock.args(options).args([&SERVICE.to_string(), "ssh"]);
        Ok(knock.output()?)
    }

    /// A datagram of the laptop, made now.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be made.
    pub fn datagram() -> Result<[u8; DATAGRAM_LEN]> {
        seal_datagram(&laptop()?, &datagram_request("ssh", CLIENT.into())?)
    }

    /// The same of another address, for so long.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn datagram_for(address: Ipv4Addr, lease: Duration) -> Result<[u8; DATAGRAM_LEN]> {
        Self::changed(|request| {
            request.beneficiary = Beneficiary::Bound(address.into());
            request.lease = RequestedLease::of(lease)?;
            Ok(())
        })
    }

    /// The same with another content.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn changed(change: impl FnOnce(&mut Request) -> Result<()>) -> Result<[u8; DATAGRAM_LEN]> {
        let mut request = datagram_request("ssh", CLIENT.into())?;
        change(&mut request)?;
        seal_datagram(&laptop()?, &request)
    }

    /// Sends a datagram to the service, from the address that it is made for.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        self.send_from(CLIENT, SERVICE.into(), bytes)
    }

    /// Sends a datagram to one node, whichever the router would choose.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn send_to(&self, index: usize, bytes: &[u8]) -> Result<()> {
        self.send_from(CLIENT, uplink_address(index), bytes)
    }

    /// Opens the door at one node for an address, which is one of [`CROWD`](super::net::CROWD).
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn open_for(&self, index: usize, address: Ipv4Addr, lease: Duration) -> Result<()> {
        let datagram = Self::datagram_for(address, lease)?;
        self.send_from(address, uplink_address(index), &datagram)
    }

    /// Sends a datagram from one of the client's addresses.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel or a program refuses, or if it takes too long.
    pub fn send_from(&self, source: Ipv4Addr, to: IpAddr, bytes: &[u8]) -> Result<()> {
        let socket = self.net.client.run(|| Ok(UdpSocket::bind((source, 0))?))?;
        socket.send_to(bytes, (to, DATAGRAM_PORT))?;
        Ok(())
    }
}
