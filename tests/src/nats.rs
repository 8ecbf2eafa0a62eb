//! Servers of NATS that are one cluster, as docs/examples/fleet/nats.conf configures them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::{
    certificates::{Authority, Identity, Validity},
    netns::Namespace,
    privilege,
    process::{Running, Signal},
    scene,
};

/// The name in the certificates of the servers.
pub const SERVER_NAME: &str = "nats.example";

/// The user of the example that makes the stream.
pub const ADMINISTRATOR: &str = "administrator";

/// The example that every server is configured with, and what is replaced in it.
const EXAMPLE: &str = include_str!("../../docs/examples/fleet/nats.conf");
const EXAMPLE_NAME: &str = "\"nats1\"";
const EXAMPLE_LISTEN: &str = "listen: \"192.0.2.11";
const EXAMPLE_ROUTES: [&str; 3] = ["192.0.2.11", "192.0.2.12", "192.0.2.13"];
const EXAMPLE_STORE: &str = "/var/lib/nats";
const EXAMPLE_FOLDER: &str = "/etc/nats/";

/// The ports of the example, and that of the pages about the state of a server, which it lacks.
const PORT: u16 = 4222;
const MONITORING: u16 = 8222;

/// A time in which servers start, also on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// How long a running server takes to answer at most.
const ANSWER: Duration = Duration::from_secs(5);

/// Where a server runs.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'n> {
    /// Its network.
    pub namespace: &'n Namespace,
    /// An address of that network, which other servers and the nodes reach.
    pub address: IpAddr,
}

/// The servers. They are killed when this is dropped.
#[derive(Debug)]
pub struct Cluster<'n> {
    servers: Vec<Server<'n>>,
    /// Issues the certificates of everything that connects to the servers.
    pub authority: Authority,
}

#[derive(Debug)]
struct Server<'n> {
    seat: Seat<'n>,
    name: String,
    /// Its folder, with its configuration and its store.
    folder: PathBuf,
    /// `None` after it was killed.
    running: Option<Running>,
    is_stopped: bool,
}

/// The server that `cargo xtask test` has installed. Without it the test is skipped: it returns.
///
/// # Panics
///
/// Panics instead if `CI` is set in the environment.
#[must_use]
pub fn is_installed() -> bool {
    let needed = "nats-server, which `cargo xtask test` installs";
    privilege::granted(program().is_ok_and(|path| path.is_file()), needed)
}

fn program() -> Result<PathBuf> {
    let programs = scene::programs()?;
    let target = programs.parent().context("no folder of the build")?;
    Ok(target.join("tools/nats/bin/nats-server"))
}

impl<'n> Cluster<'n> {
    /// Starts a server on each seat, with its files in `folder`, and waits until they have elected
    /// a leader. One server alone is no cluster.
    ///
    /// # Errors
    ///
    /// Returns an error, with what the servers printed, if they do not start.
    pub fn start(folder: &Path, seats: &[Seat<'n>]) -> Result<Self> {
        let mut cluster = Self {
            servers: Vec::new(),
            authority: Authority::new(folder)?,
        };
        let addresses: Vec<_> = seats.iter().map(|seat| seat.address.to_string()).collect();
        for (seat, number) in seats.iter().zip(1..) {
            let server = Server {
                seat: *seat,
                name: format!("nats{number}"),
                folder: folder.join(format!("nats{number}")),
                running: None,
                is_stopped: false,
            };
            server.configure(&cluster.authority, &addresses)?;
            cluster.servers.push(server);
        }
        for index in 0..seats.len() {
            cluster.start_again(index)?;
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// The addresses for clients.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |server: &Server<'_>| SocketAddr::new(server.seat.address, PORT);
        self.servers.iter().map(address).collect()
    }

    /// The certificate of the user of the example that is named after `node`: `edge1` to `edge3`,
    /// [`ADMINISTRATOR`], or one that the servers do not know.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written.
    pub fn identity(&self, node: &str) -> Result<Identity> {
        self.authority
            .issue(&[&format!("{node}.example")], Validity::Valid)
    }

    /// The folder of a server, whose subfolder `store` has what it stores.
    #[must_use]
    pub fn folder(&self, index: usize) -> &Path {
        &self.servers[index].folder
    }

    /// Kills a server, which has no time to write anything.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not run.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        let server = &mut self.servers[index];
        server.is_stopped = false;
        // Dropping it kills it, and waits for its end.
        server.running.take().context("the server does not run")?;
        Ok(())
    }

    /// Kills all servers, each of which finds a copy of its store at its next start that was made
    /// while it ran.
    ///
    /// # Errors
    ///
    /// Returns an error if a server does not run or its store cannot be copied.
    pub fn cut_power(&mut self) -> Result<()> {
        for index in 0..self.servers.len() {
            let store = self.folder(index).join("store");
            let copy = self.folder(index).join("copy");
            let status = Command::new("cp")
                .arg("-a")
                .args([&store, &copy])
                .status()?;
            ensure!(status.success(), "cannot copy {}", store.display());
        }
        for index in 0..self.servers.len() {
            self.kill(index)?;
            let folder = self.folder(index);
            fs::remove_dir_all(folder.join("store"))?;
            fs::rename(folder.join("copy"), folder.join("store"))?;
        }
        Ok(())
    }

    /// Starts a server that was killed, with the store that it has, without waiting for the others.
    ///
    /// # Errors
    ///
    /// Returns an error, with what it printed, if it does not start.
    pub fn start_again(&mut self, index: usize) -> Result<()> {
        self.servers[index].start()
    }

    /// Stops a server, which stays connected and answers nothing (SIGSTOP).
    ///
    /// # Errors
    ///
    /// Returns an error if it does not run.
    pub fn stop(&mut self, index: usize) -> Result<()> {
        self.servers[index].signal(Signal::SIGSTOP)?;
        self.servers[index].is_stopped = true;
        Ok(())
    }

    /// Lets a server that was stopped go on.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not run.
    pub fn cont(&mut self, index: usize) -> Result<()> {
        self.servers[index].is_stopped = false;
        self.servers[index].signal(Signal::SIGCONT)
    }

    /// Lets a server end as for an upgrade ("lame duck mode"): it accepts no more connections and tells
    /// its clients to leave.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not run.
    pub fn retire(&mut self, index: usize) -> Result<()> {
        self.servers[index].signal(Signal::SIGUSR2)
    }

    /// The server that leads `stream`, as the first server says that runs and knows it.
    ///
    /// # Errors
    ///
    /// Returns an error if no server answers, or if there is no such stream or no leader.
    pub fn leader(&self, stream: &str) -> Result<usize> {
        let mut leader = Err(anyhow!("no server runs"));
        for server in self.servers.iter().filter(|server| server.answers()) {
            leader = self.leader_for(server, stream);
            if leader.is_ok() {
                break;
            }
        }
        leader
    }

    /// The server that leads `stream` as `server` says.
    fn leader_for(&self, server: &Server<'_>, stream: &str) -> Result<usize> {
        let state = server.get("/jsz?streams=true")?;
        let accounts = state["account_details"].as_array().into_iter().flatten();
        let streams = accounts.flat_map(|account| account["stream_detail"].as_array());
        let stream = streams
            .flatten()
            .find(|detail| detail["name"] == stream)
            .context("there is no such stream")?;
        let leader = &stream["cluster"]["leader"];
        let position = self.servers.iter().position(|it| it.name == *leader);
        position.with_context(|| format!("there is no leader: {stream}"))
    }

    /// Waits until every server that runs stores streams and knows the leader of the cluster.
    ///
    /// # Errors
    ///
    /// Returns an error if that takes too long.
    pub fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        let is_alone = self.servers.len() == 1;
        for server in self.servers.iter().filter(|server| server.answers()) {
            loop {
                let state = server.get("/jsz");
                let leads = |state: &Value| state["meta_cluster"]["leader"].is_string();
                match state {
                    Ok(state) if is_alone || leads(&state) => break,
                    _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                    state => bail!("{} is not ready: {state:?}", server.name),
                }
            }
        }
        Ok(())
    }
}

impl Server<'_> {
    /// Writes the configuration and the certificate.
    fn configure(&self, authority: &Authority, addresses: &[String]) -> Result<()> {
        fs::create_dir(&self.folder)?;
        let address = self.seat.address.to_string();
        let identity = authority.issue(&[SERVER_NAME, &address], Validity::Valid)?;
        for (from, to) in [
            (&identity.authority, "ca.pem"),
            (&identity.certificate, "server.pem"),
            (&identity.key, "server.key"),
        ] {
            fs::copy(from, self.folder.join(to))?;
        }
        let listen = format!("listen: \"{}", bracketed(&self.seat.address));
        let store = self.folder.join("store");
        let text = replaced(EXAMPLE, EXAMPLE_NAME, &format!("\"{}\"", self.name))?;
        let text = replaced(&text, EXAMPLE_LISTEN, &listen)?;
        let text = replaced(&text, EXAMPLE_STORE, &store.display().to_string())?;
        let folder = format!("{}/", self.folder.display());
        let mut text = replaced(&text, EXAMPLE_FOLDER, &folder)?;
        if addresses.len() == 1 {
            // A cluster stores nothing until most of its servers are there.
            let cluster = text.find("\ncluster {").context("no cluster")?;
            let end = cluster + text[cluster..].find("\n}\n").context("no end of it")?;
            text.replace_range(cluster..end + "\n}\n".len(), "\n");
        } else {
            for (example, address) in EXAMPLE_ROUTES.iter().zip(addresses) {
                let route = format!("nats://{}", bracketed(&address.parse()?));
                text = replaced(&text, &format!("nats://{example}"), &route)?;
            }
        }
        fs::write(self.folder.join("nats.conf"), text).context("nats.conf")
    }

    fn start(&mut self) -> Result<()> {
        let mut command = self.seat.namespace.command(program()?);
        command.arg("--config").arg(self.folder.join("nats.conf"));
        command.arg("--http_port").arg(MONITORING.to_string());
        let running = Running::spawn(command)?;
        running.wait_for(|line| line.contains("Server is ready"), SOON)?;
        self.running = Some(running);
        Ok(())
    }

    fn answers(&self) -> bool {
        self.running.is_some() && !self.is_stopped
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let running = self.running.as_ref().context("the server does not run")?;
        running.signal(signal)
    }

    /// One of the pages about the state of the server.
    fn get(&self, path: &str) -> Result<Value> {
        let address = SocketAddr::new(self.seat.address, MONITORING);
        let answer = self.seat.namespace.run(|| {
            let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        let (_, body) = answer.split_once("\r\n\r\n").context("not HTTP")?;
        serde_json::from_str(body).with_context(|| answer.clone())
    }
}

/// An address as a part of an URL.
fn bracketed(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// `text` with another value; an error if the example has changed.
fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    if !text.contains(from) {
        bail!("the example of a server's configuration has no {from}");
    }
    Ok(text.replace(from, to))
}
