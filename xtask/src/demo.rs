//! knockd at work, explained step by step for a first look.

pub(crate) mod fleet;
mod gate;

use std::{
    env,
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use knock_common::window::Window;
use knock_tests::{
    frame::{Frame, Segment},
    link::Pair,
    process::{Running, Signal, Stream},
    service::{Greeter, try_connect},
    wire::{Capture, Sender},
};

use crate::{
    interrupt, nats,
    privilege::as_root,
    setup,
    workspace::{Workspace, output, run},
};

/// The port of the protected service. In a new namespace it is free.
const PORT: u16 = 22;
/// Another address of the client's host, from which no knock comes.
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
/// How long the door stays open.
const LEASE: Duration = Duration::from_secs(5);
/// How long to wait for something that should happen at once.
const SOON: Duration = Duration::from_secs(10);
/// How long to wait for an answer to a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The user `nobody`, which runs the client.
const NOBODY: u32 = 65534;

/// What is shown.
#[derive(Args, Debug)]
pub(crate) struct Choice {
    /// Show a fleet of three nodes instead, on three servers of NATS
    #[arg(long)]
    pub(crate) fleet: bool,
    /// Only the part that needs root; the programs are in this target directory
    #[arg(long, hide = true, value_name = "TARGET")]
    pub(crate) built: Option<PathBuf>,
}

/// Sets up and builds as the caller, then runs the demo as root.
pub(crate) fn build_and_show(workspace: &Workspace, choice: &Choice) -> Result<()> {
    setup::setup(workspace, None)?;
    if choice.fleet {
        ensure!(
            nats::provide(workspace)?,
            "the demo of a fleet needs a server of NATS"
        );
    }
    run(&mut workspace.cargo("build --quiet --package knock-user"))?;
    let mut show = as_root(env::current_exe()?)?;
    show.args(["demo", "--built"]).arg(&workspace.target);
    show.args(choice.fleet.then_some("--fleet"));
    run(show.stdin(Stdio::piped()))
}

/// Runs the demo in two network namespaces and a temporary folder. They are removed at the end,
/// also after an error or a signal.
pub(crate) fn show(workspace: &Workspace) -> Result<()> {
    let folder = interrupt::remove_when_cut_off("knockd-demo-")?;
    interrupt::outcome(play(workspace, folder.path()))
}

fn play(workspace: &Workspace, folder: &Path) -> Result<()> {
    let stage = Stage::set(workspace, folder)?;
    stage.closed_at_first()?;
    stage.set_up_both_sides()?;
    let (mut knockd, tail) = stage.start()?;
    let recorded = stage.knock(&tail)?;
    stage.open_for_the_client()?;
    stage.closed_again(&tail)?;
    stage.replay_is_refused(&recorded, &tail)?;
    stage.datagram(&tail)?;
    stage.stop(&mut knockd)?;
    stage.without_a_firewall()?;
    say("The namespaces, their firewall and all files are removed.");
    Ok(())
}

struct Stage {
    pair: Pair,
    script: PathBuf,
    knockd: PathBuf,
    /// A copy that belongs to the user `nobody`, which runs it.
    knock: PathBuf,
    /// Where the client keeps its profile.
    clients_home: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    state: PathBuf,
    _service: Greeter,
}

impl Stage {
    fn set(workspace: &Workspace, folder: &Path) -> Result<Self> {
        say("Two hosts, each a network namespace, connected by a veth pair:");
        note(&format!(
            "server {}, client {}",
            Pair::SERVER_V4,
            Pair::CLIENT_V4
        ));
        note(&format!(
            "the client also has {OTHER}, from which it does not knock"
        ));
        let pair = Pair::new()?;
        pair.add_client_address(OTHER.into())?;
        let service = Greeter::start(&pair.server, PORT)?;

        // Other users can run the program in the folder, but not list the folder.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
        let knock = folder.join("knock");
        fs::copy(workspace.binary("knock"), &knock)?;
        let clients_home = folder.join("home");
        fs::create_dir(&clients_home)?;
        for path in [&knock, &clients_home] {
            chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(Self {
            pair,
            script: workspace.firewall("portknock-nftables"),
            knockd: workspace.binary("knockd"),
            knock,
            clients_home,
            config: folder.join("knockd.toml"),
            socket: folder.join("knockd.sock"),
            state: folder.join("state"),
            _service: service,
        })
    }

    fn closed_at_first(&self) -> Result<()> {
        say(&format!(
            "The server's firewall closes port {PORT} to everyone:"
        ));
        let mut firewall = self.pair.server.command(&self.script);
        firewall.args(["setup", &PORT.to_string()]);
        show_command(&firewall);
        run(&mut firewall)?;
        say("The client cannot connect:");
        self.expect_refused(Pair::CLIENT_V4)
    }

    fn set_up_both_sides(&self) -> Result<()> {
        say("The server creates a configuration with its key pair, and a key pair for one client:");
        let mut init = self.pair.server.command(&self.knockd);
        init.args(["init", "--server", &Pair::SERVER_V4.to_string()]);
        init.arg("--config").arg(&self.config);
        init.arg("--state-dir").arg(&self.state);
        show_command(&init);
        let line = output(&mut init)?;
        note(line.trim_end());
        self.adapt_configuration()?;

        say(
            "The client, as user nobody, imports that invitation, which it reads from standard input:",
        );
        let invitation = self.clients_home.join("invitation");
        let uri = line.trim_end().trim_start_matches("knock import ");
        let uri = uri.trim_matches('\'');
        fs::write(&invitation, uri)?;
        let mut import = self.client();
        import.args(["import", "--name", "home"]);
        import.stdin(File::open(&invitation)?);
        show_command(&import);
        for line in output(&mut import)?.lines() {
            note(line);
        }
        Ok(())
    }

    /// Adapts the configuration to the demo: its script, its socket, and a short lease.
    fn adapt_configuration(&self) -> Result<()> {
        let lease = format!("for = \"{}s\"", LEASE.as_secs());
        // TOML quotes these paths as Rust's `Debug` does.
        let text = fs::read_to_string(&self.config)?
            .replace("\"portknock\"", &format!("{:?}", self.script))
            .replace("# [datagram]\n# port", "[datagram]\nport")
            .replace("for = \"30s\"", &lease);
        let text = format!("control_socket = {:?}\n{text}", self.socket);
        fs::write(&self.config, text)?;
        Ok(())
    }

    /// The client, without any privilege.
    fn client(&self) -> Command {
        let mut knock = self.pair.client.unprivileged_command(&self.knock);
        knock.env("HOME", &self.clients_home);
        knock.env("XDG_CONFIG_HOME", &self.clients_home);
        knock
    }

    fn start(&self) -> Result<(Running, Running)> {
        say("The daemon starts with that configuration, shown without comments:");
        self.show_configuration()?;
        let knockd = self.start_daemon()?;
        let mut tail = self.pair.server.command(&self.knockd);
        tail.args(["tail", "--socket"]).arg(&self.socket);
        let tail = Running::spawn(tail)?;
        // It prints a line once it is connected.
        tail.wait_for(|_| true, SOON)?;
        Ok((knockd, tail))
    }

    fn show_configuration(&self) -> Result<()> {
        for line in fs::read_to_string(&self.config)?.lines() {
            let line = line.split(" #").next().unwrap_or(line).trim_end();
            if !line.is_empty() && !line.starts_with('#') {
                note(line);
            }
        }
        Ok(())
    }

    fn start_daemon(&self) -> Result<Running> {
        let mut knockd = self.pair.server.command(&self.knockd);
        knockd.args(["--iface", Pair::SERVER_INTERFACE, "--config"]);
        knockd.arg(&self.config);
        show_command(&knockd);
        let knockd = Running::spawn(knockd)?;
        let attached = knockd.wait_for(|line| line.contains("attached to"), SOON)?;
        note(&attached);
        ensure!(attached.contains("native"), "a veth can do native XDP");
        knockd.wait_for(|line| line.contains("listening on"), SOON)?;
        Ok(knockd)
    }

    /// Knocks, and returns the SYNs that an attacker on the network could record.
    fn knock(&self, tail: &Running) -> Result<Vec<Segment>> {
        say("The client knocks, as user nobody and without any privilege, until the port answers:");
        let cable = Capture::new(&self.pair.client, Pair::CLIENT_INTERFACE)?;
        let mut knock = self.client();
        knock.args(["--verify", "tcp/22", "home", "ssh"]);
        show_command(&knock);
        for line in output(&mut knock)?.lines() {
            note(line);
        }
        say(
            "`knockd tail` shows each SYN that the eBPF program matched, and the verdict.
The client sends each SYN three times in case some are lost; duplicates are ignored:",
        );
        tail.wait_for(|line| line.contains("command run"), SOON)?;
        for line in tail.text(Stream::Out).lines() {
            note(line);
        }
        let frames = cable.drain()?;
        let segments = frames
            .iter()
            .filter_map(|frame| Segment::read(&frame.bytes));
        Ok(segments
            .filter(|segment| {
                Window::DEFAULT
                    .offset_of(segment.destination.port())
                    .is_some()
            })
            .collect())
    }

    fn replay_is_refused(&self, recorded: &[Segment], tail: &Running) -> Result<()> {
        say("An attacker replays the recorded knock, from another address and from the client's:");
        let cable = Sender::new(&self.pair.client, Pair::CLIENT_INTERFACE)?;
        for (source, reason) in [
            (OTHER, "reason=elsewhere"),
            (Pair::CLIENT_V4, "reason=copy"),
        ] {
            let mark = tail.mark();
            for segment in recorded.iter().take(16) {
                // From other ports: otherwise it would pass for a retransmission.
                let source = SocketAddr::new(source.into(), segment.source.port() ^ 1024);
                cable.send(&Frame::syn(source, segment.destination).bytes()?)?;
            }
            let refused = format!("refused source={source}");
            let is_reported = |line: &str| line.contains(&refused) && line.contains(reason);
            note(&tail.wait_for_after(mark, is_reported, SOON)?);
        }
        self.expect_refused(OTHER)?;
        self.expect_refused(Pair::CLIENT_V4)
    }

    /// Knocks with one datagram, and closes the door with another one.
    fn datagram(&self, tail: &Running) -> Result<()> {
        say("The same knock in one UDP datagram, of which the client sends four copies:");
        let mark = tail.mark();
        self.knock_by_datagram(&[])?;
        for part in ["datagram from", " accepted ", "command run"] {
            note(&tail.wait_for_after(mark, |line| line.contains(part), SOON)?);
        }
        self.open_for_the_client()?;
        say("Another datagram closes the door before its time is over:");
        let mark = tail.mark();
        self.knock_by_datagram(&["--close"])?;
        note(&tail.wait_for_after(mark, |line| line.contains(" closed "), SOON)?);
        self.expect_refused(Pair::CLIENT_V4)
    }

    fn knock_by_datagram(&self, options: &[&str]) -> Result<()> {
        let mut knock = self.client();
        knock.arg("--udp").args(options).args(["home", "ssh"]);
        show_command(&knock);
        for line in output(&mut knock)?.lines() {
            note(line);
        }
        Ok(())
    }

    fn open_for_the_client(&self) -> Result<()> {
        say("The client can connect:");
        let greeting = self.connect(Pair::CLIENT_V4)?;
        note(&format!("{} is connected: {greeting}", Pair::CLIENT_V4));
        say("No other address can:");
        self.expect_refused(OTHER)
    }

    fn closed_again(&self, tail: &Running) -> Result<()> {
        say(&format!(
            "After {} seconds the daemon closes the door:",
            LEASE.as_secs()
        ));
        let closed = tail.wait_for(|line| line.contains(" closed "), LEASE + SOON)?;
        note(&closed);
        self.expect_refused(Pair::CLIENT_V4)
    }

    fn stop(&self, knockd: &mut Running) -> Result<()> {
        say("`knockd status`, before the daemon stops:");
        let mut status = self.pair.server.command(&self.knockd);
        status.args(["status", "--socket"]).arg(&self.socket);
        let status = output(&mut status)?;
        for line in status
            .lines()
            .filter(|line| !line.trim_start().starts_with("0 "))
        {
            note(line);
        }
        knockd.signal(Signal::SIGTERM)?;
        ensure!(knockd.wait(SOON)?.success(), "knockd did not stop cleanly");
        Ok(())
    }

    fn connect(&self, from: Ipv4Addr) -> io::Result<String> {
        try_connect(
            &self.pair.client,
            Some(IpAddr::V4(from)),
            SocketAddr::new(Pair::SERVER_V4.into(), PORT),
            CONNECT_TIMEOUT,
        )
    }

    fn expect_refused(&self, from: Ipv4Addr) -> Result<()> {
        match self.connect(from) {
            Ok(greeting) => bail!("{from} should not be connected: {greeting}"),
            // The firewall drops without an answer.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                note(&format!("{from} to port {PORT}: no answer"));
                Ok(())
            }
            Err(error) => Err(error).context("the connection failed for another reason"),
        }
    }
}

/// Prints `command` as an administrator would type it on its host.
fn show_command(command: &Command) {
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    // What is before `--` only enters the namespace and drops privileges.
    let typed = words
        .split(|word| word == "--")
        .next_back()
        .unwrap_or(&words);
    note(&format!("$ {}", typed.join(" ")));
}

fn say(text: &str) {
    println!("\n{text}");
}

fn note(text: &str) {
    println!("    {text}");
}
