use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::FileExt as _,
    process::Command,
    thread,
};

use super::*;

const MAX_FILE_LEN: u64 = 4096;

/// Runs `work` in a thread in a sandbox with `dir`, and returns its result.
fn inside<T: Send>(dir: &tempfile::TempDir, work: impl FnOnce() -> T + Send) -> T {
    let dir: OwnedFd = File::open(dir).unwrap().into();
    thread::scope(|scope| {
        let confined = scope.spawn(|| {
            let files = Files {
                dir: &dir,
                max_len: MAX_FILE_LEN,
            };
            Sandbox::new(Some(files)).unwrap().enter().unwrap();
            work()
        });
        confined.join().unwrap()
    })
}

/// Runs `work` in a thread in a sandbox that can connect to `port`.
fn connecting(port: u16, work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let confined = scope.spawn(|| {
            let mut sandbox = Sandbox::connecting_to(&[port].into()).unwrap();
            // The limit is that of the process, in which other tests run.
            sandbox.max_file_len = MAX_FILE_LEN;
            sandbox.enter().unwrap();
            work();
        });
        confined.join().unwrap();
    });
}

/// Whether this kernel can restrict connections to ports.
fn restricts_ports() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessNet::ConnectTcp).is_ok()
}

fn denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[test]
fn only_files_in_the_directory_are_accessible() {
    let [dir, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    fs::write(other.path().join("secret"), "").unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "a").unwrap();
    inside(&dir, || {
        assert_eq!(fs::read_to_string(&file).unwrap(), "a");
        let writable = File::options().write(true).open(&file).unwrap();
        writable.write_all_at(b"b", 0).unwrap();
        assert!(denied(File::create(dir.path().join("new"))));
        assert!(denied(fs::remove_file(&file)));
        assert!(denied(fs::rename(&file, dir.path().join("renamed"))));
        assert!(denied(writable.set_len(0)));
        assert!(denied(File::open(other.path().join("secret"))));
        assert!(denied(File::create(other.path().join("new"))));
        assert!(denied(File::open("/etc/passwd")));
        assert!(denied(File::open("/proc/self/environ")));
        assert!(denied(fs::read_dir("/")));
    });
    assert_eq!(fs::read_to_string(&file).unwrap(), "b");
}

#[test]
fn there_are_no_further_sockets_processes_or_code() {
    let dir = tempfile::tempdir().unwrap();
    inside(&dir, || {
        assert!(denied(TcpListener::bind("127.0.0.1:0")));
        assert!(denied(UdpSocket::bind("127.0.0.1:0")));
        assert!(denied(Command::new("/bin/true").status()));
        // A thread is allowed, and it inherits the sandbox.
        let is_confined = || denied(UdpSocket::bind("127.0.0.1:0"));
        assert!(thread::spawn(is_confined).join().unwrap());
    });
}

#[test]
fn connections_are_made_by_tcp_alone_and_only_to_the_port() {
    use rustix::net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, ipproto, listen, recv,
        socket_with, sockopt,
    };

    let [engine, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [engine, other] = [engine, other].map(|it| (it.local_addr().unwrap(), it));
    let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
    connecting(engine.0.port(), || {
        let stream = TcpStream::connect(engine.0).unwrap();
        stream.set_nodelay(true).unwrap();
        (&stream).write_all(b"a").unwrap();
        let (mut accepted, _) = engine.1.accept().unwrap();
        let mut byte = [0];
        accepted.read_exact(&mut byte).unwrap();
        if restricts_ports() {
            assert!(denied(TcpStream::connect(other.0)));
        } else {
            eprintln!("not checked: this kernel cannot restrict connections to ports");
        }

        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = |family, kind, protocol| {
            socket_with(family, kind, flags, protocol).map_err(io::Error::from)
        };
        let (v4, v6) = (AddressFamily::INET, AddressFamily::INET6);
        for (family, kind, protocol) in [
            (v4, SocketType::DGRAM, None),
            (v6, SocketType::DGRAM, None),
            (v4, SocketType::RAW, Some(ipproto::ICMP)),
            (v4, SocketType::STREAM, Some(ipproto::SCTP)),
            (v4, SocketType::STREAM, Some(ipproto::MPTCP)),
            (AddressFamily::UNIX, SocketType::STREAM, None),
            (AddressFamily::NETLINK, SocketType::RAW, None),
            (AddressFamily::PACKET, SocketType::RAW, None),
        ] {
            let made = socket(family, kind, protocol);
            assert!(denied(made), "{family:?} {kind:?} {protocol:?}");
        }
        let stream = socket(v4, SocketType::STREAM, None).unwrap();
        assert!(denied(bind(&stream, &free).map_err(io::Error::from)));
        assert!(denied(listen(&stream, 1).map_err(io::Error::from)));
        let reused = sockopt::set_socket_reuseaddr(&stream, true);
        assert!(denied(reused.map_err(io::Error::from)));
        // The filter lets it use what it has.
        let nothing = recv(&stream, &mut byte, RecvFlags::empty());
        assert!(!denied(nothing.map_err(io::Error::from)));

        assert!(denied(File::open("/etc/passwd")));
        assert!(denied(Command::new("/bin/true").status()));
    });
}

#[test]
fn a_filter_is_retargeted_to_32_bit_arm() {
    let filter = |arch| -> BpfProgram {
        let [allow, kill] = [SeccompAction::Allow, SeccompAction::KillProcess];
        let filter = SeccompFilter::new(hostile().unwrap(), allow, kill, arch);
        filter.unwrap().try_into().unwrap()
    };
    let before = filter(TargetArch::aarch64);
    let mut after = before.clone();
    retarget(&mut after).unwrap();
    let changed = before.iter().zip(&after).filter(|(old, new)| old != new);
    let changed: Vec<_> = changed.map(|(_, new)| new.k).collect();
    assert_eq!(changed, [AUDIT_ARCH_ARM]);
    assert!(retarget(&mut after).is_err());
    assert!(retarget(&mut filter(TargetArch::x86_64)).is_err());
}

#[test]
fn there_are_no_capabilities() {
    let dir = tempfile::tempdir().unwrap();
    let capabilities = inside(&dir, || rustix::thread::capabilities(None));
    // capget(2) itself is not allowed.
    assert!(capabilities.is_err());
}
