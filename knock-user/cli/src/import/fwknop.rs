//! `knockd import-fwknop`: converts the configuration of fwknopd.
//!
//! `source` parses its files like that daemon, `settings` converts `fwknopd.conf`, and `stanza` the
//! stanzas of `access.conf`, each to a client and its doors. `leftover` tells about the rest.

mod cycle;
mod leftover;
mod nat;
mod settings;
pub(crate) mod source;
mod stanza;
mod value;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use ipnet::Ipv4Net;
use knock_common::{legible::escaped, protocol::identity::PublicKey};
use knockd_credentials::key_file;
use knockd_types::rules::Port;
use tracing::info;

pub(crate) use self::settings::Settings;
use self::{
    source::{Access, Disk, Stanza},
    stanza::{Client, Common, Conversion, Door},
};
use crate::{
    import::{
        Import,
        names::Names,
        text::{array, string},
    },
    server_key::{self, SERVER_KEY_FILE},
};

/// Default path of the access control.
const DEFAULT_SOURCE: &str = "/etc/fwknop/access.conf";

/// More doors than any real configuration. Leaves enough of the 65536 door tags.
const MAX_DOORS: usize = 4096;

/// The head of the output, with the placeholder `{source}`.
const TOP: &str = "\
# Configuration of knockd, converted by `knockd import-fwknop` from
# {source}. Comments of the source are not included.
#
# No client can knock yet. fwknop's keys cannot be used, so the `public_key` of each [[client]] below
# is one that nobody has the private key of. For each client:
#   knockd client rotate NAME --keep 0s --server HOST
#                               replaces the key, and prints the command that sets up the client
#   knockd client remove NAME   removes a client that is not needed
# Then:
#   knockd check                validates the result
#
# The gate drops new connections to its ports before the firewall sees them, and admits the
# addresses that have knocked. The rules of your firewall that close these ports have to go: they
# would drop admitted connections too. Run only one of the two daemons, and keep a way in that does
# not depend on knocks until you have seen them work.
#
# fwknopd opens for the address inside the packet. knockd opens for the address that a knock comes
# from; with `allow_other` of a door, a knock may name another.
";

/// What the top of the output says if there are tables of nftables in it.
const TABLES: &str = "\
#
# Doors with address translation need the tables on the lines that begin with `#nft`. Load them at
# boot; they exist once only. Your firewall has to let translated packets be forwarded, for example
# with `iptables -I FORWARD -m conntrack --ctstate DNAT -j ACCEPT`. They are for IPv4, as in fwknop.
#   sed -n 's/^#nft //p' knockd.toml > nat.nft
#   nft -f nat.nft
";

#[derive(Args, Debug)]
pub(crate) struct ImportFwknop {
    /// The access control to convert, with the files that it includes; they are not changed
    #[arg(value_name = "ACCESS", default_value = DEFAULT_SOURCE)]
    access: PathBuf,
    /// The daemon's own configuration, as /etc/fwknop/fwknopd.conf [default: its defaults]
    #[arg(value_name = "FWKNOPD")]
    settings: Option<PathBuf>,
    /// The ports that clients may ask for in stanzas without OPEN_PORTS, as tcp/22,udp/51820
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    open: Vec<Port>,
    /// Write to this new file (mode 0600) instead of standard output, and make the server's key
    /// beside it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl ImportFwknop {
    /// Converts the configuration.
    ///
    /// # Errors
    ///
    /// Returns an error if a source cannot be read or has invalid lines (each is listed with its
    /// position), or no door can be converted; or if the output exists already or cannot be written.
    pub(crate) fn execute(&self) -> Result<()> {
        let access = Access::load(&self.access, &Disk)?;
        let settings = match &self.settings {
            Some(path) => Settings::load(path, &Disk)?,
            None => Settings::default(),
        };
        let mut sources = vec![&self.access];
        sources.extend(&self.settings);
        let import = Import::of_fwknop(&access, &settings, &sources, &self.open, || {
            let key = key_file::generate().context("the kernel provides no random numbers")?;
            Ok(key.public())
        })?;
        import.expect_a_door(&self.access)?;
        let Some(file) = import.write(self.output.as_deref())? else {
            return Ok(());
        };
        let key = server_key::provide(&file.path().with_file_name(SERVER_KEY_FILE))?;
        info!(
            "{} has the doors {}. Its clients need keys: see the top of the file",
            file.path().display(),
            import.doors.join(", ")
        );
        file.keep();
        if let Some(key) = key {
            key.keep();
        }
        Ok(())
    }
}

/// A door, and the clients that may open it.
struct Shared {
    door: Door,
    clients: Vec<String>,
}

/// A stanza of the output: its comments, and its client if it was converted.
struct Section {
    /// The first line of the comments.
    title: String,
    notes: Vec<String>,
    client: Option<(String, Client)>,
}

impl Import {
    /// Converts `access` and `settings`, which were read from `sources`. `open` are the ports that
    /// clients may ask for where a stanza does not restrict them. `key` returns the public key of a
    /// new client.
    ///
    /// # Errors
    ///
    /// Returns an error if `key` does.
    pub(crate) fn of_fwknop(
        access: &Access,
        settings: &Settings,
        sources: &[&PathBuf],
        open: &[Port],
        mut key: impl FnMut() -> Result<PublicKey>,
    ) -> Result<Self> {
        let common = Common {
            open,
            source: settings.source,
        };
        let mut import = Self::default();
        let mut names = Names::new("client");
        let mut doors = Vec::new();
        let sections: Vec<_> = access
            .stanzas
            .iter()
            .map(|stanza| import.section(stanza, &common, &mut names, &mut doors))
            .collect();
        import.top(sources, &sections);
        import.settings(settings, &doors);
        for directive in &access.orphans {
            import.line(&format!(
                "# {}: {} has no effect before the first SOURCE",
                directive.place,
                directive.shown_key()
            ));
        }
        for section in sections {
            import.client(section, &mut key)?;
        }
        let mut names = Names::new("door");
        for shared in doors {
            import.shared(shared, &mut names);
        }
        Ok(import)
    }

    /// Converts `stanza`, and adds its doors to `doors`.
    fn section(
        &mut self,
        stanza: &Stanza,
        common: &Common<'_>,
        names: &mut Names,
        doors: &mut Vec<Shared>,
    ) -> Section {
        let number = stanza.number;
        let place = stanza
            .directives
            .first()
            .map(|source| source.place.to_string());
        let place = place.unwrap_or_default();
        let mut conversion = Conversion::new(stanza);
        let client = conversion.client(common).and_then(|client| {
            let room = MAX_DOORS.saturating_sub(doors.len());
            let fits = client.doors.len() <= room;
            fits.then_some(client)
                .ok_or_else(|| format!("there would be more than {MAX_DOORS} doors"))
        });
        let (title, client) = match client {
            Ok(client) => (format!("# Stanza {number}, {place}"), Some(client)),
            Err(reason) => {
                self.left_out
                    .push(format!("{place}: stanza {number} is skipped: {reason}"));
                let title = format!("# Stanza {number}, {place}, is skipped: {reason}.");
                (title, None)
            }
        };
        let client = client.map(|client| {
            let default = format!("stanza-{number}");
            let name = names.fitting(client.username.as_ref().unwrap_or(&default));
            for door in &client.doors {
                share(doors, door, &name);
            }
            (name, client)
        });
        Section {
            title,
            notes: conversion.notes,
            client,
        }
    }

    fn top(&mut self, sources: &[&PathBuf], sections: &[Section]) {
        let shown = |path: &&PathBuf| escaped(&path.display().to_string()).collect();
        let shown: Vec<String> = sources.iter().map(shown).collect();
        self.text = TOP.replace("{source}", &shown.join(" and "));
        let mut clients = sections
            .iter()
            .filter_map(|section| section.client.as_ref());
        if clients.any(|(_, client)| client.table.is_some()) {
            self.text.push_str(TABLES);
        }
        self.line("");
    }

    /// Writes what is not in an array of tables.
    fn settings(&mut self, settings: &Settings, doors: &[Shared]) {
        for note in &settings.notes {
            self.line(&format!("# {note}"));
        }
        self.interfaces(
            settings.interfaces.iter(),
            "Without PCAP_INTF, fwknopd listens on eth0; see also -i of fwknopd.",
        );
        self.line(&format!(
            "server_key_file = {}   # which --output makes",
            string(SERVER_KEY_FILE)
        ));
        self.line(&format!("max_skew = \"{}s\"", settings.max_skew));
        self.line("");
        self.line("[datagram]");
        self.line(&format!("port = {}", settings.port));
        let ports: BTreeSet<_> = doors.iter().flat_map(|shared| &shared.door.ports).collect();
        if !ports.is_empty() {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            self.line("");
            self.line("[gate]");
            self.line(&format!("protect = {}", array(&ports)));
        }
    }

    fn client(
        &mut self,
        section: Section,
        key: &mut impl FnMut() -> Result<PublicKey>,
    ) -> Result<()> {
        self.line("");
        self.line(&section.title);
        self.notes(&section.notes);
        let Some((name, client)) = section.client else {
            return Ok(());
        };
        if let Some(table) = &client.table {
            for line in table.to_string().lines() {
                self.line(&format!("#nft {line}"));
            }
        }
        self.line("[[client]]");
        self.line(&format!("name = {}", string(&name)));
        self.line(&format!("public_key = \"{}\"", key()?));
        if !client.from.is_empty() {
            let from: Vec<_> = client.from.iter().map(Ipv4Net::to_string).collect();
            self.line(&format!("from = {}", array(&from)));
        }
        if let Some(expires) = client.expires {
            self.line(&format!("expires = {expires}"));
        }
        Ok(())
    }

    fn shared(&mut self, Shared { door, clients }: Shared, names: &mut Names) {
        let name = names.fitting(&door.name);
        self.line("");
        self.line("[[door]]");
        self.line(&format!("name = {}", string(&name)));
        self.line(&format!("clients = {}", array(&clients)));
        if !door.ports.is_empty() {
            let ports: Vec<_> = door.ports.iter().map(Port::to_string).collect();
            self.line(&format!("open = {}", array(&ports)));
        }
        for (key, argv) in [("run", &door.run), ("close", &door.close)] {
            if !argv.is_empty() {
                self.line(&format!("{key} = {}", array(argv)));
            }
        }
        self.line(&format!("for = \"{}s\"", door.seconds));
        if door.max_seconds > door.seconds {
            self.line(&format!("max_for = \"{}s\"", door.max_seconds));
        }
        if door.require_binding {
            self.line("require_binding = true");
        }
        self.doors.push(name);
    }
}

/// Adds `client` to `door` among `doors`.
fn share(doors: &mut Vec<Shared>, door: &Door, client: &str) {
    let known = doors.iter_mut().find(|shared| shared.door == *door);
    match known {
        Some(shared) => shared.clients.push(client.to_owned()),
        None => doors.push(Shared {
            door: door.clone(),
            clients: vec![client.to_owned()],
        }),
    }
}

#[cfg(test)]
mod tests;
