//! The keys of `[fleet]`.

use super::{
    super::model::{Default, Key, Table, Values},
    values::PATH,
};

pub(super) const FLEET: Table = Table {
    header: "[fleet]",
    about: "Makes this daemon a node of a fleet: a knock at one node opens its door on all of them, \
                once. Without it there is no such process. The files are relative to the configuration \
                file. Changed by a restart.",
    keys: &[
        Key {
            name: "engine",
            values: Values::Other {
                what: "A list of addresses with ports",
                right: &["[\"192.0.2.11:4222\"]", "[\"[2001:db8::1]:4222\"]"],
                wrong: &[
                    "[]",
                    "[\"nats.example:4222\"]",
                    "[\"192.0.2.11\"]",
                    "\"192.0.2.11:4222\"",
                ],
            },
            default: Default::Required,
            meaning: "The servers of NATS with JetStream, 2.10 or later.",
        },
        Key {
            name: "server_name",
            values: Values::Other {
                what: "A host name or an address",
                right: &["\"nats.example\""],
                wrong: &["\"\"", "\"a name\""],
            },
            default: Default::Required,
            meaning: "The name in the certificates of the servers.",
        },
        Key {
            name: "ca",
            values: PATH,
            default: Default::Required,
            meaning: "The authorities' certificates that those of the servers are checked against, as PEM.",
        },
        Key {
            name: "certificate",
            values: PATH,
            default: Default::Required,
            meaning: "This node's certificate, as PEM. Its name is a user of the engine.",
        },
        Key {
            name: "certificate_key",
            values: PATH,
            default: Default::Required,
            meaning: "The private key of the certificate, as PEM. Group and others must not have access.",
        },
        Key {
            name: "key_file",
            values: PATH,
            default: Default::Required,
            meaning: "The key of the fleet, which `knockd fleet init` makes. All nodes have the same.",
        },
        Key {
            name: "node",
            values: Values::Other {
                what: "1 to 64 letters, digits, `-` and `_`",
                right: &["\"edge1\""],
                wrong: &["\"\"", "\"edge1.example\""],
            },
            default: Default::None("the name of the host, without its domain"),
            meaning: "The name of this node.",
        },
        Key {
            name: "prefix",
            values: Values::Other {
                what: "1 to 32 letters, digits, `-` and `_`",
                right: &["\"knock\""],
                wrong: &["\"\"", "\"a.b\""],
            },
            default: Default::Value("\"knock\""),
            meaning: "The beginning of the engine's subjects, and the name of the stream, `KNOCK_CLAIMS`. \
                          Two fleets on one engine need different ones.",
        },
        Key {
            name: "when_unreachable",
            values: Values::Choice(&["refuse", "bound", "local"]),
            default: Default::Value("\"refuse\""),
            meaning: "What happens to a knock that the engine does not acknowledge: it opens nothing; or \
                          its door on this node if it is bound to its address; or its door on this node.",
        },
        Key {
            name: "patience",
            values: Values::Duration {
                least: "50ms",
                most: "30s",
                whole_seconds: false,
            },
            default: Default::Value("\"1s\""),
            meaning: "How long a knock waits for the engine.",
        },
    ],
};
