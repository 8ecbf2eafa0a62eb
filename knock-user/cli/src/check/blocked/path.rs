//! The way of a new connection through the chains of nft(8), as far as their rules are understood
//! (libnftables-json(5)).

use std::{cell::RefCell, collections::HashMap};

use knock_common::gate::Transport;
use knockd_types::rules::Port;
use serde_json::Value;

use super::super::ruleset::{ports, transport};

/// The number of chains that may call each other, as in the kernel (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

/// The family, the table and the name of a chain.
type Chain<'r> = (&'r str, &'r str, &'r str);

/// A new connection from another host to a port.
pub(super) struct Connection<'r> {
    rules: HashMap<Chain<'r>, Vec<&'r Value>>,
    /// How it can leave the chains that were followed to their end. Many rules may lead to one chain,
    /// and the ways through them are more than can be followed.
    left: RefCell<HashMap<Chain<'r>, Exits>>,
    port: Port,
    /// Whether a rule may have changed its destination.
    may_be_translated: bool,
}

/// Whether a rule applies to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Applies {
    No,
    Maybe,
    Yes,
}

impl Applies {
    const fn of(applies: bool) -> Self {
        if applies { Self::Yes } else { Self::No }
    }

    const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

/// How the connection can leave a chain, besides being dropped.
#[derive(Clone, Copy, Debug, Default)]
struct Exits {
    /// A rule may accept it.
    accepted: bool,
    /// It may come to the end of the chain.
    end: bool,
}

impl<'r> Connection<'r> {
    pub(super) fn new(objects: &'r [Value], port: Port) -> Self {
        let mut statements = objects
            .iter()
            .filter_map(|object| object["rule"]["expr"].as_array())
            .flatten();
        let may_be_translated = statements.any(|statement| {
            ["dnat", "redirect", "tproxy", "xt"]
                .iter()
                .any(|name| statement.get(name).is_some())
        });
        let mut rules: HashMap<_, Vec<_>> = HashMap::new();
        for rule in objects.iter().map(|object| &object["rule"]) {
            if let Some(name) = rule["chain"].as_str() {
                rules.entry(chain(rule, name)).or_default().push(rule);
            }
        }
        Self {
            rules,
            left: RefCell::default(),
            port,
            may_be_translated,
        }
    }

    /// Whether `chain`, which belongs to a hook, may let the connection pass.
    pub(super) fn may_pass(&self, chain: &'r Value) -> bool {
        let exits = self.walk(chain, chain["name"].as_str().unwrap_or_default(), 0);
        exits.accepted || (exits.end && chain["policy"] != "drop")
    }

    /// Follows the rules of the chain `name` in the table of `place`, a chain or a rule.
    fn walk(&self, place: &'r Value, name: &'r str, depth: usize) -> Exits {
        let chain = chain(place, name);
        let known = self.left.borrow().get(&chain).copied();
        known.unwrap_or_else(|| {
            let exits = self.walk_chain(chain, depth);
            self.left.borrow_mut().insert(chain, exits);
            exits
        })
    }

    fn walk_chain(&self, chain: Chain<'r>, depth: usize) -> Exits {
        let mut exits = Exits::default();
        if depth == DEEPEST {
            exits.accepted = true;
            return exits;
        }
        for rule in self.rules.get(&chain).into_iter().flatten() {
            let statements = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
            if self.follow(rule, statements, depth, &mut exits) {
                return exits;
            }
        }
        exits.end = true;
        exits
    }

    /// Follows one rule. Returns whether no later rule of the chain is reached.
    fn follow(
        &self,
        rule: &'r Value,
        statements: &'r [Value],
        depth: usize,
        exits: &mut Exits,
    ) -> bool {
        let mut applies = Applies::Yes;
        for statement in statements {
            let Some((kind, value)) = statement.as_object().and_then(|it| it.iter().next()) else {
                applies = applies.min(Applies::Maybe);
                continue;
            };
            let is_sure = applies == Applies::Yes;
            match kind.as_str() {
                "match" => applies = applies.min(self.matches(value)),
                "counter" | "log" | "comment" | "mangle" | "notrack" => {}
                "drop" | "reject" => return is_sure,
                "vmap" => {
                    self.verdicts(rule, value, depth, exits);
                    return false;
                }
                _ => {
                    let Some(left) = self.verdict(rule, kind, value, depth) else {
                        // A limit, a set or a translation, of which it depends.
                        if kind == "xt" {
                            exits.accepted = true;
                        }
                        applies = applies.min(Applies::Maybe);
                        continue;
                    };
                    exits.accepted |= left.accepted;
                    // `return` and `goto` leave this chain, and `jump` comes back to it.
                    let comes_back = kind == "jump" && left.end;
                    exits.end |= kind != "jump" && left.end;
                    return is_sure && !comes_back;
                }
            }
            if applies == Applies::No {
                return false;
            }
        }
        false
    }

    /// How the connection can leave by a verdict; `None` if the statement is none.
    fn verdict(
        &self,
        rule: &'r Value,
        kind: &str,
        value: &'r Value,
        depth: usize,
    ) -> Option<Exits> {
        let exits = |accepted, end| Some(Exits { accepted, end });
        match kind {
            "accept" | "queue" => exits(true, false),
            "drop" | "reject" => exits(false, false),
            "return" => exits(false, true),
            "jump" | "goto" => {
                let target = value["target"].as_str()?;
                Some(self.walk(rule, target, depth + 1))
            }
            _ => None,
        }
    }

    /// Follows a map of verdicts. Any element may be the one that counts, and the map may have none.
    fn verdicts(&self, rule: &'r Value, map: &'r Value, depth: usize, exits: &mut Exits) {
        let Some(elements) = map["data"]["set"].as_array() else {
            // A named map, whose elements are not listed.
            exits.accepted = true;
            return;
        };
        for element in elements {
            let (key, verdict) = (&element[0], &element[1]);
            if self.equals(&map["key"], key) == Applies::No {
                continue;
            }
            let verdict = verdict.as_object().and_then(|it| it.iter().next());
            let left = verdict.and_then(|(kind, value)| self.verdict(rule, kind, value, depth));
            let left = left.unwrap_or(Exits {
                accepted: true,
                end: true,
            });
            exits.accepted |= left.accepted;
            exits.end |= left.end;
        }
    }

    fn matches(&self, test: &Value) -> Applies {
        let equals = self.equals(&test["left"], &test["right"]);
        match test["op"].as_str() {
            Some("==" | "in") => equals,
            Some("!=") => equals.not(),
            _ => Applies::Maybe,
        }
    }

    /// Whether the expression `left` has the value, or one of the values, `right`.
    fn equals(&self, left: &Value, right: &Value) -> Applies {
        let payload = &left["payload"];
        let has = |text: &str| contains(right, text);
        let own = match self.port.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        if let Some(protocol) = payload["protocol"].as_str() {
            return match (protocol, payload["field"].as_str()) {
                ("ip", Some("protocol")) | ("ip6", Some("nexthdr")) => has(own),
                ("tcp" | "udp" | "th", field) => {
                    let other = protocol != "th"
                        && transport(&payload["protocol"]) != Some(self.port.transport);
                    if other {
                        Applies::No
                    } else if field == Some("dport") {
                        self.is_among(right)
                    } else {
                        Applies::Maybe
                    }
                }
                ("icmp" | "icmpv6" | "igmp" | "sctp" | "dccp" | "esp" | "ah", _) => Applies::No,
                _ => Applies::Maybe,
            };
        }
        match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
            (Some("l4proto"), _) => has(own),
            // The gate does not see what this host sends to itself.
            (Some("iifname" | "iif"), _) if right == "lo" => Applies::No,
            (_, Some("state")) => has("new").max(match has("untracked") {
                Applies::No => Applies::No,
                _ => Applies::Maybe,
            }),
            (_, Some("status")) if right == "dnat" && !self.may_be_translated => Applies::No,
            _ => Applies::Maybe,
        }
    }

    /// Whether the port is among those that `right` stands for.
    fn is_among(&self, right: &Value) -> Applies {
        let known = ports(right);
        if known.is_empty() {
            return Applies::Maybe;
        }
        Applies::of(known.iter().any(|ports| ports.contains(&self.port.number)))
    }
}

/// The chain `name` in the table of `place`, a chain or a rule.
fn chain<'r>(place: &'r Value, name: &'r str) -> Chain<'r> {
    let text = |key: &str| place[key].as_str().unwrap_or_default();
    (text("family"), text("table"), name)
}

/// Whether `text` is the value, or one of a list or a set of values. A named set may contain anything.
fn contains(value: &Value, text: &str) -> Applies {
    let members = value.as_array().or(value["set"].as_array());
    match (members, value.as_str()) {
        (Some(members), _) => Applies::of(members.iter().any(|one| one == text)),
        (None, Some(one)) if !one.starts_with('@') => Applies::of(one == text),
        _ => Applies::Maybe,
    }
}
