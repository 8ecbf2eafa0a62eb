//! Knocks from the XDP program: loading it, attaching it, reading its ring.

use std::{collections::BTreeMap, io, os::fd::AsRawFd, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, RingBuf},
    programs::{Xdp as Program, XdpMode},
};
use aya_log::EbpfLogger;
use knock_common::{counters::Outcome, event::KnockEvent, settings::Settings};
use rustix::{io::Errno, net::netdevice::name_to_index};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};
use tracing::{info, warn};

use crate::daemon::{knock::Knock, report::Reporter};

/// The XDP program, compiled by the build script and aligned as the ELF parser wants it.
static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/knock-xdp"));

/// Events taken from the ring before the daemon looks after everything else again.
pub const MAX_BATCH: usize = 256;

/// How the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, before the kernel has made a packet of the frame.
    Native,
    /// In the kernel's stack: works with every driver, costs more.
    Generic,
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// How the program runs there.
    pub mode: Mode,
}

/// The loaded program. Dropping it detaches it from every interface.
pub struct Xdp {
    ebpf: Ebpf,
    events: AsyncFd<RingBuf<MapData>>,
    log: AsyncFd<EbpfLogger<Reporter>>,
    settings: Settings,
    settings_map: Array<MapData, Settings>,
    counters: PerCpuArray<MapData, u64>,
    attachments: Vec<Attachment>,
}

impl Xdp {
    /// Loads the program with its settings in place. It sees nothing before
    /// [`Xdp::attach`].
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing and what to do.
    pub fn load(settings: Settings, reporter: Reporter) -> Result<Self> {
        raise_memory_limit();
        let mut ebpf = Ebpf::load(PROGRAM).map_err(|error| unloadable(error.into()))?;
        // Before the program is loaded: loading needs the map that this keeps open.
        let log = EbpfLogger::init_with_logger(&mut ebpf, reporter)
            .context("the program has no aya-log ring")?;
        let mut settings_map: Array<MapData, Settings> = take(&mut ebpf, "SETTINGS")?;
        settings_map.set(0, settings, 0)?;
        let mut xdp = Self {
            events: readable(take(&mut ebpf, "EVENTS")?)?,
            log: readable(log)?,
            settings,
            settings_map,
            counters: take(&mut ebpf, "COUNTERS")?,
            attachments: Vec::new(),
            ebpf,
        };
        xdp.program()?
            .load()
            .map_err(|error| unloadable(error.into()))?;
        Ok(xdp)
    }

    /// Attaches the program to `interfaces`.
    ///
    /// # Errors
    ///
    /// A sentence that says which interface is missing or taken, and what to do. What was
    /// attached before the error stays so until this is dropped.
    pub fn attach(&mut self, interfaces: &[String]) -> Result<()> {
        for interface in interfaces {
            require_interface(interface)?;
        }
        for interface in interfaces {
            let mode = attach(self.program()?, interface)?;
            self.attachments.push(Attachment {
                interface: interface.clone(),
                mode,
            });
        }
        Ok(())
    }

    /// The program itself, for `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    ///
    /// The object holds another program, which the build rules out.
    pub fn program(&mut self) -> Result<&mut Program> {
        let program = self
            .ebpf
            .program_mut("knock_xdp")
            .context("the object holds no program `knock_xdp`")?;
        Ok(program.try_into()?)
    }

    /// Appends the next events to `knocks`, at most [`MAX_BATCH`] of them, and passes the
    /// kernel's log lines on. Cancel-safe: what has left the ring is in `knocks`.
    ///
    /// # Errors
    ///
    /// The ring cannot be waited for.
    pub async fn next(&mut self, knocks: &mut Vec<Knock>) -> io::Result<()> {
        tokio::select! {
            events = self.events.readable_mut() => {
                let mut events = events?;
                while knocks.len() < MAX_BATCH {
                    let Some(entry) = events.get_inner_mut().next() else {
                        events.clear_ready();
                        break;
                    };
                    // Both sides are compiled with one layout: another length cannot occur.
                    knocks.extend(KnockEvent::from_bytes(&entry).map(Knock::from));
                }
            }
            log = self.log.readable_mut() => log?.clear_ready(),
        }
        // The kernel writes a SYN's line before its event: so it is told first.
        self.log.get_mut().flush();
        Ok(())
    }

    /// Switches the kernel's log line per knock on or off.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn set_log(&mut self, log: bool) -> Result<()> {
        self.settings = self.settings.with_log(log);
        self.settings_map.set(0, self.settings, 0)?;
        Ok(())
    }

    /// The kernel's counters, summed over all CPUs.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        Outcome::ALL
            .iter()
            .map(|outcome| {
                let per_cpu = self.counters.get(&(*outcome as u32), 0)?;
                Ok((outcome.name().to_owned(), per_cpu.iter().sum()))
            })
            .collect()
    }

    /// Where the program is attached.
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }
}

impl From<KnockEvent> for Knock {
    fn from(event: KnockEvent) -> Self {
        Self {
            source: event.source(),
            source_port: Some(event.source_port),
            offset: event.offset,
            at: Duration::from_nanos(event.arrival_ns),
        }
    }
}

fn take<T>(ebpf: &mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf
        .take_map(name)
        .with_context(|| format!("the object holds no map `{name}`"))?;
    Ok(map.try_into()?)
}

/// Watches `ring`, a ring buffer or the reader of one.
fn readable<T: AsRawFd>(ring: T) -> Result<AsyncFd<T>> {
    // SAFETY: this is called with aya's RingBuf and EbpfLogger alone, which own the map's
    // file descriptor, never exchange it and close it when they are dropped.
    let watched = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    watched
        .map_err(|error| error.into_parts().1)
        .context("the ring cannot be waited for")
}

fn require_interface(interface: &str) -> Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    match name_to_index(&socket, interface) {
        Ok(_) => Ok(()),
        Err(Errno::NODEV) => {
            bail!("there is no interface `{interface}`: `ip link` lists those that are there")
        }
        Err(error) => Err(error).with_context(|| format!("interface `{interface}`")),
    }
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK, whose default is far too small.
fn raise_memory_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // Without the right to, loading fails as well, and says so.
    let _ = setrlimit(Resource::Memlock, unlimited);
}

/// Attaches in native mode, or in generic mode where the driver cannot.
fn attach(program: &mut Program, interface: &str) -> Result<Mode> {
    let native = match program.attach(interface, XdpMode::Driver) {
        Ok(_) => {
            info!("attached to {interface} in native XDP mode");
            return Ok(Mode::Native);
        }
        Err(error) => anyhow!(error),
    };
    match errno(&native) {
        // The driver has no XDP, or none at this MTU or with these features. Where it has
        // a say, RANGE and INVAL are what drivers return for those.
        Some(Errno::OPNOTSUPP | Errno::RANGE | Errno::INVAL) => {}
        _ => return Err(unattachable(native, interface)),
    }
    program
        .attach(interface, XdpMode::Skb)
        .map_err(|error| unattachable(error.into(), interface))?;
    warn!(
        "attached to {interface} in generic XDP mode, since its driver cannot do native: {native:#}"
    );
    Ok(Mode::Generic)
}

fn unattachable(error: anyhow::Error, interface: &str) -> anyhow::Error {
    match errno(&error) {
        Some(Errno::BUSY | Errno::EXIST) => anyhow!(
            "another XDP program is attached to {interface}, and knockd does not replace it: `ip link show dev {interface}` names it, `ip link set dev {interface} xdp off` removes it"
        ),
        Some(Errno::PERM | Errno::ACCESS) => no_rights(),
        _ => error.context(format!("the XDP program cannot be attached to {interface}")),
    }
}

fn unloadable(error: anyhow::Error) -> anyhow::Error {
    match errno(&error) {
        Some(Errno::PERM | Errno::ACCESS) => no_rights(),
        Some(Errno::NOSYS) => {
            anyhow!("this kernel was built without BPF: knockd needs Linux 5.18 or later with it")
        }
        _ => error.context("the kernel does not take the XDP program (Linux 5.18 or later does)"),
    }
}

fn no_rights() -> anyhow::Error {
    anyhow!(
        "loading an XDP program needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run knockd as root"
    )
}

/// The error number at the bottom of `error`, if it comes from the kernel.
fn errno(error: &anyhow::Error) -> Option<Errno> {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find_map(Errno::from_io_error)
}
