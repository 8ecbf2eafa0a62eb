//! What fleets of several sizes ask of their engine and their nodes, by simulation.
//!
//! The figures are the same in each run. A test compares them with those in docs/fleet-at-scale.md.

mod latency;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use fastrand::Rng;

/// Every run begins with it.
const SEED: u64 = 2_026;

/// Knocks of a client on a day, and how long each opens its door, in seconds.
const KNOCKS: u32 = 4;
const LEASE: usize = 3600;

/// Half of the knocks are made at any time of the day, half within two hours around its busiest.
const DAY: usize = 86_400;
const BUSIEST: usize = 9 * 3600;
const RUSH: usize = 3600;

/// How long the engine keeps a claim if no lease is longer, in hours.
const KEPT: f64 = 25.0;

/// What a claim takes in the store of each server: subject, header, record, and what the store adds.
const STORED_BYTES: f64 = (44 + 52 + 128 + 34) as f64;
/// What it takes on its way to a node, with TLS, TCP and IP.
const FEED_BYTES: f64 = 420.0;
/// What a beat takes on its way to a node.
const BEAT_BYTES: f64 = 360.0;
/// How often a node sends one, in seconds.
const BEAT_INTERVAL: f64 = 60.0;

/// How many claims a node reads in a second after its start: 20,000 were read in 0.44 s.
const READ_RATE: f64 = 20_000.0 / 0.44;

/// The limits of one fleet: of its stream in bytes, of the leases that a node keeps.
const STREAM_LIMIT: f64 = 64.0 * 1024.0 * 1024.0;
const LEASE_LIMIT: f64 = 131_072.0;

/// Sizes of fleets: clients and nodes.
const SIZES: [(u32, u32); 5] = [
    (1_000, 3),
    (10_000, 10),
    (50_000, 50),
    (100_000, 100),
    (1_000_000, 1_000),
];

/// A day of all clients.
struct Day {
    /// Claims in each second.
    claims: Vec<u32>,
    /// The most leases that are open at once.
    leases: u32,
}

/// Prints all tables.
pub(crate) fn print() -> anyhow::Result<()> {
    print!("{}", tables());
    Ok(())
}

fn tables() -> String {
    format!("{}\n{}", sizes(), latency::table(&mut Rng::with_seed(SEED)))
}

fn sizes() -> String {
    let mut table = String::from(
        "| clients | nodes | claims/s: mean, busiest | open at once | kept claims | in the stream | fleets \
         | feed of a node, busiest | feed of the engine, busiest | beats/s at the engine | catch-up |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut random = Rng::with_seed(SEED);
    for (clients, nodes) in SIZES {
        row(&mut table, &day(clients, &mut random), clients, nodes);
    }
    table
}

/// Draws the knocks of a day. Each client knocks independently of the others.
fn day(clients: u32, random: &mut Rng) -> Day {
    let mut claims = vec![0_u32; DAY];
    for _ in 0..clients * KNOCKS {
        let second = match random.bool() {
            true => random.usize(0..DAY),
            // The sum of two: most are close to the middle.
            false => BUSIEST - RUSH + random.usize(0..RUSH) + random.usize(0..RUSH),
        };
        claims[second] += 1;
    }
    // The day before was the same.
    let mut open: u32 = claims[DAY - LEASE..].iter().sum();
    let mut leases = open;
    for second in 0..DAY {
        open += claims[second];
        open -= claims[(second + DAY - LEASE) % DAY];
        leases = leases.max(open);
    }
    Day { claims, leases }
}

/// Appends the row of one size. With several fleets, each has its share of clients and nodes.
fn row(table: &mut String, day: &Day, clients: u32, nodes: u32) {
    let claims: u32 = day.claims.iter().sum();
    let mean = f64::from(claims) / DAY as f64;
    let busiest = f64::from(day.claims.iter().copied().max().unwrap_or_default());
    let kept = f64::from(claims) * KEPT / 24.0;
    let stored = kept * STORED_BYTES;
    let fleets = fleets(stored, f64::from(day.leases));
    let feed = busiest / fleets * FEED_BYTES;
    let nodes_of_one = f64::from(nodes) / fleets;
    // Each fleet has its own, and one engine may serve several.
    let beats = nodes_of_one * nodes_of_one / BEAT_INTERVAL * fleets;
    // Writing to a string cannot fail.
    let _ = writeln!(
        table,
        "| {} | {} | {mean:.2}, {busiest:.0} | {} | {} | {:.1} MiB | {fleets:.0} | {} | {} | {beats:.1} ({}) | {:.1} s |",
        grouped(f64::from(clients)),
        grouped(f64::from(nodes)),
        grouped(f64::from(day.leases)),
        grouped(kept),
        stored / 1024.0 / 1024.0,
        rate(feed),
        rate(feed * f64::from(nodes)),
        rate(beats * BEAT_BYTES),
        kept / fleets / READ_RATE,
    );
}

/// How many fleets are needed, each with a prefix of its own.
fn fleets(stored: f64, leases: f64) -> f64 {
    (stored / STREAM_LIMIT)
        .max(leases / LEASE_LIMIT)
        .ceil()
        .max(1.0)
}

/// A number with commas between thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in a second as bits, for a person.
fn rate(bytes: f64) -> String {
    match bytes * 8.0 {
        bits if bits < 1e6 => format!("{:.0} kbit/s", bits / 1e3),
        bits => format!("{:.1} Mbit/s", bits / 1e6),
    }
}
