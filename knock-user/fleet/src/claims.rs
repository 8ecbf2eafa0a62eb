//! The claims of the listener, each of which is tried until its patience is over.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use async_nats::jetstream::{ErrorCode, publish::PublishAck, response::Response};
use knockd_ipc::fleet::{ClaimId, Outcome, Record, Report};
use knockd_types::fleet::Engine;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    link::{State, bounded},
    session::Session,
};

/// How many claims are tried at once.
const MAX_CLAIMS: usize = 1024;

/// The time between two tries of a claim.
const RETRY: Duration = Duration::from_millis(50);

/// How long a try may take. A leader that dies takes with it what it was asked, and the connection
/// to another server goes on. A second try harms nothing: the engine takes one claim of each identity.
const TRY: Duration = Duration::from_millis(500);

/// "wrong last sequence", which 2.11 and later also say without the number.
const WRONG_LAST_SEQUENCE: [ErrorCode; 2] = [ErrorCode(10071), ErrorCode(10164)];

/// "maximum … exceeded", with the limit that it is about in the text.
const STORE_FAILED: ErrorCode = ErrorCode(10077);

/// Accepts claims.
#[derive(Debug)]
pub(crate) struct Claims {
    engine: Arc<Engine>,
    patience: Duration,
    states: watch::Receiver<State>,
    reports: mpsc::Sender<Report>,
    places: Arc<Semaphore>,
}

impl Claims {
    pub(crate) fn new(
        engine: &Arc<Engine>,
        patience: Duration,
        states: watch::Receiver<State>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            patience,
            states,
            reports,
            places: Arc::new(Semaphore::new(MAX_CLAIMS)),
        }
    }

    /// Begins to claim `id`. The outcome is reported later.
    pub(crate) async fn begin(&self, id: ClaimId, record: Record) {
        let deadline = Instant::now() + self.patience;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let outcome = unknown("too many claims at once");
            // Fails only while the process ends.
            let _ = self.reports.send(Report::Outcome { id, outcome }).await;
            return;
        };
        let subject = self.engine.claim_subject(&id);
        let mut states = self.states.clone();
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let mut reason = String::new();
            let tries = try_often(&mut states, &subject, &record, &mut reason);
            let outcome = timeout_at(deadline, tries).await;
            let outcome = outcome.unwrap_or_else(|_| unknown(&reason));
            let _ = reports.send(Report::Outcome { id, outcome }).await;
            drop(place);
        });
    }
}

/// Tries to claim until it is decided. `reason` says why it is not yet.
async fn try_often(
    states: &mut watch::Receiver<State>,
    subject: &str,
    record: &Record,
    reason: &mut String,
) -> Outcome {
    loop {
        let session = states.borrow_and_update().session();
        match session {
            Ok(session) => {
                *reason = session.why_silent().to_string();
                match timeout(TRY, claim(&session, subject, record)).await {
                    Ok(Ok(outcome)) => return outcome,
                    Ok(Err(error)) => *reason = format!("{error:#}"),
                    Err(_) => *reason = session.why_silent().to_string(),
                }
                sleep(RETRY).await;
            }
            Err(why) => {
                *reason = why;
                if states.changed().await.is_err() {
                    return unknown("knockd ends");
                }
            }
        }
    }
}

/// Tries to claim; an error if a further try makes sense.
async fn claim(session: &Session, subject: &str, record: &Record) -> Result<Outcome> {
    let answer = session
        .create(subject.to_owned(), record.0.to_vec())
        .await?;
    let error = match answer {
        Response::Ok(PublishAck { .. }) => return Ok(Outcome::Created),
        Response::Err { error } => error,
    };
    let text = error.to_string();
    if WRONG_LAST_SEQUENCE.contains(&error.error_code()) {
        return Ok(Outcome::Exists);
    }
    if error.error_code() == STORE_FAILED {
        if text.contains("per subject") {
            return Ok(Outcome::Exists);
        }
        if text.contains("maximum") {
            return Ok(unknown(&format!("the engine is full: {text}")));
        }
    }
    bail!(text)
}

fn unknown(reason: &str) -> Outcome {
    Outcome::Unknown {
        reason: bounded(reason),
    }
}
