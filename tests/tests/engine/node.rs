//! The fleet process of one node, whose listener is the test.

use std::{
    fs,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use knock_tests::{
    certificates::Identity,
    nats::{ADMINISTRATOR, Cluster, SERVER_NAME},
    netns::Namespace,
    process::Running,
    scene::program,
};
use knockd_ipc::fleet::{
    ClaimId, FLEET_NAME, Hex, MAX_PACKET, Order, Outcome, RECORD_LEN, Record, Report, Startup,
};
use knockd_runtime::log;
use knockd_types::fleet::{Engine, SecretText};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
    sockopt::{Timeout, set_socket_timeout},
};

use super::{MAX_AGE, SOON};

/// How long a claim is tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Starts a program under the name of the fleet process.
const EXEC: &str = "exec -a \"$0\" \"$1\"";

pub(super) struct Node {
    channel: OwnedFd,
    pub(super) process: Running,
}

/// The settings for `cluster` with the certificate of `node`.
pub(super) fn engine(cluster: &Cluster<'_>, node: &str) -> Engine {
    with_identity(cluster, node, &cluster.identity(node).unwrap())
}

/// The same with another certificate.
pub(super) fn with_identity(cluster: &Cluster<'_>, node: &str, identity: &Identity) -> Engine {
    let read = |path| fs::read_to_string(path).unwrap();
    Engine {
        servers: cluster.addresses(),
        server_name: SERVER_NAME.into(),
        prefix: "knock".into(),
        node: node.into(),
        authorities: read(&identity.authority),
        certificate: read(&identity.certificate),
        key: SecretText::new(read(&identity.key)),
    }
}

/// Makes the stream.
pub(super) fn init(
    namespace: &Namespace,
    cluster: &Cluster<'_>,
    replicas: usize,
    max_bytes: Option<u64>,
) -> Result<String> {
    let engine = engine(cluster, ADMINISTRATOR);
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(knockd_fleet::init(&engine, replicas, MAX_AGE, max_bytes))
    })
}

/// A claim whose identity and record are numbers.
pub(super) fn claim(id: u32, record: u32) -> (ClaimId, Record) {
    let (mut id_bytes, mut record_bytes) = ([0; 16], [0; RECORD_LEN]);
    id_bytes[..4].copy_from_slice(&id.to_be_bytes());
    record_bytes[..4].copy_from_slice(&record.to_be_bytes());
    (Hex(id_bytes), Hex(record_bytes))
}

impl Node {
    pub(super) fn start(namespace: &Namespace, cluster: &Cluster<'_>, node: &str) -> Self {
        Self::with(namespace, engine(cluster, node), PATIENCE)
    }

    pub(super) fn with(namespace: &Namespace, engine: Engine, patience: Duration) -> Self {
        let node = Self::without_startup(namespace);
        let startup = Startup {
            log: log::chosen(),
            engine,
            patience,
        };
        node.send(&serde_json::to_vec(&startup).unwrap());
        node
    }

    /// A process that has not been told anything.
    pub(super) fn without_startup(namespace: &Namespace) -> Self {
        let (channel, stdin) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let mut command = namespace.command("bash");
        // As the supervisor does: with variables that name certificates, the client of NATS would
        // read these.
        command.env_clear();
        // With a socket as standard input it takes itself for a login from another host.
        command.args(["--norc", "-c", EXEC, FLEET_NAME]);
        command.arg(program("knockd").unwrap());
        let process = Running::spawn_with(command, stdin).unwrap();
        Self { channel, process }
    }

    pub(super) fn order(&self, order: &Order) {
        self.send(&serde_json::to_vec(order).unwrap());
    }

    pub(super) fn send(&self, packet: &[u8]) {
        send(&self.channel, packet, SendFlags::NOSIGNAL).unwrap();
    }

    pub(super) fn claim(&self, id: u32, record: u32) {
        let (id, record) = claim(id, record);
        self.order(&Order::Claim { id, record });
    }

    /// The next report.
    pub(super) fn next(&self) -> Result<Report> {
        self.next_within(SOON)
    }

    /// The next report; an error if there is none within `time`.
    pub(super) fn next_within(&self, time: Duration) -> Result<Report> {
        let time = time.max(Duration::from_millis(1));
        set_socket_timeout(&self.channel, Timeout::Recv, Some(time))?;
        let mut packet = [0; MAX_PACKET];
        let (_, len) = recv(&self.channel, &mut packet[..], RecvFlags::empty())
            .with_context(|| format!("no report; {:?}", self.process.lines()))?;
        ensure!(len > 0, "it has ended: {:?}", self.process.lines());
        Ok(serde_json::from_slice(&packet[..len])?)
    }

    /// The first report that `wanted` accepts. Earlier ones are dropped.
    pub(super) fn wait_for(&self, mut wanted: impl FnMut(&Report) -> bool) -> Result<Report> {
        let deadline = Instant::now() + SOON;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(report) = self.next_within(left) else {
                bail!("seen {seen:?}; it printed {:?}", self.process.lines());
            };
            if wanted(&report) {
                return Ok(report);
            }
            seen.push(report);
        }
    }

    /// Waits until it is not connected, and returns the reason.
    pub(super) fn lost(&self) -> String {
        match self.wait_for(|report| matches!(report, Report::Lost { .. })) {
            Ok(Report::Lost { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until every claim is read.
    pub(super) fn current(&self) {
        self.wait_for(|report| *report == Report::Current).unwrap();
    }

    /// Waits for what becomes of a claim.
    pub(super) fn outcome(&self, id: u32) -> Outcome {
        let (wanted, _) = claim(id, 0);
        let is_outcome =
            |report: &Report| matches!(report, Report::Outcome { id, .. } if *id == wanted);
        match self.wait_for(is_outcome).unwrap() {
            Report::Outcome { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Closes the channel, and returns whether the process ends well.
    pub(super) fn end(self) -> bool {
        let Self {
            channel,
            mut process,
        } = self;
        drop(channel);
        process.wait(SOON).unwrap().success()
    }
}
