//! A digest of what has to be the same on every node of a fleet.

use std::fmt::{self, Write};

use hmac::{Hmac, KeyInit as _, Mac as _};
use knockd_config::{Config, Fleet};
use knockd_ipc::fleet::Hex;
use knockd_types::policy::Secret;
use sha2::Sha256;

/// The digest of `config`, with the key of its `fleet`: the engine sees it, and must not be able to
/// guess what it is of.
pub(crate) fn digest(config: &Config, fleet: &Fleet) -> Hex<16> {
    // HMAC takes a key of any length.
    let mac = Hmac::<Sha256>::new_from_slice(fleet.key.expose());
    let mut digest = Digest(mac.unwrap_or_else(|_| unreachable!()));
    // Writing to a digest cannot fail.
    let _ = write(&mut digest, config);
    let digest = digest.0.finalize().into_bytes();
    Hex(std::array::from_fn(|index| digest[index]))
}

struct Digest(Hmac<Sha256>);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// Everything that decides which knock opens what. Names are quoted, so no two configurations have
/// the same text.
fn write(out: &mut impl Write, config: &Config) -> fmt::Result {
    let server = config
        .server
        .as_ref()
        .map(|server| server.public().to_string());
    writeln!(
        out,
        "knockd fleet 1 configuration {server:?} {} {:?} {:?}",
        config.window.base(),
        config.max_skew,
        config.datagram_port
    )?;
    for client in &config.clients {
        let key = match &client.secret {
            Secret::Pair(peer) => peer.public.to_string(),
            // Its passphrase is not part of the digest, not even with a key.
            Secret::Classic(_) => "classic".into(),
        };
        let until = client.previous.as_ref().map(|previous| previous.until);
        writeln!(
            out,
            "client {:?} {key} {until:?} {:?}",
            client.name, client.conditions
        )?;
    }
    for door in &config.doors {
        let clients = door
            .clients
            .iter()
            .map(|client| &config.clients[*client].name);
        let clients: Vec<_> = clients.collect();
        writeln!(
            out,
            "door {:?} {clients:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {:?}",
            door.name,
            door.opening,
            door.run,
            door.close,
            door.lease,
            door.max_lease,
            door.require_binding,
            door.allow_other,
            door.everywhere,
            door.account,
        )?;
    }
    Ok(())
}
