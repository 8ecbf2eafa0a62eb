//! A fleet process that somebody has taken over.

use std::net::Ipv4Addr;

use knock_tests::{
    hijack::{Hijacked, Outcome},
    netns::Namespace,
};
use nix::{
    errno::Errno,
    libc::{self, c_long},
    sys::{signal::Signal::SIGSYS, utsname::uname},
};

use super::{can_run, node::Node, with_stream};

/// The channel to the listener.
const CHANNEL: u64 = 0;

/// The port of the servers, and one of another program.
const ENGINE: u16 = 4222;
const OTHER: u16 = 22;

const INET: u64 = libc::AF_INET as u64;
const STREAM: u64 = libc::SOCK_STREAM as u64;
const FAST: u64 = libc::MSG_FASTOPEN as u64;
const HERE: u64 = i64::cast_unsigned(libc::AT_FDCWD as i64);

/// A `sockaddr_in`, which is 16 bytes long.
fn socket_address(port: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    let family = u16::try_from(INET).unwrap();
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
    bytes
}

/// Whether this kernel can restrict connections to ports: from Linux 6.7 on.
fn restricts_ports() -> bool {
    let release = uname().unwrap().release().to_str().unwrap().to_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().ok());
    let numbers: [Option<u32>; 2] = [(); 2].map(|()| numbers.next().flatten());
    numbers >= [Some(6), Some(7)]
}

#[test]
fn it_can_connect_to_the_engine_and_do_nothing_else() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    let node = Node::start(&namespace, &cluster, "edge1");
    node.current();
    let mut process = Hijacked::new(node.process.id()).unwrap();

    let socket = process.call(libc::SYS_socket, &[INET, STREAM, 0]);
    let Outcome::Returned(socket) = socket.unwrap() else {
        panic!("it cannot make the socket with which it connects");
    };
    let address = process.put(&socket_address(OTHER)).unwrap();
    if restricts_ports() {
        let other = process.call(libc::SYS_connect, &[socket, address, 16]);
        assert_eq!(other.unwrap(), Outcome::Failed(Errno::EACCES));
    } else {
        eprintln!("not checked: this kernel cannot restrict connections to ports");
    }
    let id = u64::from(std::process::id());
    for (call, arguments) in forbidden(socket, address, id) {
        let outcome = process.call(call, &arguments).unwrap();
        assert_eq!(
            outcome,
            Outcome::Failed(Errno::EPERM),
            "{call}{arguments:?}"
        );
    }
    let address = process.put(&socket_address(ENGINE)).unwrap();
    let engine = process.call(libc::SYS_connect, &[socket, address, 16]);
    assert_eq!(engine.unwrap(), Outcome::Returned(0));
    drop(process);

    // It goes on as if nothing had happened.
    node.claim(1, 1);
    node.outcome(1);
    assert!(node.end());
}

/// Calls with which it would reach another program, host or file. `socket` is a new one for TCP,
/// `address` points to an address and to bytes, `other` is a process.
fn forbidden(socket: u64, address: u64, other: u64) -> Vec<(c_long, Vec<u64>)> {
    let code = (libc::PROT_READ | libc::PROT_EXEC) as u64;
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let datagrams = libc::SOCK_DGRAM as u64;
    let raw = libc::SOCK_RAW as u64;
    let calls: &[(c_long, &[u64])] = &[
        (libc::SYS_socket, &[INET, datagrams, 0]),
        (libc::SYS_socket, &[INET, raw, 1]),
        (libc::SYS_socket, &[libc::AF_UNIX as u64, STREAM, 0]),
        (libc::SYS_socket, &[libc::AF_NETLINK as u64, raw, 0]),
        (libc::SYS_socket, &[libc::AF_VSOCK as u64, STREAM, 0]),
        (
            libc::SYS_socketpair,
            &[libc::AF_UNIX as u64, STREAM, 0, address],
        ),
        (libc::SYS_bind, &[socket, address, 16]),
        (libc::SYS_listen, &[socket, 1]),
        (libc::SYS_sendto, &[socket, address, 1, FAST, address, 16]),
        (libc::SYS_sendto, &[socket, address, 1, 0, address, 16]),
        (libc::SYS_sendmsg, &[socket, address, FAST]),
        (libc::SYS_sendmmsg, &[socket, address, 1, FAST]),
        (libc::SYS_sendmsg, &[CHANNEL, address, 0]),
        // TCP_FASTOPEN_CONNECT
        (libc::SYS_setsockopt, &[socket, 6, 30, address, 4]),
        (libc::SYS_openat, &[HERE, address, 0]),
        (libc::SYS_statx, &[HERE, address, 0, 0, address]),
        (libc::SYS_memfd_create, &[address, 0]),
        (libc::SYS_clone, &[libc::SIGCHLD as u64, 0, 0, 0, 0]),
        (libc::SYS_kill, &[other, 0]),
        (libc::SYS_pidfd_open, &[other, 0]),
        (libc::SYS_mmap, &[0, 4096, code, private, u64::MAX, 0]),
        (libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1]),
        (libc::SYS_setuid, &[0]),
        (libc::SYS_io_uring_setup, &[1, address]),
    ];
    let owned = calls
        .iter()
        .map(|(call, arguments)| (*call, arguments.to_vec()));
    owned.collect()
}

#[test]
fn it_is_killed_for_calls_that_only_an_attacker_makes() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    for call in [
        libc::SYS_execve,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_mount,
        libc::SYS_bpf,
    ] {
        let node = Node::start(&namespace, &cluster, "edge1");
        node.current();
        let mut process = Hijacked::new(node.process.id()).unwrap();
        let outcome = process.call(call, &[]).unwrap();
        assert_eq!(outcome, Outcome::Killed(SIGSYS), "call {call}");
    }
}
