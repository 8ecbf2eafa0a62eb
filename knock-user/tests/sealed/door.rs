//! A door on the loopback interface: a window that hears knocks, and a port that opens.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use knock_common::{
    protocol::{block::Block, key::SealedKey, sealed::Request},
    window::Window,
};
use socket2::{Domain, Socket, Type};

/// Long enough for every machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A window whose 256 ports all listen.
pub(crate) struct Ears {
    window: Window,
    listeners: Vec<TcpListener>,
    heard: BTreeMap<u16, u8>,
}

impl Ears {
    /// In the first window that is free. Below the source ports that are tried first, so that
    /// tests that knock at the same time are not in the way.
    pub(crate) fn open() -> Self {
        let listen = |port| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            listener.set_nonblocking(true).map(|()| listener)
        };
        (10_000..30_000)
            .step_by(256)
            .find_map(|base| {
                let listeners = (base..base + 256).map(listen).collect::<Result<_, _>>();
                Some(Self {
                    window: Window::new(base).unwrap(),
                    listeners: listeners.ok()?,
                    heard: BTreeMap::new(),
                })
            })
            .unwrap()
    }

    pub(crate) fn base(&self) -> String {
        self.window.base().to_string()
    }

    /// The next knock, put together from its source ports as the daemon would.
    pub(crate) fn knock(&mut self) -> Block {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(block) = self.complete() {
                return block;
            }
            assert!(Instant::now() < deadline, "no knock arrives");
            self.listen();
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn listen(&mut self) {
        for (offset, listener) in (0..=u8::MAX).zip(&self.listeners) {
            while let Ok((_, peer)) = listener.accept() {
                self.heard.insert(peer.port(), offset);
            }
        }
    }

    fn complete(&mut self) -> Option<Block> {
        let first = self
            .heard
            .keys()
            .copied()
            .find(|first| (1..16).all(|i| self.heard.contains_key(&(first + i))))?;
        let offsets = std::array::from_fn(|i| {
            let port = first + u16::try_from(i).unwrap();
            self.heard.remove(&port).unwrap()
        });
        Some(Block(offsets))
    }
}

/// A port that nobody else can have.
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

    /// As `--verify` has it.
    pub(crate) fn name(&self) -> String {
        format!("tcp/{}", self.address.port())
    }
}

/// What `block` asks for, which is from this minute.
pub(crate) fn request(key: &SealedKey, block: &Block) -> Request {
    let request = Request::open(key, block).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_millis()).unwrap();
    request.check_time(now, Duration::from_secs(60)).unwrap();
    request
}
