//! Tests of the client with real sockets on the loopback interface, and of the program `knock`.
//! They need no privileges.

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it only inside of test functions"
)]

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use knock_client::{Knock, Pace, send};
use knock_common::{
    protocol::classic::{ClassicKey, Sequence},
    window::Window,
};
use knockd_credentials::secret_file;
use socket2::{Domain, Socket, Type};

const PASSPHRASE: &str = "correct horse battery staple";

/// Held while a test sends a knock or starts a program. Until a new process executes its program,
/// it has copies of this process's sockets, and a socket with a copy does not release its port for
/// the next copy of a knock.
static SOCKETS: Mutex<()> = Mutex::new(());

/// Ignores poisoning, because a test that failed leaves no invalid state.
fn sockets() -> MutexGuard<'static, ()> {
    SOCKETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of connections for each source port and window port.
type Peers = BTreeMap<(u16, u16), usize>;

fn pace(copies: &str) -> Pace {
    Pace {
        delay: "100us".parse().unwrap(),
        copies: copies.parse().unwrap(),
    }
}

fn knock_in(window: Window) -> Knock {
    let key = ClassicKey::from_passphrase(PASSPHRASE.as_bytes());
    Knock::classic(&key, &Sequence::new(&[1, 2, 3, 4]).unwrap(), window)
}

/// Creates a socket for each port of a knock, in the first window in which all ports are free.
///
/// A socket that does not listen refuses connections, and reserves its port among the tests.
fn occupy<T>(ip: IpAddr, finish: fn(Socket) -> io::Result<T>) -> (Knock, Vec<T>) {
    (20000..30000)
        .step_by(256)
        .find_map(|base| {
            let knock = knock_in(Window::new(base).unwrap());
            let mut ports = knock.ports().to_vec();
            ports.sort_unstable();
            ports.dedup();
            let sockets = ports.into_iter().map(|port| {
                let address = SocketAddr::from((ip, port));
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
                socket.bind(&address.into())?;
                finish(socket)
            });
            Some((knock, sockets.collect::<io::Result<_>>().ok()?))
        })
        .unwrap()
}

fn listen(ip: IpAddr) -> (Knock, Vec<TcpListener>) {
    occupy(ip, |socket| {
        socket.listen(64)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    })
}

/// How often a test knocks until all SYNs have arrived. Windows forgets a connection that was reset
/// before it was accepted, and the client resets each after 200 ms at the latest: on a busy machine
/// that is too early for some. Linux keeps such a connection.
const TRIES: usize = if cfg!(windows) { 10 } else { 1 };

/// How long a test waits for SYNs that are missing.
const PATIENCE: Duration = Duration::from_secs(if cfg!(windows) { 2 } else { 5 });

/// Accepts `count` connections while `knock` runs, or fewer if they do not arrive in [`TRIES`].
fn accept_while<T>(listeners: &[TcpListener], count: usize, knock: impl Fn() -> T) -> (T, Peers) {
    let attempt = || {
        thread::scope(|scope| {
            let peers = scope.spawn(|| accept(listeners, count));
            (knock(), peers.join().unwrap())
        })
    };
    let arrived = |peers: &Peers| peers.values().sum::<usize>() >= count;
    let attempts = (1..TRIES).map(|_| attempt());
    let mut complete = attempts.filter(|(_, peers)| arrived(peers));
    complete.next().unwrap_or_else(attempt)
}

/// Accepts connections until there are `count` of them or [`PATIENCE`] has passed.
fn accept(listeners: &[TcpListener], count: usize) -> Peers {
    let deadline = Instant::now() + PATIENCE;
    let mut peers = Peers::new();
    while peers.values().sum::<usize>() < count && Instant::now() < deadline {
        for listener in listeners {
            let port = listener.local_addr().unwrap().port();
            while let Ok((_, peer)) = listener.accept() {
                *peers.entry((peer.port(), port)).or_default() += 1;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    peers
}

fn arrives_in_order_of_source_ports(ip: IpAddr) {
    let (knock, listeners) = listen(ip);
    let (sent, peers) = accept_while(&listeners, 32, || {
        let _alone = sockets();
        send(&knock, ip.into(), pace("2")).unwrap()
    });
    assert_eq!(sent.note(), None);

    let expected = sent.source.ports().into_iter().zip(knock.ports());
    let expected: Peers = expected.map(|route| (route, 2)).collect();
    assert_eq!(peers, expected);
}

#[test]
fn both_copies_arrive_over_ipv4() {
    arrives_in_order_of_source_ports(Ipv4Addr::LOCALHOST.into());
}

#[test]
fn both_copies_arrive_over_ipv6() {
    let ip = Ipv6Addr::LOCALHOST.into();
    match TcpListener::bind((ip, 0)) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            eprintln!("skipped: this host has no ::1");
        }
        _ => arrives_in_order_of_source_ports(ip),
    }
}

#[test]
fn closed_ports_are_knocked_on() {
    let ip = Ipv4Addr::LOCALHOST.into();
    let (knock, _closed) = occupy(ip, Ok);
    let _alone = sockets();
    let sent = send(&knock, ip.into(), pace("3")).unwrap();
    assert_eq!(sent.note(), None);
}

/// The program with the options of a classic knock, and a passphrase file.
struct Program {
    command: Command,
    folder: tempfile::TempDir,
}

impl Program {
    fn new(passphrase: &str) -> Self {
        let mut program = Self {
            command: Command::new(env!("CARGO_BIN_EXE_knock")),
            folder: tempfile::tempdir().unwrap(),
        };
        let file = program.file();
        secret_file::create(&file, passphrase).unwrap();
        let options = ["--classic", "--sequence", "1,2,3,4", "--passphrase-file"];
        program.command.args(options).arg(file);
        // The user who runs the tests may have profiles.
        let empty_home = program.folder.path();
        program
            .command
            .env("HOME", empty_home)
            .env("KNOCK_CONFIG_DIR", empty_home);
        program
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("passphrase")
    }

    fn run(&mut self, args: &[&str]) -> Output {
        let child = self.start(args);
        child.wait_with_output().unwrap()
    }

    fn start(&mut self, args: &[&str]) -> Child {
        let _alone = sockets();
        let command = self.command.args(args).stdin(Stdio::null());
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_program_knocks_and_prints_the_result() {
    let ip = Ipv4Addr::LOCALHOST.into();
    let (knock, listeners) = listen(ip);
    let base = knock.window().base().to_string();
    let (output, peers) = accept_while(&listeners, 16, || {
        Program::new(PASSPHRASE).run(&["--base", &base, "--copies=1", "127.0.0.1"])
    });
    assert_eq!(
        text(&output.stdout),
        "knocked on 127.0.0.1 (16 SYNs, 1 copy); a knock is never answered: try the door now\n"
    );
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success());

    let (from, to): (Vec<u16>, Vec<u16>) = peers.into_keys().unzip();
    assert_eq!(to, knock.ports());
    assert!(from.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn dry_run_prints_the_ports_only() {
    let output = Program::new(PASSPHRASE).run(&["--dry-run", "nowhere.invalid"]);
    assert_eq!(
        text(&output.stdout),
        "61137 61089 61239 61005 61070 61114 61016 61147 61059 61020 61023 61047 61016 61214 61082 61107\n"
    );
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn exit_status_tells_wrong_usage_from_failure() {
    let usage = Program::new(PASSPHRASE).run(&["--copies=9", "127.0.0.1"]);
    assert_eq!(usage.status.code(), Some(2));

    let failure = Program::new(PASSPHRASE).run(&["-6", "127.0.0.1"]);
    assert_eq!(failure.status.code(), Some(1));
    assert_eq!(text(&failure.stdout), "");
    assert_eq!(
        text(&failure.stderr),
        "knock: 127.0.0.1 has no IPv6 address; try it without -6\n"
    );
}

#[test]
fn a_bad_passphrase_file_is_named_and_not_shown() {
    let mut program = Program::new(&"sesame".repeat(1000));
    let output = program.run(&["--dry-run", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.starts_with("knock: passphrase file "), "{message}");
    assert!(
        message.contains(program.file().to_str().unwrap()),
        "{message}"
    );
    assert!(!message.contains("sesame"), "{message}");
}

#[test]
fn a_closed_stdout_is_no_error() {
    let mut program = Program::new(PASSPHRASE);
    let args = ["--dry-run", "127.0.0.1"];
    let mut child = program.start(&args);
    // Usually closed before the program has read its passphrase. If not, the test proves less,
    // but does not fail.
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
