//! What several tests need.

#[cfg(feature = "program")]
use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
};

/// The bytes that `digits` stand for, as in the vectors.
pub(crate) fn hex<const LEN: usize>(digits: &str) -> [u8; LEN] {
    assert_eq!(digits.len(), 2 * LEN);
    std::array::from_fn(|index| {
        u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).expect("a digit")
    })
}

/// A server on the loopback interface that calls `answer` with each request, and with a function
/// that sends a datagram back. It ends with the process.
#[cfg(feature = "program")]
pub(crate) fn respond(
    mut answer: impl FnMut(&[u8], &dyn Fn(&[u8])) + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = socket.local_addr().expect("it has an address");
    thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            answer(&buffer[..len], &|reply| {
                // The client may be gone.
                let _ = socket.send_to(reply, from);
            });
        }
    });
    address
}
