//! `knockd tap`: prints SYNs as lines, like the original `ulogport`, from XDP instead of the
//! firewall log.

use std::io::{self, Write as _};

use anyhow::{Result, bail};
use clap::Args;
use knock_common::{
    settings::{DEFAULT_EVENT_RATE, Settings, Verdict},
    window::Window,
};
use knockd_listener::source::ring::Ring;
use knockd_runtime::sandbox::Sandbox;
use knockd_supervisor::Reporter;
use knockd_types::{interface::Wanted, syn::Syn};
use knockd_xdp::program::Xdp;
use tokio::signal::unix::{SignalKind, signal};

use crate::runtime;

#[derive(Args, Debug)]
pub(crate) struct Tap {
    /// Listen on this interface; may be repeated
    #[arg(long = "iface", value_name = "IF", required = true, value_parser = knockd_config::interface)]
    interfaces: Vec<String>,
    /// The first of the window's 256 ports
    #[arg(long, value_name = "PORT", default_value_t = Window::DEFAULT.base())]
    base: u16,
    /// Pass the SYNs to the host instead of dropping them
    #[arg(long)]
    pass: bool,
}

impl Tap {
    /// Prints SYNs until SIGTERM or SIGINT.
    ///
    /// # Errors
    ///
    /// Returns an error if the window is invalid, the XDP program cannot be attached, or standard
    /// output cannot be written.
    pub(crate) fn execute(self) -> Result<()> {
        let window = Window::new(self.base)?;
        let verdict = if self.pass {
            Verdict::Pass
        } else {
            Verdict::Drop
        };
        runtime::new()?.block_on(tap(self.interfaces, window, verdict))
    }
}

/// Prints `destination_port source_ip` for every SYN to `window` on `interfaces`.
async fn tap(interfaces: Vec<String>, window: Window, verdict: Verdict) -> Result<()> {
    let settings = Settings::new(window, verdict, DEFAULT_EVENT_RATE);
    let mut xdp = Xdp::load(settings, Box::new(Reporter::default()))?;
    let missing = xdp.attach(&Wanted::by_name(interfaces), None)?;
    if let Some(interface) = missing.first() {
        bail!("there is no interface `{interface}`: `ip link` lists the interfaces");
    }
    let mut ring = Ring::<Syn>::open(xdp.events()?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // From here on the process handles untrusted network input.
    Sandbox::new(None)?.enter()?;
    let mut syns = Vec::new();
    let mut lines = Vec::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            events = ring.next(&mut syns) => events?,
        }
        lines.clear();
        for syn in syns.drain(..) {
            writeln!(lines, "{} {}", window.port(syn.offset), syn.source)?;
        }
        let mut out = io::stdout().lock();
        out.write_all(&lines)?;
        out.flush()?;
    }
}
