//! The keys of a client.

use super::{
    super::model::{Default, Key, Table, Values},
    NAME, PATH,
};

const TIME: Values = Values::Other {
    what: "A date and time with its offset from UTC, such as `2027-01-01T00:00:00Z`",
    right: &["2027-01-01T00:00:00Z", "2027-01-01T02:00:00+02:00"],
    wrong: &[
        "2027-01-01",
        "2027-01-01T00:00:00",
        "\"2027-01-01T00:00:00Z\"",
        "1",
    ],
};

pub(super) const CLIENT: Table = Table {
    header: "[[client]]",
    about: "A client that may knock; at least one is required. `knockd client add` adds one with its own key.",
    keys: &[
        Key {
            name: "name",
            values: NAME,
            default: Default::Required,
            meaning: "The client's name, as in the log and in `%CLIENT%`.",
        },
        Key {
            name: "protocol",
            values: Values::Choice(&["knock2", "classic"]),
            default: Default::Value("\"knock2\""),
            meaning: "The client's protocol: with a key pair, or the original's. A recorded classic knock can \
                      be replayed.",
        },
        Key {
            name: "public_key",
            values: Values::Other {
                what: "A public key: 43 characters",
                right: &["\"0iwA2BrX1liN0SVIFdL419C0RcwmnJ8wsaE_V3M7bVc\""],
                wrong: &["\"\"", "\"knock2:AAECAw\"", "1"],
            },
            default: Default::None("none; required unless the client is classic"),
            meaning: "The client's public key, which `knock enroll`, `knock keygen` and `knock pubkey` print. \
                      Every client needs its own.",
        },
        Key {
            name: "previous_key",
            values: Values::Other {
                what: "A public key: 43 characters",
                right: &["\"0iwA2BrX1liN0SVIFdL419C0RcwmnJ8wsaE_V3M7bVc\""],
                wrong: &[
                    "\"\"",
                    "\"j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8\"",
                    "1",
                ],
            },
            default: Default::None("none"),
            meaning: "The public key that the client had before, which is accepted until `previous_until`. \
                      Each knock with it leads to a line in the log.",
        },
        Key {
            name: "previous_until",
            values: TIME,
            default: Default::None("none; required with `previous_key`"),
            meaning: "The time from which on no knock with `previous_key` is accepted. What was opened \
                      before stays open.",
        },
        Key {
            name: "passphrase_file",
            values: PATH,
            default: Default::None("none; required for a classic client"),
            meaning: "The file with the passphrase of a classic client; the path is relative to the \
                      configuration file. Group and others must not have access. Line ends at the end \
                      are ignored.",
        },
        Key {
            name: "expires",
            values: TIME,
            default: Default::None("never"),
            meaning: "The time from which on no knock of the client is accepted, and at which what it has \
                      open is closed, by the clock of this host.",
        },
        Key {
            name: "from",
            values: Values::Other {
                what: "A list of 1 to 64 addresses and networks such as `\"192.0.2.0/24\"`",
                right: &["[\"192.0.2.7\"]", "[\"0.0.0.0/0\", \"2001:db8::/32\"]"],
                wrong: &["[]", "[\"192.0.2.7/24\"]", "[\"::/0\"]", "\"192.0.2.7\""],
            },
            default: Default::None("from everywhere"),
            meaning: "The networks that the client may knock from. What counts is the source address of the \
                      knock, also if the knock is for another address.",
        },
        Key {
            name: "doors",
            values: Values::Other {
                what: "A list of names of doors",
                right: &["[\"ssh\"]"],
                wrong: &["[]", "[\"attic\"]", "\"ssh\""],
            },
            default: Default::None("every door that admits the client"),
            meaning: "The doors that the client may open, and no others. A door with `clients` has to name \
                      the client too.",
        },
    ],
};
