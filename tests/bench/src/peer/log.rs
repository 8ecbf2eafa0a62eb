//! The path of the original: the firewall logs SYNs, a program converts the log to lines, and the
//! daemon reads the lines.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, LineWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use knock_tests::{netns::Namespace, process::Running};
use rustix::fs::{CWD, FileType, Mode};

use super::{
    daemon::{Daemon, program, with_libraries},
    ours,
};
use crate::{context::Context, lab::Site};

/// Logs SYNs to the window to netlink group 7.
const RULES: &str = "table inet portknock {
    chain input {
        type filter hook input priority filter - 1
        tcp dport 61000-61255 tcp flags & (fin | syn | rst | ack) == syn log group 7 drop
    }
}
";

/// The kernel queues up to 100 packets for at most 10 ms, which costs the least CPU time. Each line
/// is written at once. The buffer sizes are the manual's.
const CONFIGURATION: &str = r#"[global]
logfile="{folder}/ulogd.log"
loglevel=5
{plugins}stack=log1:NFLOG,base1:BASE,ip2str1:IP2STR,gp1:GPRINT

[log1]
group=7
netlink_socket_buffer_size=217088
netlink_socket_buffer_maxsize=1085440
netlink_qthreshold=100
netlink_qtimeout=1

[gp1]
file="{folder}/ulogd.fifo"
sync=1
"#;

const PLUGINS: &[&str] = &[
    "inppkt_NFLOG",
    "raw2packet_BASE",
    "filter_IP2STR",
    "output_GPRINT",
];

/// Starts ulogd2, the converter and knockd-xdp on `host`.
pub(crate) fn start(context: &Context, host: &Namespace, site: &Site) -> Result<Daemon> {
    site.firewall(host, RULES)?;
    context.save_configuration("ulogd-rules.nft", RULES)?;
    let [log, lines] = ["ulogd.fifo", "lines.fifo"].map(|name| site.path(name));
    for fifo in [&log, &lines] {
        rustix::fs::mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    }
    let text = CONFIGURATION.replace("{folder}", &site.folder());
    let shown = site.portable(&text).replace("{plugins}", "");
    context.save_configuration("ulogd.conf", &shown)?;
    let configuration = site.write("ulogd.conf", &text.replace("{plugins}", &plugins(context)?))?;

    let mut ulogd = host.command(program(context, "ulogd")?);
    with_libraries(context, &mut ulogd)?;
    ulogd.arg("--configfile").arg(configuration);
    let mut converter = host.command(env::current_exe()?);
    converter.arg("lines").arg(log).arg(&lines);

    ours::configure(context, site, ours::Kind::Syn, 1)?;
    let mut knockd = host.command(context.binary("knockd"));
    knockd.arg("--lines").arg(&lines);
    knockd.arg("--config").arg(site.path("knockd.toml"));
    let mut running = Vec::new();
    for command in [knockd, converter, ulogd] {
        running.push(Running::spawn(command)?);
    }
    Ok(Daemon::new(running, ours::knocks(ours::Kind::Syn)?))
}

/// The configuration lines for the unpacked plugins of ulogd2. An installed ulogd2 needs none.
fn plugins(context: &Context) -> Result<String> {
    let mut lines = String::new();
    let libraries = context.peers().join("usr/lib");
    for entry in libraries.read_dir().into_iter().flatten() {
        let folder = entry?.path().join("ulogd");
        for plugin in PLUGINS {
            let file = folder.join(format!("ulogd_{plugin}.so"));
            if file.is_file() {
                lines.push_str(&format!("plugin=\"{}\"\n", file.display()));
            }
        }
    }
    Ok(lines)
}

/// Converts ulogd2's `log` to lines `destination_port source_ip` in `lines` until end of file, as
/// `ulogport` does.
pub(crate) fn convert(log: &Path, lines: &Path) -> Result<()> {
    let log = File::open(log).with_context(|| log.display().to_string())?;
    let lines = OpenOptions::new()
        .write(true)
        .open(lines)
        .with_context(|| lines.display().to_string())?;
    let mut lines = LineWriter::new(lines);
    for packet in BufReader::new(log).lines() {
        let packet = packet?;
        let field = |name: &str| {
            let mut fields = packet.split(',');
            fields.find_map(|field| field.strip_prefix(name))
        };
        if let (Some(port), Some(source)) = (field("tcp.dport="), field("ip.saddr.str=")) {
            writeln!(lines, "{port} {source}")?;
        }
    }
    Ok(())
}
