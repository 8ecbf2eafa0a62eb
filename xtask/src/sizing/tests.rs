use super::*;

#[test]
fn the_page_has_the_tables_that_a_run_prints() {
    let page = include_str!("../../../docs/fleet-at-scale.md");
    for table in tables().split("\n\n") {
        let table = table.trim_end();
        assert!(page.contains(table), "put this into the page:\n{table}");
    }
}

#[test]
fn every_knock_of_a_day_is_a_claim_whose_lease_ends() {
    let day = day(1_000, &mut Rng::with_seed(1));
    assert_eq!(day.claims.iter().sum::<u32>(), 1_000 * KNOCKS);
    // In the busiest hour, at least a third of half of all knocks and at most that half.
    assert!((600..2_400).contains(&day.leases), "{}", day.leases);
}

#[test]
fn each_limit_asks_for_another_fleet() {
    assert_eq!(fleets(1.0, 1.0), 1.0);
    assert_eq!(fleets(STREAM_LIMIT * 1.5, 1.0), 2.0);
    assert_eq!(fleets(1.0, LEASE_LIMIT * 2.5), 3.0);
}

#[test]
fn numbers_are_grouped() {
    let shown = [1.0, 999.0, 1_000.0, 1_234_567.0].map(grouped);
    assert_eq!(shown, ["1", "999", "1,000", "1,234,567"]);
}
