//! fwknop, the single packet authoriser.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use knock_tests::{frame::Frame, link::Pair, netns::Namespace, process::Running};

use super::{Daemon, SOURCE_PORT, program, with_libraries};
use crate::{
    lab::{Site, output, run},
    scenario::Context,
};

const PORT: u16 = 62201;

/// How fwknopd gets its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// From a socket, where the kernel wakes it: the faster way.
    Udp,
    /// From a capture that it looks at ten times a second. Its default.
    Pcap,
}

/// Of its manual; everything else is left as it comes.
const UDP: &str = "ENABLE_UDP_SERVER           Y;\nUDPSERV_PORT                62201;\n";
const PCAP: &str = "PCAP_FILTER                 udp port 62201;\n\
                    PCAP_LOOP_SLEEP             100000;\n";

/// AES and HMAC, as its manual wants it; a command in the place of a rule for iptables, which
/// would be slower.
const ACCESS: &str = "SOURCE                      ANY
{keys}
REQUIRE_SOURCE_ADDRESS      Y
CMD_CYCLE_OPEN              {folder}/stamp {folder}/stamps $SRC
CMD_CYCLE_CLOSE             NONE
CMD_CYCLE_TIMER             1
";

/// What the client is called by.
const STANZA: &str = "[bench]
ACCESS                      tcp/22
{keys}
USE_HMAC                    Y
";

/// fwknopd on interface `srv0` of `host`.
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
    context.show_configuration(name, text)?;
    let text = ACCESS.replace("{folder}", &site.folder());
    let shown = site.portable(&text).replace("{keys}", HIDDEN);
    context.show_configuration("fwknopd-access.conf", &shown)?;
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

/// In the place of the keys, in what is shown.
const HIDDEN: &str = "KEY_BASE64                  (of fwknop --key-gen)\n\
                      HMAC_KEY_BASE64             (of fwknop --key-gen)";

/// fwknop, with the keys that it has made.
#[derive(Debug)]
struct Client {
    program: PathBuf,
    /// Where it finds the others of its package.
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
        context.show_configuration("fwknoprc", &shown)?;
        Ok(Self {
            program,
            libraries,
            home,
            keys,
            serial: AtomicU32::new(0),
        })
    }

    /// A packet of now from `source`, made by the client and not sent.
    fn packet(&self, source: Ipv4Addr) -> Result<Vec<u8>> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let file = self.home.join(format!("packet-{serial}"));
        let mut fwknop = Command::new(&self.program);
        fwknop
            .env("HOME", &self.home)
            .env("LD_LIBRARY_PATH", &self.libraries);
        fwknop.args(["--test", "--save-packet"]).arg(&file);
        call(&mut fwknop, source.into(), Pair::SERVER_V4.into());
        run(&mut fwknop)?;
        let packet = fs::read_to_string(&file).context("fwknop has not left its packet")?;
        fs::remove_file(&file)?;
        let source = SocketAddr::new(IpAddr::V4(source), SOURCE_PORT);
        let server = SocketAddr::new(Pair::SERVER_V4.into(), PORT);
        Frame::datagram(source, server)
            .payload(packet.trim_end())
            .bytes()
    }
}

fn call(fwknop: &mut Command, source: IpAddr, server: IpAddr) {
    fwknop.args(["--named-config", "bench"]);
    fwknop.args(["--allow-ip", &source.to_string()]);
    fwknop.args(["--destination", &server.to_string()]);
}

/// The client, which is to knock on `server` from `host`, where it has the address `source`.
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
    call(&mut fwknop, source, server);
    Ok(fwknop)
}
