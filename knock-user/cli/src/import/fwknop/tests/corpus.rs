//! The cases of `test/conf/*_access.conf` in fwknop 2.6.11.

use super::*;

const KEYS: &str = "KEY_BASE64 SECRET\nHMAC_KEY_BASE64 SECRET\n";

/// The summary of `text`, in whose stanzas the clients may ask for tcp/22.
fn converted(text: &str) -> Vec<String> {
    let text = text.replace("@KEYS\n", KEYS);
    let import = imported(&access(&text), "", "tcp/22");
    if !import.doors.is_empty() {
        config(&import);
    }
    summary(&import)
}

/// The reasons for which the stanzas of `text` are skipped.
fn left_out(text: &str) -> Vec<String> {
    imported(&access(text), "", "tcp/22").left_out
}

#[test]
fn the_kind_of_the_old_key_makes_no_difference() {
    for lines in [
        "KEY SECRET\n",
        "KEY_BASE64 SECRET\n",
        "@KEYS\n",
        "KEY SECRET\nENCRYPTION_MODE legacy\n",
        "KEY SECRET\nENCRYPTION_MODE CFB\n",
        "KEY SECRET\nENCRYPTION_MODE CTR\n",
        "KEY SECRET\nENCRYPTION_MODE ECB\n",
        "KEY SECRET\nENCRYPTION_MODE OFB\n",
        "KEY SECRET\nHMAC_KEY SECRET\n",
        "@KEYS\nHMAC_DIGEST_TYPE md5\n",
        "@KEYS\nHMAC_DIGEST_TYPE sha3_512\nDIGEST_TYPE sha3_512\n",
        "@KEYS\nHMAC_DIGEST_TYPE invalid\n",
        "KEY SECRET\nGPG_HOME_DIR conf/gpg\nGPG_DECRYPT_ID 361BBAD4\nGPG_DECRYPT_PW SECRET\nGPG_REMOTE_ID 6A3FAD56\n",
        "HMAC_KEY_BASE64 SECRET\nGPG_DECRYPT_ID A, B\nGPG_DECRYPT_PW SECRET\nGPG_REMOTE_ID A, B, C\nGPG_EXE /invalid/gpg\n",
        "GPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID 00CC95F0\nGPG_DISABLE_SIG Y\nGPG_REQUIRE_SIG Y\n",
        "KEY SECRET\nENABLE_CMD_EXEC Y\n",
        "@KEYS\nENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody\nCMD_EXEC_GROUP nobody\n",
        "@KEYS\nDESTINATION ANY\n",
        "@KEYS\nDESTINATION 1.2.3.4, 127.0.0.1, 123.0.0.0/24\n",
        "@KEYS\nDESTINATION 1.2.3.4\n",
    ] {
        assert_eq!(
            converted(&format!("SOURCE ANY\n{lines}FW_ACCESS_TIMEOUT 3\n")),
            [
                "stanza-1, ",
                "tcp/22, clients: stanza-1, open: tcp/22, for: 3s, max_for: 300s"
            ],
            "{lines}"
        );
    }
}

#[test]
fn sources_become_the_client_s_networks() {
    for (source, from) in [
        ("127.0.0.1", "127.0.0.1/32"),
        ("4.3.2.1", "4.3.2.1/32"),
        ("127.0.0.0/24", "127.0.0.0/24"),
        (
            "4.3.2.0/24, 127.0.0.0/24, 123.123.123.123/24, 23.43.0.0/16, 10.10.10.10",
            "4.3.2.0/24 10.10.10.10/32 23.43.0.0/16 123.123.123.0/24 127.0.0.0/24",
        ),
        (
            "23.43.0.0/16, 123.123.123.123/255.255.255.255, 10.10.10.10",
            "10.10.10.10/32 23.43.0.0/16 123.123.123.123/32",
        ),
        ("4.3.2.0/25,4.3.2.128/25", "4.3.2.0/24"),
        ("10.0.0.0/1", "0.0.0.0/1"),
    ] {
        let summary = converted(&format!("SOURCE {source}\nKEY SECRET\n"));
        assert_eq!(summary[0], format!("stanza-1, from: {from}"));
    }
    assert_eq!(
        converted("SOURCE 1.2.3.4, any\nKEY SECRET\n")[0],
        "stanza-1, "
    );
}

#[test]
fn a_source_that_fwknopd_refuses_is_not_widened() {
    for source in [
        ":ANY",
        "4.3.2.0/24, 123.123.123.1234/24",
        "A0.10.10.10",
        "1.2.3.4/0",
        "1.2.3.4/33",
        "1.2.3.4/",
        "1.2.3.4/255.0.255.0",
        "1.2.3.4,",
        "1.2.3",
        "::1",
    ] {
        let text = format!("SOURCE {source}\nKEY SECRET\nSOURCE ANY\nKEY SECRET\n");
        let reasons = left_out(&text);
        assert_eq!(reasons.len(), 1, "{source}");
        assert!(
            reasons[0].ends_with("SOURCE: it contains what is not an IPv4 network"),
            "{reasons:?}"
        );
        assert_eq!(converted(&text)[0], "stanza-2, ");
    }
    let many: Vec<_> = (0..65)
        .map(|index| format!("1.1.{}.1", 2 * index))
        .collect();
    let reasons = left_out(&format!("SOURCE {}\n", many.join(",")));
    assert!(
        reasons[0].contains("its SOURCE has 65 networks"),
        "{reasons:?}"
    );
}

#[test]
fn ports_become_doors() {
    const SOURCES: &str = "SOURCE 4.3.2.0/24, 10.10.10.10\nKEY SECRET\nFW_ACCESS_TIMEOUT 3\n";
    let doors = |lines: &str| converted(&format!("{SOURCES}{lines}"))[1..].to_vec();
    let times = "for: 3s, max_for: 300s";
    let ports = ["udp/6001", "tcp/22", "tcp/80"];
    let mut expected: Vec<_> = ports
        .iter()
        .map(|port| format!("{port}, clients: stanza-1, open: {port}, {times}"))
        .collect();
    expected.push(format!(
        "udp/6001,tcp/22,tcp/80, clients: stanza-1, open: udp/6001 tcp/22 tcp/80, {times}"
    ));
    assert_eq!(doors("OPEN_PORTS udp/6001, tcp/22, tcp/80\n"), expected);
    for door in &mut expected {
        door.push_str(", require_binding: true");
    }
    for key in ["REQUIRE_SOURCE_ADDRESS", "REQUIRE_SOURCE"] {
        let lines = format!("OPEN_PORTS udp/6001,tcp/22,tcp/80\n{key} Y\n");
        assert_eq!(doors(&lines), expected);
    }
    for lines in [
        "OPEN_PORTS udp/6001, tcp/22, tcp/123453\n",
        "OPEN_PORTS tcp/22\nRESTRICT_PORTS AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        "OPEN_PORTS tcp\n",
        "OPEN_PORTS tcp/0\n",
        "OPEN_PORTS icmp/1\n",
    ] {
        let reasons = left_out(&format!("{SOURCES}{lines}"));
        assert!(
            reasons[0].ends_with("not a port such as tcp/22"),
            "{reasons:?}"
        );
    }
}

#[test]
fn several_stanzas_are_several_clients() {
    let times = "max_for: 300s";
    let two = |first: &str, second: &str| {
        format!(
            "SOURCE ANY\nKEY SECRET\nOPEN_PORTS {first}\nFW_ACCESS_TIMEOUT 2\n\
             SOURCE ANY\nKEY SECRET\nOPEN_PORTS {second}\nFW_ACCESS_TIMEOUT 3\n"
        )
    };
    assert_eq!(
        converted(&two("tcp/22", "tcp/80"))[2..],
        [
            format!("tcp/22, clients: stanza-1, open: tcp/22, for: 2s, {times}"),
            format!("tcp/80, clients: stanza-2, open: tcp/80, for: 3s, {times}"),
        ]
    );
    assert_eq!(
        converted(&two("tcp/22", "tcp/22"))[2..],
        [
            format!("tcp/22, clients: stanza-1, open: tcp/22, for: 2s, {times}"),
            format!("tcp/22-2, clients: stanza-2, open: tcp/22, for: 3s, {times}"),
        ]
    );
    // The same line twice, as in the case of equal keys.
    assert_eq!(
        converted(&format!(
            "SOURCE ANY\nOPEN_PORTS tcp/80\n{}",
            two("tcp/80", "tcp/22")
        ))[3..]
            .len(),
        3
    );
}

#[test]
fn names_of_users_are_those_of_clients() {
    for (username, name) in [
        ("testuser", "testuser"),
        ("nouser", "nouser"),
        ("a\u{a0}b", "a-b"),
    ] {
        let summary = converted(&format!(
            "SOURCE ANY\nKEY SECRET\nREQUIRE_USERNAME {username}\n"
        ));
        assert_eq!(summary[0], format!("{name}, "));
        assert!(summary[1].contains(&format!("clients: {name},")));
    }
}

#[test]
fn times_of_expiry_are_kept_or_the_stanza_is_skipped() {
    for (line, expires) in [
        (
            "ACCESS_EXPIRE_EPOCH 1111111111;   ### very old",
            "expires: 2005-03-18T01:58:31Z",
        ),
        (
            "ACCESS_EXPIRE_EPOCH 253402300799",
            "expires: 9999-12-31T23:59:59Z",
        ),
        ("ACCESS_EXPIRE_EPOCH 0", ""),
        (
            "ACCESS_EXPIRE 3/10/01;   ### very old",
            "expires: 2001-03-10T00:00:00Z",
        ),
        ("ACCESS_EXPIRE 3/10/2500;", "expires: 2500-03-10T00:00:00Z"),
        (
            "ACCESS_EXPIRE 3/1/01\nACCESS_EXPIRE_EPOCH 60",
            "expires: 1970-01-01T00:01:00Z",
        ),
    ] {
        let summary = converted(&format!("SOURCE ANY\nKEY SECRET\n{line}\n"));
        assert_eq!(summary[0], format!("stanza-1, {expires}"));
    }
    for line in [
        "ACCESS_EXPIRE 3-10-01;  ### / separators required",
        "ACCESS_EXPIRE 13/1/2030",
        "ACCESS_EXPIRE 2/30/2030",
        "ACCESS_EXPIRE 1/1/1950",
        "ACCESS_EXPIRE 1/1/20300",
        "ACCESS_EXPIRE 1/1/2030/1",
        "ACCESS_EXPIRE 1/1",
        "ACCESS_EXPIRE_EPOCH -1",
        "ACCESS_EXPIRE_EPOCH soon",
        "ACCESS_EXPIRE_EPOCH 253402300800",
    ] {
        let reasons = left_out(&format!("SOURCE ANY\nKEY SECRET\n{line}\n"));
        assert!(
            reasons[0].ends_with("it has no valid time of expiry"),
            "{line}: {reasons:?}"
        );
    }
}

#[test]
fn command_cycles_become_commands() {
    const TOUCH: &str = "/usr/bin/touch /tmp/";
    for (open, close, timer, expected) in [
        (
            "$IP",
            "2$IP",
            1,
            ["%IP%", "2%IP%", "for: 1s, max_for: 300s"],
        ),
        (
            "$IP_$PORT_$PROTOTEST",
            "2$IP_$PORT_$PROTOTEST",
            1,
            ["%IP%_22_6TEST", "2%IP%_22_6TEST", "for: 1s, max_for: 300s"],
        ),
        (
            "$IP_$IP",
            "2$IP_$IP",
            1,
            ["%IP%_%IP%", "2%IP%_%IP%", "for: 1s, max_for: 300s"],
        ),
        (
            "$SRC$PKT_SRC",
            "2$SRC",
            301,
            ["%IP%%IP%", "2%IP%", "for: 301s"],
        ),
        (
            "1$CLIENT_TIMEOUT1",
            "2$CLIENT_TIMEOUT2",
            30,
            ["1%FOR%1", "2%FOR%2", "for: 30s, max_for: 300s"],
        ),
    ] {
        let summary = converted(&format!(
            "SOURCE ANY\n@KEYS\nCMD_CYCLE_OPEN {TOUCH}{open}\nCMD_CYCLE_CLOSE {TOUCH}{close}\nCMD_CYCLE_TIMER {timer}\n"
        ));
        let [run, close, times] = expected;
        let name = if open.contains("PORT") {
            "tcp/22"
        } else {
            "stanza-1"
        };
        assert_eq!(
            summary[1],
            format!("{name}, clients: stanza-1, run: {TOUCH}{run}, close: {TOUCH}{close}, {times}")
        );
    }
    assert_eq!(
        converted("SOURCE ANY\nCMD_CYCLE_OPEN /usr/bin/touch /tmp/$SRC\nCMD_CYCLE_CLOSE NONE\n")[1],
        "stanza-1, clients: stanza-1, run: /usr/bin/touch /tmp/%IP%, for: 1s"
    );
}

#[test]
fn command_cycles_that_need_what_a_knock_does_not_contain_are_skipped() {
    for (lines, reason) in [
        (
            "CMD_CYCLE_OPEN x $SRC\nCMD_CYCLE_CLOSE x 2$DST_$SRC\nCMD_CYCLE_TIMER 1\n",
            "$DST has no",
        ),
        (
            "CMD_CYCLE_OPEN echo 1$TIMEOUT\nCMD_CYCLE_CLOSE x\nCMD_CYCLE_TIMER 30\n",
            "$TIMEOUT, a point",
        ),
        ("CMD_CYCLE_CLOSE x\n", "needs CMD_CYCLE_OPEN"),
        (
            "CMD_CYCLE_OPEN x\nCMD_CYCLE_TIMER 30\n",
            "needs CMD_CYCLE_CLOSE",
        ),
        (
            "CMD_CYCLE_OPEN x\nCMD_CYCLE_CLOSE x\n",
            "needs CMD_CYCLE_TIMER",
        ),
        (
            "CMD_CYCLE_OPEN x\nCMD_CYCLE_CLOSE x\nCMD_CYCLE_TIMER 8388609\n",
            "from 0 to 8388608",
        ),
    ] {
        let reasons = left_out(&format!("SOURCE ANY\n{lines}"));
        assert!(reasons[0].contains(reason), "{lines}: {reasons:?}");
    }
    let port = "SOURCE ANY\nCMD_CYCLE_OPEN x $PORT\nCMD_CYCLE_CLOSE NONE\n";
    let import = imported(&access(port), "", "");
    assert!(
        import.left_out[0].contains("name the ports with --open"),
        "{:?}",
        import.left_out
    );
}

#[test]
fn translated_access_becomes_a_door_with_a_command() {
    for (lines, table) in [
        (
            "FORCE_NAT 192.168.1.123 22\n",
            "tcp dport 22 dnat to 192.168.1.123:22",
        ),
        (
            "FORCE_NAT 123.4.4.4 22\nFORCE_MASQUERADE Y\n",
            "ip daddr 123.4.4.4 masquerade",
        ),
        (
            "FORCE_NAT 123.4.4.4 22\nFORCE_SNAT 33.3.3.3\n",
            "ip daddr 123.4.4.4 snat to 33.3.3.3",
        ),
    ] {
        let text = format!("SOURCE ANY\nKEY SECRET\nFW_ACCESS_TIMEOUT 3\n{lines}");
        let element = "element ip knockd_stanza_1 admitted { %IP% }";
        for open in ["", "tcp/22"] {
            let import = imported(&access(&text), "", open);
            config(&import);
            assert_eq!(
                summary(&import)[1],
                format!(
                    "stanza-1, clients: stanza-1, open: tcp/22, run: /usr/sbin/nft add {element}, close: /usr/sbin/nft add {element}; delete {element}, for: 3s, max_for: 300s"
                )
            );
            assert!(import.text.contains(table), "{}", import.text);
        }
    }
}

#[test]
fn forwarding_of_everything_is_skipped() {
    for (lines, reason) in [
        (
            "FORCE_NAT 192.168.1.123 22\nFORWARD_ALL Y\n",
            "FORWARD_ALL and DISABLE_DNAT open",
        ),
        (
            "FORCE_NAT 123.4.4.4 22\nFORCE_MASQUERADE Y\nDISABLE_DNAT Y\n",
            "FORWARD_ALL and DISABLE_DNAT open",
        ),
        (
            "FORCE_SNAT 123.4.4.4\nDISABLE_DNAT N\nFORWARD_ALL Y\n",
            "FORWARD_ALL and DISABLE_DNAT open",
        ),
        (
            "FORCE_MASQUERADE Y\nFORWARD_ALL Y\n",
            "FORWARD_ALL and DISABLE_DNAT open",
        ),
        (
            "FORCE_SNAT 123.4.4.4\n",
            "FORCE_SNAT and FORCE_MASQUERADE need FORCE_NAT",
        ),
        (
            "FORCE_MASQUERADE Y\n",
            "FORCE_SNAT and FORCE_MASQUERADE need FORCE_NAT",
        ),
        ("FORCE_SNAT x\n", "it is not an IPv4 address"),
        (
            "FORCE_NAT 192.168.1.123\n",
            "it is not an IPv4 address and a port",
        ),
        (
            "FORCE_NAT 192.168.1.123 0\n",
            "it is not an IPv4 address and a port",
        ),
        (
            "FORCE_NAT 192.168.1.1234 22\n",
            "it is not an IPv4 address and a port",
        ),
    ] {
        let reasons = left_out(&format!("SOURCE ANY\nKEY SECRET\n{lines}"));
        assert!(reasons[0].contains(reason), "{lines}: {reasons:?}");
    }
}
