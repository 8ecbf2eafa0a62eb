//! The claims of the listener, each of which is tried until its patience is over.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Result, bail};
use async_nats::jetstream::{ErrorCode, publish::PublishAck, response::Response};
use knockd_ipc::fleet::{ClaimId, MAX_CLAIMS, Outcome, Record, Report};
use knockd_types::fleet::Engine;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    link::{State, bounded},
    session::{Session, lock},
};

/// How many claims are tried at once; the others wait. Of more, the engine could not answer the first try
/// within [`TRY`] after an outage, and each would be sent again.
const MAX_TRIED: usize = 1024;

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
    /// Those that have no outcome yet.
    undecided: Arc<Mutex<HashSet<ClaimId>>>,
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
            undecided: Arc::default(),
            places: Arc::new(Semaphore::new(MAX_TRIED)),
        }
    }

    /// Begins to claim `id`. The outcome is reported later. After each connection the listener orders
    /// all again that it has not read: what is undecided is not begun twice.
    pub(crate) async fn begin(&self, id: ClaimId, record: Record) {
        let admitted = admit(&mut lock(&self.undecided), id);
        match admitted {
            Admitted::New => {}
            Admitted::Undecided => return,
            Admitted::Full => {
                let outcome = unknown("too many claims at once");
                // Fails only while the process ends.
                let _ = self.reports.send(Report::Outcome { id, outcome }).await;
                return;
            }
        }
        let deadline = Instant::now() + self.patience;
        let subject = self.engine.claim_subject(&id);
        let mut states = self.states.clone();
        let reports = self.reports.clone();
        let undecided = Arc::clone(&self.undecided);
        let places = Arc::clone(&self.places);
        tokio::spawn(async move {
            let mut reason = "other claims were tried first".to_owned();
            let decided = async {
                // Fails only if somebody closes it, which nobody does.
                let _place = places.acquire().await;
                try_often(&mut states, &subject, &record, &mut reason).await
            };
            let outcome = timeout_at(deadline, decided).await;
            let outcome = outcome.unwrap_or_else(|_| unknown(&reason));
            lock(&undecided).remove(&id);
            let _ = reports.send(Report::Outcome { id, outcome }).await;
        });
    }
}

/// Whether a claim is begun.
enum Admitted {
    New,
    Undecided,
    Full,
}

fn admit(undecided: &mut HashSet<ClaimId>, id: ClaimId) -> Admitted {
    if undecided.contains(&id) {
        return Admitted::Undecided;
    }
    if undecided.len() >= MAX_CLAIMS {
        return Admitted::Full;
    }
    undecided.insert(id);
    Admitted::New
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use knockd_ipc::fleet::{Hex, RECORD_LEN};
    use knockd_types::fleet::SecretText;

    use super::*;

    /// Claims that are not decided before `patience` is over, because no engine is reached.
    fn claims(patience: Duration) -> (Claims, watch::Sender<State>, mpsc::Receiver<Report>) {
        let engine = Engine {
            servers: vec![(Ipv4Addr::LOCALHOST, 4222).into()],
            server_name: "engine".to_owned(),
            prefix: "knock".to_owned(),
            node: "edge1".to_owned(),
            authorities: String::new(),
            certificate: String::new(),
            key: SecretText::new(String::new()),
        };
        let (state, states) = watch::channel(State::not_yet());
        let (sender, reports) = mpsc::channel(8);
        let claims = Claims::new(&Arc::new(engine), patience, states, sender);
        (claims, state, reports)
    }

    fn id(number: usize) -> ClaimId {
        let mut id = [0; 16];
        id[..size_of::<usize>()].copy_from_slice(&number.to_le_bytes());
        Hex(id)
    }

    const RECORD: Record = Hex([0; RECORD_LEN]);

    #[tokio::test]
    async fn a_claim_that_is_ordered_again_is_decided_once() {
        let (claims, _state, mut reports) = claims(Duration::from_millis(50));
        for number in [1, 1, 2, 1] {
            claims.begin(id(number), RECORD).await;
        }
        let mut decided = [(); 2].map(|()| None);
        for slot in &mut decided {
            let Some(Report::Outcome { id, .. }) = reports.recv().await else {
                panic!("no outcome");
            };
            *slot = Some(id);
        }
        decided.sort_unstable();
        assert_eq!(decided, [Some(id(1)), Some(id(2))]);
        assert!(reports.try_recv().is_err());
        // What is decided can be ordered again.
        claims.begin(id(1), RECORD).await;
        let Some(Report::Outcome { id: again, .. }) = reports.recv().await else {
            panic!("no outcome");
        };
        assert_eq!(again, id(1));
    }

    #[tokio::test]
    async fn as_many_claims_can_wait_as_a_node_orders() {
        let (claims, _state, mut reports) = claims(Duration::from_secs(600));
        for number in (0..MAX_CLAIMS).chain(0..MAX_CLAIMS) {
            claims.begin(id(number), RECORD).await;
        }
        tokio::task::yield_now().await;
        assert!(reports.try_recv().is_err());
        claims.begin(id(MAX_CLAIMS), RECORD).await;
        let report = reports.recv().await;
        let expected = Report::Outcome {
            id: id(MAX_CLAIMS),
            outcome: unknown("too many claims at once"),
        };
        assert_eq!(report, Some(expected));
    }
}
