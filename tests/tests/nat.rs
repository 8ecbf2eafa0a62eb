//! A client behind a NAT learns the address that the server sees, and binds its knock to it.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Output,
    thread,
};

use knock_tests::{
    link::Pair,
    needs_bpf,
    netns::Namespace,
    process::Running,
    scene::{PAIR_CONFIGURATION, SERVER_PUBLIC, SOON, SOURCE, Scene, program, seal, syns, unbound},
};
use rcgen::{CertifiedKey, generate_simple_self_signed};

/// Answers each request with the address that it comes from.
const WEB_SERVER: &str = r#"
import http.server, ssl, sys

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        address = self.client_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(address)))
        self.end_headers()
        self.wfile.write(address)

server = http.server.HTTPServer(("192.0.2.1", 443), Page)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"#;

/// The client of a [`Pair`] as the router of a home, with a host behind it.
struct Home {
    scene: Scene,
    host: Namespace,
}

impl Home {
    fn new() -> Self {
        let pair = Pair::new().unwrap();
        let (router, host) = (&pair.client, Namespace::new().unwrap());
        router
            .run(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))
            .unwrap();
        let inside = host.path();
        for command in [
            &format!(
                "link add lan0 type veth peer name eth0 netns {}",
                inside.display()
            ),
            "address add 10.7.0.1/24 dev lan0",
            "link set dev lan0 up",
        ] {
            router.ip(command).unwrap();
        }
        for command in [
            "address add 10.7.0.2/24 dev eth0",
            "link set dev eth0 up",
            "route add default via 10.7.0.1",
        ] {
            host.ip(command).unwrap();
        }
        let rules = "table ip nat { chain out { \
            type nat hook postrouting priority 100; oifname cli0 masquerade; }; }";
        let output = router.command("nft").arg(rules).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let door = "[[door]]\nname = \"bound\"\nrequire_binding = true\n\
            run = [\"sh\", \"-c\", \"echo open %DOOR% $KNOCK_IP >> {folder}/commands\"]\n";
        let scene = Scene::on(pair, &format!("{PAIR_CONFIGURATION}\n{door}")).unwrap();
        Self { scene, host }
    }

    /// Knocks at the door that requires a bound knock, from the host behind the router.
    fn knock(&self, options: &[&str]) -> Output {
        let mut knock = self.host.command(program("knock").unwrap());
        let key = self.scene.files.path("laptop.key");
        knock.arg("--key-file").arg(key);
        knock.args(["--client", "laptop", "--server-key", SERVER_PUBLIC]);
        knock.args(options).args(["192.0.2.1", "bound"]);
        knock.env("SSL_CERT_FILE", self.scene.files.path("cert.pem"));
        let output = knock.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    fn opens(&self, resolve_ip: &str) {
        for transport in ["--syn", "--udp"] {
            let mark = self.scene.knockd.mark();
            let output = self.knock(&[transport, "--resolve-ip", resolve_ip]);
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            let accepted = |line: &str| line.contains("accepted") && line.contains("192.0.2.2");
            self.scene
                .knockd
                .wait_for_after(mark, accepted, SOON)
                .unwrap();
        }
    }

    /// A STUN server on the server's host.
    fn stun_server(&self) -> SocketAddr {
        let any_port = SocketAddr::new(Pair::SERVER_V4.into(), 0);
        let server = &self.scene.pair.server;
        let socket = server.run(|| Ok(UdpSocket::bind(any_port)?)).unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut request = [0; 20];
            while let Ok((20, from)) = socket.recv_from(&mut request) {
                let IpAddr::V4(ip) = from.ip() else {
                    continue;
                };
                // RFC 8489: a success response with one XOR-MAPPED-ADDRESS.
                let masked = ip.to_bits() ^ 0x2112_a442;
                let port = from.port() ^ 0x2112;
                let answer = [
                    &[1, 1, 0, 12],
                    &request[4..],
                    &[0, 0x20, 0, 8, 0, 1],
                    &port.to_be_bytes(),
                    &masked.to_be_bytes(),
                ];
                socket.send_to(&answer.concat(), from).unwrap();
            }
        });
        address
    }

    /// A web server on the server's host, whose certificate the client trusts.
    fn web_server(&self) -> Running {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([Pair::SERVER_V4.to_string()]).unwrap();
        let paths = ["cert.pem", "key.pem"].map(|name| self.scene.files.path(name));
        fs::write(&paths[0], cert.pem()).unwrap();
        fs::write(&paths[1], signing_key.serialize_pem()).unwrap();
        let mut command = self.scene.pair.server.command("python3");
        command.args(["-c", WEB_SERVER]).args(paths);
        let server = Running::spawn(command).unwrap();
        server.wait_for(|line| line == "ready", SOON).unwrap();
        server
    }
}

#[test]
fn a_knock_is_bound_to_the_address_that_a_service_sees() {
    needs_bpf!();
    let home = Home::new();
    home.knock(&[]);
    home.scene.logged(&["reason=unbound"]).unwrap();

    home.opens(&format!("stun:{}", home.stun_server()));
    let _server = home.web_server();
    home.opens("https://192.0.2.1/");
    assert_eq!(home.scene.accepted().len(), 4);
}

#[test]
fn a_knock_without_an_answer_is_unbound_and_says_so() {
    needs_bpf!();
    let home = Home::new();
    let output = home.knock(&["--resolve-ip", "https://192.0.2.1/"]);
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(
        notes.contains("no address of this host from https://192.0.2.1/"),
        "{notes}"
    );
    home.scene.logged(&["reason=unbound"]).unwrap();
}

#[test]
fn the_doctor_says_what_a_router_makes_of_the_address() {
    needs_bpf!();
    let home = Home::new();
    let doctor = |options: &[&str]| {
        let mut doctor = home.host.command(program("knock").unwrap());
        doctor.arg("doctor").args(options).arg("192.0.2.1");
        let output = doctor.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = doctor(&[]);
    let expected = "ok       source: a router translates 10.7.0.2, so knocks are not bound";
    assert!(text.contains(expected), "{text}");
    let stun = format!("stun:{}", home.stun_server());
    let text = doctor(&["--resolve-ip", &stun]);
    let expected = format!("a router translates 10.7.0.2: {stun} sees 192.0.2.2");
    assert!(text.contains(&expected), "{text}");
    // A carrier's NAT.
    for command in [
        "address add 100.64.0.2/24 dev eth0",
        "route replace default via 10.7.0.1 src 100.64.0.2",
    ] {
        home.host.ip(command).unwrap();
    }
    let text = doctor(&[]);
    let expected = "warning  source: a carrier's NAT translates 100.64.0.2";
    assert!(text.contains(expected), "{text}");
}

/// Policy routing can send TCP and UDP by different links, with different addresses.
#[test]
fn a_knock_is_bound_to_the_address_of_the_sockets_that_knock() {
    needs_bpf!();
    let door = "[[door]]\nname = \"bound\"\nrequire_binding = true\nrun = [\"true\"]\n";
    let scene = Scene::with(&format!("{PAIR_CONFIGURATION}\n{door}")).unwrap();
    let client = &scene.pair.client;
    for command in [
        "address add 192.0.2.66/24 dev cli0",
        "route add 192.0.2.0/24 dev cli0 src 192.0.2.66 table 100",
        "rule add ipproto tcp table 100",
    ] {
        client.ip(command).unwrap();
    }
    for (transport, address) in [("--syn", "192.0.2.66"), ("--udp", "192.0.2.2")] {
        let mark = scene.knockd.mark();
        let mut knock = client.command(program("knock").unwrap());
        knock.arg("--key-file").arg(scene.files.path("laptop.key"));
        knock.args(["--client", "laptop", "--server-key", SERVER_PUBLIC]);
        knock.args([transport, "--copies", "1", "192.0.2.1", "bound"]);
        let output = knock.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let accepted =
            |line: &str| line.contains("accepted") && line.contains(&format!("source={address} "));
        scene.knockd.wait_for_after(mark, accepted, SOON).unwrap();
    }
    // To ask for the address sends no SYN.
    assert_eq!(scene.status().unwrap()["daemon"]["events"], 16);
}

/// Such a knock opens nothing. It is told with the way out.
#[test]
fn a_nat_that_gives_each_connection_another_address_is_told() {
    needs_bpf!();
    let scene = Scene::with(PAIR_CONFIGURATION).unwrap();
    let block = seal(&unbound().unwrap()).unwrap();
    let other = SocketAddr::new([192, 0, 2, 66].into(), 50_000);
    let [ours, others] = [SOURCE, other].map(|source| syns(block, source, Pair::SERVER_V4.into()));
    let mixed = ours.iter().zip(&others).enumerate();
    scene
        .send(mixed.map(|(number, (our, other))| if number % 3 == 0 { our } else { other }))
        .unwrap();
    scene
        .logged(&[
            "INFO refused source=192.0.2.2 reason=scattered client=\"laptop\"",
            "came from 2 addresses",
            "use a datagram knock",
        ])
        .unwrap();
    let status = scene.status().unwrap();
    assert_eq!(status["daemon"]["scattered"], 1);
    assert_eq!(status["daemon"]["accepted"], 0);
}
