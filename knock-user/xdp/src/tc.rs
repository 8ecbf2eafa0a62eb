//! Attaches the program with traffic control (tc), where XDP is not possible.
//!
//! Since Linux 6.6 by a link (tcx), which a pin keeps in force. Before that by a filter of the
//! clsact qdisc, which the kernel keeps in force until somebody removes it.

use std::mem;

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::FdLink,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, netdevice::index_to_name, socket},
};

/// The priority of the filter: before those of other software.
const PRIORITY: u16 = 1;

/// The handle of the filter. Another filter of this handle belongs to an earlier knockd.
const HANDLE: TcHandle = TcHandle::new(0x6b6e, 0x6b64);

/// A filter of the clsact qdisc on the interface with this index. It stays in force when this value
/// is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter(pub(crate) u32);

impl Filter {
    /// The filter as a link of aya, which removes the filter when it is dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the interface no longer exists, and the filter with it.
    fn into_link(self) -> Result<SchedClassifierLink> {
        let name = name(self.0)?;
        let ingress = TcAttachType::Ingress;
        Ok(SchedClassifierLink::attached(
            &name, ingress, PRIORITY, HANDLE, None,
        )?)
    }

    /// Replaces the program of the filter atomically.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such filter any more.
    pub(crate) fn replace(self, program: &mut SchedClassifier) -> Result<()> {
        Self::keep(self.take(program)?);
        Ok(())
    }

    /// Replaces the program of the filter like [`Filter::replace`], and removes the filter when the
    /// link is dropped.
    fn take(self, program: &mut SchedClassifier) -> Result<SchedClassifierLink> {
        let id = program.attach_to_link(self.into_link()?)?;
        Ok(program.take_link(id)?)
    }

    /// Drops `link` without removing its filter.
    pub(crate) fn keep(link: SchedClassifierLink) {
        mem::forget(link);
    }

    /// Removes the filter, if it is still there.
    pub(crate) fn remove(self) {
        drop(self.into_link());
    }
}

/// Whether `link` is a filter, which cannot be pinned.
pub(crate) fn is_filter(link: &SchedClassifierLink) -> bool {
    <&FdLink>::try_from(link).is_err()
}

/// Attaches `program` to what the interface with the index `ifindex` receives, before the programs
/// and filters of other software.
///
/// # Errors
///
/// Returns an error if the kernel refuses it.
pub(crate) fn attach(program: &mut SchedClassifier, ifindex: u32) -> Result<SchedClassifierLink> {
    let name = name(ifindex)?;
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = match program.attach_with_options(&name, TcAttachType::Ingress, first) {
        Ok(id) => id,
        // Kernels before 6.6 do not know this kind of link.
        Err(ProgramError::SyscallError(error))
            if Errno::from_io_error(&error.io_error) == Some(Errno::INVAL) =>
        {
            return attach_filter(program, ifindex, &name);
        }
        Err(error) => return Err(error.into()),
    };
    Ok(program.take_link(id)?)
}

fn attach_filter(
    program: &mut SchedClassifier,
    ifindex: u32,
    name: &str,
) -> Result<SchedClassifierLink> {
    match tc::qdisc_add_clsact(name) {
        Ok(()) => {}
        Err(TcError::NetlinkError(error))
            if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
        Err(error) => {
            return Err(error).context("a clsact qdisc cannot be added");
        }
    }
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        classid: None,
    });
    let id = match program.attach_with_options(name, TcAttachType::Ingress, options) {
        Ok(id) => id,
        Err(ProgramError::TcError(TcError::NetlinkError(error)))
            if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) =>
        {
            return Filter(ifindex).take(program);
        }
        Err(error) => return Err(error.into()),
    };
    Ok(program.take_link(id)?)
}

/// The name of the interface with this index.
///
/// # Errors
///
/// Returns an error if there is none.
pub(crate) fn name(ifindex: u32) -> Result<String> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    match index_to_name(&socket, ifindex) {
        Ok(name) => Ok(name),
        Err(Errno::NODEV) => bail!("interface {ifindex} no longer exists"),
        Err(error) => Err(error.into()),
    }
}
