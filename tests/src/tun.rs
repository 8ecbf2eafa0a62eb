//! A TUN interface, whose other end is a file of the test: it carries IP packets without Ethernet
//! headers.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Namespace;

/// `struct ifreq` of linux/if.h, as far as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

nix::ioctl_write_ptr_bad!(
    /// `TUNSETIFF` of linux/if_tun.h.
    set_interface,
    0x4004_54ca,
    Request
);

/// `IFF_TUN` and `IFF_NO_PI` of linux/if_tun.h: IP packets without a header of the driver.
const PLAIN_IP: u16 = 0x1001;

/// The largest packet that is read.
const LARGEST: usize = 2048;

/// The file at the other end of a TUN interface, which exists as long as this value.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Makes the TUN interface `name` in `namespace`.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel has no TUN interfaces, or one of this name exists.
    pub fn new(namespace: &Namespace, name: &str) -> Result<Self> {
        let mut request = Request {
            name: [0; 16],
            flags: PLAIN_IP,
            rest: [0; 22],
        };
        ensure!(name.len() < request.name.len(), "{name} is too long");
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        namespace.run(|| {
            let mut options = File::options();
            let file = options.read(true).write(true).open("/dev/net/tun")?;
            // SAFETY: the request lives during the call, which reads 40 bytes: its size.
            unsafe { set_interface(file.as_raw_fd(), &raw const request) }
                .context("cannot make a TUN interface")?;
            Ok(Self(file))
        })
    }

    /// Lets the interface receive an IP packet.
    ///
    /// # Errors
    ///
    /// Returns an error if the interface is down.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        Ok((&self.0).write_all(packet)?)
    }

    /// The next IP packet that the interface sends and that is `wanted`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none within `timeout`.
    pub fn receive(
        &self,
        mut wanted: impl FnMut(&[u8]) -> bool,
        timeout: Duration,
    ) -> Result<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        let mut buffer = [0; LARGEST];
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::try_from(left)?)? == 0 {
                break;
            }
            let len = (&self.0).read(&mut buffer)?;
            if wanted(&buffer[..len]) {
                return Ok(buffer[..len].to_vec());
            }
        }
        bail!("no such packet within {timeout:?}")
    }
}
