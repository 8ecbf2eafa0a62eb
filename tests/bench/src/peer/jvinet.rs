//! knockd 0.8 by jvinet.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
};

use anyhow::Result;
use knock_tests::{frame::Frame, link::Pair, netns::Namespace, process::Running};

use super::daemon::{Daemon, SOURCE_PORT, program, with_libraries};
use crate::{context::Context, lab::Site};

/// Three ports, as in its manual, but inside knockd-xdp's window: the same flood reaches both.
pub(crate) const SEQUENCE: [u16; 3] = [61010, 61120, 61230];

/// As in the first example of its manual. `tcpflags` restricts it to SYNs.
const CONFIGURATION: &str = "[options]
    logfile = {folder}/knockd.log

[bench]
    sequence    = {sequence}
    seq_timeout = 10
    tcpflags    = syn
    command     = {folder}/stamp {folder}/stamps %IP%
";

/// Starts the daemon on interface `srv0` of `host`.
pub(crate) fn start(context: &Context, host: &Namespace, site: &Site) -> Result<Daemon> {
    let sequence = SEQUENCE.map(|port| port.to_string()).join(",");
    let text = CONFIGURATION
        .replace("{folder}", &site.folder())
        .replace("{sequence}", &sequence);
    let file = site.write("knockd.conf", &text)?;
    context.save_configuration("knockd.conf", &site.portable(&text))?;
    let mut knockd = host.command(program(context, "knockd")?);
    with_libraries(context, &mut knockd)?;
    knockd.args(["--interface", Pair::SERVER_INTERFACE, "--config"]);
    knockd.arg(file);
    let knocks = |source| {
        let frame = |port| {
            let source = SocketAddr::new(IpAddr::V4(source), SOURCE_PORT);
            let destination = SocketAddr::new(Pair::SERVER_V4.into(), port);
            Frame::syn(source, destination).bytes()
        };
        SEQUENCE.into_iter().map(frame).collect()
    };
    Ok(Daemon::new(vec![Running::spawn(knockd)?], Box::new(knocks)))
}

/// The client command that knocks on `server` from `host`.
pub(crate) fn client(context: &Context, host: &Namespace, server: IpAddr) -> Result<Command> {
    let mut knock = host.command(program(context, "knock")?);
    knock.arg(server.to_string());
    knock.args(SEQUENCE.map(|port| port.to_string()));
    Ok(knock)
}
