//! The time of a server, by SNTP (RFC 4330; RFC 5905, section 14).
//!
//! The answer is not authenticated: whoever is on the path can give any time. With a wrong time the
//! knock fails, or is valid later, for whoever recorded it at the address that it is bound to.

use std::time::{Duration, Instant};

use crate::{
    server::Families,
    service::{Answer, Service, ServiceError},
};

/// The port of NTP.
pub(crate) const PORT: u16 = 123;

const LEN: usize = 48;

/// No warning, version 4, mode 3 (client).
const CLIENT: u8 = 4 << 3 | 3;

/// The mode of a server.
const SERVER: u8 = 4;

/// "The clock is not synchronized" in the leap indicator.
const UNSYNCHRONIZED: u8 = 3;

/// The number of seconds from 1900 to 1970.
const FROM_1900: u64 = 2_208_988_800;

/// Asks `service` for the time. Returns the time since 1970, and the instant at which it was so.
///
/// # Errors
///
/// Returns [`ServiceError`] if there is no answer, or none with a time.
pub(super) fn time(service: &Service) -> Result<(Duration, Instant), ServiceError> {
    // In the place of the time, which the server only returns. It is nobody's business that this
    // host's clock is wrong, and nobody off the path can guess the number.
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| ServiceError::Io(std::io::Error::other(error)))?;
    let mut request = [0; LEN];
    request[0] = CLIENT;
    request[40..].copy_from_slice(&nonce);
    let sent = Instant::now();
    service.ask(Families::Both, &request, &[], |packet| {
        let answered = Instant::now();
        match read(packet, nonce) {
            Answer::Good(times) => Answer::Good((times.at(sent, answered), answered)),
            Answer::Bad(reason) => Answer::Bad(reason),
            Answer::Unrelated => Answer::Unrelated,
        }
    })
}

/// When the server received the request and sent its answer, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    received: Duration,
    transmitted: Duration,
}

impl Times {
    /// The time at `answered`. The way back is taken to be half of the time on the way.
    pub(crate) fn at(self, sent: Instant, answered: Instant) -> Duration {
        let waited = answered.saturating_duration_since(sent);
        let in_server = self.transmitted.saturating_sub(self.received);
        let way_back = waited.saturating_sub(in_server) / 2;
        self.transmitted + way_back
    }
}

pub(crate) fn read(packet: &[u8], nonce: [u8; 8]) -> Answer<Times> {
    // Extension fields and a MAC may follow.
    let Some(packet) = packet.first_chunk::<LEN>() else {
        return Answer::Unrelated;
    };
    let [first, stratum, ..] = *packet;
    if first & 7 != SERVER || packet[24..32] != nonce {
        return Answer::Unrelated;
    }
    match stratum {
        // RFC 5905, section 7.4: the kiss of death.
        0 => match &packet[12..16] {
            b"RATE" => return Answer::Bad("it was asked too often (kiss code RATE)"),
            b"DENY" | b"RSTR" => return Answer::Bad("it denies access (kiss code DENY or RSTR)"),
            _ => return Answer::Bad("it refuses to tell the time (a kiss code)"),
        },
        1..=15 => {}
        _ => return Answer::Bad("its clock is not synchronized (stratum 16 or more)"),
    }
    if first >> 6 == UNSYNCHRONIZED {
        return Answer::Bad("its clock is not synchronized");
    }
    match (timestamp(packet, 32), timestamp(packet, 40)) {
        (Some(received), Some(transmitted)) => Answer::Good(Times {
            received,
            transmitted,
        }),
        _ => Answer::Bad("its answer contains no time"),
    }
}

/// The timestamp at `place`, since 1970; `None` if it is not set. Seconds below 2^31 are those after
/// 2036 (RFC 4330, section 3).
fn timestamp(packet: &[u8; LEN], place: usize) -> Option<Duration> {
    let word = |place: usize| {
        u64::from(u32::from_be_bytes(std::array::from_fn(|i| {
            packet[place + i]
        })))
    };
    let (seconds, fraction) = (word(place), word(place + 4));
    if (seconds, fraction) == (0, 0) {
        return None;
    }
    let era = if seconds < 1 << 31 { 1 << 32 } else { 0 };
    let nanos = u32::try_from((fraction * 1_000_000_000) >> 32).ok()?;
    Some(Duration::new(
        (era + seconds).checked_sub(FROM_1900)?,
        nanos,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::respond;

    const NOW: u64 = 1_800_000_000;

    /// A good answer to `request` that shows the Unix time `seconds`.
    fn answer(request: &[u8], seconds: u64) -> [u8; LEN] {
        let mut packet = [0; LEN];
        packet[0] = 4 << 3 | SERVER;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&request[40..48]);
        let seconds = u32::try_from((seconds + FROM_1900) & 0xffff_ffff).unwrap();
        for place in [32, 40] {
            packet[place..place + 4].copy_from_slice(&seconds.to_be_bytes());
        }
        packet
    }

    fn asked(mut reply: impl FnMut(&[u8], &dyn Fn(&[u8])) + Send + 'static) -> Result<u64, String> {
        let address = respond(move |request, send| reply(request, send));
        let service = Service::parse(&address.to_string(), PORT).unwrap();
        match time(&service) {
            Ok((time, _)) => Ok(time.as_secs()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_servers_time_is_taken() {
        let time = asked(|request, send| {
            assert_eq!(request.len(), LEN);
            assert_eq!(request[0], 0x23);
            send(&answer(request, NOW));
        });
        assert_eq!(time, Ok(NOW));
        // The counter of seconds starts again in 2036.
        let time = asked(|request, send| send(&answer(request, 2_100_000_000)));
        assert_eq!(time, Ok(2_100_000_000));
    }

    #[test]
    fn the_time_on_the_way_counts_half() {
        let times = |received, transmitted| Times {
            received: Duration::from_millis(received),
            transmitted: Duration::from_millis(transmitted),
        };
        let sent = Instant::now();
        let answered = sent + Duration::from_millis(600);
        let at = |times: Times| times.at(sent, answered).as_millis();
        // 200 ms in the server, 400 ms on the way.
        assert_eq!(at(times(5000, 5200)), 5400);
        // A server whose times make no sense.
        assert_eq!(at(times(5200, 5000)), 5300);
        assert_eq!(at(times(0, 5000)), 5000);
    }

    #[test]
    fn a_forged_answer_is_ignored() {
        let time = asked(|request, send| {
            let good = answer(request, NOW);
            let mut forged = good;
            forged[24] ^= 1;
            send(&forged);
            // Truncated, in another mode, and empty.
            send(&good[..LEN - 1]);
            let mut request = good;
            request[0] = CLIENT;
            send(&request);
            send(&[]);
            send(&good);
        });
        assert_eq!(time, Ok(NOW));
    }

    #[test]
    fn a_server_without_the_time_is_named() {
        let changed = |change: fn(&mut [u8; LEN])| {
            asked(move |request, send| {
                let mut packet = answer(request, NOW);
                change(&mut packet);
                send(&packet);
            })
        };
        let kiss = |packet: &mut [u8; LEN], code: &[u8]| {
            packet[1] = 0;
            packet[12..16].copy_from_slice(code);
        };
        for (answer, expected) in [
            (changed(|packet| packet[1] = 16), "not synchronized"),
            (changed(|packet| packet[1] = 255), "not synchronized"),
            (changed(|packet| packet[0] |= 0xc0), "not synchronized"),
            (changed(|packet| packet[32..].fill(0)), "contains no time"),
        ] {
            let error = answer.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for (code, expected) in [
            (b"RATE", "too often"),
            (b"DENY", "denies access"),
            (b"\x1b[2J", "refuses"),
        ] {
            let error = asked(move |request, send| {
                let mut packet = answer(request, NOW);
                kiss(&mut packet, code);
                send(&packet);
            })
            .unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\x1b'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_packet_is_read_or_refused(packet: Vec<u8>, nonce: [u8; 8]) {
            let _ = read(&packet, nonce);
        }

        #[test]
        fn any_answer_is_read_or_refused(mut packet in prop::collection::vec(any::<u8>(), 48..80)) {
            packet[0] = packet[0] & !7 | SERVER;
            packet[24..32].fill(7);
            prop_assert!(!matches!(read(&packet, [7; 8]), Answer::Unrelated));
        }

        #[test]
        fn a_timestamp_is_exact(seconds in 0..1_u64 << 32, nanos in 0..1_000_000_000_u64) {
            let mut packet = [0; LEN];
            let fraction = (nanos << 32).div_ceil(1_000_000_000);
            packet[32..36].copy_from_slice(&u32::try_from(seconds).unwrap().to_be_bytes());
            packet[36..40].copy_from_slice(&u32::try_from(fraction).unwrap().to_be_bytes());
            prop_assume!(packet[32..40] != [0; 8]);
            let era = if seconds < 1 << 31 { 1 << 32 } else { 0 };
            let read = timestamp(&packet, 32);
            let expected = (era + seconds).checked_sub(FROM_1900);
            let expected = expected.map(|unix| Duration::new(unix, u32::try_from(nanos).unwrap()));
            prop_assert_eq!(read, expected);
        }
    }
}
