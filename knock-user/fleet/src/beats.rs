//! What the nodes tell about themselves. It is not stored, and lost when there is no time for it.

use anyhow::{Result, ensure};
use async_nats::Message;
use futures_util::{FutureExt as _, StreamExt as _};
use knockd_ipc::fleet::{MAX_BEAT, Report};
use knockd_types::fleet::Engine;
use tokio::sync::mpsc;

use crate::session::Session;

/// The longest name of a node in bytes.
const MAX_NODE: usize = 64;

/// Whether `node` and `text` can be sent.
///
/// # Errors
///
/// Returns an error if not.
pub(crate) fn check(node: &str, text: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    ensure!(
        (1..=MAX_NODE).contains(&node.len()) && node.bytes().all(is_plain),
        "the name of the node is not valid"
    );
    ensure!(text.len() <= MAX_BEAT, "the text is too long");
    Ok(())
}

/// Sends what this node tells, if it can be sent at once.
pub(crate) fn send(session: &Session, engine: &Engine, node: &str, text: String) {
    let subject = engine.node_subject(node);
    let _ = session.client.publish(subject, text.into()).now_or_never();
}

/// Reports what the nodes tell, as long as the connection does not end.
///
/// # Errors
///
/// Returns an error if the connection has ended.
pub(crate) async fn read(
    session: &Session,
    engine: &Engine,
    reports: &mpsc::Sender<Report>,
) -> Result<()> {
    let mut messages = session.client.subscribe(engine.node_subject("*")).await?;
    while let Some(message) = messages.next().await {
        if let Some(beat) = beat(engine, &message) {
            let _ = reports.try_send(beat);
        }
    }
    Ok(())
}

fn beat(engine: &Engine, message: &Message) -> Option<Report> {
    let node = message.subject.strip_prefix(&engine.node_subject(""))?;
    let text = str::from_utf8(&message.payload).ok()?;
    check(node, text).ok()?;
    Some(Report::Beat {
        node: node.to_owned(),
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_subject_and_a_text_is_bounded() {
        for node in ["edge1", "edge-1_A"] {
            check(node, "").unwrap();
        }
        for node in ["", "a.b", "*", ">", "a b", "é", &"a".repeat(65)] {
            assert!(check(node, "").is_err(), "{node}");
        }
        check("edge1", &"a".repeat(MAX_BEAT)).unwrap();
        assert!(check("edge1", &"a".repeat(MAX_BEAT + 1)).is_err());
    }
}
