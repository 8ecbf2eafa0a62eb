//! Converts a stanza of `access.conf` to a client and its doors.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use knock_common::{gate::Transport, window::Window};
use knockd_types::rules::Port;

use crate::import::fwknop::{
    cycle, leftover,
    nat::{self, Table},
    source::{Directive, Stanza},
    value,
};

/// fwknopd's default of `FW_ACCESS_TIMEOUT`, in seconds.
const DEFAULT_TIMEOUT: u64 = 30;

/// fwknopd's default of `MAX_FW_TIMEOUT`, in seconds.
const DEFAULT_MAX_TIMEOUT: u64 = 300;

/// The most networks that `from` of a client can have.
const MAX_NETWORKS: usize = 64;

/// What is converted.
const CONVERTED: &[&str] = &[
    "ACCESS_EXPIRE",
    "CMD_CYCLE_CLOSE",
    "CMD_CYCLE_OPEN",
    "CMD_CYCLE_TIMER",
    "DESTINATION",
    "DISABLE_DNAT",
    "FORCE_MASQUERADE",
    "FORCE_NAT",
    "FORCE_SNAT",
    "FORWARD_ALL",
    "FW_ACCESS_TIMEOUT",
    "MAX_FW_TIMEOUT",
    "OPEN_PORTS",
    "REQUIRE_SOURCE_ADDRESS",
    "REQUIRE_USERNAME",
    "RESTRICT_PORTS",
    "SOURCE",
];

/// What has no effect in a stanza with a command cycle.
const NOT_WITH_CYCLE: &[&str] = &[
    "DISABLE_DNAT",
    "FORCE_MASQUERADE",
    "FORCE_NAT",
    "FORCE_SNAT",
    "FORWARD_ALL",
    "FW_ACCESS_TIMEOUT",
];

/// A converted stanza.
#[derive(Debug)]
pub(super) struct Client {
    /// The name that fwknopd requires, if any.
    pub(super) username: Option<String>,
    /// The networks that it may knock from; empty for all.
    pub(super) from: Vec<Ipv4Net>,
    /// When it expires, as an RFC 3339 date-time.
    pub(super) expires: Option<String>,
    /// The doors that it may open; at least one.
    pub(super) doors: Vec<Door>,
    /// The table that its doors need.
    pub(super) table: Option<Table>,
}

/// A door, which the clients of several stanzas may share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    /// Its name, if no other door has it.
    pub(super) name: String,
    pub(super) ports: Vec<Port>,
    pub(super) run: Vec<String>,
    pub(super) close: Vec<String>,
    /// The door's `for`, in seconds.
    pub(super) seconds: u64,
    /// The door's `max_for`, in seconds.
    pub(super) max_seconds: u64,
    pub(super) require_binding: bool,
}

/// What applies to all stanzas.
pub(super) struct Common<'a> {
    /// The ports that clients may ask for where a stanza does not restrict them.
    pub(super) open: &'a [Port],
    /// The source of translated packets.
    pub(super) source: nat::Source,
}

/// A stanza during its conversion.
pub(super) struct Conversion<'a> {
    number: usize,
    /// The directives that are converted, by their variable. Of duplicates the last one counts.
    directives: BTreeMap<&'a str, &'a Directive>,
    /// What was skipped or changed, and the way out.
    pub(super) notes: Vec<String>,
}

impl<'a> Conversion<'a> {
    /// Sorts the directives of `stanza`.
    pub(super) fn new(stanza: &'a Stanza) -> Self {
        let mut conversion = Self {
            number: stanza.number,
            directives: BTreeMap::new(),
            notes: Vec::new(),
        };
        for directive in &stanza.directives {
            conversion.take(directive);
        }
        conversion
    }

    fn take(&mut self, directive: &'a Directive) {
        let key = match &directive.key[..] {
            "REQUIRE_SOURCE" => "REQUIRE_SOURCE_ADDRESS",
            // fwknopd stores both in one place.
            "ACCESS_EXPIRE_EPOCH" => "ACCESS_EXPIRE",
            key => key,
        };
        if !CONVERTED.contains(&key) {
            return self.note(directive, leftover::reason(leftover::ACCESS, directive));
        }
        if !directive.is_utf8 {
            self.note(directive, "is not UTF-8 and was read as Latin-1: check it");
        }
        if let Some(before) = self.directives.insert(key, directive) {
            let message = format!("is overridden by {}", directive.place);
            self.note(before, &message);
        }
    }

    fn note(&mut self, directive: &Directive, message: &str) {
        let Directive { place, .. } = directive;
        self.notes
            .push(format!("{place}: {} {message}", directive.shown_key()));
    }

    fn get(&self, key: &str) -> Option<&'a Directive> {
        self.directives.get(key).copied()
    }

    fn is_yes(&self, key: &str) -> bool {
        self.get(key).is_some_and(Directive::is_yes)
    }

    /// The value of the variable `key`, if it is set, as `parse` reads it.
    fn parsed<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, String> {
        let Some(directive) = self.get(key) else {
            return Ok(None);
        };
        parse(&directive.value)
            .map(Some)
            .map_err(|reason| format!("{}: {}: {reason}", directive.place, directive.key))
    }

    /// The client and its doors.
    ///
    /// # Errors
    ///
    /// Returns the reason if the stanza cannot be converted. Its client would otherwise be able to do
    /// more than before.
    pub(super) fn client(&mut self, common: &Common<'_>) -> Result<Client, String> {
        let from = self.from()?;
        let expires = self.expires()?;
        if let Some(destination) = self.get("DESTINATION") {
            match value::networks(&destination.value) {
                Ok(None) => {}
                _ => self.note(
                    destination,
                    "has no counterpart: a knock may go to any address of this host",
                ),
            }
        }
        let ports = self.ports(common.open)?;
        let (doors, table) = match self.get("CMD_CYCLE_OPEN") {
            Some(open) => (self.cycle(open, &ports)?, None),
            None => self.access(&ports, common.source)?,
        };
        let username = self.get("REQUIRE_USERNAME");
        Ok(Client {
            username: username.map(|username| username.value.clone()),
            from,
            expires,
            doors,
            table,
        })
    }

    /// The doors of a stanza without a command cycle, and the table that they need.
    fn access(
        &mut self,
        ports: &[Port],
        source: nat::Source,
    ) -> Result<(Vec<Door>, Option<Table>), String> {
        if self.get("CMD_CYCLE_CLOSE").is_some() {
            return Err("CMD_CYCLE_CLOSE needs CMD_CYCLE_OPEN".into());
        }
        if let Some(timer) = self.get("CMD_CYCLE_TIMER") {
            self.note(timer, "has no effect without CMD_CYCLE_OPEN");
        }
        let table = self.table(ports, source)?;
        let doors = match &table {
            Some(table) => vec![self.translated(table)?],
            None => self.gate(ports)?,
        };
        Ok((doors, table))
    }

    /// The networks of `SOURCE`.
    fn from(&self) -> Result<Vec<Ipv4Net>, String> {
        let from = self.parsed("SOURCE", value::networks)?.flatten();
        let from = from.unwrap_or_default();
        if from.len() > MAX_NETWORKS {
            return Err(format!(
                "its SOURCE has {} networks, but a client can have {MAX_NETWORKS}: merge some",
                from.len()
            ));
        }
        Ok(from)
    }

    fn expires(&mut self) -> Result<Option<String>, String> {
        let Some(directive) = self.get("ACCESS_EXPIRE") else {
            return Ok(None);
        };
        let is_epoch = directive.key == "ACCESS_EXPIRE_EPOCH";
        if is_epoch && directive.value == "0" {
            self.note(directive, "is 0, which fwknopd ignores");
            return Ok(None);
        }
        let expires = if is_epoch {
            value::epoch(&directive.value)
        } else {
            self.note(
                directive,
                "is midnight UTC in `expires`, and was local midnight",
            );
            value::date(&directive.value)
        };
        let reason = || format!("{}: it has no valid time of expiry", directive.place);
        expires.ok_or_else(reason).map(Some)
    }

    /// The ports that the client may ask for.
    fn ports(&mut self, open: &[Port]) -> Result<Vec<Port>, String> {
        let restricted = self.parsed("RESTRICT_PORTS", value::ports)?;
        let restricted = restricted.unwrap_or_default();
        let listed = self.parsed("OPEN_PORTS", value::ports)?;
        let mut ports = listed.unwrap_or_else(|| open.to_vec());
        ports.retain(|port| !restricted.contains(port));
        let (inside, outside): (Vec<_>, Vec<_>) =
            ports.into_iter().partition(|port| is_window(*port));
        for port in inside {
            self.notes.push(format!(
                "{port} is skipped: it is in the window of knocks, 61000 to 61255. Choose another `window.base` and add it"
            ));
        }
        Ok(outside)
    }

    /// The table for address translation, if the stanza demands it.
    fn table(&mut self, ports: &[Port], source: nat::Source) -> Result<Option<Table>, String> {
        if self.is_yes("FORWARD_ALL") || self.is_yes("DISABLE_DNAT") {
            return Err("FORWARD_ALL and DISABLE_DNAT open the forwarding itself, which only rules of your firewall can do: write a [[door]] whose `run` and `close` change them".into());
        }
        let own_source = self.own_source()?;
        let Some(target) = self.parsed("FORCE_NAT", |text| {
            value::target(text).ok_or("it is not an IPv4 address and a port")
        })?
        else {
            return match own_source {
                None => Ok(None),
                Some(_) => Err("FORCE_SNAT and FORCE_MASQUERADE need FORCE_NAT".into()),
            };
        };
        let mut ports = ports.to_vec();
        if ports.is_empty() {
            let (_, number) = target;
            let transport = Transport::Tcp;
            let port = Port { transport, number };
            let restricted = self.parsed("RESTRICT_PORTS", value::ports)?;
            let is_restricted = restricted.is_some_and(|ports| ports.contains(&port));
            if is_restricted || self.get("OPEN_PORTS").is_some() {
                return Err("no port is left that its clients may ask for".into());
            }
            ports.push(port);
            self.notes.push(format!(
                "the clients chose the outer port: tcp/{number} is assumed. Name others with --open"
            ));
        }
        if ports.iter().any(|port| is_window(*port)) {
            return Err("its port is in the window of knocks: name another with --open".into());
        }
        Ok(Some(Table {
            number: self.number,
            ports,
            target,
            source: own_source.unwrap_or(source),
        }))
    }

    /// The source of translated packets that the stanza demands.
    fn own_source(&self) -> Result<Option<nat::Source>, String> {
        if self.is_yes("FORCE_MASQUERADE") {
            return Ok(Some(nat::Source::Interface));
        }
        let address = self.parsed("FORCE_SNAT", |text| {
            text.parse().map_err(|_| "it is not an IPv4 address")
        })?;
        Ok(address.map(nat::Source::Address))
    }

    /// The times of a door that a request opens: `for` and `max_for`, in seconds.
    fn times(&mut self) -> Result<(u64, u64), String> {
        let set = |seconds: Option<u64>| seconds.filter(|seconds| *seconds > 0);
        let seconds = set(self.parsed("FW_ACCESS_TIMEOUT", value::seconds)?);
        let seconds = seconds.unwrap_or(DEFAULT_TIMEOUT);
        Ok((seconds, self.max_seconds(seconds)?))
    }

    fn max_seconds(&mut self, seconds: u64) -> Result<u64, String> {
        let max = self.parsed("MAX_FW_TIMEOUT", value::seconds)?;
        let max = max.filter(|max| *max > 0);
        if let (Some(max), Some(directive)) = (max, self.get("MAX_FW_TIMEOUT"))
            && max < seconds
        {
            let message = format!("is less than `for`, so that `max_for` is {seconds}s");
            self.note(directive, &message);
        }
        Ok(max.unwrap_or(DEFAULT_MAX_TIMEOUT).max(seconds))
    }

    /// A door for each of `ports`, and one for all.
    fn gate(&mut self, ports: &[Port]) -> Result<Vec<Door>, String> {
        if ports.is_empty() {
            return Err("its clients choose the ports, but a door names them: name those that they need, as in --open tcp/22".into());
        }
        let (seconds, max_seconds) = self.times()?;
        let door = |ports: &[Port]| Door {
            name: listed(ports),
            ports: ports.to_vec(),
            run: Vec::new(),
            close: Vec::new(),
            seconds,
            max_seconds,
            require_binding: self.is_yes("REQUIRE_SOURCE_ADDRESS"),
        };
        let mut doors: Vec<_> = ports.iter().map(|port| door(&[*port])).collect();
        if ports.len() > 1 {
            doors.push(door(ports));
        }
        Ok(doors)
    }

    /// The door to what `table` translates.
    fn translated(&mut self, table: &Table) -> Result<Door, String> {
        let (seconds, max_seconds) = self.times()?;
        Ok(Door {
            name: format!("stanza-{}", self.number),
            ports: table.ports.clone(),
            run: table.run(),
            close: table.close(),
            seconds,
            max_seconds,
            require_binding: self.is_yes("REQUIRE_SOURCE_ADDRESS"),
        })
    }

    /// The doors that run the command cycle: one for each of `ports` if the commands depend on them.
    fn cycle(&mut self, open: &Directive, ports: &[Port]) -> Result<Vec<Door>, String> {
        let close = self
            .get("CMD_CYCLE_CLOSE")
            .ok_or("CMD_CYCLE_OPEN needs CMD_CYCLE_CLOSE")?;
        let close = Some(close).filter(|close| !close.value.starts_with("NONE"));
        let seconds = self.parsed("CMD_CYCLE_TIMER", value::seconds)?;
        let (seconds, max_seconds) = match (seconds, close) {
            (Some(seconds @ 1..), Some(_)) => (seconds, self.max_seconds(seconds)?),
            (_, Some(_)) => return Err("CMD_CYCLE_OPEN needs CMD_CYCLE_TIMER".into()),
            // A knock for an open door runs nothing, but fwknopd runs the command on every knock.
            (_, None) => (1, 1),
        };
        let commands = [Some(open), close];
        let depends = commands
            .into_iter()
            .flatten()
            .any(|command| cycle::uses_port(&command.value));
        let port_keys: &[_] = if depends {
            &[]
        } else {
            &["OPEN_PORTS", "RESTRICT_PORTS"]
        };
        for key in NOT_WITH_CYCLE.iter().chain(port_keys) {
            if let Some(directive) = self.get(key) {
                self.note(directive, "has no effect with CMD_CYCLE_OPEN");
            }
        }
        let ports: Vec<_> = if depends && !ports.is_empty() {
            ports.iter().copied().map(Some).collect()
        } else {
            vec![None]
        };
        ports
            .into_iter()
            .map(|port| {
                let name = format!("stanza-{}", self.number);
                Ok(Door {
                    name: port.map_or(name, |port| port.to_string()),
                    ports: Vec::new(),
                    run: self.command(open, port)?,
                    close: close.map_or(Ok(Vec::new()), |close| self.command(close, port))?,
                    seconds,
                    max_seconds,
                    require_binding: self.is_yes("REQUIRE_SOURCE_ADDRESS"),
                })
            })
            .collect()
    }

    fn command(
        &mut self,
        directive: &Directive,
        port: Option<Port>,
    ) -> Result<Vec<String>, String> {
        let (argv, notes) = cycle::command(&directive.value, port).map_err(|error| {
            format!(
                "{}: {} cannot be converted: {error}",
                directive.place, directive.key
            )
        })?;
        for note in notes {
            let note = format!("{}: {}: {note}", directive.place, directive.key);
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(argv)
    }
}

/// Whether `port` is in the default window.
fn is_window(port: Port) -> bool {
    port.transport == Transport::Tcp && Window::default().offset_of(port.number).is_some()
}

fn listed(ports: &[Port]) -> String {
    let ports: Vec<_> = ports.iter().map(Port::to_string).collect();
    ports.join(",")
}
