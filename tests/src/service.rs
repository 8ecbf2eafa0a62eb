//! A TCP service behind the gate, and its clients.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{netns::Namespace, scene::SOON};

/// How often a connection is attempted: two processors may handle two of them in another order.
const ATTEMPTS: usize = 3;

/// A TCP service that sends one greeting line to each connection and then echoes every line. It
/// stops and closes its connections when this is dropped.
#[derive(Debug)]
pub struct Greeter {
    listener: TcpListener,
    connections: Connections,
    thread: Option<JoinHandle<()>>,
}

/// Weak, so that a closed connection does not keep its file descriptor open.
type Connections = Arc<Mutex<Vec<Weak<TcpStream>>>>;

impl Greeter {
    /// The first line of each connection.
    pub const GREETING: &str = "Hello from behind the door.";

    /// Listens in `namespace` on `port` of every IPv4 and IPv6 address; 0 selects a free port.
    ///
    /// # Errors
    ///
    /// Returns an error if the port is in use or the namespace cannot be entered.
    pub fn start(namespace: &Namespace, port: u16) -> Result<Self> {
        let listener: TcpListener = namespace.run(|| {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_only_v6(false)?;
            socket.set_reuse_address(true)?;
            socket
                .bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())
                .with_context(|| format!("cannot listen on port {port}"))?;
            socket.listen(128)?;
            Ok(socket.into())
        })?;
        let connections = Connections::default();
        let thread = thread::spawn({
            let listener = listener.try_clone()?;
            let connections = Arc::clone(&connections);
            move || serve(&listener, &connections)
        });
        Ok(Self {
            listener,
            connections,
            thread: Some(thread),
        })
    }

    /// The listening port.
    ///
    /// # Errors
    ///
    /// Returns an error if getsockname(2) fails.
    pub fn port(&self) -> Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        // Unblocks `accept`.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for connection in connections.drain(..).filter_map(|held| held.upgrade()) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn serve(listener: &TcpListener, connections: &Connections) {
    while let Ok((connection, _)) = listener.accept() {
        let connection = Arc::new(connection);
        connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&connection));
        // Errors of a connection are visible to its client.
        thread::spawn(move || greet(&connection));
    }
}

fn greet(mut connection: &TcpStream) -> io::Result<()> {
    writeln!(connection, "{}", Greeter::GREETING)?;
    let mut lines = BufReader::new(connection);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        connection.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// A connection to a [`Greeter`] that has received the greeting.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
    greeting: String,
}

impl Session {
    /// Connects from `namespace` and waits for the greeting. `source` is the local address; by
    /// default the kernel selects it.
    ///
    /// # Errors
    ///
    /// Returns `TimedOut` if nothing answers within `timeout`, `ConnectionRefused` if the host
    /// resets the connection, and so on.
    pub fn open(
        namespace: &Namespace,
        source: Option<IpAddr>,
        destination: SocketAddr,
        timeout: Duration,
    ) -> io::Result<Self> {
        let stream = namespace
            .run(|| Ok(connect(source, destination, timeout)))
            .map_err(io::Error::other)??;
        let mut session = Self {
            stream: BufReader::new(stream),
            greeting: String::new(),
        };
        session.greeting = session.read()?;
        Ok(session)
    }

    /// The greeting that the service sent.
    #[must_use]
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// The local address of the client.
    ///
    /// # Errors
    ///
    /// Returns an error if getsockname(2) fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// Sends a line and waits for its echo, to check that the connection still works.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection is closed or the echo does not arrive within the timeout
    /// of `open`.
    pub fn ask(&mut self, line: &str) -> io::Result<String> {
        writeln!(self.stream.get_mut(), "{line}")?;
        self.read()
    }

    fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            // Linux reports a read timeout as `WouldBlock`.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }
}

/// Connects to a [`Greeter`] and returns its greeting; see [`Session::open`].
///
/// # Errors
///
/// Returns the errors of [`Session::open`].
pub fn try_connect(
    namespace: &Namespace,
    source: Option<IpAddr>,
    destination: SocketAddr,
    timeout: Duration,
) -> io::Result<String> {
    Session::open(namespace, source, destination, timeout).map(|session| session.greeting)
}

/// Whether `destination`, a [`Greeter`], is reached from `source`. Packets decide, and no time limit
/// that a busy machine exceeds: `witness` is an address that is always admitted, and an attempt is
/// dropped if it has no answer when a later connection from there has its greeting.
///
/// # Errors
///
/// Returns an error if the witness is not admitted, or if a socket cannot be had.
pub fn is_admitted(
    namespace: &Namespace,
    source: IpAddr,
    witness: IpAddr,
    destination: SocketAddr,
) -> io::Result<bool> {
    for _ in 0..ATTEMPTS {
        let attempt = namespace
            .run(|| Ok(begin(source, destination)))
            .map_err(io::Error::other)??;
        Session::open(namespace, Some(witness), destination, SOON)?;
        let mut answered = [PollFd::new(&attempt, PollFlags::OUT)];
        let is_answered = poll(&mut answered, Some(&Timespec::default()))? > 0;
        if is_answered && attempt.take_error()?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Begins to connect, without waiting.
fn begin(source: IpAddr, destination: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(destination);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.set_nonblocking(true)?;
    match socket.connect(&destination.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

fn connect(
    source: Option<IpAddr>,
    destination: SocketAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let domain = Domain::for_address(destination);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&destination.into(), timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    Ok(socket.into())
}
