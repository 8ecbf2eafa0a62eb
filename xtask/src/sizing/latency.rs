//! How long a claim takes between regions.

use std::fmt::Write as _;

use fastrand::Rng;

/// Claims of each row.
const CLAIMS: usize = 20_000;

/// Regions, and the round trip between them in milliseconds.
const REGIONS: [&str; 3] = ["Europe", "America", "Asia"];
const ROUND_TRIPS: [[f64; 3]; 3] = [[1.0, 90.0, 230.0], [90.0, 1.0, 160.0], [230.0, 160.0, 1.0]];

/// How much later a packet is than it could be, on average: a constant, and a part of its way.
const JITTER_MS: f64 = 0.1;
const JITTER_SHARE: f64 = 0.05;

/// A write to a disk that is synced: the least, and what comes on average.
const SYNC_MS: f64 = 1.0;
const SYNC_MORE_MS: f64 = 0.8;

/// Where the servers are: the leader of the stream, then the others.
const PLACES: [(&str, [usize; 3]); 3] = [
    ("all in Europe, in three zones", [0, 0, 0]),
    ("two in Europe, one in America", [0, 0, 1]),
    ("one in each region, the leader in Europe", [0, 1, 2]),
];

pub(super) fn table(random: &mut Rng) -> String {
    let mut table = String::from(
        "| servers of the engine | a node in | claim acknowledged: p50, p99 | open in all regions: p50, p99 |\n\
         |---|---|---|---|\n",
    );
    for (place, servers) in PLACES {
        for (region, name) in REGIONS.iter().enumerate() {
            let mut claimed = Vec::new();
            let mut open = Vec::new();
            for _ in 0..CLAIMS {
                let claim = Claim::draw(region, servers, random);
                claimed.push(claim.acknowledged);
                open.push(claim.open);
            }
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "| {place} | {name} | {} | {} |",
                percentiles(claimed),
                percentiles(open)
            );
        }
    }
    table
}

/// One claim, in milliseconds since the node has sent it.
struct Claim {
    acknowledged: f64,
    open: f64,
}

impl Claim {
    fn draw(region: usize, servers: [usize; 3], random: &mut Rng) -> Self {
        let [leader, others @ ..] = servers;
        let arrived = way(region, leader, random);
        let stored = others
            .map(|other| way(leader, other, random) + sync(random) + way(other, leader, random));
        // Two of three servers have to have it, and the leader is one of them.
        let most = stored[0].min(stored[1]).max(sync(random));
        let acknowledged = arrived + most + way(leader, region, random);
        let read = (0..REGIONS.len()).map(|reader| way(leader, reader, random));
        let open = arrived + most + read.fold(0.0, f64::max);
        Self { acknowledged, open }
    }
}

/// One way between two regions.
fn way(from: usize, to: usize, random: &mut Rng) -> f64 {
    let least = ROUND_TRIPS[from][to] / 2.0;
    least + exponential(JITTER_MS + least * JITTER_SHARE, random)
}

fn sync(random: &mut Rng) -> f64 {
    SYNC_MS + exponential(SYNC_MORE_MS, random)
}

fn exponential(mean: f64, random: &mut Rng) -> f64 {
    -mean * (1.0 - random.f64()).ln()
}

/// The median and the 99th percentile.
fn percentiles(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (median, high) = (values[values.len() / 2], values[values.len() * 99 / 100]);
    format!("{median:.1}, {high:.1} ms")
}
