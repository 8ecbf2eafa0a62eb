//! Names and bounds that several crates must agree on.

use std::{net::IpAddr, time::Duration};

/// The longest lease. Short enough that adding it to a clock never overflows.
pub const MAX_LEASE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Who opened a door that no client knocked at. No client has this name.
pub const BY_HAND: &str = "by-hand";

/// The number of the client who is an administrator.
pub const BY_HAND_NUMBER: u32 = 0;

/// Whether `address` can be a single host's. No command should ever be given another one.
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

/// The file name, in the listener's own directory.
pub const KNOCKS_FILE: &str = "accepted.redb";

/// The listener's directory in `state_dir`.
pub const KNOCKS_FOLDER: &str = "knocks";
