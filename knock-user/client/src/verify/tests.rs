use std::num::NonZeroU32;

use knock_common::rate::Rate;
use proptest::prelude::*;

use super::*;

/// A doorway with a clock that only sleeping and knocking advance.
struct Fake {
    start: Instant,
    now: Instant,
    /// The time from the start at which the port answers; the answer takes `delay`.
    opens: Option<Duration>,
    /// Alternatively, the number of knocks after which the port answers.
    opens_after: Option<u32>,
    delay: Duration,
    /// The duration of a knock.
    knock: Duration,
    knocks: Vec<Duration>,
    attempts: Vec<Duration>,
    fails: Option<u32>,
}

impl Fake {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            now: start,
            opens: None,
            opens_after: None,
            delay: Duration::ZERO,
            knock: ms(264),
            knocks: Vec::new(),
            attempts: Vec::new(),
            fails: None,
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn verify(&mut self, timeout: &str) -> Result<Outcome, &'static str> {
        verify(self, 32, timeout.parse().unwrap())
    }
}

impl Doorway for Fake {
    type Error = &'static str;

    fn knock(&mut self, count: u32) -> Result<(), &'static str> {
        assert_eq!(self.knocks.len() + 1, count as usize);
        if self.fails == Some(count) {
            return Err("no network");
        }
        self.knocks.push(self.elapsed());
        self.now += self.knock;
        if self.opens_after == Some(count) {
            self.opens = Some(self.elapsed());
        }
        Ok(())
    }

    fn try_port(&mut self) {
        self.attempts.push(self.elapsed());
    }

    fn answers(&mut self) -> bool {
        let now = self.elapsed();
        self.opens.is_some_and(|opens| {
            let answered = |at: &Duration| *at >= opens && *at + self.delay <= now;
            self.attempts.iter().any(answered)
        })
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn sleep(&mut self, pause: Duration) {
        assert!(!pause.is_zero());
        self.now += pause;
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn an_open_door_is_knocked_on_once() {
    let mut door = Fake::new();
    door.opens = Some(ms(0));
    assert_eq!(door.verify("10s"), Ok(Outcome::WasOpen));
    assert_eq!(door.knocks.len(), 1);
    assert!(door.elapsed() < ms(300));
}

#[test]
fn a_door_that_opens_is_seen_soon() {
    for after in [0, 5, 30, 100, 300] {
        let mut door = Fake::new();
        door.opens = Some(ms(200 + 264 + after));
        assert_eq!(door.verify("10s"), Ok(Outcome::Opened(1)), "{after}");
        let seen = door.elapsed() - ms(464);
        assert!(seen <= ms(2 * after + 60), "{after}: {seen:?}");
    }
}

#[test]
fn a_slow_answer_is_waited_for_across_rounds() {
    let mut door = Fake::new();
    door.opens = Some(ms(0));
    door.delay = ms(700);
    let outcome = door.verify("10s").unwrap();
    assert!(matches!(outcome, Outcome::Opened(1 | 2)), "{outcome:?}");
}

#[test]
fn a_lost_knock_is_repeated_at_growing_intervals() {
    let mut door = Fake::new();
    door.opens_after = Some(5);
    assert_eq!(door.verify("10s"), Ok(Outcome::Opened(5)));
    let gaps: Vec<Duration> = door.knocks.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.is_sorted() && gaps[0] >= ms(500), "{gaps:?}");
    assert!(gaps[3] > 2 * gaps[0], "{gaps:?}");
}

#[test]
fn it_ends_when_the_time_is_over() {
    let mut door = Fake::new();
    assert_eq!(door.verify("10s"), Ok(Outcome::Silent(6)));
    let overtime = door.elapsed() - ms(464 + 10_000);
    assert!(overtime <= POLL, "{overtime:?}");
    let last = *door.knocks.last().unwrap();
    assert!(door.elapsed() - last >= FIRST_ROUND);
}

#[test]
fn even_the_shortest_timeout_has_a_knock_and_a_check() {
    let mut door = Fake::new();
    assert_eq!(door.verify("1ms"), Ok(Outcome::Silent(1)));
    let mut door = Fake::new();
    door.opens_after = Some(1);
    assert_eq!(door.verify("1ms"), Ok(Outcome::Opened(1)));
}

#[test]
fn a_knock_that_cannot_be_sent_is_an_error() {
    for count in [1, 3] {
        let mut door = Fake::new();
        door.fails = Some(count);
        assert_eq!(door.verify("10s"), Err("no network"));
    }
}

#[test]
fn ports_are_tcp_ports() {
    assert_eq!("tcp/22".parse().map(TcpPort::get), Ok(22));
    assert_eq!(
        "tcp/65535".parse::<TcpPort>().unwrap().to_string(),
        "tcp/65535"
    );
    for text in [
        "",
        "22",
        "tcp",
        "tcp/",
        "tcp/0",
        "tcp/65536",
        "tcp/+22",
        "udp/53",
        "TCP/22",
        "tcp/ssh",
    ] {
        assert_eq!(text.parse::<TcpPort>(), Err(InvalidTcpPort), "{text}");
    }
}

#[test]
fn timeouts_are_bounded() {
    let timeout: Timeout = "90s".parse().unwrap();
    assert_eq!(timeout.get(), Duration::from_secs(90));
    assert_eq!(timeout.to_string(), "1m 30s");
    for text in ["", "0s", "10", "-1s", "61m", "1h 1s"] {
        assert_eq!(text.parse::<Timeout>(), Err(InvalidTimeout), "{text}");
    }
}

proptest! {
    /// The daemon's token bucket for one source, with its default settings.
    #[test]
    fn the_daemon_takes_every_syn(
        copies in 1..=crate::pace::Copies::MAX,
        timeout in 1_u64..600,
        delay in 0_u64..20,
    ) {
        let syns = u64::from(copies) * 16;
        let mut door = Fake::new();
        door.knock = ms(syns * delay + 200);
        let outcome = verify(&mut door, syns, format!("{timeout}s").parse().unwrap());
        prop_assert_eq!(outcome, Ok(Outcome::Silent(u32::try_from(door.knocks.len()).unwrap())));

        let rate = Rate::new(NonZeroU32::new(64).unwrap(), NonZeroU32::new(128).unwrap());
        let mut bucket = 0;
        for knock in &door.knocks {
            for syn in 0..syns {
                let at = 1_000_000_000 + u64::try_from((*knock + ms(syn * delay)).as_nanos()).unwrap();
                bucket = rate.take(bucket, at).ok_or_else(|| TestCaseError::fail("refused"))?;
            }
        }
    }

    /// The number of connection attempts is limited, too.
    #[test]
    fn attempts_are_no_flood(timeout in 1_u64..600) {
        let mut door = Fake::new();
        let outcome = door.verify(&format!("{timeout}s"));
        prop_assert!(outcome.is_ok());
        let per_second = door.attempts.len() as u64 / (timeout + 1);
        prop_assert!(per_second <= 10, "{}", per_second);
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        let _ = (text.parse::<TcpPort>(), text.parse::<Timeout>());
    }
}
