//! What the example of a server's configuration lets a node do, and nothing else.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt as _;
use knock_tests::{
    nats::{ADMINISTRATOR, Cluster},
    netns::Namespace,
};
use tokio::sync::mpsc;

use super::{can_run, node::Node, with_stream};

/// What JetStream is asked to do with the stream or another one, and what a node may not ask.
const REQUESTS: &[(&str, &str)] = &[
    ("$JS.API.INFO", ""),
    ("$JS.API.STREAM.NAMES", ""),
    ("$JS.API.STREAM.LIST", ""),
    (
        "$JS.API.STREAM.CREATE.OTHER",
        r#"{"name":"OTHER","subjects":["other"]}"#,
    ),
    (
        "$JS.API.STREAM.UPDATE.KNOCK_CLAIMS",
        r#"{"name":"KNOCK_CLAIMS"}"#,
    ),
    ("$JS.API.STREAM.DELETE.KNOCK_CLAIMS", ""),
    ("$JS.API.STREAM.PURGE.KNOCK_CLAIMS", ""),
    ("$JS.API.STREAM.MSG.DELETE.KNOCK_CLAIMS", r#"{"seq":1}"#),
    ("$JS.API.STREAM.MSG.GET.KNOCK_CLAIMS", r#"{"seq":1}"#),
    ("$JS.API.STREAM.LEADER.STEPDOWN.KNOCK_CLAIMS", ""),
    (
        "$JS.API.STREAM.SNAPSHOT.KNOCK_CLAIMS",
        r#"{"deliver_subject":"_INBOX.edge1.x"}"#,
    ),
    ("$JS.API.CONSUMER.LIST.KNOCK_CLAIMS", ""),
    ("$JS.API.CONSUMER.NAMES.KNOCK_CLAIMS", ""),
    ("$JS.API.CONSUMER.DELETE.KNOCK_CLAIMS.x", ""),
    ("$JS.API.CONSUMER.DURABLE.CREATE.KNOCK_CLAIMS.x", ""),
    ("$JS.API.CONSUMER.CREATE.KNOCK_CLAIMS.x", ""),
    ("$SYS.REQ.SERVER.PING", ""),
    ("knock.node.edge2", "as another node"),
    ("knock.claim.a.b", ""),
    ("knock.other", ""),
    ("_INBOX.edge2.x", ""),
];

/// What a node may not receive.
const SUBJECTS: &[&str] = &[
    ">",
    "knock.>",
    "knock.claim.*",
    "_INBOX.>",
    "_INBOX.edge2.>",
    "$JS.>",
    "$SYS.>",
];

/// A plain client with the certificate of `node`, and what the server complains about.
async fn client(cluster: &Cluster<'_>, node: &str) -> (Client, mpsc::UnboundedReceiver<String>) {
    let identity = cluster.identity(node).unwrap();
    let (sender, complaints) = mpsc::unbounded_channel();
    let client = ConnectOptions::new()
        .add_root_certificates(identity.authority)
        .add_client_certificate(identity.certificate, identity.key)
        .require_tls(true)
        .ignore_discovered_servers()
        .custom_inbox_prefix(format!("_INBOX.{node}"))
        .event_callback(move |event| {
            if let Event::ServerError(error) = event {
                let _ = sender.send(error.to_string());
            }
            std::future::ready(())
        })
        .connect(format!("tls://{}", cluster.addresses()[0]))
        .await;
    (client.unwrap(), complaints)
}

async fn is_denied(complaints: &mut mpsc::UnboundedReceiver<String>, subject: &str) {
    let complaint = tokio::time::timeout(super::SOON, complaints.recv()).await;
    let complaint = complaint.ok().flatten();
    let complaint = complaint.unwrap_or_else(|| panic!("{subject} is allowed"));
    assert!(
        complaint.to_lowercase().contains("permissions violation") && complaint.contains(subject),
        "{subject}: {complaint}"
    );
}

/// Runs `work` in the namespace.
fn run(namespace: &Namespace, work: impl Future<Output = ()> + Send) {
    let in_namespace = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work);
        Ok(())
    };
    namespace.run(in_namespace).unwrap();
}

#[test]
fn all_else_is_denied() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    run(&namespace, async {
        for node in ["edge1", ADMINISTRATOR] {
            let (client, mut complaints) = client(&cluster, node).await;
            for (subject, payload) in REQUESTS {
                if node == ADMINISTRATOR && subject.contains("STREAM.UPDATE") {
                    continue;
                }
                let subject = *subject;
                client.publish(subject, (*payload).into()).await.unwrap();
                is_denied(&mut complaints, subject).await;
            }
            for subject in SUBJECTS {
                let _subscription = client.subscribe(*subject).await.unwrap();
                is_denied(&mut complaints, subject).await;
            }
        }
        // An administrator adds no claims.
        let (administrator, mut complaints) = client(&cluster, ADMINISTRATOR).await;
        let subject = "knock.claim.00";
        administrator.publish(subject, "".into()).await.unwrap();
        is_denied(&mut complaints, subject).await;
        // What is allowed causes no complaint.
        let (client, mut complaints) = client(&cluster, "edge1").await;
        let mut beats = client.subscribe("knock.node.*").await.unwrap();
        client
            .publish("knock.node.edge1", "here".into())
            .await
            .unwrap();
        assert_eq!(beats.next().await.unwrap().payload, "here");
        let none = tokio::time::timeout(Duration::ZERO, complaints.recv()).await;
        assert!(none.is_err());
    });
}

#[test]
fn a_full_stream_refuses_claims_and_keeps_those_that_it_has() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    let node = Node::start(&namespace, &cluster, "edge1");
    node.current();
    node.claim(1, 1);
    assert_eq!(node.outcome(1), knockd_ipc::fleet::Outcome::Created);
    run(&namespace, async {
        let (administrator, _) = client(&cluster, ADMINISTRATOR).await;
        let ask = async |verb: &str, payload: Vec<u8>| {
            let subject = format!("$JS.API.STREAM.{verb}.KNOCK_CLAIMS");
            let answer = administrator
                .request(subject, payload.into())
                .await
                .unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
            assert_eq!(answer["error"], serde_json::Value::Null, "{answer}");
            answer
        };
        let mut config = ask("INFO", Vec::new()).await["config"].take();
        config["max_bytes"] = 300.into();
        ask("UPDATE", config.to_string().into()).await;
    });
    node.claim(2, 2);
    let outcome = node.outcome(2);
    let text = format!("{outcome:?}");
    assert!(
        text.contains("Unknown") && text.contains("the engine is full"),
        "{text}"
    );
    node.claim(1, 3);
    assert_eq!(node.outcome(1), knockd_ipc::fleet::Outcome::Exists);
}
