//! The values of fwknop's variables.

use std::{net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;
use knockd_types::{rules::Port, utc};

use crate::import::text::leading_number;

/// The largest timeout that fwknopd accepts, in seconds.
const MAX_TIMEOUT: u64 = 1 << 23;

/// The networks of `SOURCE` or `DESTINATION`; `None` for all.
///
/// # Errors
///
/// Returns an error if one is not a network. fwknopd would not have started.
pub(super) fn networks(value: &str) -> Result<Option<Vec<Ipv4Net>>, &'static str> {
    let mut networks = Vec::new();
    let mut is_any = false;
    for entry in value.split(',').map(str::trim) {
        if entry.eq_ignore_ascii_case("any") {
            is_any = true;
        } else {
            networks.push(network(entry).ok_or("it contains what is not an IPv4 network")?);
        }
    }
    Ok((!is_any).then(|| Ipv4Net::aggregate(&networks)))
}

fn network(entry: &str) -> Option<Ipv4Net> {
    let (address, mask) = entry.split_once('/').unwrap_or((entry, "32"));
    let address: Ipv4Addr = address.parse().ok()?;
    let network = match mask.parse::<u8>() {
        Ok(0) => return None,
        Ok(length) => Ipv4Net::new(address, length).ok()?,
        Err(_) => Ipv4Net::with_netmask(address, mask.parse().ok()?).ok()?,
    };
    Some(network.trunc())
}

/// The ports of `OPEN_PORTS` or `RESTRICT_PORTS`, without duplicates.
///
/// # Errors
///
/// Returns an error if one is not a port. fwknopd would not have started.
pub(super) fn ports(value: &str) -> Result<Vec<Port>, &'static str> {
    let mut ports = Vec::new();
    for entry in value.split(',') {
        let port = entry.trim().to_ascii_lowercase().parse();
        let port = port.map_err(|_| "it contains what is not a port such as tcp/22")?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

/// A timeout in seconds, read as C does; 0 means the default.
///
/// # Errors
///
/// Returns an error if it is out of range. fwknopd would not have started.
pub(super) fn seconds(value: &str) -> Result<u64, &'static str> {
    u64::try_from(leading_number(value))
        .ok()
        .filter(|seconds| *seconds <= MAX_TIMEOUT)
        .ok_or("it is not a number of seconds from 0 to 8388608")
}

/// The address and the port of `FORCE_NAT`.
pub(super) fn target(value: &str) -> Option<(Ipv4Addr, u16)> {
    let (address, port) = value.split_once(char::is_whitespace)?;
    let port = port.trim().parse().ok().filter(|port| *port > 0)?;
    Some((address.parse().ok()?, port))
}

/// The day of `ACCESS_EXPIRE`, MM/DD/YYYY, as an RFC 3339 date-time.
pub(super) fn date(value: &str) -> Option<String> {
    let mut parts = value.split('/');
    let mut number = |max_len| {
        let digits = parts.next()?;
        let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
        (is_number && digits.len() <= max_len).then_some(digits)?;
        digits.parse::<u16>().ok()
    };
    let (month, day, year) = (number(2)?, number(2)?, number(4)?);
    let year = match year {
        0..100 => year + 2000,
        1970.. => year,
        _ => return None,
    };
    let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
    let is_date = parts.next().is_none() && utc::parse(&text).is_ok();
    is_date.then_some(text)
}

/// The time of `ACCESS_EXPIRE_EPOCH`, in seconds since 1970, as an RFC 3339 date-time.
pub(super) fn epoch(value: &str) -> Option<String> {
    /// The first second of the year 10000, which a date-time cannot express.
    const END: u64 = 253_402_300_800;

    let seconds = value.parse().ok().filter(|seconds| *seconds < END)?;
    Some(utc::seconds(Duration::from_secs(seconds)))
}
