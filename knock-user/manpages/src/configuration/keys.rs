//! The table of all keys of the configuration.

mod client;
mod door;
mod fleet;
mod values;

use self::values::{LEASE, PATH, USER};
use super::model::{Default, Key, Table, Values};

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
                    what: "A list of interface names, or of tables such as `{ name = \"ppp0\", attach = \
                           \"tc\" }`; `[\"*\"]` is all interfaces except loopback interfaces and \
                           members of a bond, team or bridge",
                    right: &[
                        "[]",
                        "[\"*\"]",
                        "[\"eth0\", \"wan\"]",
                        "[\"eth0\", { name = \"ppp0\", attach = \"tc\" }]",
                    ],
                    wrong: &[
                        "[\"a name that is too long\"]",
                        "[\"a/b\"]",
                        "\"eth0\"",
                        "[{ attach = \"tc\" }]",
                        "[{ name = \"eth0\", attach = \"ebpf\" }]",
                        "[{ name = \"eth0\", mode = \"tc\" }]",
                    ],
                },
                default: Default::Value("[]"),
                meaning: "The interfaces to listen on. `--iface` on the command line overrides this. One of \
                          the two is required. An interface may appear, disappear and reappear later. \
                          `attach` is \"auto\" (XDP if possible, else tc), \"xdp\" or \"tc\".",
            },
            Key {
                name: "state_dir",
                values: PATH,
                default: Default::Value("\"/var/lib/knockd\""),
                meaning: "The directory of the replay store, the lease journal and the history. Created if \
                          necessary. Every daemon needs its own.",
            },
            Key {
                name: "server_key_file",
                values: PATH,
                default: Default::None("none; required unless all clients are classic"),
                meaning: "The file with the server's key, which `knockd init` makes; the path is relative to the \
                          configuration file. Group and others must not have access. Servers behind one \
                          address share one key.",
            },
            Key {
                name: "user",
                values: USER,
                default: Default::None("`knockd`"),
                meaning: "The user that the unprivileged processes run as. Nothing else may run as this user, \
                          so `root` and `nobody` are refused. If knockd is not started as root, these \
                          processes run as the same user as knockd.",
            },
            Key {
                name: "max_skew",
                values: Values::Duration {
                    least: "1s",
                    most: "1day",
                    whole_seconds: false,
                },
                default: Default::Value("\"60s\""),
                meaning: "The largest accepted difference between the timestamp of a knock and the \
                          clock of this host.",
            },
            Key {
                name: "sequence_timeout",
                values: Values::Duration {
                    least: "1s",
                    most: "10m",
                    whole_seconds: false,
                },
                default: Default::Value("\"15s\""),
                meaning: "How long a SYN is kept while the rest of its knock is missing.",
            },
            Key {
                name: "control_socket",
                values: PATH,
                default: Default::Value("\"/run/knockd/knockd.sock\""),
                meaning: "The Unix socket of the running daemon, for `knockd status` and other commands. \
                          Its directory is created if necessary.",
            },
            Key {
                name: "include",
                values: Values::Other {
                    what: "A list of paths; the name of the file may contain one `*`",
                    right: &["[]", "[\"conf.d/*.toml\"]"],
                    wrong: &[
                        "[\"conf.d/nowhere.toml\"]",
                        "[\"*/a.toml\"]",
                        "[\"conf.d/[ab].toml\"]",
                        "\"conf.d/*.toml\"",
                    ],
                },
                default: Default::Value("[]"),
                meaning: "Files with further `[[client]]` and `[[door]]` tables, and nothing else. They are read \
                          in the order of their names. The path is relative to the configuration file; paths \
                          in an included file are relative to that file. A `*` stands for any characters and \
                          may match no file. Owner and mode are checked as for the configuration file.",
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
                meaning: "The first of the 256 ports of the window; the client's `--base`.",
            },
            Key {
                name: "verdict",
                values: Values::Choice(&["drop", "pass"]),
                default: Default::Value("\"drop\""),
                meaning: "What happens to a SYN to the window: `drop` discards it without an answer, `pass` \
                          passes it to the host, which normally answers with a reset.",
            },
        ],
    },
    Table {
        header: "[limits]",
        about: "Limits of everything that untrusted network input could make grow.",
        keys: &[
            Key {
                name: "events_per_second",
                values: AT_LEAST_ONE,
                default: Default::Value("64"),
                meaning: "The average rate of SYNs to the window that the kernel passes to knockd per \
                          source. Further SYNs are counted and otherwise ignored; `verdict` still applies.",
            },
            Key {
                name: "event_burst",
                values: AT_LEAST_ONE,
                default: Default::Value("128"),
                meaning: "The largest burst of such SYNs per source.",
            },
            Key {
                name: "sources",
                values: AT_LEAST_ONE,
                default: Default::Value("65536"),
                meaning: "How many source addresses can have a partial knock. The least recently \
                          seen one is evicted first.",
            },
            Key {
                name: "open_doors",
                values: AT_LEAST_ONE,
                default: Default::Value("4096"),
                meaning: "How many doors can be open, over all sources. Further knocks are refused. A client can \
                          have a quarter of them open at one door. The last sixteenth is for `knockd open`, \
                          and the quarter before it for clients that have no door open.",
            },
            Key {
                name: "leases",
                values: Values::Number {
                    least: 1,
                    most: Some(1_048_576),
                },
                default: Default::Value("16384"),
                meaning: "How many leases the gate can have, over all sources and ports. A door with two \
                          ports needs two leases per source.",
            },
            Key {
                name: "commands",
                values: AT_LEAST_ONE,
                default: Default::Value("16"),
                meaning: "How many `run` commands run at the same time, and how many `close` commands. Further \
                          ones wait. Those of one door can be half of them, and those of one client a quarter.",
            },
            Key {
                name: "command_timeout",
                values: LEASE,
                default: Default::Value("\"30s\""),
                meaning: "The time limit of a command. After that its process group is killed.",
            },
            Key {
                name: "history",
                values: Values::Other {
                    what: "0, or a number from 100 to 100000",
                    right: &["0", "100", "100000"],
                    wrong: &["-1", "1", "99", "100001"],
                },
                default: Default::Value("10000"),
                meaning: "How many accepted knocks `knockd history` shows at least. Its two files have up to \
                          1 KiB each for every one of them. With 0, none is recorded from then on; remove the \
                          files to forget those that are.",
            },
        ],
    },
    Table {
        header: "[gate]",
        about: "The gate keeps ports closed in the kernel, before any firewall. Without this table there \
                is no gate.",
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
                meaning: "The ports that only admitted sources can reach.",
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
                meaning: "Sources that need no knock. Add the network that you administer from.",
            },
            Key {
                name: "forward",
                values: Values::Choice(&["pass", "judge"]),
                default: Default::Value("\"pass\""),
                meaning: "What happens to packets that the host forwards to other hosts, as a router or for \
                          containers: they pass, or window and gate apply to them too. The kernel's routing \
                          tells what is forwarded.",
            },
            Key {
                name: "addresses",
                values: Values::Other {
                    what: "A list of up to 1024 addresses and networks, as in `trusted`",
                    right: &["[]", "[\"192.0.2.7\"]", "[\"10.0.0.0/8\", \"fc00::/7\"]"],
                    wrong: &["[\"10.0.0.0/7\"]", "[\"host\"]"],
                },
                default: Default::Value("[]"),
                meaning: "If not empty: the destinations that window and gate apply to, and no others, whether \
                          packets are forwarded or not. Then `forward` has no effect.",
            },
            Key {
                name: "mode",
                values: Values::Choice(&["enforce", "observe"]),
                default: Default::Value("\"enforce\""),
                meaning: "Whether the gate drops packets, or only counts what it would drop.",
            },
            Key {
                name: "udp_idle",
                values: Values::Duration {
                    least: "1s",
                    most: "1day",
                    whole_seconds: true,
                },
                default: Default::Value("\"2m\""),
                meaning: "UDP traffic extends a lease beyond its door's time. This is the longest gap between \
                          two datagrams.",
            },
            Key {
                name: "on_stop",
                values: Values::Choice(&["closed", "open"]),
                default: Default::Value("\"closed\""),
                meaning: "Whether the ports stay protected (`closed`) after knockd has stopped.",
            },
            Key {
                name: "pin_dir",
                values: Values::Other {
                    what: "An absolute path; below /sys/fs/bpf, names must not contain dots",
                    right: &["\"/sys/fs/bpf/other\""],
                    wrong: &["\"bpf\"", "\"/sys/fs/bpf\"", "\"/sys/fs/bpf/a.b\""],
                },
                default: Default::Value("\"/sys/fs/bpf/knockd\""),
                meaning: "The directory of the gate's pinned objects, in a bpf filesystem. Not to be shared \
                          with other programs.",
            },
        ],
    },
    Table {
        header: "[datagram]",
        about: "Knocks in one UDP datagram. Without this table none are accepted.",
        keys: &[Key {
            name: "port",
            values: Values::Number {
                least: 1,
                most: Some(65535),
            },
            default: Default::Required,
            meaning: "The UDP port. A service may use it too: only datagrams that are knocks for this server \
                      are taken.",
        }],
    },
    Table {
        header: "[metrics]",
        about: "Metrics for Prometheus over HTTP at /metrics. Without this table there is no endpoint.",
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
            meaning: "The address of the endpoint. Anyone who can connect to it can read the metrics.",
        }],
    },
    fleet::FLEET,
    client::CLIENT,
    door::DOOR,
];
