//! Servers and certificates that are not used.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
    time::Duration,
};

use knock_tests::{
    certificates::{Authority, Identity, Validity},
    nats::SERVER_NAME,
    netns::Namespace,
};
use knockd_ipc::fleet::Outcome;
use knockd_types::fleet::{Engine, SecretText};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{
    can_run,
    node::{Node, engine, with_identity},
    with_stream,
};

#[test]
fn only_the_right_certificates_are_accepted() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    let right = || engine(&cluster, "edge1");
    let reason = |engine| Node::with(&namespace, engine, Duration::from_secs(1)).lost();

    let mut other_name = right();
    other_name.server_name = "other.example".into();
    let text = reason(other_name);
    assert!(text.contains("certificate not valid for name"), "{text}");

    let other = tempfile::tempdir().unwrap();
    let other = Authority::new(other.path()).unwrap();
    let other = other.issue(&["edge1.example"], Validity::Valid).unwrap();
    let mut other_authority = right();
    other_authority.authorities = with_identity(&cluster, "edge1", &other).authorities;
    let text = reason(other_authority);
    assert!(text.contains("invalid peer certificate"), "{text}");

    // The servers do not accept these.
    let mut foreign = with_identity(&cluster, "edge1", &other);
    foreign.authorities = right().authorities;
    let expired = cluster
        .authority
        .issue(&["edge1.example"], Validity::Expired);
    let expired = with_identity(&cluster, "edge1", &expired.unwrap());
    let unknown = engine(&cluster, "edge9");
    for engine in [foreign, expired, unknown] {
        let text = reason(engine);
        println!("{text}");
        assert!(
            text.contains("cannot use the server at 127.0.0.1:4222: "),
            "{text}"
        );
    }
}

#[test]
fn a_claim_is_given_up_when_its_patience_is_over() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = with_stream::<1>(&namespace, &folder);
    let node = Node::with(
        &namespace,
        engine(&cluster, "edge1"),
        Duration::from_millis(500),
    );
    node.current();
    cluster.stop(0).unwrap();
    node.claim(1, 1);
    let Outcome::Unknown { reason } = node.outcome(1) else {
        panic!("a server that is stopped has answered");
    };
    println!("{reason}");
    node.lost();
    cluster.cont(0).unwrap();
    node.current();
    node.claim(2, 2);
    assert_eq!(node.outcome(2), Outcome::Created);
    cluster.kill(0).unwrap();
    node.lost();
    node.claim(3, 3);
    assert!(matches!(node.outcome(3), Outcome::Unknown { .. }));
}

/// What a server of this version says first.
const OLD: &str = "INFO {\"server_id\":\"old\",\"version\":\"2.9.10\",\"proto\":1,\"headers\":true,\"max_payload\":1048576,\"tls_required\":true}\r\n";

/// Debian 12 has such a server, which cannot be installed beside a newer one. This one only says its
/// version, and answers what a client asks at first.
fn serve_old(listener: &TcpListener, identity: &Identity) {
    let certificate = CertificateDer::from_pem_file(&identity.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        stream.write_all(OLD.as_bytes()).unwrap();
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(connection, stream));
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|len| len > 0) {
            if line.starts_with("PING") {
                let _ = stream.get_mut().write_all(b"PONG\r\n");
            }
            line.clear();
        }
    }
}

#[test]
fn a_server_that_cannot_keep_every_claim_is_refused() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path()).unwrap();
    let [server, node] = [SERVER_NAME, "edge1.example"]
        .map(|name| authority.issue(&[name], Validity::Valid).unwrap());
    let listener = namespace
        .run(|| Ok(TcpListener::bind("127.0.0.1:4222")?))
        .unwrap();
    thread::spawn(move || serve_old(&listener, &server));
    let read = |path| fs::read_to_string(path).unwrap();
    let engine = Engine {
        servers: vec!["127.0.0.1:4222".parse().unwrap()],
        server_name: SERVER_NAME.into(),
        prefix: "knock".into(),
        node: "edge1".into(),
        authorities: read(&node.authority),
        certificate: read(&node.certificate),
        key: SecretText::new(read(&node.key)),
    };
    let node = Node::with(&namespace, engine, Duration::from_millis(200));
    assert_eq!(
        node.lost(),
        "the server is NATS 2.9.10, which cannot write every message to the disk before it answers (`sync_interval: always`, from 2.10 on): claims could be lost at a power failure"
    );
    node.claim(1, 1);
    assert!(matches!(node.outcome(1), Outcome::Unknown { .. }));
}
