//! What those can do who reach the engine and have no key of the fleet, and an engine that is full.

use std::{collections::BTreeSet, fmt::Write as _, fs, net::Ipv4Addr, time::Duration};

use anyhow::{Result, ensure};
use async_nats::{Client, ConnectOptions, HeaderMap, jetstream};
use futures_util::StreamExt as _;
use knock_tests::nats::ADMINISTRATOR;

use super::{
    files::{FLEET_KEY, write},
    needs_fleet,
    net::{NODES, Net, uplink_address},
    stage::{STREAM, Stage},
};

/// What the log says of a record that is authentic for no claim.
const IGNORED: &str = "a claim that no node of the fleet has made is ignored";

/// What is said of a claim that the engine has and does not send.
const WITHHELD: &str = "has taken it and has not sent it to this node";

/// The length of a record (docs/architecture/fleet.md).
const RECORD_LEN: usize = 128;

/// Runs `work` in the network of the first node, with a client of NATS that has the certificate of
/// `user`.
fn as_user(stage: &Stage<'_>, user: &str, work: impl AsyncFnOnce(Client) + Send) {
    let identity = stage.cluster.identity(user).unwrap();
    let server = format!("tls://{}", stage.cluster.addresses()[0]);
    let in_namespace = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let options = ConnectOptions::new()
                .add_root_certificates(identity.authority)
                .add_client_certificate(identity.certificate, identity.key)
                .require_tls(true)
                .ignore_discovered_servers()
                .custom_inbox_prefix(format!("_INBOX.{user}"));
            work(options.connect(server).await?).await;
            Ok(())
        })
    };
    stage.net.nodes[0].run(in_namespace).unwrap();
}

/// Adds a message to the stream, as a node does. Returns the answer.
async fn publish(client: &Client, id: &str, payload: Vec<u8>) -> String {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
    let subject = format!("knock.claim.{id}");
    let request = async_nats::Request::new()
        .headers(headers)
        .payload(payload.into());
    let answer = client.send_request(subject, request).await.unwrap();
    String::from_utf8(answer.payload.to_vec()).unwrap()
}

/// The payloads of all messages of the stream.
async fn stored(client: &Client) -> Vec<Vec<u8>> {
    let config = jetstream::consumer::pull::Config {
        ack_policy: jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let context = jetstream::new(client.clone());
    let consumer = context.create_consumer_on_stream(config, STREAM).await;
    let consumer = consumer.unwrap();
    let count = usize::try_from(consumer.cached_info().num_pending).unwrap();
    let messages = consumer.stream().messages().await.unwrap();
    let payloads = messages.take(count);
    payloads
        .map(|message| message.unwrap().payload.to_vec())
        .collect()
        .await
}

/// An identity that no claim has.
fn id(number: u8) -> String {
    let mut id = String::new();
    for _ in 0..16 {
        write!(id, "{number:02x}").unwrap();
    }
    id
}

#[test]
fn records_of_those_without_the_key_open_nothing_and_hinder_nothing() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let mut stage = Stage::new(&net).unwrap();
    // The third node has a certificate and another key.
    let other = FLEET_KEY.replace("AAEC", "AQID");
    write(&stage.nodes[2].files, "fleet.key", other.as_bytes()).unwrap();
    stage.kill(2).unwrap();
    stage.restart(2).unwrap();
    let [known, foreign, last] = [1, 2, 3].map(|host| Ipv4Addr::new(10, 20, 0, host));
    for (index, address) in [(0, known), (2, foreign)] {
        let hour = Duration::from_hours(1);
        stage.open_for(index, address, hour).unwrap();
        stage.wait_for(index, address, true).unwrap();
    }
    let close = ["fleet", "close", &known.to_string()];
    assert!(stage.knockd(1, &close).unwrap().status.success());
    stage.wait_for(0, known, false).unwrap();
    as_user(&stage, "edge3", async |client: Client| {
        let records = stored(&client).await;
        assert_eq!(records.len(), 3);
        // Authentic ones under other identities, changed ones, invented ones, and what is no record.
        let changed = records.iter().cloned().map(|mut record| {
            record[4] ^= 0xff;
            record
        });
        let invented = [vec![0xff; RECORD_LEN], vec![0; RECORD_LEN]];
        let others = [Vec::new(), vec![1; 4096]];
        let all = records.iter().cloned().chain(changed).chain(invented);
        for (number, payload) in (1..).zip(all.chain(others)) {
            let answer = publish(&client, &id(number), payload).await;
            assert!(answer.contains("\"seq\""), "{answer}");
        }
        let answer = publish(&client, "no-identity", records[0].clone()).await;
        assert!(answer.contains("\"seq\""), "{answer}");
    });
    // What is claimed afterwards is read afterwards.
    stage.open_for(0, last, Duration::from_hours(1)).unwrap();
    for index in 0..2 {
        stage.wait_for(index, last, true).unwrap();
        assert_eq!(stage.open(index).unwrap(), [last.to_string()]);
        stage.logged(index, &[IGNORED]).unwrap();
        let lines = stage.nodes[index].knockd.lines();
        let warnings = lines.iter().filter(|line| line.text.contains(IGNORED));
        // The first one was the claim with the other key; the log does not fill.
        assert!(warnings.count() <= 2, "{lines:?}");
    }
    // Nor after the stream is read anew.
    stage.kill(1).unwrap();
    fs::remove_dir_all(stage.nodes[1].files.path("state")).unwrap();
    stage.restart(1).unwrap();
    stage.wait_count(1, 1).unwrap();
}

#[test]
fn an_engine_that_is_full_opens_nothing_until_it_gets_more_room() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let stage = Stage::new(&net).unwrap();
    let address = Ipv4Addr::new(10, 20, 0, 1);
    let hour = Duration::from_hours(1);
    stage.open_for(0, address, hour).unwrap();
    stage.wait_for(1, address, true).unwrap();
    as_user(&stage, ADMINISTRATOR, async |client: Client| {
        let ask = async |verb: &str, payload: String| {
            let subject = format!("$JS.API.STREAM.{verb}.{STREAM}");
            let answer = client.request(subject, payload.into()).await.unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
            assert!(answer["error"].is_null(), "{answer}");
            answer
        };
        let mut config = ask("INFO", String::new()).await["config"].take();
        config["max_bytes"] = 300.into();
        ask("UPDATE", config.to_string()).await;
    });
    stage.send_to(1, &Stage::datagram().unwrap()).unwrap();
    stage
        .logged(1, &["refused", "reason=unreachable", "the engine is full"])
        .unwrap();
    for index in 0..2 {
        assert_eq!(stage.open(index).unwrap(), [address.to_string()]);
    }
    let made = stage.init(&["--max-bytes", "2MiB"]).unwrap();
    assert!(made.contains("3 copies of 2 MiB at most"), "{made}");
    stage.send_to(1, &Stage::datagram().unwrap()).unwrap();
    for index in 0..NODES {
        stage.wait_open(index, true).unwrap();
        stage.wait_for(index, address, true).unwrap();
    }
}

/// Lets the administrator pause the readers of the stream, which the example of a server's configuration
/// allows nobody.
fn allow_pauses(stage: &mut Stage<'_>) {
    let allowed = "\"$JS.API.STREAM.UPDATE.KNOCK_CLAIMS\"";
    for index in 0..NODES {
        let path = stage.cluster.folder(index).join("nats.conf");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(allowed), "{text}");
        let more = format!("{allowed}\n\"$JS.API.CONSUMER.>\"");
        fs::write(&path, text.replace(allowed, &more)).unwrap();
        stage.cluster.kill(index).unwrap();
        stage.cluster.start_again(index).unwrap();
        stage.cluster.wait_until_ready().unwrap();
    }
    for index in 0..NODES {
        stage.wait_connected(index).unwrap();
    }
}

/// Calls the API of readers as the administrator.
async fn ask(client: &Client, call: String, payload: String) -> serde_json::Value {
    let answer = client.request(format!("$JS.API.CONSUMER.{call}"), payload.into());
    let answer = answer.await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer["error"].is_null(), "{answer}");
    answer
}

/// The names of the readers of the stream.
async fn readers(client: &Client) -> BTreeSet<String> {
    let names = ask(client, format!("NAMES.{STREAM}"), String::new()).await;
    let names = names["consumers"].as_array().unwrap().iter();
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// Pauses every reader of the stream until then. Returns their names.
fn pause_readers(stage: &Stage<'_>, until: &str) -> BTreeSet<String> {
    let mut paused = BTreeSet::new();
    as_user(stage, ADMINISTRATOR, async |client: Client| {
        paused = readers(&client).await;
        for name in &paused {
            let until = serde_json::json!({ "pause_until": until });
            ask(&client, format!("PAUSE.{STREAM}.{name}"), until.to_string()).await;
        }
    });
    paused
}

#[test]
fn an_engine_that_withholds_claims_opens_nothing_and_keeps_nothing_open() {
    needs_fleet!();
    let net = Net::new().unwrap();
    // On a busy machine the engine answers later than a claim is waited for otherwise.
    let mut stage = Stage::with(&net, "patience = \"5s\"").unwrap();
    allow_pauses(&mut stage);
    for attempt in 0.. {
        let [short, long, late] = [1, 2, 3].map(|host| Ipv4Addr::new(10, 20, attempt, host));
        for (address, lease) in [(long, 3600), (short, 15)] {
            let lease = Duration::from_secs(lease);
            stage.open_for(0, address, lease).unwrap();
        }
        for index in 0..NODES {
            stage.wait_for(index, long, true).unwrap();
            stage.wait_for(index, short, true).unwrap();
        }
        let paused = pause_readers(&stage, "2100-01-01T00:00:00Z");
        assert!(paused.len() >= NODES, "{paused:?}");
        let outcome = withheld(&stage, short, long, late);
        // A node that has connected again has another reader, which is not paused.
        if pause_readers(&stage, "2000-01-01T00:00:00Z") == paused {
            outcome.unwrap();
            for index in 0..NODES {
                stage.wait_for(index, long, false).unwrap();
            }
            return;
        }
        println!("a reader was renewed: {outcome:?}");
        assert!(attempt < 3, "readers are renewed again and again");
    }
}

/// Knocks for `late` at every node and closes the door for `long`, while no node can read. The lease of
/// `short` ends.
fn withheld(stage: &Stage<'_>, short: Ipv4Addr, long: Ipv4Addr, late: Ipv4Addr) -> Result<()> {
    // The engine takes the claim and tells nobody. Then it has it already.
    let datagram = Stage::datagram_for(late, Duration::from_hours(1))?;
    for index in 0..NODES {
        stage.send_from(late, uplink_address(index), &datagram)?;
        stage.logged(index, &["refused", "reason=unreachable", WITHHELD])?;
    }
    let output = stage.knockd(1, &["fleet", "close", &long.to_string()])?;
    let error = String::from_utf8(output.stderr)?;
    ensure!(
        !output.status.success() && error.contains(WITHHELD),
        "{error}"
    );
    for index in 0..NODES {
        stage.wait_for(index, short, false)?;
        let open = stage.open(index)?;
        ensure!(open.contains(&long.to_string()), "{open:?}");
        ensure!(!open.contains(&late.to_string()), "{open:?}");
    }
    Ok(())
}
