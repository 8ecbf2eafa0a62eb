//! Whether a server that is connected still serves the stream.
//!
//! A server that is cut off from the others stays connected, answers nothing or out of date, and
//! sends no claim of the others.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::Info;
use knockd_types::fleet::Engine;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{feed::Extent, session::Session, stream};

/// The time between two looks at the connection. It is asked about the stream at every
/// [`LOOKS`]th.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 6;

/// How long a server may answer nothing that it is asked.
const SILENCE: Duration = Duration::from_secs(2);

/// How long the leader of the stream may not have heard of another server that counts.
const UNHEARD: Duration = Duration::from_secs(4);

/// How many answers in a row may be bad, as they are for a moment when a leader is chosen.
const MAX_BAD: u32 = 2;

/// Watches the connection until the server does not serve the stream any more, and keeps `extent`
/// up to date.
///
/// # Errors
///
/// Always returns an error: why.
pub(crate) async fn watch(
    session: &Session,
    engine: &Engine,
    extent: &watch::Sender<Extent>,
) -> Result<()> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bad = 0;
    loop {
        for _ in 0..LOOKS {
            looks.tick().await;
            if session.unanswered_for() >= SILENCE {
                return Err(session.why_silent());
            }
        }
        match ask(session, engine).await {
            Ok(info) => {
                bad = 0;
                extent.send_replace(Extent::from(&info));
            }
            Err(error) if bad + 1 == MAX_BAD => return Err(error),
            Err(_) => bad += 1,
        }
    }
}

/// Asks for the stream. A leader that is cut off answers too, out of date.
///
/// # Errors
///
/// Returns the errors of [`stream::ask`], and an error if the leader has not heard of most servers
/// of the stream.
pub(crate) async fn ask(session: &Session, engine: &Engine) -> Result<Info> {
    stream::ask(session, engine).await.and_then(with_quorum)
}

/// `info`, if its author has heard of most servers of the stream.
fn with_quorum(info: Info) -> Result<Info> {
    if let Some(cluster) = &info.cluster {
        cluster
            .leader
            .as_ref()
            .context("the stream has no leader")?;
        let others = cluster.replicas.iter();
        let heard = others.filter(|other| !other.offline && other.active < UNHEARD);
        let (present, all) = (heard.count() + 1, cluster.replicas.len() + 1);
        ensure!(
            2 * present > all,
            "{present} of {all} servers of the stream are there, and most are needed"
        );
    }
    Ok(info)
}
