//! The XDP program: loads it with its settings, and reads its log and counters. The listener reads
//! the SYNs and the knock datagrams from its ring buffers.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, LpmTrie, Map, MapData, PerCpuArray, lpm_trie::Key},
    programs::{SchedClassifier, Xdp as Program},
};
use aya_log::EbpfLogger;
use ipnet::IpNet;
use knock_common::{
    address::Address,
    counters::{Counts, Outcome, SLOTS},
    gate::protected_bit,
    settings::Settings,
};
use knockd_runtime::async_fd::readable;
use knockd_types::{
    interface::{Framing, Interface},
    rules::Rules,
};
use log::Log;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tracing::info;

use crate::{
    error::{errno, unloadable},
    leases::Gate,
    links::Attached,
};

/// The XDP program, compiled by the build script. The ELF parser requires the alignment.
static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/knock-xdp"));

/// The maps of the object that only knock datagrams need.
const FOR_DATAGRAMS: [&str; 3] = ["DATAGRAMS", "DATAGRAM_SOURCES", "SEEN"];

/// The XDP programs of the object: for frames in several buffers, and for those in one.
const WITH_BUFFERS: &str = "knock_xdp";
const LINEAR: &str = "knock_xdp_linear";

/// The loaded programs. Dropping it detaches it from every interface, except those with a pinned
/// link.
pub struct Xdp {
    ebpf: Ebpf,
    events: MapData,
    datagrams: MapData,
    has_datagrams: bool,
    log: AsyncFd<EbpfLogger<Box<dyn Log>>>,
    tailed: Array<MapData, u32>,
    unrouted: Array<MapData, u32>,
    /// The content of `unrouted`: the periodic check of the interfaces compares it without a system
    /// call per slot.
    unrouted_slots: [u32; SLOTS as usize],
    /// The name of the XDP program that the kernel accepts.
    name: &'static str,
    counters: PerCpuArray<MapData, Counts>,
    pub(crate) attached: Attached,
    /// The counts of the programs that this one has replaced.
    pub(crate) counted_before: BTreeMap<String, u64>,
}

/// A loader without the kernel's type information, which takes megabytes and which the programs do
/// not need.
fn loader<'a>() -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    loader
}

impl Xdp {
    /// Loads the program with `settings`. It receives no packets before [`Xdp::attach`].
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses to load the program. The message names the missing
    /// capability or kernel version.
    pub fn load(settings: Settings, log: Box<dyn Log>) -> Result<Self> {
        Self::load_with(&mut loader(), &settings, log)
    }

    /// Loads the program like [`Xdp::load`], with a gate that has no leases yet.
    ///
    /// # Errors
    ///
    /// Returns an error in the same cases as [`Xdp::load`].
    pub fn load_with_gate(
        settings: Settings,
        rules: &Rules,
        log: Box<dyn Log>,
    ) -> Result<(Self, Gate)> {
        let settings = settings.with_gate(&rules.settings());
        let mut loader = loader();
        loader.map_max_entries("LEASES", rules.max_leases.get());
        let xdp = Self::load_with(&mut loader, &settings, log)?;
        fill(&xdp.ebpf, "TRUSTED", &rules.trusted)?;
        fill(&xdp.ebpf, "ADDRESSES", &rules.addresses)?;
        let mut protected = any_handle(&xdp.ebpf, "PROTECTED")?;
        let mut bits: Array<_, u64> = (&mut protected).try_into()?;
        for port in &rules.protect {
            let (index, bit) = protected_bit(port.transport, port.number);
            let others = bits.get(&index, 0)?;
            bits.set(index, others | bit, 0)?;
        }
        let leases = any_handle(&xdp.ebpf, "LEASES")?;
        let gate = Gate::new(leases, protected, rules.udp_idle)?;
        Ok((xdp, gate))
    }

    fn load_with<'a>(
        loader: &mut EbpfLoader<'a>,
        settings: &'a Settings,
        log: Box<dyn Log>,
    ) -> Result<Self> {
        raise_memory_limit();
        if !settings.has_datagrams() {
            // The smallest possible maps: the kernel allocates all entries at once.
            for map in FOR_DATAGRAMS {
                loader.map_max_entries(map, 1);
            }
        }
        let mut ebpf = loader
            .override_global("SETTINGS", settings, true)
            .load(PROGRAM)
            .map_err(|error| unloadable(error.into()))?;
        // Has to come before loading the program, which refers to the map of this logger.
        let log = EbpfLogger::init_with_logger(&mut ebpf, log)
            .context("the program has no aya-log ring")?;
        let mut xdp = Self {
            events: ring(&ebpf, "EVENTS")?,
            datagrams: ring(&ebpf, "DATAGRAMS")?,
            has_datagrams: settings.has_datagrams(),
            // SAFETY: `EbpfLogger` owns the map of its ring buffer, never replaces it and closes it
            // only when dropped.
            log: unsafe { readable(log) }?,
            tailed: handle(&ebpf, "TAILED")?,
            unrouted: handle(&ebpf, "UNROUTED")?,
            unrouted_slots: [0; SLOTS as usize],
            name: WITH_BUFFERS,
            counters: handle(&ebpf, "COUNTERS")?,
            attached: Attached::default(),
            counted_before: BTreeMap::new(),
            ebpf,
        };
        xdp.load_xdp()?;
        Ok(xdp)
    }

    /// Loads the XDP program for frames in several buffers, or the one for a single buffer if the
    /// kernel does not know the former.
    fn load_xdp(&mut self) -> Result<()> {
        let Err(error) = self.program()?.load() else {
            return Ok(());
        };
        let error = anyhow::Error::from(error);
        // The flag of such programs is unknown before Linux 5.18.
        if errno(&error) != Some(Errno::INVAL) {
            return Err(unloadable(error));
        }
        self.linear()?;
        self.name = LINEAR;
        info!(
            "this kernel has no XDP for frames in several buffers (Linux 5.18): native mode is possible only with an MTU below the size of a page"
        );
        Ok(())
    }

    /// The program itself, also for `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    ///
    /// Returns an error if the object does not contain the program. The build guarantees that it
    /// does.
    pub fn program(&mut self) -> Result<&mut Program> {
        Ok(self.any_program(self.name)?.try_into()?)
    }

    /// The XDP program for frames in a single buffer, loaded. It is attached only if the kernel does
    /// not know the other one.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses to load it.
    pub fn linear(&mut self) -> Result<&mut Program> {
        let program: &mut Program = self.any_program(LINEAR)?.try_into()?;
        if program.fd().is_err() {
            program.load().map_err(|error| unloadable(error.into()))?;
        }
        Ok(program)
    }

    /// The tc program for interfaces with this framing, loaded.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses to load it.
    pub fn classifier(&mut self, framing: Framing) -> Result<&mut SchedClassifier> {
        let name = match framing {
            Framing::Ethernet => "knock_tc",
            Framing::Ip | Framing::Other => "knock_tc_ip",
        };
        let program: &mut SchedClassifier = self.any_program(name)?.try_into()?;
        if program.fd().is_err() {
            program.load().map_err(|error| unloadable(error.into()))?;
        }
        Ok(program)
    }

    fn any_program(&mut self, name: &str) -> Result<&mut aya::programs::Program> {
        self.ebpf
            .program_mut(name)
            .with_context(|| format!("the object does not contain the program `{name}`"))
    }

    /// Another handle to the ring buffer of SYNs.
    ///
    /// # Errors
    ///
    /// Returns an error if the file descriptor cannot be duplicated.
    pub fn events(&self) -> io::Result<OwnedFd> {
        self.events.fd().as_fd().try_clone_to_owned()
    }

    /// Another handle to the ring buffer of knock datagrams. It is of use only with
    /// [`Settings::with_datagram`].
    ///
    /// # Errors
    ///
    /// Returns an error if the file descriptor cannot be duplicated.
    pub fn datagrams(&self) -> io::Result<OwnedFd> {
        self.datagrams.fd().as_fd().try_clone_to_owned()
    }

    /// Other handles to the ring buffers that a listener reads: that of SYNs and, if there are knock
    /// datagrams, theirs.
    ///
    /// # Errors
    ///
    /// Returns an error if a file descriptor cannot be duplicated.
    pub fn rings(&self) -> io::Result<Vec<OwnedFd>> {
        let mut rings = vec![self.events()?];
        if self.has_datagrams {
            rings.push(self.datagrams()?);
        }
        Ok(rings)
    }

    /// Waits until the program has written log lines. [`Xdp::flush_log`] reads them. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if epoll(7) fails.
    pub async fn logged(&mut self) -> io::Result<()> {
        self.log.readable_mut().await?.clear_ready();
        Ok(())
    }

    /// Passes the log lines so far to the logger. The program writes the log line of a SYN or a
    /// datagram before its event.
    pub fn flush_log(&mut self) {
        self.log.get_mut().flush();
    }

    /// Enables or disables the program's log line for each SYN and each knock datagram.
    ///
    /// # Errors
    ///
    /// Returns an error if the map cannot be written.
    pub fn set_log(&mut self, log: bool) -> Result<()> {
        self.tailed.set(0, u32::from(log), 0)?;
        Ok(())
    }

    /// Tells the program on which interfaces no routing may be asked. Interfaces that share a slot
    /// are treated alike.
    pub(crate) fn set_unrouted(&mut self, present: &[Interface]) -> Result<()> {
        let mut slots = [0; SLOTS as usize];
        for interface in present.iter().filter(|one| one.is_unrouted) {
            slots[(interface.index % SLOTS) as usize] = 1;
        }
        for (slot, unrouted) in (0..).zip(slots) {
            if self.unrouted_slots[slot as usize] != unrouted {
                self.unrouted.set(slot, unrouted, 0)?;
            }
        }
        self.unrouted_slots = slots;
        Ok(())
    }

    /// The program's counters by [`Outcome::name`], summed over all CPUs.
    ///
    /// # Errors
    ///
    /// Returns an error if the map cannot be read.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let mut sums = Counts::default();
        for slot in 0..SLOTS {
            for counts in self.counters.get(&slot, 0)?.iter() {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
        }
        let named = |outcome: &Outcome| {
            let name = outcome.name().to_owned();
            let before = self.counted_before.get(&name).copied().unwrap_or_default();
            (name, before + sums[*outcome as usize])
        };
        Ok(Outcome::ALL.iter().map(named).collect())
    }

    /// The number of packets that the program has seen on the interface with the index `ifindex`,
    /// and on those that share its slot.
    pub(crate) fn seen(&self, ifindex: u32) -> u64 {
        let counts = self.counters.get(&(ifindex % SLOTS), 0);
        counts.map_or(0, |per_cpu| per_cpu.iter().flatten().sum())
    }
}

/// Inserts `networks` into the map `name`.
fn fill(ebpf: &Ebpf, name: &str, networks: &[IpNet]) -> Result<()> {
    let mut map: LpmTrie<MapData, [u8; 16], u8> = handle(ebpf, name)?;
    for network in networks {
        map.insert(&trie_key(network), 1, 0)?;
    }
    Ok(())
}

fn trie_key(network: &IpNet) -> Key<[u8; 16]> {
    let prefix_len = u32::from(network.prefix_len());
    match network {
        IpNet::V4(network) => Key::new(
            96 + prefix_len,
            Address::v4(network.addr().octets()).octets(),
        ),
        IpNet::V6(network) => Key::new(prefix_len, network.addr().octets()),
    }
}

/// Another handle to the ring buffer `name`.
fn ring(ebpf: &Ebpf, name: &str) -> Result<MapData> {
    match any_handle(ebpf, name)? {
        Map::RingBuf(ring) => Ok(ring),
        _ => bail!("the map `{name}` of the object is not a ring buffer"),
    }
}

fn handle<T>(ebpf: &Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    Ok(any_handle(ebpf, name)?.try_into()?)
}

/// Another handle to a map. The one in `ebpf` stays open: the instructions of programs that are not
/// loaded yet refer to its number.
fn any_handle(ebpf: &Ebpf, name: &str) -> Result<Map> {
    let map = ebpf
        .map(name)
        .with_context(|| format!("the object does not contain the map `{name}`"))?;
    let (Map::Array(data)
    | Map::HashMap(data)
    | Map::LpmTrie(data)
    | Map::PerCpuArray(data)
    | Map::RingBuf(data)) = map
    else {
        bail!("the map `{name}` has an unknown type");
    };
    let data = MapData::from_fd(data.fd().as_fd().try_clone_to_owned()?)?;
    Ok(Map::from_map_data(data)?)
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK, whose default is far too small.
fn raise_memory_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // Without CAP_SYS_RESOURCE this fails. Then loading fails too, and reports the cause.
    let _ = setrlimit(Resource::Memlock, unlimited);
}
