//! The keys of a door.

use super::{
    super::model::{Default, Key, Table, Values},
    values::{LEASE, NAME, USER},
};

const COMMAND: Values = Values::Other {
    what: "A list of strings: the program and its arguments",
    right: &["[\"true\"]", "[\"/bin/echo\", \"%IP%\", \"100%%\"]"],
    wrong: &["[]", "[\"echo\", \"%NAME%\"]", "\"echo\""],
};

const GROUP: Values = Values::Other {
    what: "A group of this host",
    right: &["\"daemon\""],
    wrong: &["\"nobody here\"", "1"],
};

pub(super) const DOOR: Table = Table {
    header: "[[door]]",
    about: "A door that a knock opens; at least one is required. Each has `run`, `open` or both.",
    keys: &[
        Key {
            name: "name",
            values: NAME,
            default: Default::Required,
            meaning: "The door's name, as in `knock SERVER NAME`, in the log and in `%DOOR%`.",
        },
        Key {
            name: "clients",
            values: Values::Other {
                what: "A list of names of clients",
                right: &["[\"laptop\"]"],
                wrong: &["[]", "[\"nobody\"]", "\"laptop\""],
            },
            default: Default::None("every client"),
            meaning: "The clients that may open the door.",
        },
        Key {
            name: "sequence",
            values: Values::Other {
                what: "A list of 1 to 15 numbers from 0 to 255",
                right: &[
                    "[0]",
                    "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]",
                ],
                wrong: &[
                    "[]",
                    "[256]",
                    "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]",
                ],
            },
            default: Default::None("none; required where a classic client may open the door"),
            meaning: "The sequence of classic clients. Every door needs a different one; trailing zeros \
                      are ignored.",
        },
        Key {
            name: "run",
            values: COMMAND,
            default: Default::None("none; then `open` is required"),
            meaning: "The command that runs when the door opens.",
        },
        Key {
            name: "open",
            values: Values::Other {
                what: "A list of ports in `gate.protect`",
                right: &["[\"tcp/2222\"]"],
                wrong: &["[\"tcp/23\"]", "\"tcp/2222\""],
            },
            default: Default::None("none; then `run` is required"),
            meaning: "The ports that the gate opens for the source address of the knock.",
        },
        Key {
            name: "ipv4_prefix",
            values: Values::Number {
                least: 24,
                most: Some(32),
            },
            default: Default::Value("32"),
            meaning: "`open` applies to all IPv4 addresses that share this many leading bits with the source \
                      of the knock, for carriers that change the address between connections. All doors \
                      together can have four different values.",
        },
        Key {
            name: "ipv6_prefix",
            values: Values::Number {
                least: 32,
                most: Some(128),
            },
            default: Default::Value("128"),
            meaning: "`open` applies to all IPv6 addresses that share this many leading bits with the source \
                      of the knock. All doors together can have four different values.",
        },
        Key {
            name: "close",
            values: COMMAND,
            default: Default::None("none"),
            meaning: "The command that runs when the door closes: when its time is over, and when knockd \
                      stops.",
        },
        Key {
            name: "for",
            values: LEASE,
            default: Default::Value("\"30s\""),
            meaning: "How long the door stays open.",
        },
        Key {
            name: "max_for",
            values: LEASE,
            default: Default::None("the door's `for`, which is also the minimum"),
            meaning: "The longest time that a knock may request.",
        },
        Key {
            name: "require_binding",
            values: Values::Flag,
            default: Default::Value("false"),
            meaning: "Whether a knock has to be bound to its source address.",
        },
        Key {
            name: "allow_other",
            values: Values::Flag,
            default: Default::Value("false"),
            meaning: "Whether a datagram may open the door for another address than its own (`knock \
                      --open-for`).",
        },
        Key {
            name: "where",
            values: Values::Choice(&["everywhere", "here"]),
            default: Default::Value("\"everywhere\""),
            meaning: "On which nodes of a fleet the door opens: on all, or on the one at which the knock \
                      has arrived. Without `[fleet]` there is no difference.",
        },
        Key {
            name: "user",
            values: USER,
            default: Default::None("the user that runs knockd, normally root"),
            meaning: "The user that `run` and `close` run as.",
        },
        Key {
            name: "group",
            values: GROUP,
            default: Default::None("the primary group of `user`"),
            meaning: "The group that `run` and `close` run with, without supplementary groups. Only with \
                      `user`.",
        },
    ],
};
