//! Attempts at connecting to a port, several of them at a time.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

/// How long one attempt lasts. The system sends its SYN again after a second, which also
/// gets through where the door has opened meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

/// As many attempts as can be under way: more than [`PATIENCE`] lets a schedule reach.
const MAX: usize = 64;

/// Attempts at connecting to the same port of a server's addresses.
///
/// Each lasts as long as a slow link needs, and the next does not wait for it: where a SYN
/// is dropped, because the door is still closed, only another one will find it open.
#[derive(Debug)]
pub struct Attempts {
    targets: Vec<SocketAddr>,
    under_way: usize,
    sender: Sender<io::Result<()>>,
    receiver: Receiver<io::Result<()>>,
    succeeded: bool,
    refused: bool,
}

impl Attempts {
    /// No attempt yet at the port of `targets`.
    #[must_use]
    pub fn at(targets: Vec<SocketAddr>) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self {
            targets,
            under_way: 0,
            sender,
            receiver,
            succeeded: false,
            refused: false,
        }
    }

    /// Starts one at each address.
    pub fn start(&mut self) {
        for target in self.targets.clone() {
            self.collect();
            if self.under_way == MAX {
                return;
            }
            let sender = self.sender.clone();
            // A thread, because it is what connects with a time limit on every system.
            let attempt = thread::Builder::new().spawn(move || {
                // If nobody listens any more, one has succeeded.
                let _ = sender.send(connect(target));
            });
            // Without a thread there is no attempt, and the next may have one.
            self.under_way += usize::from(attempt.is_ok());
        }
    }

    /// Whether one has succeeded.
    pub fn succeeded(&mut self) -> bool {
        self.collect();
        self.succeeded
    }

    /// Whether one was refused: somebody is there, but nobody listens.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.refused
    }

    fn collect(&mut self) {
        for result in self.receiver.try_iter() {
            self.under_way = self.under_way.saturating_sub(1);
            match result {
                Ok(()) => self.succeeded = true,
                Err(error) => self.refused |= error.kind() == io::ErrorKind::ConnectionRefused,
            }
        }
    }
}

fn connect(target: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    // A host that knocks on itself can happen to choose the port as its own, and a connection
    // to itself succeeds though nobody listens (RFC 9293, section 3.5).
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener},
        time::Instant,
    };

    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }

    fn wait_until(mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !done() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn any_address_that_answers_is_a_success() {
        let (closed, open) = (listener(), listener());
        let targets = vec![closed.local_addr().unwrap(), open.local_addr().unwrap()];
        drop(closed);
        let mut attempts = Attempts::at(targets);
        assert!(!attempts.succeeded());
        attempts.start();
        wait_until(|| attempts.succeeded());
        assert!(attempts.succeeded());
    }

    #[test]
    fn a_refusal_is_none() {
        let closed = listener();
        let target = closed.local_addr().unwrap();
        drop(closed);
        let mut attempts = Attempts::at(vec![target]);
        attempts.start();
        wait_until(|| {
            attempts.collect();
            attempts.under_way == 0
        });
        assert!(!attempts.succeeded() && attempts.refused());
    }

    #[test]
    fn attempts_are_bounded() {
        let open = listener();
        let mut attempts = Attempts::at(vec![open.local_addr().unwrap()]);
        attempts.under_way = MAX;
        attempts.start();
        thread::sleep(Duration::from_millis(50));
        assert!(!attempts.succeeded());
    }
}
