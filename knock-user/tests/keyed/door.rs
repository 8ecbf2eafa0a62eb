//! A door on the loopback interface: a window that receives knocks, and a port that opens.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use knock_common::{
    protocol::{
        block::Block,
        syn::{Request, SynKey},
    },
    window::Window,
};
use socket2::{Domain, Socket, Type};

/// Long enough for slow machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A window in which all 256 ports listen.
pub(crate) struct Receiver {
    window: Window,
    /// The source port and the offset of each connection.
    connections: mpsc::Receiver<(u16, u8)>,
    received: BTreeMap<u16, u8>,
    is_over: Arc<AtomicBool>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Receiver {
    /// Listens on the first free window. It is below the source ports that knocks use first, so
    /// that concurrent tests do not block its ports.
    pub(crate) fn open() -> Self {
        let listen = |port| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            listener.set_nonblocking(true).map(|()| listener)
        };
        (10_000..30_000)
            .step_by(256)
            .find_map(|base| {
                let listeners: Result<Vec<_>, _> = (base..base + 256).map(listen).collect();
                let (sender, connections) = mpsc::channel();
                let is_over = Arc::new(AtomicBool::new(false));
                accept(listeners.ok()?, sender, Arc::clone(&is_over));
                Some(Self {
                    window: Window::new(base).unwrap(),
                    connections,
                    received: BTreeMap::new(),
                    is_over,
                })
            })
            .unwrap()
    }

    pub(crate) fn base(&self) -> String {
        self.window.base().to_string()
    }

    /// The next knock, assembled by source port as in the daemon.
    pub(crate) fn knock(&mut self) -> Block {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(block) = self.complete() {
                return block;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let connection = self.connections.recv_timeout(left);
            let (port, offset) = connection.expect("no knock arrives");
            self.received.insert(port, offset);
        }
    }

    fn complete(&mut self) -> Option<Block> {
        let first = self
            .received
            .keys()
            .copied()
            .find(|first| (1..16).all(|i| self.received.contains_key(&(first + i))))?;
        let offsets = std::array::from_fn(|i| {
            let port = first + u16::try_from(i).unwrap();
            self.received.remove(&port).unwrap()
        });
        Some(Block(offsets))
    }
}

/// Accepts connections until `is_over`. On Windows those that were reset before cannot be accepted, so
/// this does not wait until the client has ended.
fn accept(
    listeners: Vec<TcpListener>,
    connections: mpsc::Sender<(u16, u8)>,
    is_over: Arc<AtomicBool>,
) {
    thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            for (offset, listener) in (0..=u8::MAX).zip(&listeners) {
                while let Ok((_, peer)) = listener.accept() {
                    // Fails when nobody waits for a knock any more.
                    let _ = connections.send((peer.port(), offset));
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
}

/// A port that is reserved for this test.
pub(crate) struct Port {
    socket: Socket,
    address: SocketAddr,
}

impl Port {
    /// A port that refuses connections.
    pub(crate) fn closed() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { socket, address }
    }

    pub(crate) fn open(self) -> Self {
        self.socket.listen(64).unwrap();
        self
    }

    /// The port in the form of `--verify`.
    pub(crate) fn name(&self) -> String {
        format!("tcp/{}", self.address.port())
    }
}

/// Opens `block`, and checks that the request was made within the last minute.
pub(crate) fn request(key: &SynKey, block: &Block) -> Request {
    let request = Request::open(key, block).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_millis()).unwrap();
    request.check_time(now, Duration::from_secs(60)).unwrap();
    request
}
