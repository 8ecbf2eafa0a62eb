use std::{cell::RefCell, net::IpAddr, rc::Rc};

use knock_common::{
    protocol::classic::{ClassicKey, Sequence},
    window::Window,
};
use proptest::prelude::*;

use super::*;
use crate::pace::Copies;

/// An event on a [`Recorder`], with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Bound { port: u16 },
    Syn { from: u16, to: u16 },
    Closed { port: u16 },
}

type Log = Rc<RefCell<Vec<(Instant, Event)>>>;

/// Decides whether the event with this number fails.
type Fault = fn(n: usize, Event) -> Option<io::ErrorKind>;

/// A stack that sends nothing, with a clock that only `sleep` advances.
struct Recorder {
    now: Rc<RefCell<Instant>>,
    log: Log,
    fault: Fault,
}

struct RecordedSocket {
    port: u16,
    now: Rc<RefCell<Instant>>,
    log: Log,
}

impl Drop for RecordedSocket {
    fn drop(&mut self) {
        let closed = Event::Closed { port: self.port };
        self.log.borrow_mut().push((*self.now.borrow(), closed));
    }
}

impl Recorder {
    fn new(fault: Fault) -> Self {
        Self {
            now: Rc::new(RefCell::new(Instant::now())),
            log: Log::default(),
            fault,
        }
    }

    fn record(&self, event: Event) -> io::Result<()> {
        let mut log = self.log.borrow_mut();
        if let Some(kind) = (self.fault)(log.len(), event) {
            return Err(kind.into());
        }
        log.push((self.now(), event));
        Ok(())
    }

    fn syns(&self) -> Vec<(u16, u16)> {
        self.log
            .borrow()
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Syn { from, to } => Some((*from, *to)),
                _ => None,
            })
            .collect()
    }
}

impl Stack for Recorder {
    type Socket = RecordedSocket;

    fn bind(&mut self, _to: std::net::SocketAddr, port: u16) -> io::Result<RecordedSocket> {
        self.record(Event::Bound { port })?;
        Ok(RecordedSocket {
            port,
            now: self.now.clone(),
            log: self.log.clone(),
        })
    }

    fn connect(&mut self, socket: &RecordedSocket, to: std::net::SocketAddr) -> io::Result<()> {
        self.record(Event::Syn {
            from: socket.port,
            to: to.port(),
        })
    }

    fn now(&self) -> Instant {
        *self.now.borrow()
    }

    fn sleep(&mut self, pause: Duration) {
        *self.now.borrow_mut() += pause;
    }
}

fn knock() -> Knock {
    let key = ClassicKey::from_passphrase(b"correct horse battery staple");
    let sequence = Sequence::new(&[1, 2, 3, 4]).unwrap();
    Knock::classic(&key, &sequence, Window::DEFAULT)
}

fn pace(delay: &str, copies: &str) -> Pace {
    Pace {
        delay: delay.parse().unwrap(),
        copies: copies.parse().unwrap(),
    }
}

/// Source ports that begin at 50000, 50001, …: one candidate for each try.
fn places(n: u16) -> impl Iterator<Item = SourcePorts> {
    (50000..50000 + n).map(|port| {
        let range = port..=port + 15;
        SourcePorts::choose(&range, Window::DEFAULT, 0).unwrap()
    })
}

fn run(fault: Fault, pace: Pace) -> (Recorder, Result<Sent, SendError>) {
    let mut recorder = Recorder::new(fault);
    let to = IpAddr::from([192, 0, 2, 7]).into();
    let sent = send_through(&mut recorder, places(3), &knock(), to, pace);
    (recorder, sent)
}

fn chain(error: SendError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

fn copy_from(first: u16) -> Vec<(u16, u16)> {
    (first..first + 16).zip(knock().ports()).collect()
}

#[test]
fn copies_are_complete_rounds_from_the_same_ports() {
    let (recorder, sent) = run(|_, _| None, pace("2ms", "3"));
    let sent = sent.unwrap();
    assert_eq!(sent.source.ports()[0], 50000);
    assert!(sent.note().is_none());
    assert_eq!(recorder.syns(), copy_from(50000).repeat(3));
}

#[test]
fn a_port_is_closed_before_it_is_bound_again() {
    let (recorder, _) = run(|_, _| None, pace("0", "8"));
    let mut open = [false; 16];
    for (_, event) in recorder.log.borrow().iter() {
        match event {
            Event::Bound { port } => assert!(!std::mem::replace(
                &mut open[usize::from(port - 50000)],
                true
            )),
            Event::Closed { port } => open[usize::from(port - 50000)] = false,
            Event::Syn { .. } => {}
        }
    }
    assert_eq!(open, [false; 16]);
}

#[test]
fn a_taken_port_costs_no_syn() {
    const IN_THE_WAY: Event = Event::Bound { port: 50000 };
    let faults: [Fault; 2] = [
        |_, event| (event == IN_THE_WAY).then_some(io::ErrorKind::AddrInUse),
        |_, event| (event == IN_THE_WAY).then_some(io::ErrorKind::PermissionDenied),
    ];
    for fault in faults {
        let (recorder, sent) = run(fault, pace("2ms", "1"));
        assert_eq!(sent.unwrap().source.ports()[0], 50001);
        assert_eq!(recorder.syns(), copy_from(50001));
    }
}

#[test]
fn a_connection_that_still_exists_is_avoided() {
    let (recorder, sent) = run(
        |_, event| match event {
            Event::Syn { from: 50000, .. } => Some(io::ErrorKind::AddrNotAvailable),
            _ => None,
        },
        pace("2ms", "1"),
    );
    assert_eq!(sent.unwrap().source.ports()[0], 50001);
    assert_eq!(recorder.syns(), copy_from(50001));
}

#[test]
fn the_number_of_tries_is_bounded() {
    let (recorder, sent) = run(|_, _| Some(io::ErrorKind::AddrInUse), pace("2ms", "2"));
    let error = chain(sent.unwrap_err());
    assert!(
        error.starts_with(
            "cannot knock on 192.0.2.7: no 16 consecutive source ports are free (tried 3 ranges): "
        ),
        "{error}"
    );
    assert!(recorder.log.borrow().is_empty());
}

#[test]
fn an_unreachable_address_is_named_and_not_tried_again() {
    let faults: [Fault; 2] = [
        |_, event| matches!(event, Event::Syn { .. }).then_some(io::ErrorKind::NetworkUnreachable),
        |_, event| matches!(event, Event::Syn { .. }).then_some(io::ErrorKind::PermissionDenied),
    ];
    for fault in faults {
        let (recorder, sent) = run(fault, pace("2ms", "2"));
        let error = chain(sent.unwrap_err());
        assert!(error.starts_with("cannot knock on 192.0.2.7: "), "{error}");
        let bound = |(_, event): &&(Instant, Event)| matches!(event, Event::Bound { .. });
        assert_eq!(recorder.log.borrow().iter().filter(bound).count(), 16);
    }
}

#[test]
fn an_incomplete_copy_is_noted() {
    // The first copy records 32 events before a port is bound a second time.
    let (recorder, sent) = run(
        |n, event| match event {
            Event::Bound { port: 50003 } if n > 32 => Some(io::ErrorKind::AddrInUse),
            _ => None,
        },
        pace("2ms", "3"),
    );
    let sent = sent.unwrap();
    let note = sent.note().unwrap();
    assert!(note.contains("2 SYNs of its further copies"), "{note}");
    assert!(note.contains("copy 2 from port 50003"), "{note}");
    let mut expected = copy_from(50000).repeat(3);
    expected.remove(32 + 3);
    expected.remove(16 + 3);
    assert_eq!(recorder.syns(), expected);
}

proptest! {
    #[test]
    fn every_socket_is_held_a_while_and_closed_before_its_syn_is_sent_again(
        delay in 0..=500_u64,
        copies in 1..=Copies::MAX,
    ) {
        let pace = Pace {
            delay: Duration::from_millis(delay).try_into().unwrap(),
            copies: copies.to_string().parse().unwrap(),
        };
        let (recorder, sent) = run(|_, _| None, pace);
        prop_assert!(sent.is_ok());
        let log = recorder.log.borrow();
        for (i, (sent_at, event)) in log.iter().enumerate() {
            let Event::Syn { from, .. } = event else { continue };
            let closed = log[i..].iter().find(|(_, event)| *event == Event::Closed { port: *from });
            let held = closed.unwrap().0 - *sent_at;
            prop_assert!(held < RETRANSMISSION, "{held:?}");
            // A further copy may need the port earlier.
            prop_assert!(held >= HOLD.min(Duration::from_millis(16 * delay)), "{held:?}");
        }
    }
}
