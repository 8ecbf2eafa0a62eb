//! The history of accepted knocks: the records in its files, and the knocks that they tell of.

use std::{collections::HashMap, fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::utc;

/// A time of the wall clock, in whole milliseconds, from 1970 to 9999. Its text is RFC 3339, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(u64);

impl Moment {
    /// The last one that has a text.
    const LAST: u64 = 253_402_300_799_999;

    /// The time in Unix milliseconds, or the last one there is.
    #[must_use]
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(if ms > Self::LAST { Self::LAST } else { ms })
    }

    /// The time in Unix milliseconds.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// The time that is `time` later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self::from_unix_ms(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&utc::millis(Duration::from_millis(self.0)))
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = utc::NoTime;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let since_1970 = utc::parse(&text)?;
        Ok(Self::from_unix_ms(
            u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        ))
    }
}

/// The kind of a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// SYNs, also those of a classic client.
    Syn,
    /// A datagram.
    Datagram,
    /// A knock at another node of the fleet.
    Fleet,
}

/// Why a door was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its time was over.
    Expired,
    /// `knockd close`.
    ByHand,
    /// A knock of the client.
    ByClient,
    /// The configuration does not allow it any more.
    Revoked,
    /// The daemon was stopped.
    Stopped,
    /// It may still be open: its `close` command failed.
    CloseFailed,
    /// It was never open: the gate had no room.
    NotOpened,
}

/// A record: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Record {
    /// A knock was accepted, and its door opens.
    Opened(Accepted),
    /// A knock was accepted for a door that is open already.
    Extended(Accepted),
    /// A door is closed.
    Closed(Closed),
}

/// An accepted knock, or `knockd open`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// When it was accepted.
    pub time: Moment,
    /// The client's name; [`BY_HAND`](crate::names::BY_HAND) if the administrator opened the door.
    pub client: String,
    /// The door's name.
    pub door: String,
    /// The address that the door is open for.
    pub source: IpAddr,
    /// The address that the knock came from, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<IpAddr>,
    /// When the door closes, if nothing extends its time or ends it early.
    pub until: Moment,
    /// The kind of the knock, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// The knocks of this client that were accepted since its previous record, and have none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The end of an open door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// When it was closed.
    pub time: Moment,
    /// The client whose knock was the last.
    pub client: String,
    /// The door's name.
    pub door: String,
    /// The address that it was open for.
    pub source: IpAddr,
    /// Why.
    pub how: How,
}

/// An accepted knock with its end, for people and for `knockd history --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Knock {
    /// Whether the door was open already.
    pub extended: bool,
    /// The knock.
    #[serde(flatten)]
    pub accepted: Accepted,
    /// The end of its door; `None` if it is still open, or the end is not known.
    #[serde(flatten)]
    pub end: Option<End>,
}

/// The end of a knock's door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// When.
    pub closed: Moment,
    /// Why.
    pub how: How,
}

/// The knocks that `records` tell of, in the same order.
#[must_use]
pub fn knocks(records: impl IntoIterator<Item = Record>) -> Vec<Knock> {
    let mut knocks = Vec::new();
    // The knocks since the door was last closed for the address.
    let mut open: HashMap<(String, IpAddr), Vec<usize>> = HashMap::new();
    for record in records {
        let (accepted, extended) = match record {
            Record::Opened(accepted) => (accepted, false),
            Record::Extended(accepted) => (accepted, true),
            Record::Closed(closed) => {
                let of_door = open.remove(&(closed.door, closed.source));
                for index in of_door.unwrap_or_default() {
                    let knock: &mut Knock = &mut knocks[index];
                    knock.end = Some(End {
                        closed: closed.time,
                        how: closed.how,
                    });
                }
                continue;
            }
        };
        let of_door = open
            .entry((accepted.door.clone(), accepted.source))
            .or_default();
        if !extended {
            of_door.clear();
        }
        of_door.push(knocks.len());
        knocks.push(Knock {
            extended,
            accepted,
            end: None,
        });
    }
    knocks
}

/// The last of `knocks` of each client, by the client's name.
#[must_use]
pub fn last_of_each(knocks: Vec<Knock>) -> HashMap<String, Knock> {
    let by_client = |knock: Knock| (knock.accepted.client.clone(), knock);
    knocks.into_iter().map(by_client).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Moment = Moment::from_unix_ms(1_800_000_000_123);

    fn accepted(client: &str, second: u64) -> Accepted {
        Accepted {
            time: TIME.after(Duration::from_secs(second)),
            client: client.into(),
            door: "ssh".into(),
            source: [192, 0, 2, 7].into(),
            sender: None,
            until: TIME.after(Duration::from_secs(second + 30)),
            via: Some(Via::Syn),
            left_out: 0,
        }
    }

    fn closed(client: &str, second: u64, how: How) -> Record {
        Record::Closed(Closed {
            time: TIME.after(Duration::from_secs(second)),
            client: client.into(),
            door: "ssh".into(),
            source: [192, 0, 2, 7].into(),
            how,
        })
    }

    #[test]
    fn a_record_is_an_object_that_is_read_again() {
        let records = [
            (
                Record::Opened(accepted("laptop", 0)),
                r#"{"event":"opened","time":"2027-01-15T08:00:00.123Z","client":"laptop","door":"ssh","source":"192.0.2.7","until":"2027-01-15T08:00:30.123Z","via":"syn"}"#,
            ),
            (
                Record::Extended(Accepted {
                    sender: Some([192, 0, 2, 8].into()),
                    via: None,
                    left_out: 3,
                    ..accepted("a \"b\"\n", 0)
                }),
                r#"{"event":"extended","time":"2027-01-15T08:00:00.123Z","client":"a \"b\"\n","door":"ssh","source":"192.0.2.7","sender":"192.0.2.8","until":"2027-01-15T08:00:30.123Z","left_out":3}"#,
            ),
            (
                closed("laptop", 30, How::ByHand),
                r#"{"event":"closed","time":"2027-01-15T08:00:30.123Z","client":"laptop","door":"ssh","source":"192.0.2.7","how":"by_hand"}"#,
            ),
        ];
        for (record, json) in records {
            assert_eq!(serde_json::to_string(&record).unwrap(), json);
            assert_eq!(serde_json::from_str::<Record>(json).unwrap(), record);
        }
    }

    #[test]
    fn a_moment_has_a_text_whatever_the_clock_says() {
        for ms in [0, 1, Moment::LAST, u64::MAX] {
            let moment = Moment::from_unix_ms(ms);
            assert_eq!(Moment::try_from(moment.to_string()).unwrap(), moment);
        }
        assert_eq!(TIME.after(Duration::MAX).unix_ms(), Moment::LAST);
    }

    #[test]
    fn an_end_belongs_to_every_knock_since_the_door_opened() {
        let knocks = knocks([
            // Its end is not known.
            Record::Opened(accepted("laptop", 0)),
            Record::Opened(accepted("laptop", 40)),
            Record::Extended(accepted("phone", 50)),
            closed("phone", 80, How::Expired),
            // That of a door whose knock is in no file any more.
            closed("phone", 90, How::Stopped),
            Record::Opened(accepted("laptop", 100)),
        ]);
        let ends: Vec<_> = knocks.iter().map(|knock| knock.end).collect();
        let end = Some(End {
            closed: TIME.after(Duration::from_secs(80)),
            how: How::Expired,
        });
        assert_eq!(ends, [None, end, end, None]);
        let json = serde_json::to_value(&knocks[2]).unwrap();
        assert_eq!(json["how"], "expired");
        assert_eq!(json["client"], "phone");
        assert_eq!(json["extended"], true);
        let last = last_of_each(knocks);
        assert_eq!(last["laptop"].accepted, accepted("laptop", 100));
        assert_eq!(last["phone"].accepted, accepted("phone", 50));
    }
}
