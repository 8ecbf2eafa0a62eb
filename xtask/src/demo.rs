//! The whole of it at work, told to somebody who sees it for the first time.

use std::{
    env, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use knock_tests::{
    link::Pair,
    process::{Running, Signal, Stream},
    service::{Greeter, try_connect},
};

use crate::{
    interrupt,
    privilege::as_root,
    setup,
    workspace::{Workspace, output, run},
};

/// The service that is kept closed; port 22 in a namespace is nobody's.
const PORT: u16 = 22;
/// Another address of the client's host, which does not knock.
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
/// How long the door stays open.
const LEASE: Duration = Duration::from_secs(5);
/// How long to wait for something that ought to happen at once.
const SOON: Duration = Duration::from_secs(10);
/// How long a connection attempt may take, when nothing answers it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody: a user without any rights, who knocks.
const NOBODY: u32 = 65534;

/// Sets up and builds as whoever calls, then shows as root.
pub(crate) fn build_and_show(workspace: &Workspace) -> Result<()> {
    setup::setup(workspace, None)?;
    run(&mut workspace.cargo("build --quiet --package knock-user"))?;
    let mut show = as_root(env::current_exe()?)?;
    show.args(["demo", "--built"]).arg(&workspace.target);
    run(show.stdin(Stdio::piped()))
}

/// Shows a knock. Everything happens in two namespaces and a temporary folder, which go
/// when this ends, however it ends.
pub(crate) fn show(workspace: &Workspace) -> Result<()> {
    let folder = interrupt::remove_when_cut_off("knockd-demo-")?;
    interrupt::outcome(play(workspace, folder.path()))
}

fn play(workspace: &Workspace, folder: &Path) -> Result<()> {
    let stage = Stage::set(workspace, folder)?;
    stage.closed_at_first()?;
    let (mut knockd, tail) = stage.start()?;
    stage.knock(&tail)?;
    stage.open_for_the_knocker()?;
    stage.closed_again(&tail)?;
    stage.stop(&mut knockd)
}

struct Stage {
    pair: Pair,
    script: PathBuf,
    knockd: PathBuf,
    /// A copy that belongs to nobody, who runs it.
    knock: PathBuf,
    /// Of the same passphrase each side has its own file.
    clients_passphrase: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    _service: Greeter,
}

impl Stage {
    fn set(workspace: &Workspace, folder: &Path) -> Result<Self> {
        say("Two hosts, each a network namespace of its own, with a cable (a veth) between them:");
        note(&format!(
            "server {}, client {}",
            Pair::SERVER_V4,
            Pair::CLIENT_V4
        ));
        note(&format!(
            "the client also has {STRANGER}, which will not knock"
        ));
        let pair = Pair::new()?;
        pair.add_client_address(STRANGER.into())?;
        let service = Greeter::start(&pair.server, PORT)?;

        // Whoever may reach the folder may reach the program in it, and nothing else.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
        let knock = folder.join("knock");
        fs::copy(workspace.binary("knock"), &knock)?;
        chown(&knock, Some(NOBODY), Some(NOBODY))?;
        let clients_passphrase = secret(&folder.join("client.passphrase"))?;
        chown(&clients_passphrase, Some(NOBODY), Some(NOBODY))?;
        secret(&folder.join("laptop.passphrase"))?;

        let script = workspace.firewall("portknock-nftables");
        let socket = folder.join("knockd.sock");
        let config = folder.join("knockd.toml");
        fs::write(&config, configuration(&socket, &script)?)?;
        Ok(Self {
            pair,
            script,
            knockd: workspace.binary("knockd"),
            knock,
            clients_passphrase,
            config,
            socket,
            _service: service,
        })
    }

    fn closed_at_first(&self) -> Result<()> {
        say(&format!(
            "The server's firewall keeps port {PORT} closed to everybody:"
        ));
        let mut firewall = self.pair.server.command(&self.script);
        firewall.args(["setup", &PORT.to_string()]);
        show_command(&firewall);
        run(&mut firewall)?;
        say("So the client cannot connect:");
        self.expect_refused(Pair::CLIENT_V4)
    }

    fn start(&self) -> Result<(Running, Running)> {
        say("The daemon, with this configuration:");
        for line in fs::read_to_string(&self.config)?.lines() {
            note(line);
        }
        let mut knockd = self.pair.server.command(&self.knockd);
        knockd.args(["--iface", Pair::SERVER_INTERFACE, "--config"]);
        knockd.arg(&self.config);
        show_command(&knockd);
        let knockd = Running::spawn(knockd)?;
        let attached = knockd.wait_for(|line| line.contains("attached to"), SOON)?;
        note(&attached);
        ensure!(attached.contains("native"), "a veth can do native XDP");

        let mut tail = self.pair.server.command(&self.knockd);
        tail.args(["tail", "--socket"]).arg(&self.socket);
        let tail = Running::spawn(tail)?;
        tail.wait_for(|line| line.contains("following"), SOON)?;
        Ok((knockd, tail))
    }

    fn knock(&self, tail: &Running) -> Result<()> {
        say("The client knocks, as user nobody and without a single privilege:");
        let mut knock = self.pair.client.unprivileged_command(&self.knock);
        knock.args(["--classic", "--sequence", "1,2,3,4", "--passphrase-file"]);
        knock.arg(&self.clients_passphrase);
        knock.arg(Pair::SERVER_V4.to_string());
        show_command(&knock);
        for line in output(&mut knock)?.lines() {
            note(line);
        }
        say(
            "What `knockd tail` saw of it: the kernel's line for each SYN, and the verdict.
The client sends everything twice, in case a SYN gets lost:",
        );
        tail.wait_for(|line| line.contains("command run"), SOON)?;
        for line in tail.text(Stream::Out).lines() {
            note(line);
        }
        Ok(())
    }

    fn open_for_the_knocker(&self) -> Result<()> {
        say("The client can connect now:");
        let greeting = self.connect(Pair::CLIENT_V4)?;
        note(&format!("{} is greeted: {greeting}", Pair::CLIENT_V4));
        say("And nobody else can:");
        self.expect_refused(STRANGER)
    }

    fn closed_again(&self, tail: &Running) -> Result<()> {
        say(&format!(
            "{} seconds after the knock the daemon closes the door:",
            LEASE.as_secs()
        ));
        let closed = tail.wait_for(|line| line.contains(" closed "), LEASE + SOON)?;
        note(&closed);
        self.expect_refused(Pair::CLIENT_V4)
    }

    fn stop(&self, knockd: &mut Running) -> Result<()> {
        say("`knockd status`, before it stops:");
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
        ensure!(
            knockd.wait(SOON)?.success(),
            "knockd did not stop in good order"
        );
        say("That is all. The namespaces, the firewall in them and every file are gone.");
        Ok(())
    }

    fn connect(&self, from: Ipv4Addr) -> io::Result<String> {
        try_connect(
            &self.pair.client,
            Some(IpAddr::V4(from)),
            SocketAddr::new(Pair::SERVER_V4.into(), PORT),
            PATIENCE,
        )
    }

    fn expect_refused(&self, from: Ipv4Addr) -> Result<()> {
        match self.connect(from) {
            Ok(greeting) => bail!("{from} should not have been greeted: {greeting}"),
            // The firewall drops in silence.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                note(&format!("{from} to port {PORT}: no answer"));
                Ok(())
            }
            Err(error) => Err(error).context("the connection failed for another reason"),
        }
    }
}

fn configuration(socket: &Path, script: &Path) -> Result<String> {
    // Debug is how TOML quotes: the paths have no character that the two write differently.
    Ok(format!(
        r#"control_socket = {socket:?}

[[client]]
name = "laptop"
protocol = "classic"
passphrase_file = "laptop.passphrase"

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
run = [{script:?}, "open", "%IP%"]
close = [{script:?}, "close", "%IP%"]
for = "{}s"
"#,
        LEASE.as_secs()
    ))
}

fn secret(path: &Path) -> Result<PathBuf> {
    fs::write(path, "correct horse battery staple\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(path.to_owned())
}

/// Prints `command` as it would be typed on its host.
fn show_command(command: &Command) {
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    // What stands before `--` only enters the namespace and drops privileges.
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
