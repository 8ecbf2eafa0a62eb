//! Concurrent TCP connection attempts.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

/// The timeout of one attempt. Within it the system retransmits the SYN after one second, which
/// also succeeds if the door opened in the meantime.
const PATIENCE: Duration = Duration::from_secs(3);

/// The maximum number of concurrent attempts; more than the schedule starts in [`PATIENCE`].
const MAX: usize = 64;

/// Connection attempts to the same port on the server's addresses.
///
/// Each attempt lasts as long as a slow network needs. The next one does not wait for it, because
/// a SYN that a closed door dropped is lost: only a new SYN finds the door open.
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
    /// Prepares attempts to `targets`, without starting one.
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

    /// Starts one attempt to each address.
    pub fn start(&mut self) {
        for target in self.targets.clone() {
            self.collect();
            if self.under_way == MAX {
                return;
            }
            let sender = self.sender.clone();
            // A thread, because connecting with a timeout works that way on every system.
            let attempt = thread::Builder::new().spawn(move || {
                // The receiver is gone if another attempt has succeeded.
                let _ = sender.send(connect(target));
            });
            // If there is no thread for this attempt, the next one may get one.
            self.under_way += usize::from(attempt.is_ok());
        }
    }

    /// Whether one attempt has succeeded.
    pub fn succeeded(&mut self) -> bool {
        self.collect();
        self.succeeded
    }

    /// Whether one was refused: the host is reachable, but nothing listens on the port.
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
    // A host that knocks on itself may use the port as its source port. Then it connects to
    // itself although nothing listens (RFC 9293, section 3.5).
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
    fn a_refused_connection_is_no_success() {
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
