//! The lease map of the gate: which source can reach which protected port, and until when.
//!
//! The XDP program enforces the leases, whether or not the daemon runs; see
//! [`knock_common::gate`]. The supervisor records which door a lease belongs to.

use std::{io, num::NonZeroU64, os::fd::AsFd as _, time::Duration};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use knock_common::gate::{Lease, LeaseKey, PROTECTED_LEN, Transport, protected_bit};
use knockd_runtime::clock::boottime;
use knockd_types::rules::{Port, nanoseconds};
use rustix::io::Errno;
use thiserror::Error;

/// The reason that a lease cannot be granted.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The map is full of unexpired leases.
    #[error("the gate has as many leases as `limits.leases` allows")]
    Full,
    /// A map operation failed.
    #[error("the gate's leases cannot be written: {0}")]
    Broken(#[from] MapError),
}

/// The maps of a loaded program that implement its gate.
#[derive(Debug)]
pub struct Gate {
    /// The map `LEASES`.
    pub(crate) leases: Map,
    /// The map `PROTECTED`.
    pub(crate) protected: Map,
    udp_idle: Duration,
}

impl Gate {
    /// The gate of the program with these maps.
    ///
    /// # Errors
    ///
    /// Returns an error if the maps have another layout.
    pub(crate) fn new(leases: Map, protected: Map, udp_idle: Duration) -> Result<Self, MapError> {
        let mut gate = Self {
            leases,
            protected,
            udp_idle,
        };
        gate.map()?;
        gate.map_mut()?;
        Array::<_, u64>::try_from(&gate.protected)?;
        Ok(gate)
    }

    fn map(&self) -> Result<HashMap<&MapData, LeaseKey, Lease>, MapError> {
        HashMap::try_from(&self.leases)
    }

    fn map_mut(&mut self) -> Result<HashMap<&mut MapData, LeaseKey, Lease>, MapError> {
        HashMap::try_from(&mut self.leases)
    }

    /// Grants leases for `keys` that expire after `left`, or extends existing ones. A lease that
    /// expires later is left unchanged.
    ///
    /// # Errors
    ///
    /// Returns [`OpenError`] if a lease cannot be written. Then the leases that this call has
    /// added are revoked.
    pub fn open(&mut self, keys: &[LeaseKey], left: Duration) -> Result<(), OpenError> {
        let expires_ns = nanoseconds(boottime() + left);
        let mut fresh = Vec::new();
        for key in keys {
            match self.extend(key, expires_ns) {
                Ok(true) => fresh.push(*key),
                Ok(false) => {}
                Err(error) => {
                    self.close(&fresh)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes one lease. Returns whether it is new.
    fn extend(&mut self, key: &LeaseKey, expires_ns: u64) -> Result<bool, OpenError> {
        let before = match self.map()?.get(key, 0) {
            Ok(lease) if lease.holds(nanoseconds(boottime()), self.idle_ns(key)) => Some(lease),
            // An expired lease counts as new, so that it is removed if a later step fails.
            Ok(_) | Err(MapError::KeyNotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let lease = Lease {
            expires_ns: before.map_or(expires_ns, |lease| lease.expires_ns.max(expires_ns)),
            seen_ns: before.map_or(0, |lease| lease.seen_ns),
        };
        match self.map_mut()?.insert(key, lease, 0) {
            Err(error) if errno(&error) == Some(Errno::TOOBIG) && self.sweep()? > 0 => {
                self.map_mut()?.insert(key, lease, 0)?;
            }
            Err(error) if errno(&error) == Some(Errno::TOOBIG) => return Err(OpenError::Full),
            written => written?,
        }
        Ok(before.is_none())
    }

    /// Shortens the lease of `key` to end after `left`, unless it ends earlier. Datagrams keep the
    /// lease of a UDP port in use after that. Does nothing if there is no such lease.
    ///
    /// # Errors
    ///
    /// Returns an error if the map operation fails. Then the lease is unchanged.
    pub fn shorten(&mut self, key: &LeaseKey, left: Duration) -> Result<(), MapError> {
        match self.map()?.get(key, 0) {
            Ok(lease) => {
                let expires_ns = nanoseconds(boottime() + left);
                if lease.expires_ns <= expires_ns {
                    return Ok(());
                }
                let lease = Lease {
                    expires_ns,
                    ..lease
                };
                self.map_mut()?.insert(key, lease, 0)
            }
            Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Revokes the leases of `keys`.
    ///
    /// # Errors
    ///
    /// Returns an error if the map operation fails. Then the remaining leases expire at their
    /// time.
    pub fn close(&mut self, keys: &[LeaseKey]) -> Result<(), MapError> {
        for key in keys {
            match self.map_mut()?.remove(key) {
                Err(error) if errno(&error) != Some(Errno::NOENT) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The longest remaining time of the leases of `keys`, including extensions by UDP traffic.
    /// Zero if there is no unexpired lease.
    #[must_use]
    pub fn left(&self, keys: &[LeaseKey]) -> Duration {
        let ends = keys.iter().filter_map(|key| {
            let lease = self.map().ok()?.get(key, 0).ok()?;
            Some(lease.ends_at(self.idle_ns(key)))
        });
        Duration::from_nanos(ends.max().unwrap_or_default()).saturating_sub(boottime())
    }

    /// The longest remaining time for which the leases of `keys` were granted. Extensions by UDP
    /// traffic do not count.
    #[must_use]
    pub fn granted(&self, keys: &[LeaseKey]) -> Duration {
        let ends = keys
            .iter()
            .filter_map(|key| Some(self.map().ok()?.get(key, 0).ok()?.expires_ns));
        Duration::from_nanos(ends.max().unwrap_or_default()).saturating_sub(boottime())
    }

    /// Whether the map contains a lease for one of `keys`, expired or not.
    #[must_use]
    pub fn knows(&self, keys: &[LeaseKey]) -> bool {
        let has = |map: &HashMap<&MapData, LeaseKey, Lease>, key| map.get(key, 0).is_ok();
        self.map()
            .is_ok_and(|map| keys.iter().any(|key| has(&map, key)))
    }

    /// For how long recent UDP traffic still extends the leases of `keys`, regardless of their
    /// own expiry. Zero without recent traffic, and for TCP.
    #[must_use]
    pub fn in_use(&self, keys: &[LeaseKey]) -> Duration {
        let ends = keys.iter().filter_map(|key| {
            let lease = self.map().ok()?.get(key, 0).ok()?;
            let without_expiry = Lease {
                expires_ns: 0,
                ..lease
            };
            Some(without_expiry.ends_at(self.idle_ns(key)))
        });
        Duration::from_nanos(ends.max().unwrap_or_default()).saturating_sub(boottime())
    }

    /// Removes all expired leases and returns their number.
    fn sweep(&mut self) -> Result<usize, MapError> {
        let now = nanoseconds(boottime());
        let mut ended = Vec::new();
        for entry in &self.map()? {
            let (key, lease) = entry?;
            if !lease.holds(now, self.idle_ns(&key)) {
                ended.push(key);
            }
        }
        self.close(&ended)?;
        Ok(ended.len())
    }

    /// Copies every unexpired lease of `other` with its remaining time.
    ///
    /// # Errors
    ///
    /// Returns [`OpenError`] if a lease cannot be read or written. Then some may be missing.
    pub fn adopt(&mut self, other: &Self) -> Result<(), OpenError> {
        for (key, _) in other.leases()? {
            self.open(&[key], other.left(&[key]))?;
        }
        Ok(())
    }

    /// All unexpired leases.
    ///
    /// # Errors
    ///
    /// Returns an error if the map cannot be read.
    pub fn leases(&self) -> Result<Vec<(LeaseKey, Lease)>, MapError> {
        let now = nanoseconds(boottime());
        let has_ended = |entry: &Result<(LeaseKey, Lease), MapError>| matches!(entry, Ok((key, lease)) if !lease.holds(now, self.idle_ns(key)));
        let map = self.map()?;
        map.iter().filter(|entry| !has_ended(entry)).collect()
    }

    /// Another handle to the same maps, for use on another thread.
    ///
    /// # Errors
    ///
    /// Returns an error if a file descriptor cannot be duplicated.
    pub fn try_clone(&self) -> Result<Self, MapError> {
        Self::new(again(&self.leases)?, again(&self.protected)?, self.udp_idle)
    }

    /// The protected ports.
    #[must_use]
    pub fn protected(&self) -> Vec<Port> {
        let Ok(map) = Array::<_, u64>::try_from(&self.protected) else {
            return Vec::new();
        };
        protected(&map)
    }

    fn idle_ns(&self, key: &LeaseKey) -> Option<NonZeroU64> {
        (key.protocol == Transport::Udp.number())
            .then(|| NonZeroU64::new(nanoseconds(self.udp_idle)))
            .flatten()
    }
}

/// Another handle to `map`, which must be of a type that a gate uses.
fn again(map: &Map) -> Result<Map, MapError> {
    let handle = |map: &MapData| MapData::from_fd(map.fd().as_fd().try_clone_to_owned()?);
    match map {
        Map::HashMap(map) => handle(map).map(Map::HashMap),
        Map::Array(map) => handle(map).map(Map::Array),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
    }
}

/// The ports whose bits are set in the map `PROTECTED`.
fn protected(map: &Array<&MapData, u64>) -> Vec<Port> {
    let bits: Vec<u64> = (0..PROTECTED_LEN)
        .map(|index| map.get(&index, 0).unwrap_or_default())
        .collect();
    [Transport::Tcp, Transport::Udp]
        .into_iter()
        .flat_map(|transport| (1..=u16::MAX).map(move |number| Port { transport, number }))
        .filter(|port| {
            let (index, bit) = protected_bit(port.transport, port.number);
            bits[index as usize] & bit != 0
        })
        .collect()
}

fn errno(error: &MapError) -> Option<Errno> {
    match error {
        MapError::SyscallError(error) => Errno::from_io_error(&error.io_error),
        MapError::KeyNotFound => Some(Errno::NOENT),
        _ => None,
    }
}
