//! What native XDP mode needs from the drivers of network cards, and the commands that provide it.
//!
//! A driver that refuses a native program gives an error code; its reason is at best in the kernel
//! log. The rules here are those of the drivers, with the file and the function of Linux 6.12 that
//! contain them, and with those of 6.1 where they differ.

use std::{fmt, fs};

use aya::util::KernelVersion;
use knockd_types::interface::Interface;

use crate::ethtool::{self, Channels};

/// A condition for native mode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    /// What it is: completes the sentence "native mode needs …".
    what: String,
    /// The command, or what else to do.
    how: String,
}

impl Need {
    fn new(what: impl Into<String>, how: impl Into<String>) -> Self {
        let [what, how] = [what.into(), how.into()];
        Self { what, how }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what, self.how)
    }
}

/// What decides whether a driver accepts a native program.
#[derive(Clone, Debug)]
struct Facts {
    /// The name of the interface.
    name: String,
    /// The name of its driver.
    driver: String,
    kernel: KernelVersion,
    /// The size of a page of memory, in bytes.
    page: u32,
    mtu: u32,
    /// The number of processors that the kernel is prepared for: `nr_cpu_ids`.
    processors: u32,
    /// `None` if they cannot be read.
    channels: Option<Channels>,
    /// Whether large receive offload is on; `None` if that cannot be read.
    lro: Option<bool>,
    /// The number of virtual functions (SR-IOV) that the card provides.
    virtual_functions: u32,
    /// The features of a virtio device as sysfs shows them: one character per bit.
    virtio: String,
}

impl Facts {
    /// The facts about `interface`, if it has a driver for which there are rules.
    fn read(interface: &Interface) -> Option<Self> {
        let name = &interface.name;
        let device = format!("/sys/class/net/{name}/device");
        let driver = fs::canonicalize(format!("{device}/driver")).ok()?;
        let driver = driver.file_name()?.to_str()?.to_owned();
        rules(&driver)?;
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let functions = text(&format!("{device}/sriov_numvfs"));
        Some(Self {
            name: name.clone(),
            driver,
            kernel: KernelVersion::current().ok()?,
            page: rustix::param::page_size().try_into().ok()?,
            mtu: interface.mtu,
            processors: processors(&text("/sys/devices/system/cpu/possible")),
            channels: ethtool::channels(name).ok(),
            lro: ethtool::has_lro(name).ok(),
            virtual_functions: functions.trim().parse().unwrap_or(0),
            virtio: text(&format!("{device}/features")),
        })
    }

    fn is_before(&self, major: u8, minor: u8) -> bool {
        self.kernel < KernelVersion::new(major, minor, 0)
    }

    /// Needs an MTU of at most `limit`.
    fn mtu_up_to(&self, limit: u32) -> Option<Need> {
        (self.mtu > limit).then(|| {
            Need::new(
                format!("an MTU of at most {limit} (it is {})", self.mtu),
                format!("`ip link set dev {} mtu {limit}`", self.name),
            )
        })
    }

    /// Needs large receive offload to be off.
    fn no_lro(&self) -> Option<Need> {
        (self.lro != Some(false)).then(|| {
            Need::new(
                "large receive offload (LRO) to be off",
                format!("`ethtool -K {} lro off`", self.name),
            )
        })
    }

    fn has_virtio(&self, bit: usize) -> bool {
        self.virtio.as_bytes().get(bit) == Some(&b'1')
    }
}

/// `nr_cpu_ids` by a list of processors such as "0-3,8".
fn processors(possible: &str) -> u32 {
    let last = possible.trim().rsplit([',', '-']).next();
    let last = last.and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last + 1)
}

/// Warnings about the conditions that `interface` does not meet, as far as they can be read.
pub(crate) fn advice(interface: &Interface) -> Vec<String> {
    let needs = Facts::read(interface).as_ref().map_or(Vec::new(), unmet);
    let warning = |need: &Need| format!("{}: native XDP mode needs {need}", interface.name);
    needs.iter().map(warning).collect()
}

/// What to change after the driver of `interface` has refused a native program, as the end of a
/// message.
pub(crate) fn remedy(interface: &Interface) -> String {
    let needs = Facts::read(interface)
        .as_ref()
        .map_or(Vec::new(), to_change);
    if needs.is_empty() {
        return String::new();
    }
    let needs: Vec<_> = needs.iter().map(ToString::to_string).collect();
    format!(". Native XDP mode needs {}", needs.join("; "))
}

/// Whether the driver of `interface` would accept a native program although that would lose packets,
/// or not see them. Two drivers are known for it.
pub(crate) fn loses_packets(interface: &Interface) -> bool {
    Facts::read(interface).as_ref().is_some_and(is_misleading)
}

fn is_misleading(facts: &Facts) -> bool {
    let is_unmet = |rule: &Rule| rule(facts).is_some();
    match facts.driver.as_str() {
        "virtio_net" => [virtio_kernel, virtio_buffers, virtio_mtu]
            .iter()
            .any(is_unmet),
        // `vmxnet3_rq_rx_complete` runs no program for frames in several buffers, and
        // `vmxnet3_change_mtu` accepts any MTU under a program. In a guest with 6.12, the program
        // saw no frame after such a change.
        "vmxnet3" => true,
        _ => false,
    }
}

/// The conditions that are not met or, if all that can be read are met, those that cannot be read.
fn to_change(facts: &Facts) -> Vec<Need> {
    let needs = unmet(facts);
    if needs.is_empty() {
        return unseen(facts);
    }
    needs
}

/// Looks at one condition.
type Rule = fn(&Facts) -> Option<Need>;

fn rules(driver: &str) -> Option<&'static [Rule]> {
    Some(match driver {
        "virtio_net" => &[
            virtio_kernel,
            virtio_offloads,
            virtio_buffers,
            virtio_header,
            virtio_mtu,
        ],
        "ena" => &[ena_mtu, ena_channels],
        "gve" => &[gve_kernel, gve_lro, gve_mtu, gve_queues],
        "ixgbe" => &[ixgbe_lro, ixgbe_mtu, ixgbe_functions, ixgbe_processors],
        "i40e" => &[i40e_mtu],
        "ice" => &[ice_mtu],
        "mlx5_core" => &[mlx5_lro, mlx5_mtu],
        "hv_netvsc" => &[netvsc_lro, netvsc_mtu],
        // Nothing makes its native mode work.
        "vmxnet3" => &[],
        _ => return None,
    })
}

fn unmet(facts: &Facts) -> Vec<Need> {
    let rules = rules(&facts.driver).unwrap_or_default().iter();
    rules.filter_map(|rule| rule(facts)).collect()
}

/// The space in a page that is not for the frame: `XDP_PACKET_HEADROOM` (256 bytes), and `struct
/// skb_shared_info` (320 bytes).
const OVERHEAD: u32 = 256 + 320;

/// The header of a frame and its checksum, without and with one VLAN tag.
const ETHERNET: u32 = 14;
const FRAME: u32 = ETHERNET + 4;
const TAGGED: u32 = FRAME + 4;

/// The largest MTU at which a frame of virtio_net fits into one buffer of a page.
const VIRTIO_ONE_BUFFER: u32 = 3500;

/// Feature bits of a virtio network device: VIRTIO 1.2, sections 5.1.3 and 6. The last ones are
/// `GUEST_CSUM`, `GUEST_TSO4`, `GUEST_TSO6`, `GUEST_ECN`, `GUEST_UFO`, `GUEST_USO4` and
/// `GUEST_USO6`.
const CTRL_GUEST_OFFLOADS: usize = 2;
const MERGEABLE_BUFFERS: usize = 15;
const ANY_LAYOUT: usize = 27;
const VERSION_1: usize = 32;
const GUEST_CSUM: usize = 1;
const GUEST_OFFLOADS: [usize; 6] = [7, 8, 9, 10, 54, 55];

/// Before Linux 6.3, `virtnet_xdp_set` of drivers/net/virtio_net.c accepts an MTU up to a page, and
/// `receive_mergeable` drops frames larger than that, which come after a change of the MTU.
fn virtio_kernel(facts: &Facts) -> Option<Need> {
    facts
        .is_before(6, 3)
        .then(|| Need::new("Linux 6.3 or later", "install a newer kernel"))
}

/// `virtnet_xdp_set`: an offload of the hypervisor that the driver cannot turn off.
fn virtio_offloads(facts: &Facts) -> Option<Need> {
    let has_any = GUEST_OFFLOADS.into_iter().any(|bit| facts.has_virtio(bit));
    let has_any = has_any || facts.has_virtio(GUEST_CSUM);
    (has_any && !facts.has_virtio(CTRL_GUEST_OFFLOADS)).then(|| {
        Need::new(
            "receive offloads of the hypervisor that the driver can turn off",
            "QEMU's device option `ctrl_guest_offloads=on`",
        )
    })
}

/// `virtnet_set_big_packets` and `receive_big`: the driver runs no program for large buffers.
fn virtio_buffers(facts: &Facts) -> Option<Need> {
    let is_big = facts.mtu > 1500 || GUEST_OFFLOADS.into_iter().any(|bit| facts.has_virtio(bit));
    (is_big && !facts.has_virtio(MERGEABLE_BUFFERS)).then(|| {
        Need::new(
            "mergeable receive buffers of the hypervisor",
            "QEMU's device option `mrg_rxbuf=on`",
        )
    })
}

/// `virtnet_xdp_set`: "any_header_sg required". `virtnet_probe` sets it from these two features.
fn virtio_header(facts: &Facts) -> Option<Need> {
    let has_any = [ANY_LAYOUT, VERSION_1]
        .into_iter()
        .any(|bit| facts.has_virtio(bit));
    (facts.has_virtio(MERGEABLE_BUFFERS) && !has_any).then(|| {
        Need::new(
            "a modern virtio device (VIRTIO 1.0)",
            "QEMU's device option `disable-modern=off`",
        )
    })
}

/// `virtnet_xdp_set` accepts any MTU for a program that takes frames in several buffers. The
/// buffers that are in the receive ring already have no headroom, and larger frames stall until
/// they are used up.
fn virtio_mtu(facts: &Facts) -> Option<Need> {
    facts.mtu_up_to(VIRTIO_ONE_BUFFER)
}

/// `ena_xdp_allowed` with `ENA_XDP_MAX_MTU` of drivers/net/ethernet/amazon/ena/ena_xdp.h (6.1:
/// ena_netdev.h).
fn ena_mtu(facts: &Facts) -> Option<Need> {
    let page = facts.page.min(16 * 1024);
    facts.mtu_up_to(page - OVERHEAD - TAGGED)
}

/// `ena_xdp_legal_queue_count` of the same file: each channel gets another transmit queue, and
/// `ena_get_channels` shows how many there can be.
fn ena_channels(facts: &Facts) -> Option<Need> {
    let Channels {
        combined,
        max_combined: max,
        ..
    } = facts.channels?;
    let half = (max / 2).max(1);
    (2 * combined > max).then(|| {
        Need::new(
            format!("at most half of the {max} possible channels (there are {combined})"),
            format!("`ethtool -L {} combined {half}`", facts.name),
        )
    })
}

/// drivers/net/ethernet/google/gve has no `gve_xdp` before Linux 6.4.
fn gve_kernel(facts: &Facts) -> Option<Need> {
    facts
        .is_before(6, 4)
        .then(|| Need::new("Linux 6.4 or later", "install a newer kernel"))
}

/// `verify_xdp_configuration` (later `gve_verify_xdp_configuration`) of
/// drivers/net/ethernet/google/gve/gve_main.c.
fn gve_lro(facts: &Facts) -> Option<Need> {
    facts.no_lro()
}

/// The same function: `GVE_DEFAULT_RX_BUFFER_SIZE` less an Ethernet header and `GVE_RX_PAD`.
fn gve_mtu(facts: &Facts) -> Option<Need> {
    facts.mtu_up_to(2048 - ETHERNET - 2)
}

/// The same function: as many receive as transmit queues, and at most half of the possible ones.
fn gve_queues(facts: &Facts) -> Option<Need> {
    let Channels { rx, tx, max_tx, .. } = facts.channels?;
    let fitting = rx.min(tx).min(max_tx / 2).max(1);
    (rx != tx || 2 * tx > max_tx).then(|| {
        Need::new(
            format!(
                "as many receive as transmit queues, and at most half of the {max_tx} possible ones (there are {rx} and {tx})"
            ),
            format!("`ethtool -L {} rx {fitting} tx {fitting}`", facts.name),
        )
    })
}

/// `ixgbe_xdp_setup` of drivers/net/ethernet/intel/ixgbe/ixgbe_main.c: `ring_is_rsc_enabled`.
fn ixgbe_lro(facts: &Facts) -> Option<Need> {
    facts.no_lro()
}

/// The same function: a frame must fit into `ixgbe_rx_bufsz`, which `ixgbe_set_rx_buffer_len` sets.
fn ixgbe_mtu(facts: &Facts) -> Option<Need> {
    facts.mtu_up_to(intel_buffer(facts) - TAGGED)
}

/// The same function: `IXGBE_FLAG_SRIOV_ENABLED`.
fn ixgbe_functions(facts: &Facts) -> Option<Need> {
    (facts.virtual_functions > 0).then(|| {
        Need::new(
            "the card's virtual functions (SR-IOV) to be off",
            format!(
                "`echo 0 > /sys/class/net/{}/device/sriov_numvfs`",
                facts.name
            ),
        )
    })
}

/// The same function: `nr_cpu_ids` of at most twice `IXGBE_MAX_XDP_QS`, which is 64.
fn ixgbe_processors(facts: &Facts) -> Option<Need> {
    (facts.processors > 128).then(|| {
        Need::new(
            format!(
                "at most 128 possible processors (there are {})",
                facts.processors
            ),
            "the kernel parameter `nr_cpus=128`",
        )
    })
}

/// `i40e_xdp_setup` of drivers/net/ethernet/intel/i40e/i40e_main.c of 6.1, with
/// `i40e_calculate_vsi_rx_buf_len`. Since Linux 6.4 `i40e_max_vsi_frame_size` has no limit below the
/// card's own for a program that takes frames in several buffers.
fn i40e_mtu(facts: &Facts) -> Option<Need> {
    let limit = intel_buffer(facts) - TAGGED;
    facts
        .is_before(6, 4)
        .then(|| facts.mtu_up_to(limit))
        .flatten()
}

/// `ice_xdp_setup_prog` of drivers/net/ethernet/intel/ice/ice_main.c of 6.1, with
/// `ice_max_xdp_frame_size` and two VLAN tags. Since Linux 6.3 there is no limit for a program that
/// takes frames in several buffers.
fn ice_mtu(facts: &Facts) -> Option<Need> {
    facts
        .is_before(6, 3)
        .then(|| facts.mtu_up_to(3072 - TAGGED - 4))
        .flatten()
}

/// The receive buffer of ixgbe and i40e for frames larger than 1500 bytes, unless the private flag
/// `legacy-rx` is set.
fn intel_buffer(facts: &Facts) -> u32 {
    if facts.page < 8192 { 3072 } else { 2048 }
}

/// `mlx5e_xdp_allowed` of drivers/net/ethernet/mellanox/mlx5/core/en_main.c.
fn mlx5_lro(facts: &Facts) -> Option<Need> {
    facts.no_lro()
}

/// `mlx5e_params_validate_xdp` of the same file of 6.1, with `mlx5e_xdp_max_mtu` of en/xdp.c. Since
/// Linux 6.4 there is no limit for a program that takes frames in several buffers.
fn mlx5_mtu(facts: &Facts) -> Option<Need> {
    if !facts.is_before(6, 4) {
        return None;
    }
    let mut need = facts.mtu_up_to(facts.page - OVERHEAD - TAGGED)?;
    need.how += &format!(
        ", or from Linux 5.18 on `ethtool --set-priv-flags {} rx_striding_rq off`",
        facts.name
    );
    Some(need)
}

/// `netvsc_xdp_set` of drivers/net/hyperv/netvsc_bpf.c.
fn netvsc_lro(facts: &Facts) -> Option<Need> {
    facts.no_lro()
}

/// The same function, with `netvsc_xdp_fraglen`: the frame takes a multiple of a cache line.
fn netvsc_mtu(facts: &Facts) -> Option<Need> {
    let frame = (facts.page - OVERHEAD) / 64 * 64;
    facts.mtu_up_to(frame - ETHERNET)
}

/// Conditions that cannot be read.
fn unseen(facts: &Facts) -> Vec<Need> {
    let name = &facts.name;
    match facts.driver.as_str() {
        // `verify_xdp_configuration` of 6.12 accepts only this format, and later versions accept
        // others without header split.
        "gve" => vec![
            Need::new(
                "queues in the format GQI-QPL, or a kernel later than 6.12",
                "`dmesg` shows the format",
            ),
            Need::new(
                "header split to be off",
                format!("`ethtool -G {name} tcp-data-split off`"),
            ),
        ],
        // `ixgbe_xdp_setup`: `IXGBE_FLAG_DCB_ENABLED`, and `ixgbe_rx_bufsz` with that flag.
        "ixgbe" => vec![
            Need::new(
                "data center bridging (DCB) to be off",
                format!("`dcbtool sc {name} dcb off`"),
            ),
            legacy_rx(name),
        ],
        // `i40e_calculate_vsi_rx_buf_len`.
        "i40e" => vec![legacy_rx(name)],
        // `ice_vsi_determine_xdp_res`, and `ice_xdp`, which wants a physical function.
        "ice" => {
            let combined = facts.channels.map_or(2, |channels| channels.combined);
            vec![Need::new(
                "a free transmit queue for every second processor",
                format!("`ethtool -L {name} combined {}`", (combined / 2).max(1)),
            )]
        }
        // `mlx5e_xdp_allowed`: `packet_merge` is the same for LRO and for this.
        "mlx5_core" => vec![Need::new(
            "GRO in hardware to be off",
            format!("`ethtool -K {name} rx-gro-hw off`"),
        )],
        // `netvsc_vf_setxdp` hands the program to the virtual function.
        "hv_netvsc" => vec![Need::new(
            "the same from the driver of its virtual function, if it has one",
            format!("`ls -d /sys/class/net/{name}/lower_*` names that interface"),
        )],
        _ => Vec::new(),
    }
}

fn legacy_rx(name: &str) -> Need {
    Need::new(
        "the private flag `legacy-rx` to be off",
        format!("`ethtool --set-priv-flags {name} legacy-rx off`"),
    )
}

#[cfg(test)]
mod tests;
