//! A fleet at work: three nodes behind one address, and what fails.

use std::{
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use knock_tests::{
    fleet::{
        net::{CLIENT, NODES, Net, Policy, SERVICE},
        stage::Stage,
    },
    service::{Session, try_connect},
    wire::Capture,
};

use super::{CONNECT_TIMEOUT, SOON, note, say};
use crate::interrupt;

/// How often a recorded datagram is sent again: the kernel keeps copies of the last seconds away.
const AGAIN: Duration = Duration::from_secs(1);

/// What comes before the payload of a datagram on the cable: the headers of Ethernet, IPv4 and UDP.
const HEADERS: usize = 14 + 20 + 8;

/// Where a header of IPv4 names the protocol, and the number of UDP.
const PROTOCOL_AT: usize = 14 + 9;
const UDP: u8 = 17;

/// Runs the demo in nine network namespaces and a temporary folder. They are removed at the end, also
/// after an error or a signal.
pub(crate) fn show() -> Result<()> {
    let folder = interrupt::remove_when_cut_off("knockd-demo-")?;
    // The files of the harness are removed with it.
    if tempfile::env::override_temp_dir(folder.path()).is_err() {
        bail!("another folder for temporary files is set already");
    }
    interrupt::outcome(play())
}

fn play() -> Result<()> {
    say("Eight hosts and a switch, each a network namespace:");
    note(&format!(
        "a client, {CLIENT}, and a router that spreads what it sends over three nodes"
    ));
    note(&format!(
        "the nodes edge1, edge2 and edge3, each with the address {SERVICE}"
    ));
    note(
        "three servers of NATS, the engine, on a net that the nodes reach and the client does not",
    );
    let net = Net::new()?;
    let begun = Instant::now();
    let mut show = Show {
        stage: Stage::new(&net)?,
    };
    note(&format!("all of it runs {} after its start", since(begun)));
    show.introduce()?;
    show.closed_at_first()?;
    let arrived = show.knock_once()?;
    show.connect_everywhere()?;
    show.kill_node(arrived)?;
    show.kill_leader()?;
    show.replay()?;
    say("The namespaces and all files are removed.");
    Ok(())
}

struct Show<'n> {
    stage: Stage<'n>,
}

impl Show<'_> {
    fn introduce(&self) -> Result<()> {
        say("What a node of a fleet has in its configuration, here that of edge1:");
        let text = fs::read_to_string(self.stage.nodes[0].files.path("knockd.toml"))?;
        let section = text.lines().skip_while(|line| *line != "[fleet]");
        for line in section.take_while(|line| !line.is_empty()) {
            note(line);
        }
        say("The nodes have heard of each other:");
        self.stage.wait(0, "every node", |fleet| {
            let nodes = fleet["nodes"].as_array();
            nodes.is_some_and(|nodes| nodes.len() == NODES)
        })?;
        self.knockd(0, &["fleet", "status"])
    }

    fn closed_at_first(&self) -> Result<()> {
        say("Every node protects port 22 with its gate. The client cannot connect to any of them:");
        (0..NODES).try_for_each(|index| self.expect_refused(index))
    }

    /// Knocks with one datagram. Returns the node at which it has arrived.
    fn knock_once(&self) -> Result<usize> {
        say("The client knocks once. The router chooses the node:");
        self.stage.net.choose_by(Policy::Ports)?;
        let begun = Instant::now();
        self.knock(&["--udp"])?;
        self.stage.wait_open_everywhere(true)?;
        let opened = (0..NODES).map(|index| self.opened(index));
        let opened = opened.collect::<Result<Vec<_>>>()?;
        let last = opened.into_iter().max().unwrap_or(begun);
        note(&format!(
            "{} after the start of `knock` the last node has opened its gate",
            shown(last - begun)
        ));
        self.knockd(1, &["fleet", "leases"])?;
        self.arrived_at()
    }

    /// When a node has opened its gate for the first time, by its log.
    fn opened(&self, index: usize) -> Result<Instant> {
        let lines = self.stage.nodes[index].knockd.lines();
        let line = lines.iter().find(|line| line.text.contains("gate open"));
        Ok(line.context("no gate was opened")?.at)
    }

    /// The node that has accepted a knock.
    fn arrived_at(&self) -> Result<usize> {
        for index in 0..NODES {
            if self.stage.counter(index, "accepted")? > 0 {
                return Ok(index);
            }
        }
        bail!("no node has accepted a knock")
    }

    fn connect_everywhere(&self) -> Result<()> {
        say("A connection is admitted wherever the router sends it:");
        (0..NODES).try_for_each(|index| self.expect_connected(index))
    }

    fn kill_node(&mut self, index: usize) -> Result<()> {
        let other = (index + 1) % NODES;
        self.stage.net.route_to(other)?;
        let service = Some(IpAddr::V4(CLIENT));
        let client = &self.stage.net.client;
        let mut session = Session::open(client, service, Net::ssh(), CONNECT_TIMEOUT)?;
        say(&format!(
            "{}, at which the knock has arrived, is killed:",
            name(index)
        ));
        note(&format!("$ kill -9 knockd        on {}", name(index)));
        self.stage.kill(index)?;
        let echo = session.ask("still there?")?;
        ensure!(echo == "still there?", "the connection answers {echo:?}");
        note("the connection through another node still works");
        say(
            "The others go on. A door that one of them closes is closed on both, and a knock opens it again:",
        );
        self.close(other)?;
        let rest: Vec<_> = (0..NODES).filter(|node| *node != index).collect();
        self.wait_open(&rest, false)?;
        self.knock(&["--udp"])?;
        self.wait_open(&rest, true)?;
        for node in rest {
            self.expect_connected(node)?;
        }
        say(&format!(
            "{} is started again. It reads the claims that it has missed:",
            name(index)
        ));
        let started = Instant::now();
        self.stage.restart(index)?;
        self.stage.wait_open(index, true)?;
        note(&format!(
            "{} after its start the same door is open there",
            since(started)
        ));
        self.expect_connected(index)
    }

    fn kill_leader(&mut self) -> Result<()> {
        say(
            "The door is closed. Then the server of the engine that leads the stream is killed, and the client knocks:",
        );
        self.close(0)?;
        self.stage.wait_open_everywhere(false)?;
        let leader = self.stage.leader()?;
        note(&format!("$ kill -9 nats-server   on nats{}", leader + 1));
        let killed = Instant::now();
        self.stage.cluster.kill(leader)?;
        self.knock(&["--udp", "--verify", "tcp/22"])?;
        self.stage.wait_open_everywhere(true)?;
        note(&format!(
            "the other two have elected a leader; the door is open on all nodes {} after the loss",
            since(killed)
        ));
        Ok(())
    }

    fn replay(&self) -> Result<()> {
        say(
            "The door is closed. An attacker records the knock that opens it again, after which it is closed once more:",
        );
        self.close(0)?;
        self.stage.wait_open_everywhere(false)?;
        let cable = Capture::new(&self.stage.net.client, "eth0")?;
        self.knock(&["--udp"])?;
        self.stage.wait_open_everywhere(true)?;
        let frames = cable.drain()?;
        let is_datagram = |frame: &[u8]| frame.get(PROTOCOL_AT) == Some(&UDP);
        let mut frames = frames.iter().map(|frame| &frame.bytes);
        let frame = frames.find(|frame| is_datagram(frame));
        let recorded = &frame.context("no datagram on the cable")?[HEADERS..];
        self.close(2)?;
        self.stage.wait_open_everywhere(false)?;
        say("The recorded knock is sent again, to each node, from the client's own address:");
        for index in 0..NODES {
            self.expect_replay_refused(index, recorded)?;
        }
        say("It has opened nothing:");
        (0..NODES).try_for_each(|index| self.expect_refused(index))
    }

    fn expect_replay_refused(&self, index: usize, recorded: &[u8]) -> Result<()> {
        self.stage.net.route_to(index)?;
        let knockd = &self.stage.nodes[index].knockd;
        let mark = knockd.mark();
        let deadline = Instant::now() + SOON;
        loop {
            self.stage.send(recorded)?;
            let is_refusal = |line: &str| {
                let reasons = ["reason=repeated", "reason=copy"];
                line.contains("refused") && reasons.iter().any(|reason| line.contains(reason))
            };
            match knockd.wait_for_after(mark, is_refusal, AGAIN) {
                Ok(line) => {
                    let line = line.find("refused").map_or("", |at| &line[at..]);
                    note(&format!("{}: {line}", name(index)));
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Runs the client, which knows nothing of the nodes.
    fn knock(&self, options: &[&str]) -> Result<()> {
        note(&format!("$ knock {} {SERVICE} ssh", options.join(" ")));
        let output = self.stage.knock(options)?;
        ensure!(output.status.success(), "{output:?}");
        for line in String::from_utf8(output.stdout)?.lines() {
            note(line);
        }
        Ok(())
    }

    /// Runs a command on a node, and shows what it prints.
    fn knockd(&self, index: usize, arguments: &[&str]) -> Result<()> {
        note(&format!(
            "$ knockd {}        on {}",
            arguments.join(" "),
            name(index)
        ));
        let output = self.stage.knockd(index, arguments)?;
        ensure!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout)?;
        text.lines().filter(|line| !line.is_empty()).for_each(note);
        Ok(())
    }

    fn close(&self, index: usize) -> Result<()> {
        self.knockd(index, &["fleet", "close", &CLIENT.to_string()])
    }

    fn wait_open(&self, nodes: &[usize], is_open: bool) -> Result<()> {
        let mut nodes = nodes.iter();
        nodes.try_for_each(|index| self.stage.wait_open(*index, is_open))
    }

    fn expect_connected(&self, index: usize) -> Result<()> {
        let greeting = self.connect(index)?;
        note(&format!("{}: connected: {greeting}", name(index)));
        Ok(())
    }

    fn expect_refused(&self, index: usize) -> Result<()> {
        match self.connect(index) {
            Ok(greeting) => bail!("{} should not admit the client: {greeting}", name(index)),
            // The gate drops without an answer.
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                note(&format!("{}: no answer", name(index)));
                Ok(())
            }
            Err(error) => Err(error).context("the connection failed for another reason"),
        }
    }

    /// Connects to the service while the router sends the client to this node.
    fn connect(&self, index: usize) -> std::io::Result<String> {
        let routed = self.stage.net.route_to(index);
        routed.map_err(std::io::Error::other)?;
        let client = &self.stage.net.client;
        try_connect(client, Some(CLIENT.into()), Net::ssh(), CONNECT_TIMEOUT)
    }
}

fn name(index: usize) -> String {
    format!("edge{}", index + 1)
}

/// The time since `begun`, for a person.
fn since(begun: Instant) -> String {
    shown(begun.elapsed())
}

fn shown(time: Duration) -> String {
    match time {
        short if short < Duration::from_secs(1) => format!("{} ms", short.as_millis()),
        long => format!("{:.1} s", long.as_secs_f64()),
    }
}
