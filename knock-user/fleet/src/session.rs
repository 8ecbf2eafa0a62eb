//! One connection to one server. It is never restored: whoever uses it makes a new one.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use async_nats::{
    Auth, AuthError, Client, ConnectOptions, Event, Request, RequestErrorKind, ServerAddr,
    ServerError, header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, jetstream::response::Response,
};
use knockd_types::fleet::Engine;
use rustls::ClientConfig;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// How long it takes at most to connect, all handshakes included.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a server may be silent before it is asked for a sign of life. The library gives up at
/// the third question without an answer: after 2.1 s.
const PING: Duration = Duration::from_millis(700);

/// How long a question about the stream may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(1);

/// The first version that can write every message to the disk before it answers.
const OLDEST: [u64; 2] = [2, 10];

/// A connection that is used until it ends.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) version: String,
    noticed: Arc<Noticed>,
}

/// What was noticed about a connection.
#[derive(Debug)]
struct Noticed {
    has_ended: watch::Sender<bool>,
    /// Since when no server has answered what it was asked.
    unanswered_since: Mutex<Option<Instant>>,
    /// What the server has refused last, for a person.
    complaint: Mutex<Option<String>>,
}

impl Session {
    /// Connects to the server at `address`, whose certificate and version are verified.
    ///
    /// # Errors
    ///
    /// Returns an error that says why the server cannot be used.
    pub(crate) async fn begin(
        address: SocketAddr,
        engine: &Engine,
        tls: ClientConfig,
    ) -> Result<Self> {
        let noticed = Arc::new(Noticed {
            has_ended: watch::Sender::new(false),
            unanswered_since: Mutex::new(None),
            complaint: Mutex::new(None),
        });
        let observer = Arc::clone(&noticed);
        let server: ServerAddr = format!("tls://{address}").parse()?;
        let connected = once()
            .name("knockd")
            .tls_client_config(tls)
            .require_tls(true)
            .ignore_discovered_servers()
            .custom_inbox_prefix(engine.inbox())
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .request_timeout(Some(ANSWER))
            .event_callback(move |event| {
                observer.notice(event);
                std::future::ready(())
            })
            .connect(server)
            .await;
        // The text of an error of the library includes that of its cause.
        let client =
            connected.map_err(|error| anyhow!("cannot use the server at {address}: {error}"))?;
        let version = client.server_info().version;
        if !is_new_enough(&version) {
            bail!(
                "the server is NATS {version}, which cannot write every message to the disk before it answers (`sync_interval: always`, from 2.10 on): claims could be lost at a power failure"
            );
        }
        Ok(Self {
            client,
            version,
            noticed,
        })
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(&self) {
        let mut has_ended = self.noticed.has_ended.subscribe();
        // The sender is in `self`.
        let _ = has_ended.wait_for(|has_ended| *has_ended).await;
    }

    /// Ends the connection for all that use it.
    pub(crate) fn end(&self) {
        self.noticed.has_ended.send_replace(true);
    }

    /// How long nothing has been answered that was asked.
    pub(crate) fn unanswered_for(&self) -> Duration {
        lock(&self.noticed.unanswered_since).map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Calls the API of JetStream.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no answer within `limit`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        name: &str,
        argument: &impl Serialize,
        limit: Duration,
    ) -> Result<Response<T>> {
        let request = Request::new().payload(serde_json::to_vec(argument)?.into());
        let answer = self.ask(format!("$JS.API.{name}"), request);
        timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(self.why_silent()))
    }

    /// Adds `payload` to the stream if there is no message with this `subject`. Waits for the answer
    /// as long as the connection lasts.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no answer: it may have been added.
    pub(crate) async fn create<T: DeserializeOwned>(
        &self,
        subject: String,
        payload: Vec<u8>,
    ) -> Result<Response<T>> {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        let request = Request::new().headers(headers).payload(payload.into());
        self.ask(subject, request).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        subject: String,
        request: Request,
    ) -> Result<Response<T>> {
        lock(&self.noticed.unanswered_since).get_or_insert_with(Instant::now);
        let answer = tokio::select! {
            answer = self.client.send_request(subject, request.timeout(None)) => answer,
            () = self.ended() => return Err(self.why_silent()),
        };
        // That nobody leads the stream is an answer too.
        lock(&self.noticed.unanswered_since).take();
        lock(&self.noticed.complaint).take();
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => anyhow!("no server leads the stream at the moment"),
            _ => anyhow!("{error}"),
        })?;
        serde_json::from_slice(&answer.payload).context("the engine's answer is not valid")
    }

    /// Why there is no answer.
    pub(crate) fn why_silent(&self) -> anyhow::Error {
        match &*lock(&self.noticed.complaint) {
            Some(complaint) => anyhow!("the server refuses: {complaint}"),
            None => anyhow!("the engine does not answer"),
        }
    }
}

impl Noticed {
    fn notice(&self, event: Event) {
        match event {
            Event::Disconnected | Event::Closed | Event::LameDuckMode | Event::ClientError(_) => {
                self.has_ended.send_replace(true);
            }
            Event::ServerError(ServerError::Other(complaint)) => {
                *lock(&self.complaint) = Some(complaint);
            }
            _ => {}
        }
    }
}

/// Options of a connection that the library does not restore: what it has not sent by the end is
/// never sent. It offers no such option, but it does not restore a connection for which it has no
/// authentication.
fn once() -> ConnectOptions {
    let is_used = Arc::new(AtomicBool::new(false));
    let options = ConnectOptions::with_auth_callback(move |_| {
        let was_used = is_used.swap(true, Ordering::Relaxed);
        // The certificate is all that proves who this is.
        std::future::ready(if was_used {
            Err(AuthError::new("this connection is used once"))
        } else {
            Ok(Auth::new())
        })
    });
    options.max_reconnects(1)
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let numbers = [(); 2].map(|()| numbers.next().unwrap_or(0));
    numbers >= OLDEST
}

/// Locks `mutex`, also after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_2_10_are_too_old() {
        for (version, expected) in [
            ("2.9.10", false),
            ("1.99.0", false),
            ("", false),
            ("latest", false),
            ("2", false),
            ("2.10.0", true),
            ("2.10.0-beta.1", true),
            ("2.15.1", true),
            ("3.0.0", true),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
