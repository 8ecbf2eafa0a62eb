use std::ops::RangeInclusive;

use knock_common::gate::Transport;

use super::{redirect::Redirect, *};

/// What nft 1.0.6 prints for one rule of a chain at this hook.
fn ruleset(hook: &str, expr: &str) -> String {
    format!(
        r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}},
        {{"chain": {{"family": "inet", "table": "n", "name": "c", "type": "nat", "hook": "{hook}"}}}},
        {{"rule": {{"family": "inet", "table": "n", "chain": "c", "expr": [{expr}]}}}}]}}"#
    )
}

fn dport(protocol: &str, op: &str, right: &str) -> String {
    format!(
        r#"{{"match": {{"op": "{op}", "left": {{"payload": {{"protocol": "{protocol}", "field": "dport"}}}}, "right": {right}}}}}"#
    )
}

fn to(
    transport: Option<Transport>,
    from: &[RangeInclusive<u16>],
    to: RangeInclusive<u16>,
) -> Vec<Redirect> {
    vec![Redirect {
        transport,
        from: from.to_vec(),
        to: vec![to],
    }]
}

fn read(text: &str) -> Vec<Redirect> {
    nft::read(&serde_json::from_str(text).unwrap_or_default())
}

const TCP: Option<Transport> = Some(Transport::Tcp);

#[test]
fn rules_of_nft_are_read() {
    let prerouting = |expr: &str| read(&ruleset("prerouting", expr));
    let redirect = r#"{"redirect": {"port": 22}}"#;
    let ssh = 22..=22;
    for (op, right, from) in [
        ("==", "2222", &[2222..=2222][..]),
        (
            "==",
            r#"{"set": [80, {"range": [8000, 8010]}]}"#,
            &[80..=80, 8000..=8010],
        ),
        ("==", r#"{"range": [1, 9]}"#, &[1..=9]),
        ("==", r#""@ports""#, &[]),
        ("!=", "5", &[]),
    ] {
        let rule = format!("{}, {redirect}", dport("tcp", op, right));
        assert_eq!(prerouting(&rule), to(TCP, from, ssh.clone()), "{rule}");
    }
    let any = r#"{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}"#;
    assert_eq!(
        prerouting(&format!("{any}, {redirect}")),
        to(TCP, &[], ssh.clone())
    );
    assert_eq!(prerouting(redirect), to(None, &[], ssh.clone()));
    let map = r#"{"redirect": {"port": {"map": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[2023, 22]]}}}}}"#;
    assert_eq!(prerouting(map), to(None, &[], ssh.clone()));
    for local in [
        r#"{"dnat": {"family": "ip", "addr": "127.0.0.1", "port": 22}}"#,
        r#"{"dnat": {"port": 22}}"#,
    ] {
        assert_eq!(prerouting(local), to(None, &[], ssh.clone()), "{local}");
    }
    let range = r#"{"redirect": {"port": {"range": [20, 30]}}}"#;
    assert_eq!(prerouting(range), to(None, &[], 20..=30));
}

#[test]
fn other_rules_of_nft_redirect_nothing() {
    let redirect = r#"{"redirect": {"port": 22}}"#;
    assert_eq!(read(&ruleset("output", redirect)), []);
    for expr in [
        r#"{"redirect": null}"#,
        r#"{"accept": null}"#,
        r#"{"dnat": {"family": "ip", "addr": "192.0.2.1", "port": 22}}"#,
        r#"{"xt": {"type": "target", "name": "REDIRECT"}}"#,
    ] {
        assert_eq!(read(&ruleset("prerouting", expr)), [], "{expr}");
    }
    for text in [
        "",
        "no JSON",
        "[]",
        r#"{"nftables": 1}"#,
        r#"{"nftables": [1, {"rule": 2}]}"#,
    ] {
        assert_eq!(read(text), [], "{text}");
    }
}

#[test]
fn rules_of_iptables_are_read() {
    let rules = "\
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 2225 -j REDIRECT --to-ports 22
-A PREROUTING -p udp -m multiport --dports 1000,1001:1005 -j REDIRECT --to-ports 20-30
-A PREROUTING -p tcp -m tcp ! --dport 9 -j REDIRECT --to-ports 22
-A PREROUTING -p tcp -m tcp --dport 7 -j DNAT --to-destination 127.0.0.1:22
-A PREROUTING -p tcp -m tcp --dport 8 -j DNAT --to-destination [::1]:22
-A PREROUTING -p tcp -m tcp --dport 10 -m comment --comment \"see -j RETURN\" -j DNAT --to-destination :22
-A PREROUTING -p tcp -m tcp --dport 2226 -j DNAT --to-destination 192.0.2.1:22
-A PREROUTING -p tcp -m tcp --dport 5 -j ACCEPT
-A PREROUTING -p tcp -m tcp --dport 6 -j REDIRECT
-A OUTPUT -p tcp -m tcp --dport 2227 -j REDIRECT --to-ports 22
COMMIT
";
    let expected = [
        to(TCP, &[2225..=2225], 22..=22),
        to(Some(Transport::Udp), &[1000..=1000, 1001..=1005], 20..=30),
        to(TCP, &[], 22..=22),
        to(TCP, &[7..=7], 22..=22),
        to(TCP, &[8..=8], 22..=22),
        to(TCP, &[10..=10], 22..=22),
    ];
    assert_eq!(iptables::read(rules), expected.concat());
}

#[test]
fn a_port_that_is_not_protected_must_not_lead_to_one_that_is() {
    let protect = ["tcp/22", "tcp/2222", "udp/51820"].map(|port| port.parse().unwrap());
    let warnings = |transport, from: &[RangeInclusive<u16>], target| {
        to(transport, from, target)[0].warnings(&protect)
    };
    let found = warnings(TCP, &[80..=80, 8000..=8010], 22..=22);
    assert_eq!(
        found,
        [
            "tcp/22: a firewall rule redirects port 80, 8000 to 8010 to it, and the gate does not \
             protect that: a connection passes without a knock. Add it to `gate.protect`, or \
             remove the rule"
        ]
    );
    assert!(warnings(TCP, &[], 22..=22)[0].contains("redirects other ports to it"));
    assert_eq!(warnings(None, &[1..=1], 1..=65535).len(), 3);
    assert!(warnings(TCP, &[2222..=2222], 22..=22).is_empty());
    assert_eq!(warnings(TCP, &[2222..=2223], 22..=22).len(), 1);
    assert!(warnings(TCP, &[80..=80], 8080..=8080).is_empty());
    assert!(warnings(TCP, &[80..=80], 51820..=51820).is_empty());
}
