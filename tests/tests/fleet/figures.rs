//! How fast a fleet is, and what faults cost: `cargo xtask fleet` prints the table.

use std::{
    collections::BTreeSet,
    fmt::Display,
    fs, iter,
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use knock_tests::scene::{SOON, unix_ms};
use knockd_types::history::{Knock, Moment};

use super::{
    SOON_AFTER, assert_figures, needs_fleet,
    net::{NODES, Net, Policy, uplink_address},
    stage::Stage,
};

/// The number of knocks that a line of the table is made of.
const MANY: u8 = 100;

/// The number of datagrams that are replayed in each of the faults.
const REPLAYED: u32 = 1000;

/// The time between two of them.
const PACE: Duration = Duration::from_millis(10);

/// After how many of them something fails.
const FAULT_AT: u32 = 200;

/// The number of doors that a node opens again.
const LEASES: u32 = 4096;

/// How long a link is down.
const OUTAGE: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_hours(1);

fn line(what: impl Display, figure: impl Display) {
    println!("| {what} | {figure} |");
}

#[test]
#[ignore = "figures, not checks: `cargo xtask fleet` prints them"]
fn the_table() {
    needs_fleet!();
    println!("| what | measured |\n|---|---|");
    admitted();
    speed();
    faults();
    restart();
}

/// How often a connection is admitted that follows a knock.
fn admitted() {
    let net = Net::new().unwrap();
    let stage = Stage::new(&net).unwrap();
    for (policy, admitted) in assert_figures(&stage, MANY.into()) {
        let knock = match policy {
            Policy::Ports | Policy::Flow => "a datagram, nodes chosen by ports",
            Policy::Source => "16 SYNs, nodes chosen by source address",
        };
        line(
            format!("{knock}: a connection is admitted {SOON_AFTER:?} after the knock"),
            format!("{admitted} of {MANY}"),
        );
    }
}

/// What is measured while nothing fails, and how leases end.
fn speed() {
    let net = Net::new().unwrap();
    // Others than the knocks before: the history has a limit for each client and time.
    let mut stage = Stage::new(&net).unwrap();
    let sent = open(&stage, 20, MANY, HOUR, Duration::from_millis(50));
    let mut delays = each_node(&stage, &sent, |knock| Some(knock.accepted.time));
    line(
        "last packet to open, on every node",
        percentiles(&mut delays),
    );
    for (subnet, title, lose) in [(21, "with", false), (22, "without", true)] {
        let lease = Duration::from_secs(5);
        let sent = open(&stage, subnet, 20, lease, Duration::ZERO);
        each_node(&stage, &sent, |knock| Some(knock.accepted.time));
        if lose {
            (0..NODES).for_each(|index| stage.cluster.kill(index).unwrap());
        }
        let mut late = each_node(&stage, &sent, |knock| Some(knock.end.as_ref()?.closed));
        let lease = i64::try_from(lease.as_millis()).unwrap();
        late.iter_mut().for_each(|late| *late -= lease);
        line(
            format!("a lease ends too late by, on every node, {title} the engine"),
            percentiles(&mut late),
        );
    }
    for index in 0..NODES {
        stage.cluster.start_again(index).unwrap();
    }
    stage.cluster.wait_until_ready().unwrap();
    for index in 0..NODES {
        stage.wait_connected(index).unwrap();
    }
    by_hand(&stage);
}

/// How long `fleet close` and `fleet revoke` take.
fn by_hand(stage: &Stage<'_>) {
    let mut delays = Vec::new();
    for host in 1..=20 {
        let address = Ipv4Addr::new(10, 23, 0, host).to_string();
        delays.extend(until_closed(stage, host, &["fleet", "close", &address]));
    }
    line(
        "`fleet close` to closed, on every node",
        percentiles(&mut delays),
    );
    let mut delays = until_closed(stage, 21, &["fleet", "revoke", "laptop"]);
    line(
        "`fleet revoke` to closed, on every node",
        percentiles(&mut delays),
    );
}

/// Opens a door, and returns how long after the start of a command it is closed, on each node.
fn until_closed(stage: &Stage<'_>, host: u8, command: &[&str]) -> Vec<i64> {
    let address = Ipv4Addr::new(10, 23, 0, host);
    let sent = [(IpAddr::from(address), unix_ms().unwrap())];
    stage.open_for(0, address, HOUR).unwrap();
    each_node(stage, &sent, |knock| Some(knock.accepted.time));
    let begun = [(sent[0].0, unix_ms().unwrap())];
    let output = stage.knockd(1, command).unwrap();
    assert!(output.status.success(), "{output:?}");
    each_node(stage, &begun, |knock| Some(knock.end.as_ref()?.closed))
}

/// Replays every knock at every node while the leader of the engine is lost in each way.
fn faults() {
    let net = Net::new().unwrap();
    let mut stage = Stage::with(&net, "patience = \"30s\"").unwrap();
    let mut accepted = BTreeSet::new();
    for (subnet, name) in [(24, "killed"), (25, "stopped"), (26, "cut off")] {
        let leader = stage.leader().unwrap();
        let (opened, twice, without) = replay(&mut stage, subnet, |stage| match name {
            "killed" => stage.cluster.kill(leader).unwrap(),
            "stopped" => stage.cluster.stop(leader).unwrap(),
            _ => net.link_server(leader, false).unwrap(),
        });
        let count = opened.len();
        line(
            format!("{REPLAYED} datagrams at three nodes at once, the leader is {name}"),
            format!(
                "{count} accepted, {twice} twice, no claim for {:.1} s",
                without.as_secs_f64()
            ),
        );
        accepted.extend(opened);
        match name {
            "killed" => stage.cluster.start_again(leader).unwrap(),
            "stopped" => stage.cluster.cont(leader).unwrap(),
            _ => net.link_server(leader, true).unwrap(),
        }
        stage.cluster.wait_until_ready().unwrap();
    }
    forget(&mut stage, 0);
    // A server that was cut off may be asked first, and tells the rest when it has it.
    let deadline = Instant::now() + OUTAGE;
    let mut lost = accepted.len();
    while lost > 0 && Instant::now() < deadline {
        let leases = stage.json(0, &["fleet", "leases"]).unwrap();
        let sources = leases.as_array().unwrap().iter();
        let sources = sources.map(|lease| lease["source"].as_str().unwrap().parse().unwrap());
        let kept: BTreeSet<IpAddr> = sources.collect();
        lost = accepted.difference(&kept).count();
        thread::sleep(PACE);
    }
    line(
        "of those that were accepted, claims that the engine has lost",
        lost,
    );
    let node = |up| net.link_node(0, up).unwrap();
    line(
        "a node's link heals, until it claims again",
        seconds(heal(&stage, 27, node)),
    );
    let servers = |up| {
        for index in 1..NODES {
            net.link_server(index, up).unwrap();
        }
    };
    line(
        "the links of two servers heal, until claims go on",
        seconds(heal(&stage, 28, servers)),
    );
}

/// Sends new datagrams to all nodes at once and causes a fault meanwhile. Returns what was accepted,
/// how many were accepted twice, and the longest time without an accepted one.
fn replay(
    stage: &mut Stage<'_>,
    subnet: u8,
    fault: impl FnOnce(&mut Stage<'_>),
) -> (BTreeSet<IpAddr>, usize, Duration) {
    let total = |stage: &Stage<'_>, names: &[&str]| -> usize {
        let count = |index| {
            let counts = names.iter().map(|name| stage.counter(index, name).unwrap());
            usize::try_from(counts.sum::<u64>()).unwrap()
        };
        (0..NODES).map(count).sum()
    };
    let outcomes = ["accepted", "refused_replayed", "refused_unreachable"];
    let before = [&outcomes[..1], &outcomes].map(|names| total(stage, names));
    let mut fault = Some(fault);
    let mut failed = Instant::now();
    for number in 0..REPLAYED {
        if number == FAULT_AT
            && let Some(fault) = fault.take()
        {
            failed = Instant::now();
            fault(stage);
        }
        let source = address(subnet, number);
        let datagram = Stage::datagram_for(source, HOUR).unwrap();
        for index in 0..NODES {
            let node = uplink_address(index);
            stage.send_from(source, node, &datagram).unwrap();
        }
        thread::sleep(PACE);
    }
    let sent = NODES * usize::try_from(REPLAYED).unwrap();
    let deadline = Instant::now() + SOON;
    while total(stage, &outcomes) - before[1] < sent {
        assert!(
            Instant::now() < deadline,
            "some knocks have no outcome: {}",
            stage.json(0, &["status"]).unwrap()
        );
        thread::sleep(Duration::from_millis(100));
    }
    let mut opened: Vec<_> = (0..NODES)
        .flat_map(|index| openings(stage, index, subnet))
        .collect();
    let distinct: BTreeSet<_> = opened.iter().map(|(source, _)| *source).collect();
    let accepted = total(stage, &outcomes[..1]) - before[0];
    opened.sort_unstable_by_key(|(_, at)| *at);
    let later = opened.iter().map(|(_, at)| *at).filter(|at| *at > failed);
    let times: Vec<_> = iter::once(failed).chain(later).collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let twice = accepted.saturating_sub(distinct.len());
    (distinct, twice, gaps.max().unwrap_or_default())
}

/// The addresses of `subnet` that a node has opened the door for, and when its log said so.
fn openings(stage: &Stage<'_>, index: usize, subnet: u8) -> Vec<(IpAddr, Instant)> {
    let lines = stage.nodes[index].knockd.lines();
    let accepted = lines.iter().filter_map(|line| {
        let (_, rest) = line.text.split_once("accepted door=")?;
        let (_, rest) = rest.split_once("source=")?;
        let source: Ipv4Addr = rest.split_whitespace().next()?.parse().ok()?;
        (source.octets()[1] == subnet).then_some((source.into(), line.at))
    });
    accepted.collect()
}

/// Cuts links, and returns how long after they are up again a node claims its first knock.
fn heal(stage: &Stage<'_>, subnet: u8, link: impl Fn(bool)) -> Duration {
    link(false);
    thread::sleep(OUTAGE);
    link(true);
    let healed = Instant::now();
    for number in 0.. {
        stage.open_for(0, address(subnet, number), HOUR).unwrap();
        thread::sleep(PACE);
        if let Some((_, at)) = openings(stage, 0, subnet).first() {
            return *at - healed;
        }
        assert!(healed.elapsed() < SOON, "nothing is accepted");
    }
    unreachable!();
}

/// Kills a node, removes what it has stored, and starts it again.
fn forget(stage: &mut Stage<'_>, index: usize) {
    stage.kill(index).unwrap();
    fs::remove_dir_all(stage.nodes[index].files.path("state")).unwrap();
    stage.restart(index).unwrap();
}

/// How long a node takes to have many doors open again.
fn restart() {
    let net = Net::new().unwrap();
    let mut stage = Stage::with(&net, "patience = \"30s\"").unwrap();
    for number in 0..LEASES {
        stage.open_for(0, address(29, number), HOUR).unwrap();
        thread::sleep(Duration::from_millis(4));
    }
    let leases = usize::try_from(LEASES).unwrap();
    (0..NODES).for_each(|index| stage.wait_count(index, leases).unwrap());
    for (title, forgets) in [("", false), (" and has lost its files", true)] {
        stage.kill(1).unwrap();
        if forgets {
            fs::remove_dir_all(stage.nodes[1].files.path("state")).unwrap();
        }
        let begun = Instant::now();
        stage.restart(1).unwrap();
        stage.wait_count(1, leases).unwrap();
        // To ask takes longer.
        let lines = stage.nodes[1].knockd.lines();
        let opened = lines.iter().filter(|line| line.text.contains("gate open"));
        let last = opened.map(|line| line.at).max().unwrap();
        line(
            format!("a node starts again{title}, until {LEASES} doors are open"),
            seconds(last - begun),
        );
    }
}

/// Opens the door for `count` addresses, at the nodes in turn. Returns them with the times.
fn open(
    stage: &Stage<'_>,
    subnet: u8,
    count: u8,
    lease: Duration,
    pause: Duration,
) -> Vec<(IpAddr, u64)> {
    let mut sent = Vec::new();
    for number in 0..u32::from(count) {
        let address = address(subnet, number);
        sent.push((address.into(), unix_ms().unwrap()));
        let index = usize::try_from(number).unwrap() % NODES;
        stage.open_for(index, address, lease).unwrap();
        thread::sleep(pause);
    }
    sent
}

fn address(subnet: u8, number: u32) -> Ipv4Addr {
    let [_, _, high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(10, subnet, high, low)
}

/// Waits until the history of every node has the time of each of `since`, and returns how many
/// milliseconds later it is.
fn each_node(
    stage: &Stage<'_>,
    since: &[(IpAddr, u64)],
    time: impl Fn(&Knock) -> Option<Moment>,
) -> Vec<i64> {
    let mut delays = Vec::new();
    for node in &stage.nodes {
        let deadline = Instant::now() + SOON;
        let found = loop {
            let knocks = knockd_runtime::history::read(&node.files.path("state")).unwrap();
            let later = |(address, since): &(IpAddr, u64)| {
                let of = knocks.iter().find(|it| it.accepted.source == *address)?;
                Some(ms(time(of)?) - i64::try_from(*since).unwrap())
            };
            if let Some(found) = since.iter().map(later).collect::<Option<Vec<_>>>() {
                break found;
            }
            assert!(Instant::now() < deadline, "the history lacks some");
            thread::sleep(Duration::from_millis(50));
        };
        delays.extend(found);
    }
    delays
}

fn ms(moment: Moment) -> i64 {
    let time = humantime::parse_rfc3339(&moment.to_string()).unwrap();
    let time = time.duration_since(std::time::UNIX_EPOCH).unwrap();
    time.as_millis().try_into().unwrap()
}

fn percentiles(times: &mut [i64]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!(
        "p50 {} ms, p99 {} ms, longest {} ms",
        at(50),
        at(99),
        at(100)
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
