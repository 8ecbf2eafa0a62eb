use proptest::prelude::*;

use super::*;

const START: Duration = Duration::from_secs(1000);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn left_out(refusals: &mut Refusals) -> Vec<String> {
    let mut lines: Vec<_> = refusals.take().map(|event| event.to_string()).collect();
    lines.sort();
    lines
}

#[test]
fn a_source_has_five_lines_a_minute_and_then_a_sum() {
    let mut refusals = Refusals::default();
    assert_eq!(refusals.next_deadline(), None);
    let source = address("192.0.2.7");
    let admitted = (0..17).filter(|_| refusals.admit(source, START)).count();
    assert_eq!(admitted, 5);
    assert!(refusals.admit(address("192.0.2.8"), START));
    assert_eq!(refusals.next_deadline(), Some(START + PERIOD));
    assert_eq!(
        left_out(&mut refusals),
        ["12 more refusals from 192.0.2.7 in the last minute"]
    );
    assert_eq!(refusals.next_deadline(), None);
    assert!(refusals.admit(source, START + PERIOD));
}

#[test]
fn a_minute_without_omissions_needs_no_timer() {
    let mut refusals = Refusals::default();
    let source = address("192.0.2.7");
    for minute in 0..10 {
        for _ in 0..LINES_PER_SOURCE {
            assert!(refusals.admit(source, START + PERIOD * minute));
            assert_eq!(refusals.next_deadline(), None);
        }
    }
}

#[test]
fn the_addresses_of_one_64_are_one_source() {
    let mut refusals = Refusals::default();
    for host in 0..LINES_PER_SOURCE {
        assert!(refusals.admit(address(&format!("2001:db8:0:1::{host:x}")), START));
    }
    assert!(!refusals.admit(address("2001:db8:0:1:ffff::1"), START));
    assert!(refusals.admit(address("2001:db8:0:2::1"), START));
    assert_eq!(
        left_out(&mut refusals),
        ["1 more refusals from 2001:db8:0:1::/64 in the last minute"]
    );
}

#[test]
fn all_sources_share_a_hundred_lines() {
    let mut refusals = Refusals::default();
    let spoofed = (0..10_000_u32).map(|n| IpAddr::V4((0x0a00_0000 + n).into()));
    let admitted = spoofed.filter(|source| refusals.admit(*source, START));
    assert_eq!(admitted.count(), 100);
    assert_eq!(refusals.sources.len(), 100);
    assert_eq!(
        left_out(&mut refusals),
        ["9900 more refusals from other sources in the last minute"]
    );
}

proptest! {
    #[test]
    fn every_refusal_is_a_line_or_in_a_sum_and_lines_are_bounded(
        attempts in prop::collection::vec((0_u8..200, 0_u64..3000), 1..2000),
    ) {
        let mut refusals = Refusals::default();
        let (mut now, mut summed, mut lines) = (START, 0_u64, 0_u64);
        let mut sum_up = |refusals: &mut Refusals, lines: &mut u64| {
            for event in refusals.take() {
                let Event::LeftOut { refusals, .. } = event else { panic!("{event}") };
                summed += refusals;
                *lines += 1;
            }
        };
        let mut admitted = 0;
        for (source, pause) in &attempts {
            now += Duration::from_millis(*pause);
            if refusals.next_deadline().is_some_and(|deadline| deadline <= now) {
                sum_up(&mut refusals, &mut lines);
            }
            admitted += u64::from(refusals.admit([192, 0, 2, *source].into(), now));
            prop_assert!(refusals.sources.len() <= LINES as usize);
        }
        sum_up(&mut refusals, &mut lines);
        lines += admitted;
        prop_assert_eq!(summed + admitted, attempts.len() as u64);
        let minutes = (now - START).as_secs() / PERIOD.as_secs() + 1;
        prop_assert!(lines <= minutes * u64::from(2 * LINES + 1), "{} in {}", lines, minutes);
    }
}
