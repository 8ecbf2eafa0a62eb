//! Converts `fwknopd.conf`.

use std::{net::Ipv4Addr, path::Path};

use anyhow::Result;

use crate::import::{
    fwknop::{
        leftover, nat,
        source::{self, Directive, Files},
    },
    text::leading_number,
};

/// The UDP port that fwknopd listens on if the configuration names none.
const DEFAULT_PORT: u16 = 62201;

/// The largest `max_skew`, in seconds.
const MAX_SKEW: i64 = 24 * 60 * 60;

/// The settings of the daemon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The interfaces that the file names.
    pub(super) interfaces: Vec<String>,
    /// The UDP port of knocks.
    pub(super) port: u16,
    /// The largest accepted age of a knock, in seconds.
    pub(super) max_skew: i64,
    /// The source of translated packets, where a stanza does not say otherwise.
    pub(super) source: nat::Source,
    /// What was skipped or changed.
    pub(super) notes: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            port: DEFAULT_PORT,
            // The default of fwknopd.
            max_skew: 120,
            source: nat::Source::Kept,
            notes: Vec::new(),
        }
    }
}

/// The directives that are converted. Of duplicates the last one counts.
#[derive(Default)]
struct Converted<'a> {
    filter: Option<&'a Directive>,
    udp_server: Option<&'a Directive>,
    udp_port: Option<&'a Directive>,
    queue: Option<&'a Directive>,
    queue_port: Option<&'a Directive>,
    queue_interface: Option<&'a Directive>,
    interface: Option<&'a Directive>,
    max_age: Option<&'a Directive>,
    translates: Option<&'a Directive>,
    translated: Option<&'a Directive>,
}

impl Settings {
    /// Converts the file at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or has invalid lines.
    pub(crate) fn load(path: &Path, files: &dyn Files) -> Result<Self> {
        let directives = source::directives(path, files)?;
        let mut settings = Self::default();
        let mut converted = Converted::default();
        for directive in &directives {
            let place = match &directive.key[..] {
                "PCAP_FILTER" => &mut converted.filter,
                "ENABLE_UDP_SERVER" => &mut converted.udp_server,
                "UDPSERV_PORT" => &mut converted.udp_port,
                "ENABLE_NFQ_CAPTURE" => &mut converted.queue,
                "NFQ_PORT" => &mut converted.queue_port,
                "NFQ_INTERFACE" => &mut converted.queue_interface,
                "PCAP_INTF" => &mut converted.interface,
                "MAX_SPA_PACKET_AGE" => &mut converted.max_age,
                "ENABLE_IPT_SNAT" | "ENABLE_FIREWD_SNAT" => &mut converted.translates,
                "SNAT_TRANSLATE_IP" => &mut converted.translated,
                _ => {
                    let reason = leftover::reason(leftover::SETTINGS, directive);
                    settings.note(directive, reason);
                    continue;
                }
            };
            if let Some(before) = place.replace(directive) {
                settings.note(before, "is overridden further below");
            }
        }
        settings.convert(&converted);
        Ok(settings)
    }

    fn note(&mut self, directive: &Directive, message: &str) {
        let Directive { place, .. } = directive;
        self.notes
            .push(format!("{place}: {} {message}", directive.shown_key()));
    }

    fn convert(&mut self, converted: &Converted<'_>) {
        let is_yes = |directive: Option<&Directive>| directive.is_some_and(Directive::is_yes);
        let (interface, port) = if is_yes(converted.queue) {
            (converted.queue_interface, converted.queue_port)
        } else if is_yes(converted.udp_server) {
            (converted.interface, converted.udp_port)
        } else {
            if let Some(filter) = converted.filter {
                self.filter(filter);
            }
            (converted.interface, None)
        };
        if let Some(port) = port {
            self.port(port);
        }
        self.interfaces
            .extend(interface.map(|interface| interface.value.clone()));
        let used = [interface, port];
        for directive in [
            converted.interface,
            converted.queue_interface,
            converted.queue_port,
            converted.udp_port,
        ] {
            if let Some(directive) = directive.filter(|_| !used.contains(&directive)) {
                self.note(directive, "has no effect in this mode of fwknopd");
            }
        }
        if let Some(max_age) = converted.max_age {
            self.max_age(max_age);
        }
        if let Some(translates) = converted.translates.filter(|directive| directive.is_yes()) {
            self.translation(translates, converted.translated);
        }
    }

    /// Converts the simple filters, which let one UDP port pass.
    fn filter(&mut self, filter: &Directive) {
        let words: Vec<_> = filter.value.split_whitespace().collect();
        match words[..] {
            ["udp", "port", port] | ["udp", "dst", "port", port] | ["port", port]
                if let Some(port) = port.parse().ok().filter(|port| *port > 0) =>
            {
                self.port = port;
            }
            _ => self.note(
                filter,
                "is not converted: a datagram knock goes to one UDP port, `datagram.port`, and a SYN knock to the window",
            ),
        }
    }

    fn port(&mut self, port: &Directive) {
        match u16::try_from(leading_number(&port.value)) {
            Ok(number) if number > 0 => self.port = number,
            _ => self.note(port, "is not a port: check `datagram.port`"),
        }
    }

    fn max_age(&mut self, max_age: &Directive) {
        let seconds = leading_number(&max_age.value);
        self.max_skew = seconds.clamp(1, MAX_SKEW);
        if max_age.value != self.max_skew.to_string() {
            let message = format!(
                "{:?} becomes {}s: check `max_skew`",
                max_age.value, self.max_skew
            );
            self.note(max_age, &message);
        }
    }

    fn translation(&mut self, translates: &Directive, address: Option<&Directive>) {
        let parsed = address.map(|address| address.value.parse::<Ipv4Addr>());
        self.source = match parsed {
            Some(Ok(address)) => nat::Source::Address(address),
            Some(Err(_)) | None => nat::Source::Interface,
        };
        self.note(translates, "applies to the stanzas with FORCE_NAT");
    }
}
