use serde_json::json;

use super::*;

/// A ruleset with a chain `in` at the hook of input with this policy and these rules, and another
/// chain `more`.
fn ruleset(policy: &str, rules: &[Value], more: &[Value]) -> Value {
    let rule = |chain: &str, expr: &Value| json!({"rule": {"family": "inet", "table": "filter", "chain": chain, "expr": expr}});
    let mut objects = vec![
        json!({"metainfo": {"version": "1.0.6"}}),
        json!({"chain": {"family": "inet", "table": "filter", "name": "in", "type": "filter",
            "hook": "input", "prio": 0, "policy": policy}}),
        json!({"chain": {"family": "inet", "table": "filter", "name": "more"}}),
        // Of another table, with the same names.
        json!({"rule": {"family": "ip", "table": "filter", "chain": "in", "expr": [{"accept": null}]}}),
    ];
    objects.extend(rules.iter().map(|expr| rule("in", expr)));
    objects.extend(more.iter().map(|expr| rule("more", expr)));
    json!({ "nftables": objects })
}

fn dport(protocol: &str, op: &str, right: &Value) -> Value {
    json!({"match": {"op": op, "left": {"payload": {"protocol": protocol, "field": "dport"}}, "right": right}})
}

fn meta(key: &str, right: &str) -> Value {
    json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}})
}

fn accept() -> Value {
    json!({"accept": null})
}

fn is_blocked(ruleset: &Value) -> bool {
    blocking_chain(ruleset, "tcp/22".parse().unwrap()).is_some()
}

fn established() -> Value {
    json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, accept()])
}

#[test]
fn a_port_that_no_rule_accepts_is_blocked_by_the_policy() {
    let usual = [
        established(),
        json!([meta("iifname", "lo"), accept()]),
        json!([meta("l4proto", "icmp"), accept()]),
        json!([{"match": {"op": "==", "left": {"payload": {"protocol": "icmpv6", "field": "type"}}, "right": "echo-request"}}, accept()]),
        json!([dport("tcp", "==", &json!({"set": [80, {"range": [8000, 8010]}]})), {"counter": {"packets": 0, "bytes": 0}}, accept()]),
        json!([dport("udp", "==", &json!(22)), accept()]),
        json!([{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": null}], ["invalid", {"drop": null}]]}}}]),
    ];
    assert!(is_blocked(&ruleset("drop", &usual, &[])));
    assert!(!is_blocked(&ruleset("accept", &usual, &[])));
    let chain = blocking_chain(&ruleset("drop", &usual, &[]), "tcp/22".parse().unwrap());
    assert_eq!(chain.unwrap(), "chain `in` of table `filter`");
    for (right, blocked) in [
        (json!(22), false),
        (json!({"set": [80, {"range": [20, 30]}]}), false),
        (json!("@allowed"), false),
        (json!(2222), true),
    ] {
        let mut rules = usual.to_vec();
        rules.push(json!([dport("tcp", "==", &right), accept()]));
        assert_eq!(
            is_blocked(&ruleset("drop", &rules, &[])),
            blocked,
            "{right}"
        );
    }
}

#[test]
fn a_rule_that_is_not_understood_may_accept() {
    for rule in [
        json!([accept()]),
        json!([meta("iifname", "eth0"), accept()]),
        json!([{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "192.0.2.7"}}, accept()]),
        json!([dport("tcp", "!=", &json!(80)), accept()]),
        json!([{"xt": {"type": "target", "name": "CONNMARK"}}]),
        json!([{"limit": {"rate": 1, "per": "second"}}, accept()]),
        json!([{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": "@doors"}}]),
        json!([{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[22, {"accept": null}]]}}}]),
        json!([{"queue": {"num": 1}}]),
        json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["new"]}}, accept()]),
        json!([{"jump": {"target": "in"}}]),
        json!(["notrack"]),
    ] {
        let rules = [rule.clone()];
        let expected = rule == json!(["notrack"]);
        assert_eq!(
            is_blocked(&ruleset("drop", &rules, &[])),
            expected,
            "{rule}"
        );
    }
}

#[test]
fn a_rule_that_drops_is_certain_if_nothing_before_it_accepts() {
    let drop = json!([dport("tcp", "==", &json!(22)), {"drop": null}]);
    let reject =
        json!([dport("th", "==", &json!({"range": [1, 1023]})), {"reject": {"type": "tcp reset"}}]);
    assert!(is_blocked(&ruleset(
        "accept",
        std::slice::from_ref(&drop),
        &[]
    )));
    assert!(is_blocked(&ruleset(
        "accept",
        &[established(), reject],
        &[]
    )));
    let trusted = json!([meta("iifname", "wg0"), accept()]);
    assert!(!is_blocked(&ruleset(
        "accept",
        &[trusted, drop.clone()],
        &[]
    )));
    let some = json!([meta("iifname", "eth1"), dport("tcp", "==", &json!(22)), {"drop": null}]);
    assert!(!is_blocked(&ruleset("accept", &[some], &[])));
}

#[test]
fn jumps_are_followed() {
    let jump = json!([meta("iifname", "eth0"), {"jump": {"target": "more"}}]);
    let goto = json!([{"goto": {"target": "more"}}]);
    let web = json!([dport("tcp", "==", &json!(80)), accept()]);
    let ssh = json!([dport("tcp", "==", &json!(22)), accept()]);
    let reject = json!([{"reject": null}]);
    let back = json!([{"return": null}]);
    for (first, more, blocked) in [
        (&jump, vec![web.clone()], true),
        (&jump, vec![ssh.clone()], false),
        (&jump, vec![back.clone(), ssh.clone()], true),
        (&goto, vec![reject.clone()], true),
        (&goto, vec![back, ssh.clone()], false),
    ] {
        // Whatever comes back from `goto` is accepted by the policy.
        let policy = if first == &goto { "accept" } else { "drop" };
        let found = is_blocked(&ruleset(policy, std::slice::from_ref(first), &more));
        assert_eq!(found, blocked, "{first} {more:?}");
    }
    let rules = [json!([{"jump": {"target": "more"}}]), ssh];
    assert!(is_blocked(&ruleset("accept", &rules, &[reject])));
    assert!(!is_blocked(&ruleset("drop", &rules, &[web])));
}

/// What firewalld 1.3 makes for an interface in the zone `public`, without its services.
#[test]
fn firewalld_without_the_service_is_certain() {
    let status = json!([{"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, accept()]);
    let rules = [
        established(),
        status,
        json!([meta("iifname", "lo"), accept()]),
        json!([{"jump": {"target": "more"}}]),
        json!([{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]),
    ];
    let zone = json!([dport("tcp", "==", &json!(22)), {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["new", "untracked"]}}, accept()]);
    assert!(is_blocked(&ruleset("accept", &rules, &[])));
    assert!(!is_blocked(&ruleset("accept", &rules, &[zone])));
    let dnat = json!([{"dnat": {"addr": "192.0.2.9"}}]);
    assert!(!is_blocked(&ruleset("accept", &rules, &[dnat])));
}

#[test]
fn a_ruleset_that_cannot_be_read_blocks_nothing() {
    for text in [
        json!(null),
        json!([]),
        json!({"nftables": 1}),
        json!({"nftables": [1]}),
    ] {
        assert!(!is_blocked(&text), "{text}");
    }
}

#[test]
fn chains_that_many_rules_lead_to_are_followed_once() {
    let chain = |level: usize| format!("level-{level}");
    let jump = |from: &str, to: usize| {
        json!({"rule": {"family": "inet", "table": "filter", "chain": from, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "sport"}}, "right": 1}},
            {"jump": {"target": chain(to)}},
        ]}})
    };
    let ruleset = |end: Value| {
        let mut ruleset = ruleset("drop", &[], &[]);
        let objects = ruleset["nftables"].as_array_mut().unwrap();
        for level in 0..14 {
            objects.extend((0..100).map(|_| jump(&chain(level), level + 1)));
        }
        objects.extend((0..100).map(|_| jump("in", 0)));
        let last = chain(14);
        objects.push(
            json!({"rule": {"family": "inet", "table": "filter", "chain": last, "expr": [end]}}),
        );
        ruleset
    };
    assert!(is_blocked(&ruleset(json!({"counter": null}))));
    assert!(!is_blocked(&ruleset(accept())));
}
