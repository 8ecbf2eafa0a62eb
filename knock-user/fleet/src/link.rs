//! The connection to the engine: it is made again for ever, to one server after the other.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use knockd_ipc::fleet::Report;
use knockd_runtime::log::legible;
use knockd_types::fleet::Engine;
use rustls::ClientConfig;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use crate::{
    beats,
    feed::{Extent, Feed},
    health,
    session::Session,
};

/// The delay after the first failure in a row, and after many.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(1);

/// The longest reason in characters.
const MAX_REASON: usize = 300;

/// Whether the engine is reached.
#[derive(Debug)]
pub(crate) enum State {
    /// It is.
    Connected(Session),
    /// It is not, for this reason.
    Lost(String),
}

/// Makes the connections.
#[derive(Debug)]
pub(crate) struct Link {
    engine: Arc<Engine>,
    tls: ClientConfig,
    state: watch::Sender<State>,
    reports: mpsc::Sender<Report>,
    feed: Feed,
}

impl State {
    /// Before the first connection.
    pub(crate) fn not_yet() -> Self {
        Self::Lost("the engine is not reached yet".into())
    }

    /// The connection, or why there is none.
    pub(crate) fn session(&self) -> Result<Session, String> {
        match self {
            Self::Connected(session) => Ok(session.clone()),
            Self::Lost(reason) => Err(reason.clone()),
        }
    }
}

impl Link {
    pub(crate) fn new(
        engine: Arc<Engine>,
        tls: ClientConfig,
        state: watch::Sender<State>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        Self {
            engine,
            tls,
            state,
            reports,
            feed: Feed::default(),
        }
    }

    /// Connects, and connects again, until the process ends.
    pub(crate) async fn hold(mut self) {
        let engine = Arc::clone(&self.engine);
        // In an order by chance, so that the nodes of a fleet use all servers.
        let chance = RandomState::new();
        let mut servers = engine.servers.clone();
        servers.sort_by_cached_key(|server| chance.hash_one(server));
        let mut delay = FIRST_DELAY;
        for server in servers.into_iter().cycle() {
            let Err(error) = self.use_server(server).await;
            let reason = bounded(&format!("{error:#}"));
            let is_news = match &*self.state.borrow() {
                State::Connected(session) => {
                    session.end();
                    delay = FIRST_DELAY;
                    true
                }
                State::Lost(last) => *last != reason,
            };
            self.state.send_replace(State::Lost(reason.clone()));
            if is_news && self.reports.send(Report::Lost { reason }).await.is_err() {
                return;
            }
            sleep(delay).await;
            delay = LAST_DELAY.min(delay * 2);
        }
    }

    /// Uses a server until it cannot be used any more, and returns why.
    async fn use_server(&mut self, server: SocketAddr) -> Result<std::convert::Infallible> {
        let session = Session::begin(server, &self.engine, self.tls.clone()).await?;
        let info = health::ask(&session, &self.engine).await?;
        self.feed.resume(&info);
        let version = bounded(&session.version);
        self.reports.send(Report::Connected { version }).await?;
        self.state.send_replace(State::Connected(session.clone()));
        let (extent, extents) = watch::channel(Extent::from(&info));
        tokio::select! {
            () = session.ended() => {}
            outcome = beats::read(&session, &self.engine, &self.reports) => outcome?,
            outcome = health::watch(&session, &self.engine, &extent) => outcome?,
            outcome = self.feed.read(&session, &self.engine, extents, &self.reports) => outcome?,
        }
        bail!("the connection to {server} has ended")
    }
}

/// `text` as one line without control characters, not longer than a reason may be.
pub(crate) fn bounded(text: &str) -> String {
    let line = text.replace('\n', " ");
    legible(&line).chars().take(MAX_REASON).collect()
}
