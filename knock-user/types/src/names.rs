//! Names and limits that several crates must agree on.

use std::{net::IpAddr, time::Duration};

/// The longest lease. Adding it to a clock never overflows.
pub const MAX_LEASE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The client name of a door that an administrator opened manually. No client may have this name.
pub const BY_HAND: &str = "by-hand";

/// The client number that stands for the administrator.
pub const BY_HAND_NUMBER: u32 = 0;

/// Whether `address` is a unicast address. A knock from any other source is spoofed, and its
/// address must not be passed to a command.
#[must_use]
pub fn is_unicast(address: IpAddr) -> bool {
    let special = match address {
        IpAddr::V4(address) => {
            address.is_unspecified() || address.is_multicast() || address.is_broadcast()
        }
        IpAddr::V6(address) => address.is_unspecified() || address.is_multicast(),
    };
    !special
}

/// The file name of the replay store in [`KNOCKS_FOLDER`].
pub const KNOCKS_FILE: &str = "accepted.journal";

/// The directory of the replay store in `state_dir`. It belongs to the listener's user.
pub const KNOCKS_FOLDER: &str = "knocks";
