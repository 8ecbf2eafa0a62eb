//! The page of a new client, for browsers.

use std::{io, path::Path};

use anyhow::{Error, Result, bail};
use knock_common::gate::Transport;
use knock_page::{Door, Written};
use knockd_config::{Config, Door as ConfiguredDoor};
use knockd_credentials::secret_file;

use crate::{invitation::NewClient, new_file::NewFile};

/// Writes the page of `client`, which `config` has, to a new file that only its owner can read. The
/// private key is nowhere else.
///
/// # Errors
///
/// Returns an error if the file exists or cannot be written, if no door would accept a knock of the
/// page, or if the configuration has no server key.
pub(super) fn write(path: &Path, client: NewClient, config: &Config) -> Result<NewFile> {
    let name = client.name.clone();
    let doors = doors(&name, config);
    if doors.is_empty() {
        bail!(
            "no door would open for the page: {name} may open none, or only doors with `require_binding`, and a page does not know its address"
        );
    }
    let invitation = client.into_invitation(config)?;
    let page = Written {
        name: invitation.host.as_str(),
        invitation: &invitation,
        doors: &doors,
        port: None,
    };
    match secret_file::create(path, page.to_html().trim_end()) {
        Ok(()) => Ok(NewFile::at(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists already and is left unchanged", path.display())
        }
        Err(error) => Err(Error::new(error).context(path.display().to_string())),
    }
}

/// The doors that the client called `name` may open with a knock that is bound to no address.
fn doors(name: &str, config: &Config) -> Vec<Door> {
    let client = config.clients.iter().position(|client| client.name == name);
    let may_open = |door: &&ConfiguredDoor| {
        client.is_some_and(|client| door.clients.contains(&client)) && !door.require_binding
    };
    let doors = config.doors.iter().filter(may_open);
    doors.map(listed).collect()
}

fn listed(door: &ConfiguredDoor) -> Door {
    let mut ports = door.opening.ports.iter();
    let tcp = ports.find(|port| port.transport == Transport::Tcp);
    Door {
        name: door.name.clone(),
        port: tcp.map(|port| port.number),
    }
}
