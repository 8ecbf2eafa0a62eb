//! Checks the door names and addresses in the administrator's requests.

use std::net::IpAddr;

use knockd_types::{names::is_unicast, policy::Door};

/// The door of this name.
///
/// # Errors
///
/// Returns a message for the administrator if there is none.
pub(super) fn door_named<'a>(doors: &'a [Door], name: &str) -> Result<&'a Door, String> {
    doors
        .iter()
        .find(|door| door.name == name)
        .ok_or_else(|| format!("there is no door {name:?} in the configuration"))
}

/// Checks that `source` is the address of a single host.
///
/// # Errors
///
/// Returns a message for the administrator if it is not.
pub(super) fn check_host(source: IpAddr) -> Result<(), String> {
    if is_unicast(source) {
        Ok(())
    } else {
        Err(format!("{source} is no single host's address"))
    }
}
