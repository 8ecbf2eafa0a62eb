//! Accepted knocks per second with very many clients.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use super::definition::Scenario;
use crate::{
    context::Context,
    lab::{Lab, client_address},
    record::{Measurement, Unit, thousands},
};
use anyhow::{Context as _, Result, bail};
use knock_common::protocol::identity::{KEY_LEN, KeyPair, PrivateKey};
use knock_tests::{
    frame::Frame,
    link::Pair,
    process::Running,
    scene::{self, DATAGRAM_PORT, SERVER_KEY, SOON},
    wire::{Burst, Sender},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "rate",
    title: "Accepted knocks per second, 100,000 clients",
    method: "Each of many clients knocks once, from an address of its own, at a door of the gate. The \
             knocks come at twice the rate of the target, so that the daemon is never idle. The rate \
             is that from the first packet to the last door that is open, as the log says; each knock \
             is on disk before it is accepted. A SYN knock is tried with the keys of half of the \
             clients on average, a datagram names its client.",
    run,
    plot: None,
};

const CLIENTS: u32 = 100_000;

/// Accepted datagram knocks per second.
const TARGET: f64 = 5000.0;

/// Frames per system call.
const BURST: usize = 64;

/// If no further knock is accepted for so long, the others are lost.
const PATIENCE: Duration = Duration::from_secs(1);

const CONFIGURATION: &str = r#"control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"
server_key_file = "server.key"

[limits]
open_doors = 65536
leases = 65536

[gate]
protect = ["tcp/22"]

[datagram]
port = {port}

[[door]]
name = "ssh"
open = ["tcp/22"]
for = "10m"

"#;

#[derive(Clone, Copy)]
enum Kind {
    Syn,
    Datagram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Syn => "knockd-xdp, SYN",
            Self::Datagram => "knockd-xdp, datagram",
        }
    }

    /// Knocks, and how many of them are sent per second.
    fn load(self, context: &Context) -> (u32, u32) {
        match self {
            Self::Syn => (context.effort.pick(2000, 10_000), 10_000),
            Self::Datagram => (context.effort.pick(5000, 20_000), 10_000),
        }
    }

    /// The frames of the knock with this number. Each is of another client, and these are spread over
    /// all clients.
    fn knock(self, number: u32) -> Result<Vec<Vec<u8>>> {
        const STRIDE: u32 = 7919;
        let source = client_address(number);
        let pair = pair(number * STRIDE % CLIENTS);
        match self {
            Self::Syn => {
                let key = scene::syn_key(&pair)?;
                let block = scene::request_of(&key, "ssh", source.into())?.seal(&key);
                let source = SocketAddr::new(IpAddr::V4(source), 40_000);
                let frames = scene::syns(block, source, Pair::SERVER_V4.into());
                frames.iter().map(Frame::bytes).collect()
            }
            Self::Datagram => {
                let request = scene::datagram_request("ssh", source.into())?;
                let datagram = scene::seal_datagram(&pair, &request)?;
                let server = SocketAddr::new(Pair::SERVER_V4.into(), DATAGRAM_PORT);
                let source = SocketAddr::new(source.into(), 40_000);
                let frame = Frame::datagram(source, server).payload(datagram);
                Ok(vec![frame.bytes()?])
            }
        }
    }
}

/// The key pair of the client with this number.
fn pair(number: u32) -> KeyPair {
    let mut key = [0x55; KEY_LEN];
    key[8..12].copy_from_slice(&number.to_be_bytes());
    KeyPair::from(PrivateKey::new(key))
}

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let lab = Lab::new(context.out())?;
    let daemon = start(context, &lab)?;
    let mut found = Vec::new();
    let mut next = warm_up(&lab, &daemon)?;
    for kind in [Kind::Datagram, Kind::Syn] {
        let (count, per_second) = kind.load(context);
        let rate = accepted_per_second(&lab, &daemon, kind, next..next + count, per_second)?;
        next += count;
        let case = format!("{} clients", thousands(f64::from(CLIENTS)));
        let measurement = Measurement::new(case, kind.name(), Unit::PerSecond, &[rate]);
        found.push(match kind {
            Kind::Datagram => measurement.target("≥ 5,000 /s", rate >= TARGET),
            Kind::Syn => measurement,
        });
    }
    Ok(found)
}

fn start(context: &Context, lab: &Lab) -> Result<Running> {
    let mut text = CONFIGURATION
        .replace("{folder}", &lab.site.folder())
        .replace("{port}", &DATAGRAM_PORT.to_string());
    for number in 0..CLIENTS {
        let public = pair(number).public();
        writeln!(
            text,
            "[[client]]\nname = \"{number}\"\npublic_key = \"{public}\"\n"
        )?;
    }
    lab.site.write("server.key", SERVER_KEY)?;
    let configuration = lab.site.write("knockd.toml", &text)?;
    let mut knockd = lab.pair.server.command(context.binary("knockd"));
    knockd.args(["--iface", Pair::SERVER_INTERFACE, "--config"]);
    knockd.arg(configuration);
    let daemon = Running::spawn(knockd)?;
    daemon.wait_for(|line| line.contains("listening on"), SOON)?;
    Ok(daemon)
}

/// Sends knocks until one is accepted: the daemon first derives the keys of all clients. Returns the
/// number of the next knock.
fn warm_up(lab: &Lab, daemon: &Running) -> Result<u32> {
    for number in 0..100 {
        for frame in Kind::Datagram.knock(number)? {
            lab.sender.send(&frame)?;
        }
        let is_accepted = |line: &str| line.contains("accepted door");
        if daemon.wait_for(is_accepted, PATIENCE).is_ok() {
            return Ok(number + 1);
        }
    }
    bail!("no knock was accepted")
}

/// Sends the knocks with these numbers, and returns how many were accepted per second.
#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn accepted_per_second(
    lab: &Lab,
    daemon: &Running,
    kind: Kind,
    numbers: std::ops::Range<u32>,
    per_second: u32,
) -> Result<f64> {
    let count = numbers.len();
    let frames: Vec<_> = numbers
        .map(|number| kind.knock(number))
        .collect::<Result<_>>()?;
    let frames = frames.concat();
    let per_knock = u32::try_from(frames.len())? / u32::try_from(count)?;
    let before = daemon.mark();
    let begun = Instant::now();
    let sender = Sender::new(&lab.pair.client, Pair::CLIENT_INTERFACE)?;
    let sending = thread::spawn(move || send(sender, &frames, per_second * per_knock));
    sending.join().ok().context("the sender panicked")??;
    let (mut lines, mut at) = (daemon.mark(), Instant::now());
    while at.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(50));
        let now = daemon.mark();
        if now > lines {
            (lines, at) = (now, Instant::now());
        }
    }
    let lines = daemon.lines();
    let accepted: Vec<_> = lines[before..]
        .iter()
        .filter(|line| line.text.contains("accepted door"))
        .collect();
    let last = accepted.last().context("no knock was accepted")?;
    Ok(accepted.len() as f64 / (last.at - begun).as_secs_f64())
}

/// Sends `frames` at this rate.
fn send(sender: Sender, frames: &[Vec<u8>], per_second: u32) -> Result<()> {
    let mut burst = Burst::new(sender, BURST);
    let begun = Instant::now();
    let mut sent = 0;
    while sent < frames.len() {
        let due = Duration::from_secs(sent as u64) / per_second;
        thread::sleep(due.saturating_sub(begun.elapsed()));
        let end = frames.len().min(sent + BURST);
        sent += burst.send(&frames[sent..end])?;
    }
    Ok(())
}
