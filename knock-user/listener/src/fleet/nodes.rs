//! What the nodes of the fleet tell about themselves.

use std::{collections::BTreeMap, time::Duration};

use knockd_ipc::fleet::{Hex, MAX_BEAT};
use knockd_types::status::FleetNode;
use serde::{Deserialize, Serialize};

use super::keys::{Keys, MAC_LEN, Tag, tag};

/// How often a node tells.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// How often a node tells at most, whoever asks.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// The most nodes that are kept. One that was not heard for longest makes room.
const MAX: usize = 4096;

/// A digest of what has to be the same on every node.
pub(super) type ConfigDigest = Hex<16>;

/// What a node tells.
#[derive(Debug, Serialize, Deserialize)]
struct Beat {
    /// Its clock, in Unix milliseconds.
    time: u64,
    config: ConfigDigest,
    version: String,
    /// Whether it has just been connected, and asks the others to tell too.
    asks: bool,
}

/// A beat with its authentication.
#[derive(Debug, Serialize, Deserialize)]
struct Signed {
    beat: String,
    code: Hex<MAC_LEN>,
}

#[derive(Debug)]
struct Node {
    /// On the clock of `monotonic`.
    heard: Duration,
    /// Its clock minus ours, in milliseconds. It contains the time on the way.
    offset_ms: i64,
    /// Its clock at its last beat. An older beat is one that was held back, or sent again.
    time: u64,
    config: ConfigDigest,
    version: String,
}

/// The nodes that were heard.
#[derive(Debug, Default)]
pub(super) struct Nodes(BTreeMap<String, Node>);

/// What a beat that was heard is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// No node of the fleet has made it.
    Forged,
    /// It is an older one than that which was heard last.
    Old,
    /// It is news.
    New { asks: bool },
}

/// The text of a beat of this node at `time`, in Unix milliseconds.
pub(super) fn beat(
    keys: &Keys,
    node: &str,
    config: ConfigDigest,
    time: u64,
    asks: bool,
) -> Option<String> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let beat = Beat {
        time,
        config,
        version,
        asks,
    };
    let beat = serde_json::to_string(&beat).ok()?;
    let code = keys.sign_beat(node, &beat);
    serde_json::to_string(&Signed { beat, code }).ok()
}

impl Nodes {
    /// Notes a beat that is said to be of `node`.
    pub(super) fn hear(
        &mut self,
        keys: &Keys,
        node: &str,
        text: &str,
        now: u64,
        heard: Duration,
    ) -> Heard {
        let Some(beat) = read(keys, node, text) else {
            return Heard::Forged;
        };
        if self
            .0
            .get(node)
            .is_some_and(|known| known.time >= beat.time)
        {
            return Heard::Old;
        }
        if self.0.len() >= MAX && !self.0.contains_key(node) {
            let silent = self.0.iter().min_by_key(|(_, node)| node.heard);
            if let Some(silent) = silent.map(|(name, _)| name.clone()) {
                self.0.remove(&silent);
            }
        }
        let offset = i128::from(beat.time) - i128::from(now);
        let state = Node {
            heard,
            offset_ms: i64::try_from(offset).unwrap_or(i64::MAX),
            time: beat.time,
            config: beat.config,
            version: beat.version,
        };
        self.0.insert(node.to_owned(), state);
        Heard::New { asks: beat.asks }
    }

    /// The name of the node that `wanted` stands for.
    pub(super) fn name(&self, wanted: Tag) -> Option<&str> {
        let mut names = self.0.keys();
        names.find(|name| tag(name) == wanted).map(String::as_str)
    }

    /// The nodes for `status`, at `now` on the clock of `monotonic`. Our configuration is `config`.
    pub(super) fn status(&self, config: ConfigDigest, now: Duration) -> Vec<FleetNode> {
        let nodes = self.0.iter().map(|(name, node)| FleetNode {
            node: name.clone(),
            seconds_ago: now.saturating_sub(node.heard).as_secs(),
            clock_offset_ms: node.offset_ms,
            same_configuration: node.config == config,
            version: node.version.clone(),
        });
        nodes.collect()
    }
}

fn read(keys: &Keys, node: &str, text: &str) -> Option<Beat> {
    if text.len() > MAX_BEAT || node.len() > 64 {
        return None;
    }
    let signed: Signed = serde_json::from_str(text).ok()?;
    if !keys.has_signed_beat(node, &signed.beat, &signed.code) {
        return None;
    }
    serde_json::from_str(&signed.beat).ok()
}
