//! Every key that there is.

use super::{Default, Key, Table, Values};

const NAME: Values = Values::Other {
    what: "A text of 1 to 64 bytes without control characters",
    right: &["\"a\"", "\"Büro 1\""],
    wrong: &["\"\"", "\"a\\nb\"", "1"],
};

const LEASE: Values = Values::Duration {
    least: "1s",
    most: "365days",
    whole_seconds: true,
};

const COMMAND: Values = Values::Other {
    what: "A list of texts, the program and its arguments",
    right: &["[\"true\"]", "[\"/bin/echo\", \"%IP%\", \"100%%\"]"],
    wrong: &["[]", "[\"echo\", \"%NAME%\"]", "\"echo\""],
};

const PATH: Values = Values::Other {
    what: "A path",
    right: &["\"/srv/knockd\""],
    wrong: &["1"],
};

const USER: Values = Values::Other {
    what: "A user of this host",
    right: &["\"nobody\""],
    wrong: &["\"nobody here\"", "1"],
};

const GROUP: Values = Values::Other {
    what: "A group of this host",
    right: &["\"daemon\""],
    wrong: &["\"nobody here\"", "1"],
};

const AT_LEAST_ONE: Values = Values::Number {
    least: 1,
    most: None,
};

pub(super) const TABLES: &[Table] = &[
    Table {
        header: "",
        about: "",
        keys: &[
            Key {
                name: "interfaces",
                values: Values::Other {
                    what: "A list of names of interfaces; `[\"*\"]` is everything but loopback \
                           interfaces and tunnels",
                    right: &["[]", "[\"*\"]", "[\"eth0\", \"wan\"]"],
                    wrong: &["[\"a name that is too long\"]", "[\"a/b\"]", "\"eth0\""],
                },
                default: Default::Value("[]"),
                meaning: "Where to listen. `--iface` on the command line replaces it, and without \
                          either knockd does not start. An interface may come later, and come again.",
            },
            Key {
                name: "state_dir",
                values: PATH,
                default: Default::Value("\"/var/lib/knockd\""),
                meaning: "Where accepted sealed knocks and open doors are remembered: a folder of this \
                          daemon alone, made if need be.",
            },
            Key {
                name: "user",
                values: USER,
                default: Default::None("`knockd`, or else `nobody`, with a warning"),
                meaning: "Who the network-facing process runs as: any user but root. Without root's \
                          rights knockd stays the user that it is.",
            },
            Key {
                name: "max_skew",
                values: Values::Duration {
                    least: "1s",
                    most: "1day",
                    whole_seconds: false,
                },
                default: Default::Value("\"60s\""),
                meaning: "How far a sealed knock's time may be from this host's.",
            },
            Key {
                name: "sequence_timeout",
                values: Values::Duration {
                    least: "1s",
                    most: "10m",
                    whole_seconds: false,
                },
                default: Default::Value("\"15s\""),
                meaning: "How long a SYN waits for the rest of its knock.",
            },
            Key {
                name: "control_socket",
                values: PATH,
                default: Default::Value("\"/run/knockd/knockd.sock\""),
                meaning: "The Unix socket by which `knockd status` and the other commands find the \
                          running daemon. Its folder is made if need be.",
            },
        ],
    },
    Table {
        header: "[window]",
        about: "",
        keys: &[
            Key {
                name: "base",
                values: Values::Number {
                    least: 1,
                    most: Some(65280),
                },
                default: Default::Value("61000"),
                meaning: "The first of the 256 ports that are knocked on; the client's `--base`.",
            },
            Key {
                name: "verdict",
                values: Values::Choice(&["drop", "pass"]),
                default: Default::Value("\"drop\""),
                meaning: "What becomes of a SYN to the window: it is answered by nothing, or the host \
                          gets it, and as a rule answers with a reset.",
            },
        ],
    },
    Table {
        header: "[limits]",
        about: "The bounds of everything that somebody outside could make grow.",
        keys: &[
            Key {
                name: "events_per_second",
                values: AT_LEAST_ONE,
                default: Default::Value("64"),
                meaning: "How many SYNs to the window of one source the kernel hands on, on average. \
                          A SYN beyond is dropped or passed like any other, and counted.",
            },
            Key {
                name: "event_burst",
                values: AT_LEAST_ONE,
                default: Default::Value("128"),
                meaning: "The same, at once.",
            },
            Key {
                name: "sources",
                values: AT_LEAST_ONE,
                default: Default::Value("65536"),
                meaning: "How many addresses can have a knock in progress; the one that was seen least \
                          recently goes first.",
            },
            Key {
                name: "open_doors",
                values: AT_LEAST_ONE,
                default: Default::Value("4096"),
                meaning: "How many doors can be open, over all sources; a knock beyond is refused.",
            },
            Key {
                name: "leases",
                values: Values::Number {
                    least: 1,
                    most: Some(1_048_576),
                },
                default: Default::Value("16384"),
                meaning: "How many leases the gate can have, over all sources and ports: a door that \
                          opens two ports takes two.",
            },
            Key {
                name: "commands",
                values: AT_LEAST_ONE,
                default: Default::Value("16"),
                meaning: "How many commands run at the same time; others wait.",
            },
            Key {
                name: "command_timeout",
                values: LEASE,
                default: Default::Value("\"30s\""),
                meaning: "After this time a command is killed, with its process group.",
            },
        ],
    },
    Table {
        header: "[gate]",
        about: "Keeps ports closed in the kernel, before any firewall. Without this table there is \
                no gate.",
        keys: &[
            Key {
                name: "protect",
                values: Values::Other {
                    what: "A list such as `[\"tcp/22\", \"udp/51820\"]`, without a TCP port of the window",
                    right: &["[\"tcp/2222\"]", "[\"tcp/2222\", \"udp/61000\"]"],
                    wrong: &[
                        "[]",
                        "[22]",
                        "[\"tcp/61000\"]",
                        "[\"tcp/0\"]",
                        "[\"sctp/22\"]",
                    ],
                },
                default: Default::Required,
                meaning: "What is reached with a knock only.",
            },
            Key {
                name: "trusted",
                values: Values::Other {
                    what: "A list of up to 1024 addresses and networks such as `\"192.0.2.0/24\"`, none \
                           larger than /8, for IPv6 /7",
                    right: &["[]", "[\"192.0.2.7\"]", "[\"10.0.0.0/8\", \"fc00::/7\"]"],
                    wrong: &[
                        "[\"10.0.0.0/7\"]",
                        "[\"fc00::/6\"]",
                        "[\"192.0.2.7/24\"]",
                        "[\"host\"]",
                    ],
                },
                default: Default::Value("[]"),
                meaning: "Who needs no knock. Put the network there that you administer from.",
            },
            Key {
                name: "mode",
                values: Values::Choice(&["enforce", "observe"]),
                default: Default::Value("\"enforce\""),
                meaning: "Whether anything is dropped, or only counted as if it were.",
            },
            Key {
                name: "udp_idle",
                values: Values::Duration {
                    least: "1s",
                    most: "1day",
                    whole_seconds: true,
                },
                default: Default::Value("\"2m\""),
                meaning: "How far apart a lease's datagrams may be to keep it going beyond its door's time.",
            },
            Key {
                name: "on_stop",
                values: Values::Choice(&["closed", "open"]),
                default: Default::Value("\"closed\""),
                meaning: "Whether the ports stay protected when knockd stops.",
            },
            Key {
                name: "pin_dir",
                values: Values::Other {
                    what: "An absolute path, without dots in its names below /sys/fs/bpf",
                    right: &["\"/sys/fs/bpf/other\""],
                    wrong: &["\"bpf\"", "\"/sys/fs/bpf\"", "\"/sys/fs/bpf/a.b\""],
                },
                default: Default::Value("\"/sys/fs/bpf/knockd\""),
                meaning: "Where the kernel keeps the gate: a folder of it alone in a bpf filesystem.",
            },
        ],
    },
    Table {
        header: "[metrics]",
        about: "Counters for Prometheus, over HTTP at /metrics. Without this table there are none.",
        keys: &[Key {
            name: "listen",
            values: Values::Other {
                what: "An address and a port",
                right: &["\"127.0.0.1:9811\"", "\"[::1]:9811\""],
                wrong: &[
                    "\"127.0.0.1\"",
                    "\"127.0.0.1:0\"",
                    "\"localhost:9811\"",
                    "9811",
                ],
            },
            default: Default::Required,
            meaning: "Where Prometheus asks. Whoever reaches it can read them.",
        }],
    },
    Table {
        header: "[[client]]",
        about: "Who may knock: at least one such table. `knockd client add` adds one with a key of its own.",
        keys: &[
            Key {
                name: "name",
                values: NAME,
                default: Default::Required,
                meaning: "The client's name in the log and in `%CLIENT%`.",
            },
            Key {
                name: "protocol",
                values: Values::Choice(&["sealed", "classic"]),
                default: Default::Value("\"sealed\""),
                meaning: "How the client knocks. A classic knock can be sent again by whoever sees it.",
            },
            Key {
                name: "key_file",
                values: PATH,
                default: Default::None("none; then `passphrase_file` is required"),
                meaning: "The client's key, in a file of which the path is relative to this one. It is \
                          refused if group or others can read or write it. Two clients need different keys.",
            },
            Key {
                name: "passphrase_file",
                values: PATH,
                default: Default::None("none; then `key_file` is required"),
                meaning: "A passphrase in the place of a key, and what a classic client has. A newline \
                          at its end does not count.",
            },
        ],
    },
    Table {
        header: "[[door]]",
        about: "What a knock opens: at least one such table, each with `run`, `open` or both.",
        keys: &[
            Key {
                name: "name",
                values: NAME,
                default: Default::Required,
                meaning: "What a sealed client knocks for, and the door's name in the log and in `%DOOR%`.",
            },
            Key {
                name: "clients",
                values: Values::Other {
                    what: "A list of clients' names",
                    right: &["[\"laptop\"]"],
                    wrong: &["[]", "[\"nobody\"]", "\"laptop\""],
                },
                default: Default::None("every client"),
                meaning: "Who may open it.",
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
                meaning: "What a classic client knocks. No two doors have the same one; zeros at the end \
                          tell no two apart.",
            },
            Key {
                name: "run",
                values: COMMAND,
                default: Default::None("nothing is run; then `open` is required"),
                meaning: "The command that opens the door.",
            },
            Key {
                name: "open",
                values: Values::Other {
                    what: "A list of ports of `gate.protect`",
                    right: &["[\"tcp/2222\"]"],
                    wrong: &["[\"tcp/23\"]", "\"tcp/2222\""],
                },
                default: Default::None("nothing is opened in the kernel; then `run` is required"),
                meaning: "What the gate opens to the address that knocked.",
            },
            Key {
                name: "ipv6_prefix",
                values: Values::Number {
                    least: 32,
                    most: Some(128),
                },
                default: Default::Value("128"),
                meaning: "How many bits of an IPv6 address have to agree with that of who knocked for \
                          `open` to hold. There can be four different numbers.",
            },
            Key {
                name: "close",
                values: COMMAND,
                default: Default::None("nothing is run"),
                meaning: "The command that closes the door: when its time is over, and when knockd stops.",
            },
            Key {
                name: "for",
                values: LEASE,
                default: Default::Value("\"30s\""),
                meaning: "How long the door is open.",
            },
            Key {
                name: "max_for",
                values: LEASE,
                default: Default::None("the door's `for`, which it is at least"),
                meaning: "What a sealed client may ask for at most.",
            },
            Key {
                name: "require_binding",
                values: Values::Flag,
                default: Default::Value("false"),
                meaning: "Whether a sealed knock must name the address that it comes from.",
            },
            Key {
                name: "user",
                values: USER,
                default: Default::None("the user of knockd, which is root as a rule"),
                meaning: "Who `run` and `close` run as.",
            },
            Key {
                name: "group",
                values: GROUP,
                default: Default::None("the user's own"),
                meaning: "The one group that they run in; only with `user`.",
            },
        ],
    },
];
