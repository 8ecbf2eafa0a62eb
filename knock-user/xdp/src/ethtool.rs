//! Reads settings of network cards as ethtool(8) does, with the ioctl of linux/ethtool.h.

use std::{ffi::c_void, ptr};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::{
    io::{Errno, Result},
    ioctl::{Opcode, Updater, ioctl},
};

/// `SIOCETHTOOL` of linux/sockios.h.
const SIOCETHTOOL: Opcode = 0x8946;

/// `ETHTOOL_GFLAGS` and `ETHTOOL_GCHANNELS` of linux/ethtool.h.
const GET_FLAGS: u32 = 0x25;
const GET_CHANNELS: u32 = 0x3c;

/// `ETH_FLAG_LRO` of linux/ethtool.h.
const FLAG_LRO: u32 = 1 << 15;

/// The size of an interface's name with its final zero: `IFNAMSIZ` of linux/if.h.
const NAME: usize = 16;

/// `struct ifreq` of linux/if.h. On 64-bit architectures its union has 24 bytes.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    data: *mut c_void,
    rest: [u64; 2],
}

/// The channels of a network card, as `ethtool -l` shows them.
///
/// A driver has either combined channels, with a receive and a transmit queue each, or separate
/// ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Channels {
    pub(crate) rx: u32,
    pub(crate) tx: u32,
    pub(crate) combined: u32,
    pub(crate) max_tx: u32,
    pub(crate) max_combined: u32,
}

/// The channels of `interface`.
pub(crate) fn channels(interface: &str) -> Result<Channels> {
    // `struct ethtool_channels`: the command; the largest numbers of receive, transmit, other and
    // combined channels; their present numbers.
    let mut fields = [0; 9];
    fields[0] = GET_CHANNELS;
    // SAFETY: the structure consists of nine integers.
    unsafe { call(interface, &mut fields) }?;
    let [_, _, max_tx, _, max_combined, rx, tx, _, combined] = fields;
    Ok(Channels {
        rx,
        tx,
        combined,
        max_tx,
        max_combined,
    })
}

/// Whether large receive offload of `interface` is on.
pub(crate) fn has_lro(interface: &str) -> Result<bool> {
    // `struct ethtool_value`: the command and the value.
    let mut fields = [GET_FLAGS, 0];
    // SAFETY: the structure consists of two integers.
    unsafe { call(interface, &mut fields) }?;
    Ok(fields[1] & FLAG_LRO != 0)
}

/// # Safety
///
/// `fields` must be as long as the structure for the command in the first of them.
unsafe fn call<const N: usize>(interface: &str, fields: &mut [u32; N]) -> Result<()> {
    let mut request = Request {
        name: [0; NAME],
        data: ptr::from_mut(fields).cast(),
        rest: [0; 2],
    };
    for (place, byte) in request.name[..NAME - 1].iter_mut().zip(interface.bytes()) {
        *place = byte;
    }
    // Any socket will do.
    let socket = Socket::new(NETLINK_ROUTE)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    // SAFETY: this request takes a `struct ifreq`. Its pointer is valid during the call, and the
    // caller guarantees that it points to the right structure.
    unsafe { ioctl(socket, Updater::<SIOCETHTOOL, Request>::new(&mut request)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_no_lro_and_no_channels() {
        assert_eq!(has_lro("lo"), Ok(false));
        assert_eq!(channels("lo"), Err(Errno::OPNOTSUPP));
        assert_eq!(has_lro("none"), Err(Errno::NODEV));
    }
}
