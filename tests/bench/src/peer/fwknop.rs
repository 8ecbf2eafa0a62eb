//! fwknop (single packet authorization).

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use knock_tests::{frame::Frame, link::Pair, netns::Namespace, process::Running};

use super::daemon::{Daemon, SOURCE_PORT, program, with_libraries};
use crate::{
    context::Context,
    lab::{Site, output, run},
};

const PORT: u16 = 62201;

/// How fwknopd receives packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// From a UDP socket: the kernel wakes it for each packet.
    Udp,
    /// From a packet capture that it polls ten times per second, its default.
    Pcap,
}

/// Settings from its manual; all others keep their defaults.
const UDP: &str = "ENABLE_UDP_SERVER           Y;\nUDPSERV_PORT                62201;\n";
const PCAP: &str = "PCAP_FILTER                 udp port 62201;\n\
                    PCAP_LOOP_SLEEP             100000;\n";

/// AES and HMAC, as its manual recommends. A command takes the place of the iptables rule, which
/// would be slower.
const ACCESS: &str = "SOURCE                      ANY
{keys}
REQUIRE_SOURCE_ADDRESS      Y
CMD_CYCLE_OPEN              {folder}/stamp {folder}/stamps $SRC
CMD_CYCLE_CLOSE             NONE
CMD_CYCLE_TIMER             1
";

/// The client's configuration.
const STANZA: &str = "[bench]
ACCESS                      tcp/22
{keys}
USE_HMAC                    Y
";

/// Starts fwknopd on interface `srv0` of `host`.
pub(crate) fn start(
    context: &Context,
    host: &Namespace,
    site: &Site,
    input: Input,
) -> Result<Daemon> {
    let client = Client::new(context, site)?;
    let (name, text) = match input {
        Input::Udp => ("fwknopd-udp.conf", UDP),
        Input::Pcap => ("fwknopd-pcap.conf", PCAP),
    };
    let configuration = site.write("fwknopd.conf", text)?;
    context.save_configuration(name, text)?;
    let text = ACCESS.replace("{folder}", &site.folder());
    let shown = site.portable(&text).replace("{keys}", HIDDEN);
    context.save_configuration("fwknopd-access.conf", &shown)?;
    let access = site.write(
        "access.conf",
        &text.replace("{keys}", client.keys.trim_end()),
    )?;
    let folder = site.path("fwknop");
    fs::create_dir_all(&folder)?;
    let mut fwknopd = host.command(program(context, "fwknopd")?);
    with_libraries(context, &mut fwknopd)?;
    fwknopd.args(["--foreground", "--interface", Pair::SERVER_INTERFACE]);
    fwknopd.arg("--config-file").arg(configuration);
    fwknopd.arg("--access-file").arg(access);
    fwknopd.arg("--run-dir").arg(&folder);
    fwknopd.arg("--pid-file").arg(folder.join("fwknopd.pid"));
    fwknopd
        .arg("--digest-file")
        .arg(folder.join("digest.cache"));
    let knocks = move |source| client.packet(source).map(|packet| vec![packet]);
    Ok(Daemon::new(
        vec![Running::spawn(fwknopd)?],
        Box::new(knocks),
    ))
}

/// Replaces the keys in the published configuration.
const HIDDEN: &str = "KEY_BASE64                  (of fwknop --key-gen)\n\
                      HMAC_KEY_BASE64             (of fwknop --key-gen)";

/// fwknop and the keys that it generated.
#[derive(Debug)]
struct Client {
    program: PathBuf,
    /// The search path for the package's libraries.
    libraries: std::ffi::OsString,
    home: PathBuf,
    keys: String,
    serial: AtomicU32,
}

impl Client {
    fn new(context: &Context, site: &Site) -> Result<Self> {
        let program = program(context, "fwknop")?;
        let home = site.path("home");
        fs::create_dir_all(&home)?;
        let mut generate = Command::new(&program);
        with_libraries(context, &mut generate)?;
        let libraries = generate
            .get_envs()
            .find_map(|(_, value)| value.map(ToOwned::to_owned))
            .unwrap_or_default();
        let keys = output(generate.arg("--key-gen").env("HOME", &home))?;
        let keys: String = keys
            .lines()
            .filter_map(|line| line.split_once("KEY_BASE64: "))
            .map(|(kind, key)| format!("{kind}KEY_BASE64 {key}\n"))
            .collect();
        let stanza = STANZA.replace("{keys}", keys.trim_end());
        site.write("home/.fwknoprc", &stanza)?;
        let shown = STANZA.replace("{keys}", HIDDEN);
        context.save_configuration("fwknoprc", &shown)?;
        Ok(Self {
            program,
            libraries,
            home,
            keys,
            serial: AtomicU32::new(0),
        })
    }

    /// A packet from `source` with the current time, which the client makes but does not send.
    fn packet(&self, source: Ipv4Addr) -> Result<Vec<u8>> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let file = self.home.join(format!("packet-{serial}"));
        let mut fwknop = Command::new(&self.program);
        fwknop
            .env("HOME", &self.home)
            .env("LD_LIBRARY_PATH", &self.libraries);
        fwknop.args(["--test", "--save-packet"]).arg(&file);
        add_arguments(&mut fwknop, source.into(), Pair::SERVER_V4.into());
        run(&mut fwknop)?;
        let packet = fs::read_to_string(&file).context("fwknop did not save its packet")?;
        fs::remove_file(&file)?;
        let source = SocketAddr::new(IpAddr::V4(source), SOURCE_PORT);
        let server = SocketAddr::new(Pair::SERVER_V4.into(), PORT);
        Frame::datagram(source, server)
            .payload(packet.trim_end())
            .bytes()
    }
}

fn add_arguments(fwknop: &mut Command, source: IpAddr, server: IpAddr) {
    fwknop.args(["--named-config", "bench"]);
    fwknop.args(["--allow-ip", &source.to_string()]);
    fwknop.args(["--destination", &server.to_string()]);
}

/// The client command that knocks on `server` from the address `source` of `host`.
pub(crate) fn client(
    context: &Context,
    host: &Namespace,
    site: &Site,
    source: IpAddr,
    server: IpAddr,
) -> Result<Command> {
    let mut fwknop = host.command(program(context, "fwknop")?);
    with_libraries(context, &mut fwknop)?;
    fwknop.env("HOME", site.path("home"));
    add_arguments(&mut fwknop, source, server);
    Ok(fwknop)
}
