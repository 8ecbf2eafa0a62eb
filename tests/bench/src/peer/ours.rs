//! knockd-xdp.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    process::Command,
};

use anyhow::Result;
use knock_common::protocol::{
    classic::{ClassicKey, Sequence},
    identity::{KEY_LEN, PrivateKey},
};
use knock_tests::{
    frame::Frame,
    link::Pair,
    netns::Namespace,
    process::Running,
    scene::{self, DATAGRAM_PORT, LAPTOP, LAPTOP_KEY, LAPTOP_PUBLIC, SERVER_KEY, SERVER_PUBLIC},
};

use knock_client::Copies;

use super::daemon::{Daemon, Knocks, SOURCE_PORT, block};
use crate::{context::Context, lab::Site};

/// The protocol of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Syn,
    Datagram,
    Classic,
}

const SEQUENCE: &[u8] = &[1, 2, 3, 4];

/// The door closes after one second, so that the leases of earlier knocks do not accumulate.
const CONFIGURATION: &str = r#"control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
run = ["{folder}/stamp", "{folder}/stamps", "%IP%"]
for = "1s"

"#;

/// Starts the daemon on interface `srv0` of `host` with `clients` clients, of which the last one
/// knocks.
pub(crate) fn start(
    context: &Context,
    host: &Namespace,
    site: &Site,
    kind: Kind,
    clients: u32,
) -> Result<Daemon> {
    configure(context, site, kind, clients)?;
    let mut knockd = host.command(context.binary("knockd"));
    knockd.args(["--iface", Pair::SERVER_INTERFACE, "--config"]);
    knockd.arg(site.path("knockd.toml"));
    Ok(Daemon::new(vec![Running::spawn(knockd)?], knocks(kind)?))
}

/// Writes the daemon's configuration and its secrets.
pub(super) fn configure(context: &Context, site: &Site, kind: Kind, clients: u32) -> Result<()> {
    let mut text = CONFIGURATION.replace("{folder}", &site.folder());
    match kind {
        Kind::Classic => {
            site.write("laptop.passphrase", LAPTOP)?;
            text.push_str(
                "[[client]]\nname = \"laptop\"\nprotocol = \"classic\"\n\
                 passphrase_file = \"laptop.passphrase\"\n",
            );
        }
        Kind::Syn | Kind::Datagram => {
            for client in 1..clients {
                let mut key = [0x55; KEY_LEN];
                key[..4].copy_from_slice(&client.to_be_bytes());
                let public = PrivateKey::new(key).public();
                writeln!(
                    text,
                    "[[client]]\nname = \"{client}\"\npublic_key = \"{public}\"\n"
                )?;
            }
            site.write("laptop.key", LAPTOP_KEY)?;
            site.write("server.key", SERVER_KEY)?;
            text.insert_str(0, "server_key_file = \"server.key\"\n");
            if kind == Kind::Datagram {
                writeln!(text, "[datagram]\nport = {DATAGRAM_PORT}\n")?;
            }
            writeln!(
                text,
                "[[client]]\nname = \"laptop\"\npublic_key = \"{LAPTOP_PUBLIC}\""
            )?;
        }
    }
    site.write("knockd.toml", &text)?;
    let file = match kind {
        _ if clients > 1 => return Ok(()),
        Kind::Classic => "knockd-xdp-classic.toml",
        Kind::Syn => "knockd-xdp-syn.toml",
        Kind::Datagram => "knockd-xdp-datagram.toml",
    };
    context.save_configuration(file, &site.portable(&text))
}

/// The knocks of the last client.
pub(super) fn knocks(kind: Kind) -> Result<Knocks> {
    Ok(match kind {
        Kind::Classic => {
            let key = ClassicKey::from_passphrase(LAPTOP.as_bytes());
            let sequence = Sequence::new(SEQUENCE)?;
            Box::new(move |source| block(key.encipher(sequence.plaintext()), source))
        }
        Kind::Syn => {
            let key = scene::syn_key(&scene::laptop()?)?;
            Box::new(move |source| {
                let request = scene::request("ssh", source.into())?;
                block(request.seal(&key), source)
            })
        }
        Kind::Datagram => {
            let client = scene::laptop()?;
            Box::new(move |source| {
                let request = scene::datagram_request("ssh", source.into())?;
                let datagram = scene::seal_datagram(&client, &request)?;
                let server = SocketAddr::new(Pair::SERVER_V4.into(), DATAGRAM_PORT);
                let source = SocketAddr::new(source.into(), SOURCE_PORT);
                let frame = Frame::datagram(source, server).payload(datagram);
                Ok(vec![frame.bytes()?])
            })
        }
    })
}

/// How many times the client sends each knock by default.
pub(crate) fn copies() -> u32 {
    u32::from(Copies::DEFAULT.get())
}

/// The client command that knocks on `server` from `host`.
pub(crate) fn client(context: &Context, host: &Namespace, site: &Site, server: IpAddr) -> Command {
    let mut knock = host.command(context.binary("knock"));
    knock.args(["--server-key", SERVER_PUBLIC]);
    knock.arg("--key-file").arg(site.path("laptop.key"));
    knock.args([&server.to_string(), "ssh"]);
    knock
}
