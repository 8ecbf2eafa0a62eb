//! The cases of `test/conf/*_fwknopd.conf` in fwknop 2.6.11, and others.

use super::*;

/// The import of one stanza with `settings`.
fn with(settings: &str) -> Import {
    imported(&access("SOURCE ANY\nOPEN_PORTS tcp/22\n"), settings, "")
}

#[test]
fn ports_interfaces_and_ages_are_carried_over() {
    for (settings, interface, port, max_skew) in [
        ("", "eth0", 62201, 120),
        ("PCAP_INTF ens3;\n", "ens3", 62201, 120),
        ("PCAP_INTF any;\n", "any", 62201, 120),
        (
            "ENABLE_PCAP_PROMISC N\nPCAP_FILTER udp port 1234\n",
            "eth0",
            1234,
            120,
        ),
        ("PCAP_FILTER udp dst port 3456;\n", "eth0", 3456, 120),
        ("PCAP_FILTER port 62202;\n", "eth0", 62202, 120),
        (
            "PCAP_FILTER udp dst portrange 10000-65535;\n",
            "eth0",
            62201,
            120,
        ),
        ("PCAP_FILTER icmp;\n", "eth0", 62201, 120),
        (
            "PCAP_FILTER tcp port 62203;\nENABLE_TCP_SERVER Y;\nTCPSERV_PORT 62203;\n",
            "eth0",
            62201,
            120,
        ),
        (
            "ENABLE_UDP_SERVER Y;\nUDPSERV_PORT 62204;\nPCAP_FILTER udp port 1;\n",
            "eth0",
            62204,
            120,
        ),
        (
            "ENABLE_UDP_SERVER N;\nUDPSERV_PORT 62204;\n",
            "eth0",
            62201,
            120,
        ),
        (
            "ENABLE_UDP_SERVER Y;\nUDPSERV_PORT 70000;\n",
            "eth0",
            62201,
            120,
        ),
        (
            "ENABLE_NFQ_CAPTURE Y;\nNFQ_INTERFACE ens4;\nNFQ_PORT 62205;\nPCAP_INTF x;\n",
            "ens4",
            62205,
            120,
        ),
        ("MAX_SPA_PACKET_AGE 30;\n", "eth0", 62201, 30),
        (
            "MAX_SPA_PACKET_AGE 30;\nMAX_SPA_PACKET_AGE 100000;\n",
            "eth0",
            62201,
            86400,
        ),
        ("MAX_SPA_PACKET_AGE none;\n", "eth0", 62201, 1),
    ] {
        let import = with(settings);
        let config = config(&import);
        let expected = match interface {
            "any" => Wanted::Any(knockd_types::interface::Hook::Auto),
            interface => Wanted::by_name([interface]),
        };
        assert_eq!(config.interfaces, expected, "{settings}");
        for line in [
            format!("port = {port}"),
            format!("max_skew = \"{max_skew}s\""),
        ] {
            assert!(
                import.text.lines().any(|other| other == line),
                "{settings}: {line}"
            );
        }
        // Every line that is not carried over is told.
        for (number, line) in settings.lines().enumerate() {
            let key = line.split(' ').next().unwrap();
            let place = format!("# /f/fwknopd.conf:{}: {key} ", number + 1);
            let is_carried = [
                "PCAP_",
                "ENABLE_UDP",
                "UDPSERV",
                "ENABLE_NFQ",
                "NFQ_",
                "MAX_",
            ]
            .iter()
            .any(|beginning| key.starts_with(beginning));
            assert!(
                is_carried || import.text.contains(&place),
                "{line}\n{}",
                import.text
            );
        }
    }
}

#[test]
fn what_is_not_carried_over_is_told_with_the_way_out() {
    for (line, reason) in [
        ("ENABLE_SPA_PACKET_AGING N", "see `max_skew`"),
        (
            "ENABLE_DIGEST_PERSISTENCE N",
            "every knock is accepted once",
        ),
        ("ENABLE_DESTINATION_RULE Y", "see `gate.addresses`"),
        ("ENABLE_RULE_PREPEND Y", "without chains or rules"),
        ("ENABLE_IPT_FORWARDING Y", "FORCE_NAT is converted"),
        ("ENABLE_FIREWD_FORWARDING Y", "FORCE_NAT is converted"),
        ("ENABLE_IPT_LOCAL_NAT Y", "FORCE_NAT is converted"),
        ("ENABLE_NAT_DNS N", "a door names an address"),
        ("ENABLE_IPT_OUTPUT Y", "without chains or rules"),
        (
            "IPT_INPUT_ACCESS ACCEPT, filter, INPUT, 1, FWKNOP_INPUT_TEST, 1",
            "without chains or rules",
        ),
        (
            "FIREWD_INPUT_ACCESS AACCEPT, filter, INPUT, 1 FWKNOP_INPUT_TEST, 1",
            "without chains or rules",
        ),
        ("FLUSH_IPT_AT_EXIT N", "doors are closed when knockd stops"),
        (
            "FLUSH_FIREWD_AT_INIT N",
            "doors are closed when knockd stops",
        ),
        (
            "EXIT_AT_INTF_DOWN N",
            "waits until the interface is there again",
        ),
        ("ENABLE_SPA_OVER_HTTP Y", "do not go over HTTP"),
        ("ALLOW_ANY_USER_AGENT Y", "do not go over HTTP"),
        ("ENABLE_X_FORWARDED_FOR Y", "do not go over HTTP"),
        ("FWKNOP_RUN_DIR non/full/path", "see `state_dir`"),
        (
            "FWKNOP_PID_FILE $FWKNOP_INVALID_VAR/test.pid",
            "see `state_dir`",
        ),
        (
            "IPFW_ACTIVE_SET_NUM 1",
            "another operating system's firewall",
        ),
        ("PCAP_LOOP_SLEEP 1", "nothing is captured"),
        ("PCAP_FILTER icmp", "a datagram knock goes to one UDP port"),
        ("UDPSERV_PORT 1", "has no effect in this mode"),
        ("GPG_HOME_DIR /root/.gnupg", "key pairs replace GnuPG"),
        ("ACCESS_FILE x", "on the command line"),
        ("ACCESS_FOLDER x", "import each of its files"),
        ("UNHEARD_OF x", "is unknown"),
    ] {
        let import = with(&format!("{line}\n"));
        let key = line.split(' ').next().unwrap();
        let comments = comments(&import);
        let told = comments
            .lines()
            .find(|line| line.contains(&format!("fwknopd.conf:1: {key} ")));
        assert!(
            told.is_some_and(|told| told.contains(reason)),
            "{line}: {comments}"
        );
    }
}

#[test]
fn the_daemon_s_source_translation_applies_unless_the_stanza_has_its_own() {
    const NAT: &str = "SOURCE ANY\nOPEN_PORTS tcp/22\nFORCE_NAT 192.0.2.9 22\n";
    for (stanza, settings, expected) in [
        ("", "ENABLE_IPT_FORWARDING Y;\n", None),
        (
            "",
            "ENABLE_IPT_SNAT N;\nSNAT_TRANSLATE_IP 10.1.2.3;\n",
            None,
        ),
        ("", "ENABLE_IPT_SNAT Y;\n", Some("masquerade")),
        (
            "",
            "ENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP __CHANGEME__;\n",
            Some("masquerade"),
        ),
        (
            "",
            "ENABLE_FIREWD_SNAT Y;\nSNAT_TRANSLATE_IP 10.1.2.3;\n",
            Some("snat to 10.1.2.3"),
        ),
        (
            "FORCE_MASQUERADE Y\n",
            "ENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP 10.1.2.3;\n",
            Some("masquerade"),
        ),
        ("FORCE_SNAT 33.3.3.3\n", "", Some("snat to 33.3.3.3")),
    ] {
        let import = imported(&access(&format!("{NAT}{stanza}")), settings, "");
        config(&import);
        let after = |line: &str| Some(line.split_once("ip daddr 192.0.2.9 ")?.1.to_owned());
        let source = import.text.lines().find_map(after);
        assert_eq!(source.as_deref(), expected, "{stanza}{settings}");
    }
}
