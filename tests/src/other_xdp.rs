//! An XDP program of other software: it only passes every packet.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use nix::{errno::Errno, libc, net::if_::if_nametoindex};

use crate::netns::Namespace;

/// `r0 = XDP_PASS; exit`, as in linux/bpf.h.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

/// `BPF_PROG_LOAD` and `BPF_LINK_CREATE`.
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;

/// `BPF_PROG_TYPE_XDP` and the attach type `BPF_XDP`.
const XDP_PROGRAM: u32 = 6;
const XDP_ATTACH: u32 = 37;

/// The fields of `union bpf_attr` for `BPF_PROG_LOAD`, up to the name.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The fields of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program: RawFd,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The program, attached as long as this value.
#[derive(Debug)]
pub struct OtherXdp {
    _link: OwnedFd,
}

impl OtherXdp {
    /// The name of the program.
    pub const NAME: &str = "somebody_elses";

    /// Attaches the program to `interface` in `namespace`.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses it, for instance because another one is attached.
    pub fn attach(namespace: &Namespace, interface: &str) -> Result<Self> {
        let mut name = [0; 16];
        name[..Self::NAME.len()].copy_from_slice(Self::NAME.as_bytes());
        let load = Load {
            program_type: XDP_PROGRAM,
            instruction_count: 2,
            instructions: PASS.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name,
        };
        namespace.run(|| {
            let program = bpf(PROG_LOAD, &load).context("cannot load a program")?;
            let link = LinkCreate {
                program: program.as_raw_fd(),
                ifindex: if_nametoindex(interface)?,
                attach_type: XDP_ATTACH,
                flags: 0,
            };
            let link = bpf(LINK_CREATE, &link).context("cannot attach a program")?;
            Ok(Self { _link: link })
        })
    }
}

/// Calls bpf(2) for a command that returns a file descriptor.
fn bpf<T>(command: libc::c_long, attributes: &T) -> Result<OwnedFd> {
    // SAFETY: the attributes, and what they point to, live during the call, and their size is right.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    let fd = Errno::result(result)?;
    // SAFETY: the call has returned a new file descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd)?) })
}
