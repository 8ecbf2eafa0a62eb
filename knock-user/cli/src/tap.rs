//! `knockd tap`: prints SYNs as lines, like the original `ulogport`, from XDP instead of the
//! firewall log.

use std::io::{self, Write as _};

use anyhow::{Result, bail};
use knock_common::{
    settings::{DEFAULT_EVENT_RATE, Settings, Verdict},
    window::Window,
};
use tokio::signal::unix::{SignalKind, signal};

use knockd_listener::source::ring::Ring;
use knockd_runtime::sandbox::Sandbox;
use knockd_supervisor::Reporter;
use knockd_types::interface::Wanted;
use knockd_xdp::program::Xdp;

/// Prints `destination_port source_ip` for every SYN to `window` on `interfaces`, until SIGTERM,
/// SIGINT or an error of standard output.
///
/// # Errors
///
/// Returns an error if the XDP program cannot be attached, or standard output cannot be written.
pub(crate) async fn tap(interfaces: &[String], window: Window, verdict: Verdict) -> Result<()> {
    let settings = Settings::new(window, verdict, DEFAULT_EVENT_RATE);
    let mut xdp = Xdp::load(settings, Box::new(Reporter::default()))?;
    let missing = xdp.attach(&Wanted::new(interfaces.to_vec()), None)?;
    if let Some(interface) = missing.first() {
        bail!("there is no interface `{interface}`: `ip link` lists the interfaces");
    }
    let mut ring = Ring::open(xdp.events()?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // From here on the process handles untrusted network input.
    Sandbox::new(None)?.enter()?;
    let mut knocks = Vec::new();
    let mut lines = Vec::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            events = ring.next(&mut knocks) => events?,
        }
        lines.clear();
        for knock in knocks.drain(..) {
            writeln!(lines, "{} {}", window.port(knock.offset), knock.source)?;
        }
        let mut out = io::stdout().lock();
        out.write_all(&lines)?;
        out.flush()?;
    }
}
