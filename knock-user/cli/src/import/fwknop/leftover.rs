//! The variables that are not converted, each with the reason and what takes its place.

use crate::import::fwknop::source::Directive;

/// The reasons, by the beginning of the variable's name. The first one that fits applies.
pub(super) type Reasons = &'static [(&'static str, &'static str)];

const LOG: &str = "is not needed: the log goes to standard error, and with systemd to the journal";
const CAPTURE: &str =
    "is not needed: the kernel takes the packets of a knock, and nothing is captured";
const CHAINS: &str =
    "is not needed: the gate opens ports before the firewall, without chains or rules";
const OTHER_FIREWALL: &str = "is not needed: it is for another operating system's firewall";
const FILES: &str = "is not needed: see `state_dir`, and --config";

/// Those of `access.conf`.
pub(super) const ACCESS: Reasons = &[
    (
        "%include_keys",
        "is not read: old keys cannot be used, the client gets a key pair",
    ),
    (
        "CMD_EXEC_",
        "has no effect here: it is for commands that clients send. `user` of a door is for its own commands",
    ),
    (
        "CMD_SUDO_EXEC_",
        "has no effect here: it is for commands that clients send. `user` of a door is for its own commands",
    ),
    (
        "ENABLE_CMD_EXEC",
        "has no counterpart: a client cannot send a command, only choose a door. Write a [[door]] with `run` for each command",
    ),
    (
        "ENABLE_CMD_SUDO_EXEC",
        "has no counterpart: a client cannot send a command, only choose a door",
    ),
    ("DIGEST_TYPE", "is not needed: a knock has one form"),
    ("ENCRYPTION_MODE", "is not needed: a knock has one form"),
    (
        "GPG_DECRYPT_PW",
        "is not converted: a key pair of the client replaces it",
    ),
    (
        "GPG_FINGERPRINT_ID",
        "is not converted: copy the [[client]] if it names several people",
    ),
    (
        "GPG_REMOTE_ID",
        "is not converted: copy the [[client]] if it names several people",
    ),
    (
        "GPG_",
        "is not needed: a key pair of the client replaces GnuPG",
    ),
    ("HMAC_DIGEST_TYPE", "is not needed: a knock has one form"),
    (
        "HMAC_KEY",
        "is not converted: a key pair of the client replaces it",
    ),
    (
        "KEY",
        "is not converted: a key pair of the client replaces it",
    ),
];

/// Those of `fwknopd.conf`.
pub(super) const SETTINGS: Reasons = &[
    (
        "ACCESS_FI",
        "is not read: name the file on the command line of `knockd import-fwknop`",
    ),
    ("ACCESS_FO", "is not read: import each of its files"),
    (
        "ALLOW_ANY_USER_AGENT",
        "has no counterpart: knocks do not go over HTTP",
    ),
    (
        "CMD_EXEC_TIMEOUT",
        "has no counterpart: clients send no commands; see `limits.command_timeout`",
    ),
    ("DIGEST_", FILES),
    (
        "ENABLE_DESTINATION_RULE",
        "has no counterpart: see `gate.addresses`",
    ),
    (
        "ENABLE_DIGEST_PERSISTENCE",
        "is not needed: every knock is accepted once",
    ),
    ("ENABLE_FIREWD_COMMENT_CHECK", CHAINS),
    (
        "ENABLE_FIREWD_FORWARDING",
        "has no counterpart: a door names its target; FORCE_NAT is converted",
    ),
    (
        "ENABLE_FIREWD_LOCAL_NAT",
        "has no counterpart: a door names its target; FORCE_NAT is converted",
    ),
    ("ENABLE_FIREWD_OUTPUT", CHAINS),
    ("ENABLE_IPT_COMMENT_CHECK", CHAINS),
    (
        "ENABLE_IPT_FORWARDING",
        "has no counterpart: a door names its target; FORCE_NAT is converted",
    ),
    (
        "ENABLE_IPT_LOCAL_NAT",
        "has no counterpart: a door names its target; FORCE_NAT is converted",
    ),
    ("ENABLE_IPT_OUTPUT", CHAINS),
    ("ENABLE_NAT_DNS", "is not needed: a door names an address"),
    ("ENABLE_PCAP", CAPTURE),
    ("ENABLE_RULE_PREPEND", CHAINS),
    (
        "ENABLE_SPA_OVER_HTTP",
        "has no counterpart: knocks do not go over HTTP",
    ),
    (
        "ENABLE_SPA_PACKET_AGING",
        "is not needed: every knock has to be recent, see `max_skew`",
    ),
    (
        "ENABLE_TCP_SERVER",
        "is not needed: a knock of SYNs needs no listening port",
    ),
    (
        "ENABLE_X_FORWARDED_FOR",
        "has no counterpart: knocks do not go over HTTP",
    ),
    (
        "EXIT_AT_INTF_DOWN",
        "is not needed: knockd waits until the interface is there again",
    ),
    ("FIREWALL_EXE", CHAINS),
    ("FIREWD_", CHAINS),
    (
        "FLUSH_",
        "is not needed: doors are closed when knockd stops; see `gate.on_stop`",
    ),
    ("FWKNOP_", FILES),
    ("GPG_", "is not needed: key pairs replace GnuPG"),
    ("IPFW_", OTHER_FIREWALL),
    ("IPT_", CHAINS),
    ("LOCALE", LOG),
    ("MAX_SNIFF_BYTES", CAPTURE),
    ("NFQ_", CAPTURE),
    ("PCAP_", CAPTURE),
    ("PF_", OTHER_FIREWALL),
    ("RULES_CHECK_THRESHOLD", CHAINS),
    ("SUDO_EXE", "is not needed: clients send no commands"),
    ("SYSLOG_", LOG),
    (
        "TCPSERV_PORT",
        "is not needed: a knock of SYNs needs no listening port",
    ),
    (
        "UDPSERV_",
        "is not needed: the kernel takes the datagrams, and no socket is open",
    ),
    ("VERBOSE", "is not needed: see --log"),
];

/// Why `directive` is not converted.
pub(super) fn reason(reasons: Reasons, directive: &Directive) -> &'static str {
    reasons
        .iter()
        .find(|(beginning, _)| directive.key.starts_with(beginning))
        .map_or("is unknown", |(_, reason)| reason)
}
