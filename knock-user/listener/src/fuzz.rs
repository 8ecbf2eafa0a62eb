//! The fuzzing targets of this crate, for `tests/fuzz`. They panic if a parser breaks a rule.

use std::{io::Cursor, iter};

use knock_common::window::Window;
use rustix::process::getuid;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::mpsc,
};

pub use crate::replay_store::journal::fuzz::run as journal;
use crate::{
    control::answer,
    query::Query,
    source::lines::{Line, Reader},
    tails::Reporter,
};

/// Lines of `--lines`: every line has a result, and a SYN that is written as a line is the same SYN.
pub fn lines(input: &[u8]) {
    let newlines = input.iter().filter(|byte| **byte == b'\n').count();
    let lines = read(input.to_vec());
    assert!(lines.len() == newlines || lines.len() == newlines + 1);
    for line in lines {
        let Line::Syn(syn) = line else { continue };
        let port = Window::DEFAULT.port(syn.offset);
        let written = format!("{port} {}\n", syn.source);
        match read(written.into_bytes())[..] {
            [Line::Syn(again)] => {
                assert_eq!((again.offset, again.source), (syn.offset, syn.source));
            }
            ref others => panic!("{syn:?} was read as {others:?}"),
        }
    }
}

fn read(input: Vec<u8>) -> Vec<Line> {
    let mut reader = Reader::new(Box::new(Cursor::new(input)), Window::DEFAULT);
    iter::from_fn(|| reader.next()).collect()
}

/// A request to the control socket: it becomes at most one query, with the request's verb, and an
/// answer is one line of JSON.
pub async fn control(input: &[u8]) {
    let (mut client, server) = UnixStream::pair().expect("a socket can be created");
    client.write_all(input).await.expect("there is room for it");
    client.shutdown().await.expect("it is connected");
    let (sender, mut queries) = mpsc::channel(1);
    let serve = async {
        let outcome = answer(server, getuid().as_raw(), &sender).await;
        drop(sender);
        outcome.is_ok()
    };
    let respond = async {
        let mut verb = None;
        while let Some(query) = queries.recv().await {
            if matches!(query, Query::TailEnded) {
                assert_eq!(verb, Some("tail"), "nobody followed");
                continue;
            }
            assert_eq!(verb, None, "a second query: {query:?}");
            verb = Some(reply(query));
        }
        verb
    };
    let (is_answered, verb) = tokio::join!(serve, respond);
    if let Some(verb) = verb {
        assert!(input.starts_with(verb.as_bytes()), "{verb}");
    }
    let mut answer = Vec::new();
    client
        .read_to_end(&mut answer)
        .await
        .expect("it is connected");
    assert_eq!(!answer.is_empty(), is_answered, "an error, or an answer");
    if is_answered {
        let line = answer.strip_suffix(b"\n").expect("it is a line");
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(line);
        assert!(json.is_ok(), "an answer is JSON");
    }
}

/// Answers `query` if the answer is simple, and returns its verb. The others fail, as in a daemon
/// that stops.
fn reply(query: Query) -> &'static str {
    let (verb, reply) = match query {
        Query::Status(_) => return "status",
        Query::Tail(reply) => {
            // Fails if the client has disconnected.
            let _ = reply.send((Reporter::default().tail(), String::new()));
            return "tail";
        }
        Query::Verdicts(_) => return "verdicts",
        Query::Leases(reply) => {
            let _ = reply.send(Vec::new());
            return "leases";
        }
        Query::Metrics(_) | Query::TailEnded => panic!("no request asks for it"),
        Query::Open(request, reply) => {
            assert_eq!(request.source, request.source.to_canonical());
            ("open\t", reply)
        }
        Query::Close(request, reply) => {
            assert_eq!(request.source, request.source.to_canonical());
            ("close\t", reply)
        }
        Query::FleetClose(request, reply) => {
            assert_eq!(request.source, request.source.to_canonical());
            ("fleet-close\t", reply)
        }
        Query::FleetRevoke(_, reply) => ("fleet-revoke\t", reply),
        Query::FleetLeases(reply) => {
            let _ = reply.send(Vec::new());
            return "fleet-leases";
        }
        Query::Reload(reply) => ("reload", reply),
    };
    let _ = reply.send(Ok(Vec::new()));
    verb
}
