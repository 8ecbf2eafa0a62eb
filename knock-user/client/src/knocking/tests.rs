use std::{
    net::UdpSocket,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser as _;
use knock_common::{
    datagram::DATAGRAM_LEN,
    protocol::{
        block::Block,
        datagram::{self, Beneficiary},
        identity::{KeyPair, Owner, PrivateKey},
        lease::ShortLease,
        syn::{Request, SynKey, SynSecret},
    },
    window::Window,
};
use knockd_credentials::{key_file, secret_file};

use super::{report::causes, *};
use crate::{cli::Cli, keyed::Sources};

fn run(args: &[&str]) -> (Result<()>, String, String) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let cli = Cli::try_parse_from([&["knock"], args].concat()).unwrap();
    let mut console = Console::new(&mut out, &mut notes, false);
    let result = super::run(&cli.knock.unwrap(), &Profiles::none(), &mut console);
    drop(console);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let result = result.map(|status| assert_eq!(status, 0));
    (result, text(out), text(notes))
}

#[test]
fn dry_run_prints_the_ports_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passphrase");
    secret_file::create(&file, "correct horse battery staple").unwrap();
    let (result, out, notes) = run(&[
        "--classic",
        "--sequence=1,2,3,4",
        "--passphrase-file",
        file.to_str().unwrap(),
        "--dry-run",
        "nowhere.invalid",
    ]);
    result.unwrap();
    assert_eq!(
        out,
        "61137 61089 61239 61005 61070 61114 61016 61147 61059 61020 61023 61047 61016 61214 61082 61107\n"
    );
    assert_eq!(notes, "");
}

/// A server, and a client's key file.
struct Site {
    server: KeyPair,
    client: KeyPair,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = KeyPair::from(key_file::generate().unwrap());
        let file = folder.path().join("laptop.key");
        key_file::create(Owner::Client, &file, client.private()).unwrap();
        Self {
            server: KeyPair::from(PrivateKey::new([7; 32])),
            client,
            folder,
        }
    }

    /// The arguments for the door `ssh` of the server 127.0.0.1, after `options`.
    fn args(&self, options: &str) -> Vec<String> {
        let key_file = self.folder.path().join("laptop.key");
        let mut args = vec![
            "--key-file".to_owned(),
            key_file.to_str().unwrap().to_owned(),
            "--server-key".to_owned(),
            self.server.public().to_string(),
        ];
        args.extend(options.split_whitespace().map(str::to_owned));
        args.extend(["127.0.0.1".to_owned(), "ssh".to_owned()]);
        args
    }

    fn run(&self, options: &str) -> (Result<()>, String, String) {
        let args = self.args(options);
        run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn plan(&self, options: &str) -> Plan {
        let args = ["knock".to_owned()].into_iter().chain(self.args(options));
        let args = Cli::try_parse_from(args).unwrap().knock.unwrap();
        Plan::new(&args, &Profiles::none()).unwrap()
    }

    fn open_syns(&self, line: &str) -> Request {
        let key = SynKey::new(&SynSecret::of_server(&self.server, &self.client.public()).unwrap());
        let window = Window::DEFAULT;
        let offsets: Vec<u8> = line
            .split(' ')
            .map(|port| window.offset_of(port.parse().unwrap()).unwrap())
            .collect();
        Request::open(&key, &Block(offsets.try_into().unwrap())).unwrap()
    }

    fn open_datagram(&self, bytes: &[u8]) -> datagram::Request {
        let datagram: &[u8; DATAGRAM_LEN] = bytes.try_into().unwrap();
        let (client, request) = datagram::Request::open(&self.server, datagram).unwrap();
        assert_eq!(client, self.client.public());
        request
    }

    /// The request in a line of `--dry-run`.
    fn open_line(&self, line: &str, port: u16) -> datagram::Request {
        let hex = line.strip_prefix(&format!("udp/{port} ")).unwrap();
        self.open_datagram(&crate::testing::hex::<DATAGRAM_LEN>(hex))
    }
}

#[test]
fn dry_run_shows_what_each_transport_would_send() {
    let site = Site::new();
    let (result, out, notes) = site.run("--dry-run --source-ip 192.0.2.7 --for 10m");
    result.unwrap();
    let request = site.open_syns(out.trim_end());
    let key = SynKey::new(&SynSecret::of_client(&site.client, &site.server.public()).unwrap());
    assert!(request.binding.allows("192.0.2.7".parse().unwrap(), &key));
    assert!(request.binding.is_bound());
    assert_eq!(notes, "");

    let (result, out, _) = site.run("--dry-run --udp --source-ip none --time-offset -1h");
    result.unwrap();
    let request = site.open_line(out.trim_end(), 62_201);
    assert_eq!(request.beneficiary, Beneficiary::Sender);
    assert_eq!(request.lease, RequestedLease::DOORS_DEFAULT);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let age = request.age_ms(u64::try_from(now.as_millis()).unwrap());
    assert!((3_600_000..3_605_000).contains(&age), "{age}");

    let (result, out, _) = site.run("--dry-run --udp --udp-port 53 --open-for 192.0.2.99");
    result.unwrap();
    let other = Beneficiary::Other("192.0.2.99".parse().unwrap());
    assert_eq!(site.open_line(out.trim_end(), 53).beneficiary, other);

    let (result, out, _) = site.run("--dry-run --udp --syn --close");
    result.unwrap();
    let (first, second) = out.trim_end().split_once('\n').unwrap();
    assert_eq!(site.open_line(first, 62_201).lease, RequestedLease::CLOSE);
    assert_eq!(site.open_syns(second).lease, ShortLease::CLOSE);
    // Whoever sees the output learns no key.
    assert!(!out.contains(&**key_file::digits(site.client.private())));
}

#[test]
fn a_datagram_knock_is_sent_in_copies() {
    let site = Site::new();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let limit = Some(Duration::from_secs(5));
    server.set_read_timeout(limit).unwrap();
    let port = server.local_addr().unwrap().port();
    let (result, out, notes) = site.run(&format!("--udp --udp-port {port} --copies 2"));
    result.unwrap();
    assert_eq!(
        out,
        "knocked on 127.0.0.1 (1 datagram, 2 copies); a knock is never answered: try the door now\n"
    );
    assert_eq!(notes, "");
    let receive = || {
        let mut buffer = [0; 200];
        let len = server.recv(&mut buffer).unwrap();
        buffer[..len].to_vec()
    };
    let first = receive();
    assert_eq!(receive(), first);
    // The route to this host itself has a loopback source, so the knock is unbound.
    assert_eq!(site.open_datagram(&first).beneficiary, Beneficiary::Sender);
}

#[test]
fn closing_says_so() {
    let site = Site::new();
    // Nothing listens there, which the client does not care about.
    let (result, out, _) = site.run("--udp --udp-port 9 --close");
    result.unwrap();
    assert_eq!(
        out,
        "knocked on 127.0.0.1 (1 datagram, 4 copies), to close `ssh`; a knock is never answered\n"
    );
}

#[test]
fn a_server_key_of_low_order_is_named() {
    let site = Site::new();
    for transport in ["--syn", "--udp"] {
        let mut args = site.args(&format!("{transport} --dry-run"));
        args[3] = "A".repeat(43);
        let (result, out, _) = run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let error = format!("{:#}", result.unwrap_err());
        assert!(
            error.contains("--server-key") && error.contains("no key pair"),
            "{error}"
        );
        assert_eq!(out, "");
    }
}

#[test]
fn two_addresses_never_share_a_knock() {
    let site = Site::new();
    let plan = site.plan("--source-ip none --udp --syn");
    let knocks = Knocks::new(&plan).unwrap();
    let next = || {
        knocks
            .parcel(Sources::default(), RequestedLease::DOORS_DEFAULT)
            .unwrap()
    };
    let (one, other) = (next(), next());
    assert_ne!(one.syns, other.syns);
    assert_ne!(one.datagram, other.datagram);
}

#[test]
fn success_is_one_line_for_a_person() {
    let site = Site::new();
    let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
    let one = done(&[address("192.0.2.7")], 1, &site.plan(""));
    assert_eq!(one, "knocked on 192.0.2.7 (16 SYNs, 3 copies)");
    let both = [address("192.0.2.7"), address("2001:db8::7")];
    let both = done(&both, 3, &site.plan("--udp --syn --copies 1"));
    assert_eq!(
        both,
        "knocked on 192.0.2.7 and 2001:db8::7 (3 times, 1 datagram, 1 copy; 16 SYNs, 1 copy each)"
    );
}

#[test]
fn the_causes_are_those_of_the_protocol() {
    let causes_of = |args: &str, bound| {
        let args = Cli::try_parse_from(args.split(' ')).unwrap().knock.unwrap();
        let plan = Plan::new(&args, &Profiles::none()).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        causes(&plan, "tcp/22".parse().unwrap(), bound, now)
    };
    let server_key = KeyPair::from(PrivateKey::new([7; 32])).public();
    let keyed = &format!("knock --key-file f --server-key {server_key} --base 40000 host ssh");
    let unbound = causes_of(keyed, false);
    for expected in [
        "clock, it shows 2027-01-15T08:00:00Z",
        "knock pubkey",
        "no door `ssh`",
        "40000-40255",
        "--source-ip ADDR",
    ] {
        assert!(unbound.contains(expected), "{unbound}");
    }
    let bound = causes_of(keyed, true);
    assert!(bound.contains("--source-ip none"), "{bound}");
    let udp = causes_of(&keyed.replace("--base 40000", "--udp"), false);
    assert!(
        udp.contains("UDP port 62201") && !udp.contains("TCP ports"),
        "{udp}"
    );
    let classic = causes_of("knock --classic --sequence 1 host", false);
    assert!(
        classic.contains("sequence") && !classic.contains("clock"),
        "{classic}"
    );
}
