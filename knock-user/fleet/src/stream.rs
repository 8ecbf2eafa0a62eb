//! The stream of claims: how it is made, and whether it is as it has to be.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::{
    ErrorCode,
    response::Response,
    stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType},
};
use knockd_types::fleet::Engine;

use crate::{
    session::{ANSWER, Session},
    tls,
};

/// How much a stream holds that was made without a size: more than 200,000 claims. When it is full, new
/// claims are refused.
const DEFAULT_BYTES: i64 = 64 * MIB;

const MIB: i64 = 1024 * 1024;

/// Claims are told apart by their subjects. The identities of messages, which the engine can tell
/// apart too, are not used.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

/// How long the servers may take to make the stream.
const CREATION: Duration = Duration::from_secs(10);

const NOT_FOUND: ErrorCode = ErrorCode(10059);

/// What servers say that are fewer than the replicas.
const TOO_FEW_SERVERS: [ErrorCode; 3] = [ErrorCode(10005), ErrorCode(10074), ErrorCode(10023)];

/// What happens to make a stream right.
const REMEDY: &str = "an administrator makes it with `knockd fleet init`";

/// Asks for the stream, whose name the engine knows.
///
/// # Errors
///
/// Returns an error if there is none, if it is not as it has to be, or if no server answers.
pub(crate) async fn ask(session: &Session, engine: &Engine) -> Result<Info> {
    let name = engine.stream();
    let Some(info) = find(session, &name, ANSWER).await? else {
        bail!("the engine has no stream {name}: {REMEDY}");
    };
    if let Some(difference) = difference(engine, &info.config) {
        bail!("the stream {name} of the engine {difference}: {REMEDY}, once this one is removed");
    }
    Ok(info)
}

async fn find(session: &Session, name: &str, limit: Duration) -> Result<Option<Info>> {
    let question = format!("STREAM.INFO.{name}");
    match session.call(&question, &(), limit).await? {
        Response::Ok(info) => Ok(Some(info)),
        Response::Err { error } if error.error_code() == NOT_FOUND => Ok(None),
        Response::Err { error } => bail!("the engine does not tell about its stream: {error}"),
    }
}

/// Makes the stream of claims, or verifies that it is there, and returns what was done as a
/// sentence. It has `replicas` copies, keeps a claim for `max_age`, and takes `max_bytes`: without, 64
/// MiB, or what it has taken before. `engine` has the certificate of an administrator.
///
/// # Errors
///
/// Returns an error if no server can be used, if the servers are fewer than `replicas`, or if there
/// is a stream of this name that is different.
pub async fn init(
    engine: &Engine,
    replicas: usize,
    max_age: Duration,
    max_bytes: Option<u64>,
) -> Result<String> {
    let session = connect(engine).await?;
    let name = engine.stream();
    let found = find(&session, &name, CREATION).await?;
    let max_bytes = match (max_bytes, &found) {
        (Some(bytes), _) => i64::try_from(bytes).context("the stream would be too large")?,
        (None, Some(info)) => info.config.max_bytes,
        (None, None) => DEFAULT_BYTES,
    };
    let wanted = wanted(engine, replicas, max_age, max_bytes);
    if let Some(info) = found {
        if let Some(difference) = difference(engine, &info.config) {
            bail!("there is a stream {name} already, which {difference}: remove it first");
        }
        let is_equal = |is: &Config| {
            (is.num_replicas, is.max_age, is.max_bytes)
                == (wanted.num_replicas, wanted.max_age, wanted.max_bytes)
        };
        if is_equal(&info.config) {
            return Ok(format!("The stream {name} was there already."));
        }
        make(&session, "UPDATE", &wanted).await?;
        return Ok(format!(
            "The stream {name} was there already, and has {} now.",
            described(&wanted)
        ));
    }
    make(&session, "CREATE", &wanted).await?;
    Ok(format!(
        "The stream {name} was made, with {}.",
        described(&wanted)
    ))
}

fn described(config: &Config) -> String {
    let copies = match config.num_replicas {
        1 => "one copy".to_owned(),
        count => format!("{count} copies"),
    };
    let size = match config.max_bytes {
        ..0 => "any size".to_owned(),
        bytes if bytes % MIB == 0 => format!("{} MiB", bytes / MIB),
        bytes => format!("{bytes} bytes"),
    };
    let hours = config.max_age.as_secs().div_ceil(3600);
    format!("{copies} of {size} at most, and keeps a claim for {hours} hours")
}

async fn make(session: &Session, verb: &str, wanted: &Config) -> Result<()> {
    let name = format!("STREAM.{verb}.{}", wanted.name);
    match session.call::<Info>(&name, wanted, CREATION).await? {
        Response::Ok(_) => Ok(()),
        Response::Err { error } if TOO_FEW_SERVERS.contains(&error.error_code()) => bail!(
            "the engine has fewer servers than the {} copies that are wanted, or not enough space on them: {error}",
            wanted.num_replicas
        ),
        Response::Err { error } => bail!("the engine does not make the stream: {error}"),
    }
}

/// Connects to the first server that can be used.
async fn connect(engine: &Engine) -> Result<Session> {
    let tls = tls::config(engine)?;
    let mut reasons = Vec::new();
    for server in &engine.servers {
        match Session::begin(*server, engine, tls.clone()).await {
            Ok(session) => return Ok(session),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    ensure!(!reasons.is_empty(), "the engine has no server");
    Err(anyhow::Error::msg(reasons.join("; "))).context("no server of the engine can be used")
}

fn wanted(engine: &Engine, replicas: usize, max_age: Duration, max_bytes: i64) -> Config {
    Config {
        name: engine.stream(),
        subjects: vec![engine.claim_subject(&"*")],
        description: Some("the claims of a fleet of knockd".into()),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: replicas,
        max_age,
        max_bytes,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        deny_delete: true,
        deny_purge: true,
        duplicate_window: DUPLICATE_WINDOW.min(max_age),
        ..Config::default()
    }
}

/// What would let a claim be replaced, removed or overlooked, as the end of a sentence that begins
/// with the stream.
fn difference(engine: &Engine, is: &Config) -> Option<&'static str> {
    let rules = [
        (
            is.subjects == [engine.claim_subject(&"*")],
            "has other subjects",
        ),
        (
            is.retention == RetentionPolicy::Limits,
            "removes what was read",
        ),
        (
            is.discard == DiscardPolicy::New,
            "removes old claims for new ones",
        ),
        (
            is.max_messages_per_subject == 1 && is.discard_new_per_subject,
            "takes more than one claim of an identity",
        ),
        (is.deny_delete && is.deny_purge, "lets claims be removed"),
        (is.storage == StorageType::File, "is not stored on the disk"),
        (!is.no_ack && !is.sealed, "takes no claims"),
        (
            is.mirror.is_none()
                && is.sources.is_none()
                && is.subject_transform.is_none()
                && is.republish.is_none(),
            "is connected to other streams",
        ),
    ];
    let mut broken = rules.into_iter().filter(|(holds, _)| !holds);
    broken.next().map(|(_, difference)| difference)
}

#[cfg(test)]
mod tests {
    use knockd_types::fleet::SecretText;

    use super::*;

    fn engine() -> Engine {
        Engine {
            servers: Vec::new(),
            server_name: String::new(),
            prefix: "knock".into(),
            node: "edge1".into(),
            authorities: String::new(),
            certificate: String::new(),
            key: SecretText::new(String::new()),
        }
    }

    #[test]
    fn only_a_stream_that_keeps_every_claim_is_used() {
        let engine = engine();
        let right = wanted(&engine, 3, Duration::from_hours(25), DEFAULT_BYTES);
        assert_eq!(difference(&engine, &right), None);
        // The administrator chooses its size, its time and its copies.
        for max_bytes in [-1, 300, 1 << 40] {
            let other = wanted(&engine, 1, Duration::from_hours(1), max_bytes);
            assert_eq!(difference(&engine, &other), None);
        }
        let changes: [fn(&mut Config); 9] = [
            |it| it.subjects.push("knock.other".into()),
            |it| it.retention = RetentionPolicy::WorkQueue,
            |it| it.discard = DiscardPolicy::Old,
            |it| it.discard_new_per_subject = false,
            |it| it.max_messages_per_subject = 2,
            |it| it.deny_delete = false,
            |it| it.deny_purge = false,
            |it| it.storage = StorageType::Memory,
            |it| it.no_ack = true,
        ];
        for change in changes {
            let mut wrong = right.clone();
            change(&mut wrong);
            assert!(difference(&engine, &wrong).is_some(), "{wrong:?}");
        }
    }
}
