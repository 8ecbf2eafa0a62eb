//! A pair of hosts with the real daemon on the server, and helpers that send knocks to it.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use knock_common::{
    datagram::DATAGRAM_LEN,
    protocol::{
        block::Block,
        classic::{ClassicKey, Sequence},
        datagram::{self, Beneficiary},
        door::{LongTag, ShortTag},
        identity::{KeyPair, Owner, PrivateKey, PublicKey},
        lease::{RequestedLease, ShortLease},
        syn::{Binding, Request, SynKey, SynSecret, Time40},
    },
    window::Window,
};
use tempfile::TempDir;

use crate::{
    frame::Frame,
    link::Pair,
    process::{Running, Signal},
    wire::Sender,
};

/// Time limit for anything that should happen immediately, also on a busy machine and in a guest that
/// is emulated, where the start of the daemon alone takes ten seconds.
pub const SOON: Duration = Duration::from_mins(2);

/// The passphrase of client `laptop`.
pub const LAPTOP: &str = "correct horse battery staple";
/// The passphrase of client `phone`.
pub const PHONE: &str = "open sesame";

/// The address and source port of the client.
pub const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Pair::CLIENT_V4), 40_000);
/// An unauthenticated source.
pub const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66)), 40_000);

/// The sequence of door `ssh`, which every client may open.
pub const SSH: &[u8] = &[1, 2, 3, 4];
/// The sequence of door `backup`, which only `phone` may open.
pub const BACKUP: &[u8] = &[9];

/// The private key of the client `laptop`, in key file format.
pub const LAPTOP_KEY: &str = "knock2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// The public key of [`LAPTOP_KEY`].
pub const LAPTOP_PUBLIC: &str = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8";
/// The passphrase of the client `tablet`.
pub const TABLET: &str = "an open secret";
/// The server's private key, in key file format.
pub const SERVER_KEY: &str = "knockd2:kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw";
/// The public key of [`SERVER_KEY`].
pub const SERVER_PUBLIC: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";
/// The port of datagram knocks in [`PAIR_CONFIGURATION`].
pub const DATAGRAM_PORT: u16 = 62_201;

/// Two classic clients and two doors. The doors' commands append their parameters to the file
/// `commands` beside the configuration. `{folder}` is replaced with that folder.
pub const CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"

[[client]]
name = "laptop"
protocol = "classic"
passphrase_file = "laptop.passphrase"

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.passphrase"

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
run = ["sh", "-c", "echo open %DOOR% $KNOCK_IP %CLIENT% %FOR% >> {folder}/commands"]
close = ["sh", "-c", "echo close %DOOR% $KNOCK_IP %CLIENT% %FOR% >> {folder}/commands"]
for = "1h"

[[door]]
name = "backup"
clients = ["phone"]
sequence = [9]
run = ["sh", "-c", "echo open %DOOR% $KNOCK_IP >> {folder}/commands"]
"#;

/// A client with a key file, one with a passphrase and a classic one, and doors with different
/// settings. The commands write to the same file as those of [`CONFIGURATION`]. `{tablet}` is
/// replaced with the public key of the client with the passphrase.
pub const PAIR_CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"
server_key_file = "server.key"

[datagram]
port = 62201

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[[client]]
name = "tablet"
public_key = "{tablet}"

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.passphrase"

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
run = ["sh", "-c", "echo open %DOOR% $KNOCK_IP %CLIENT% %FOR% >> {folder}/commands"]
close = ["sh", "-c", "echo close %DOOR% $KNOCK_IP >> {folder}/commands"]
for = "1h"
max_for = "2h"

[[door]]
name = "backup"
clients = ["tablet"]
require_binding = true
run = ["sh", "-c", "echo open %DOOR% $KNOCK_IP >> {folder}/commands"]
"#;

/// The folder of the programs that cargo has built, to which this test or `cargo xtask` belongs.
pub(crate) fn programs() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let folder = this.parent().context("a program without a folder")?;
    let is_test = folder.ends_with("deps");
    let above = folder.parent().filter(|_| is_test);
    Ok(above.unwrap_or(folder).to_owned())
}

/// The path of a program of this project, which cargo builds into the folder above the tests.
///
/// # Errors
///
/// Returns an error if the program was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let program = programs()?.join(name);
    ensure!(
        program.is_file(),
        "{} does not exist: run `cargo build` first",
        program.display()
    );
    Ok(program)
}

/// The SYNs of a classic knock in order, from consecutive source ports.
///
/// # Errors
///
/// Returns an error if the length of the sequence is invalid.
pub fn classic(
    passphrase: &str,
    sequence: &[u8],
    source: SocketAddr,
    destination: IpAddr,
) -> Result<Vec<Frame>> {
    let sequence = Sequence::new(sequence)?;
    let block = ClassicKey::from_passphrase(passphrase.as_bytes()).encipher(sequence.plaintext());
    Ok(syns(block, source, destination))
}

/// The client `laptop`.
///
/// # Errors
///
/// Returns an error if the key is invalid.
pub fn laptop() -> Result<KeyPair> {
    Ok(PrivateKey::from_key_file(Owner::Client, LAPTOP_KEY.as_bytes())?.into())
}

/// The client `tablet`.
///
/// # Errors
///
/// Returns an error if the key cannot be derived.
pub fn tablet() -> Result<KeyPair> {
    Ok(PrivateKey::from_passphrase(TABLET.as_bytes(), &server()?, "tablet")?.into())
}

/// The server's public key.
///
/// # Errors
///
/// Returns an error if the key is invalid.
pub fn server() -> Result<PublicKey> {
    Ok(SERVER_PUBLIC.parse()?)
}

/// The key of the SYN knocks of `client` to the server.
///
/// # Errors
///
/// Returns an error if the server's key is invalid.
pub fn syn_key(client: &KeyPair) -> Result<SynKey> {
    Ok(SynKey::new(&SynSecret::of_client(client, &server()?)?))
}

/// A request of `laptop` with the current time for `door`, bound to `source`.
///
/// # Errors
///
/// Returns an error if the clock is before 1970.
pub fn request(door: &str, source: IpAddr) -> Result<Request> {
    request_of(&syn_key(&laptop()?)?, door, source)
}

/// A request with the current time for `door`, bound to `source` under `key`.
///
/// # Errors
///
/// Returns an error if the clock is before 1970.
pub fn request_of(key: &SynKey, door: &str, source: IpAddr) -> Result<Request> {
    Ok(Request {
        door: ShortTag::of(door),
        time: Time40::from_unix_ms(unix_ms()?),
        binding: Binding::to(source, key),
        lease: ShortLease::DOORS_DEFAULT,
        // Makes requests of the same millisecond differ.
        random: SERIAL.fetch_add(1, Ordering::Relaxed),
    })
}

/// A request with the current time for door `ssh` without address binding, as from a client
/// behind a NAT.
///
/// # Errors
///
/// Returns an error if the clock is before 1970.
pub fn unbound() -> Result<Request> {
    Ok(Request {
        binding: Binding::Unbound,
        ..request("ssh", SOURCE.ip())?
    })
}

static SERIAL: AtomicU8 = AtomicU8::new(0);

/// The time in Unix milliseconds.
///
/// # Errors
///
/// Returns an error if the clock is before 1970.
pub fn unix_ms() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(now.as_millis().try_into()?)
}

/// `request` sealed with the key of client `laptop`.
///
/// # Errors
///
/// Returns an error if the key is invalid.
pub fn seal(request: &Request) -> Result<Block> {
    Ok(request.seal(&syn_key(&laptop()?)?))
}

/// A request for a datagram with the current time for `door`, bound to `source`.
///
/// # Errors
///
/// Returns an error if the clock is before 1970.
pub fn datagram_request(door: &str, source: IpAddr) -> Result<datagram::Request> {
    Ok(datagram::Request {
        door: LongTag::of(door),
        unix_ms: unix_ms()?,
        beneficiary: Beneficiary::Bound(source),
        lease: RequestedLease::DOORS_DEFAULT,
    })
}

/// The datagram with `request` of `client` to the server.
///
/// # Errors
///
/// Returns an error if the system provides no random numbers.
pub fn seal_datagram(client: &KeyPair, request: &datagram::Request) -> Result<[u8; DATAGRAM_LEN]> {
    let ephemeral = PrivateKey::try_fill(|bytes| getrandom::fill(bytes))
        .map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(request.seal(client, &server()?, ephemeral)?)
}

/// The SYNs of a block, from consecutive source ports.
#[must_use]
pub fn syns(block: Block, source: SocketAddr, destination: IpAddr) -> Vec<Frame> {
    (source.port()..)
        .zip(block.ports(Window::DEFAULT))
        .map(|(source_port, port)| {
            Frame::syn(
                SocketAddr::new(source.ip(), source_port),
                SocketAddr::new(destination, port),
            )
        })
        .collect()
}

/// A temporary folder with a configuration and the secrets that it refers to.
#[derive(Debug)]
pub struct Files(TempDir);

impl Files {
    /// Writes `configuration`, in which `{folder}` is replaced with the folder, and `{tablet}` with the
    /// public key of the client `tablet`.
    ///
    /// # Errors
    ///
    /// Returns an error if the folder cannot be written.
    pub fn new(configuration: &str) -> Result<Self> {
        let files = Self(tempfile::tempdir()?);
        let folder = files.path("").display().to_string();
        let folder = folder.trim_end_matches('/');
        let mut configuration = configuration.replace("{folder}", folder);
        if configuration.contains("{tablet}") {
            configuration = configuration.replace("{tablet}", &tablet()?.public().to_string());
        }
        for (name, content) in [
            ("laptop.passphrase", LAPTOP),
            ("laptop.key", LAPTOP_KEY),
            ("server.key", SERVER_KEY),
            ("phone.passphrase", PHONE),
            ("tablet.passphrase", TABLET),
            ("knockd.toml", &configuration),
        ] {
            let path = files.path(name);
            fs::write(&path, format!("{content}\n"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(files)
    }

    /// The path of the file `name` in the folder.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// The lines that the doors' commands have written so far.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        // The first command creates the file.
        let text = fs::read_to_string(self.path("commands")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// A pair of hosts whose server runs the real daemon.
#[derive(Debug)]
pub struct Scene {
    /// The hosts.
    pub pair: Pair,
    /// The daemon's files.
    pub files: Files,
    /// The daemon, which logs refusals too.
    pub knockd: Running,
    /// Sends raw frames from the client host.
    pub sender: Sender,
}

impl Scene {
    /// A scene with [`CONFIGURATION`], whose daemon is listening.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon does not start.
    pub fn new() -> Result<Self> {
        Self::with(CONFIGURATION)
    }

    /// A scene with another configuration.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon does not start.
    pub fn with(configuration: &str) -> Result<Self> {
        Self::on(Pair::new()?, configuration)
    }

    /// The same on these hosts. The daemon listens on the server's interface unless the
    /// configuration has `interfaces`.
    ///
    /// # Errors
    ///
    /// Returns an error in the same cases as [`Scene::with`].
    pub fn on(pair: Pair, configuration: &str) -> Result<Self> {
        let files = Files::new(configuration)?;
        let knockd = start(&pair, &files)?;
        let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE)?;
        Ok(Self {
            pair,
            files,
            knockd,
            sender,
        })
    }

    /// Starts the daemon again after it was stopped or killed.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.knockd = start(&self.pair, &self.files)?;
        Ok(())
    }

    /// Sends `frames` in order.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses a frame.
    pub fn send<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>) -> Result<()> {
        for frame in frames {
            self.sender.send(&frame.bytes()?)?;
        }
        Ok(())
    }

    /// Waits for a log line of the daemon that contains all of `parts`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such line in time.
    pub fn logged(&self, parts: &[&str]) -> Result<String> {
        self.knockd
            .wait_for(|line| parts.iter().all(|part| line.contains(part)), SOON)
    }

    /// Waits until the opening command of `door` for `source` has succeeded.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not succeed in time.
    pub fn opened(&self, door: &str, source: IpAddr) -> Result<()> {
        let door = format!("door={door:?}");
        let source = format!("source={source} ");
        self.logged(&["command run", &door, &source, "succeeded"])
            .map(|_| ())
    }

    /// Sends the SYNs of `block` from `source`.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses a frame.
    pub fn send_block(&self, block: Block, source: SocketAddr) -> Result<()> {
        let server = match source {
            SocketAddr::V4(_) => Pair::SERVER_V4.into(),
            SocketAddr::V6(_) => Pair::SERVER_V6.into(),
        };
        self.send(&syns(block, source, server))
    }

    /// Sends the datagram `bytes` from `source`.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses the frame.
    pub fn send_datagram(&self, bytes: &[u8], source: SocketAddr) -> Result<()> {
        let server = match source {
            SocketAddr::V4(_) => Pair::SERVER_V4.into(),
            SocketAddr::V6(_) => Pair::SERVER_V6.into(),
        };
        let frame = Frame::datagram(source, SocketAddr::new(server, DATAGRAM_PORT));
        self.send(&[frame.payload(bytes)])
    }

    /// Sends a classic knock from a separate source and waits until it is accepted. The ring buffer
    /// is ordered, so the daemon has processed all earlier packets by then.
    ///
    /// # Errors
    ///
    /// Returns an error if the knock is not accepted in time.
    pub fn settle(&self) -> Result<()> {
        let witness: SocketAddr = ([192, 0, 2, 250], 50_000).into();
        // `phone` is classic in both configurations.
        self.send(&classic(PHONE, SSH, witness, Pair::SERVER_V4.into())?)?;
        self.opened("ssh", witness.ip())
    }

    /// The sources accepted so far, without that of [`Scene::settle`].
    #[must_use]
    pub fn accepted(&self) -> Vec<String> {
        self.knockd
            .lines()
            .iter()
            .filter(|line| line.text.contains(" accepted door="))
            .filter_map(|line| line.text.split("source=").nth(1))
            .filter_map(|rest| rest.split(' ').next())
            .filter(|source| *source != "192.0.2.250")
            .map(str::to_owned)
            .collect()
    }

    /// The daemon's status, as JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        let output = self.watch("status")?.arg("--json").output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The command `knockd status` or `knockd tail` for this daemon.
    ///
    /// # Errors
    ///
    /// Returns an error if the program was not built.
    pub fn watch(&self, command: &str) -> Result<Command> {
        let mut watch = self.pair.server.command(program("knockd")?);
        watch.args([command, "--socket"]);
        watch.arg(self.files.path("knockd.sock"));
        Ok(watch)
    }

    /// Stops the daemon with SIGTERM.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon does not exit with status 0 in time.
    pub fn stop(&mut self) -> Result<()> {
        self.knockd.signal(Signal::SIGTERM)?;
        let status = self.knockd.wait(SOON)?;
        ensure!(status.success(), "knockd ended with {status}");
        Ok(())
    }

    /// The process id of the daemon's listener.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no listener.
    pub fn listener(&self) -> Result<u32> {
        let id = self.knockd.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        for child in children.split_whitespace() {
            let name = fs::read(format!("/proc/{child}/cmdline"))?;
            if name.starts_with(b"knockd-listener\0") {
                return Ok(child.parse()?);
            }
        }
        bail!("no listener among {children:?}")
    }
}

fn start(pair: &Pair, files: &Files) -> Result<Running> {
    let mut command = knockd(pair, files)?;
    let configuration = fs::read_to_string(files.path("knockd.toml"))?;
    if !configuration.contains("interfaces =") {
        command.args(["--iface", Pair::SERVER_INTERFACE]);
    }
    let knockd = Running::spawn(command)?;
    knockd.wait_for(|line| line.contains("listening on "), SOON)?;
    Ok(knockd)
}

/// The daemon's command on the server with the configuration of `files`, without an `--iface`
/// option.
///
/// # Errors
///
/// Returns an error if the program was not built.
pub fn knockd(pair: &Pair, files: &Files) -> Result<Command> {
    let mut knockd = pair.server.command(program("knockd")?);
    knockd.args(["--log", "debug", "--config"]);
    knockd.arg(files.path("knockd.toml"));
    Ok(knockd)
}
