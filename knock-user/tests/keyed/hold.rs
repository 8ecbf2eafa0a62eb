//! Tests of datagram knocks, which a socket on the loopback interface receives, and of commands for
//! which a door is held open with them.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use knock_common::{
    datagram::DATAGRAM_LEN,
    protocol::{
        datagram::{Beneficiary, Request},
        door::LongTag,
        lease::RequestedLease,
    },
};

use crate::program::{Home, SERVER, client, server, text};

/// A client, and a server that receives datagrams.
struct Site {
    home: Home,
    socket: UdpSocket,
}

impl Site {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let limit = Some(Duration::from_secs(20));
        socket.set_read_timeout(limit).unwrap();
        Self {
            home: Home::new(),
            socket,
        }
    }

    /// `knock` for the door `ssh` of this server, with datagrams.
    fn knock(&self, options: &[&str], rest: &[&str]) -> Command {
        let port = self.socket.local_addr().unwrap().port().to_string();
        let mut knock = self.home.knock(&["--udp", "--udp-port", &port]);
        knock
            .args(self.home.keys())
            .args(options)
            .args(["127.0.0.1", "ssh"])
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        knock
    }

    fn run(&self, options: &[&str], rest: &[&str]) -> Output {
        self.knock(options, rest).output().unwrap()
    }

    /// The request in the next datagram, which must come in this many copies.
    fn request(&self, copies: usize) -> Request {
        let receive = || {
            let mut buffer = [0; 200];
            let len = self.socket.recv(&mut buffer).unwrap();
            <[u8; DATAGRAM_LEN]>::try_from(&buffer[..len]).unwrap()
        };
        let datagram = receive();
        for _ in 1..copies {
            assert_eq!(receive(), datagram);
        }
        let (from, request) = Request::open(&server(), &datagram).unwrap();
        assert_eq!(from, client().public());
        assert_eq!(request.door, LongTag::of("ssh"));
        request
    }
}

fn lease(seconds: u64) -> RequestedLease {
    RequestedLease::of(Duration::from_secs(seconds)).unwrap()
}

#[test]
fn one_call_sends_four_copies() {
    let site = Site::new();
    let options = ["--for", "20h", "--source-ip", "192.0.2.7"];
    let output = site.run(&options, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("1 datagram, 4 copies"));
    assert_eq!(text(&output.stderr), "");
    let request = site.request(4);
    assert_eq!(request.lease, lease(72_000));
    let source = "192.0.2.7".parse().unwrap();
    assert_eq!(request.beneficiary, Beneficiary::Bound(source));
}

#[test]
fn a_door_is_held_open_while_a_command_runs_and_then_closed() {
    let site = Site::new();
    let options = ["--hold", "--copies", "1", "--for", "10s"];
    // Longer than a third of the lease, and shorter than two.
    let script = "echo started; echo \"$1\" >&2; sleep 4; exit 7";
    let rest = ["--", "sh", "-c", script, "sh", "--for"];
    let output = site.run(&options, &rest);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    // Nothing of `knock` in the command's output.
    assert_eq!(text(&output.stdout), "started\n");
    assert_eq!(text(&output.stderr), "--for\n");
    let [first, second, last] = [(); 3].map(|()| site.request(1));
    assert_eq!((first.lease, second.lease), (lease(10), lease(10)));
    let gap = second.unix_ms - first.unix_ms;
    assert!((3_300..4_000).contains(&gap), "{gap}");
    assert_eq!(last.lease, RequestedLease::CLOSE);
}

#[test]
fn a_command_that_cannot_run_leaves_no_open_door() {
    let site = Site::new();
    for (program, status) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let options = ["--hold", "--copies", "1"];
        let output = site.run(&options, &["--", program]);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(text(&output.stderr).contains(program), "{output:?}");
        assert_eq!(site.request(1).lease, lease(60));
        assert_eq!(site.request(1).lease, RequestedLease::CLOSE);
    }
    // Nothing is run if the knock cannot be made.
    let missing = [
        "--hold",
        "--client",
        "laptop",
        "--passphrase-file",
        "/no/such/file",
    ];
    let rest = [
        "--server-key",
        SERVER,
        "127.0.0.1",
        "ssh",
        "--",
        "echo",
        "no",
    ];
    let output = site.home.run(&[&missing[..], &rest].concat());
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_door_is_closed_although_nobody_reads_the_notes() {
    let site = Site::new();
    let options = ["--hold", "--copies", "1"];
    let mut command = site.knock(&options, &["--", "/no/such/program"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(127));
    assert_eq!(site.request(1).lease, lease(60));
    assert_eq!(site.request(1).lease, RequestedLease::CLOSE);
}

/// A held command that announces itself and waits for a signal.
fn waiting(site: &Site, script: &str) -> Child {
    let ready = site.home.path("ready");
    let script = format!(
        "{script}; touch {}; sleep 20 >/dev/null 2>&1 & wait; exit 1",
        ready.display()
    );
    let options = ["--hold", "--copies", "1"];
    let mut command = site.knock(&options, &["--", "sh", "-c", &script]);
    let child = command.process_group(0).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ready.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    child
}

fn kill(signal: &str, target: &str) {
    let status = Command::new("kill").args([signal, "--", target]).status();
    assert!(status.unwrap().success());
}

#[test]
fn sigterm_ends_the_command_and_then_closes_the_door() {
    let site = Site::new();
    let child = waiting(&site, "trap 'exit 9' TERM");
    kill("-TERM", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    assert_eq!(site.request(1).lease, lease(60));
    assert_eq!(site.request(1).lease, RequestedLease::CLOSE);
}

#[test]
fn an_interrupt_of_the_terminal_is_left_to_the_command() {
    let site = Site::new();
    let child = waiting(&site, "trap 'exit 5' INT");
    // As the terminal does: to the whole group.
    kill("-INT", &format!("-{}", child.id()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(site.request(1).lease, lease(60));
    assert_eq!(site.request(1).lease, RequestedLease::CLOSE);
}

#[test]
fn a_signal_that_ends_the_command_is_in_the_status() {
    let site = Site::new();
    let child = waiting(&site, ":");
    kill("-TERM", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 15), "{output:?}");
}

/// Answers one NTP request with a clock that is an hour ahead, after an answer to nobody.
fn serve_time(socket: &UdpSocket) {
    let mut request = [0; 100];
    let (len, from) = socket.recv_from(&mut request).unwrap();
    assert_eq!(len, 48);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seconds = (now.as_secs() + 3600 + 2_208_988_800) & 0xffff_ffff;
    let seconds = u32::try_from(seconds).unwrap().to_be_bytes();
    let mut answer = [0; 48];
    (answer[0], answer[1]) = (4 << 3 | 4, 1);
    answer[32..36].copy_from_slice(&seconds);
    answer[40..44].copy_from_slice(&seconds);
    socket.send_to(&answer, from).unwrap();
    answer[24..32].copy_from_slice(&request[40..48]);
    socket.send_to(&answer, from).unwrap();
}

#[test]
fn the_time_can_come_from_elsewhere() {
    let site = Site::new();
    let time = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let source = format!("ntp:{}", time.local_addr().unwrap());
    let server = thread::spawn(move || serve_time(&time));
    for (options, ahead_ms) in [
        (["--time", &source], 3_600_000),
        (["--time-offset", "-2h"], -7_200_000),
    ] {
        let output = site.run(&options, &["--copies", "1"]);
        assert!(output.status.success(), "{output:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = site
            .request(1)
            .age_ms(u64::try_from(now.as_millis()).unwrap());
        assert!((age + ahead_ms).abs() < 5_000, "{age}");
    }
    server.join().unwrap();
}
