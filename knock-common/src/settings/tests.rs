use proptest::prelude::*;

use super::*;

fn rates() -> impl Strategy<Value = Rate> {
    (1..=u32::MAX, 1..=u32::MAX).prop_map(|(per_second, burst)| rate(per_second, burst))
}

fn datagrams() -> impl Strategy<Value = Datagram> {
    (1..=u16::MAX, any::<[u8; 16]>(), rates()).prop_map(|(port, mac1, rate)| Datagram {
        port: NonZeroU16::new(port).unwrap(),
        mac1: Mac1Key::from_bytes(mac1),
        rate,
    })
}

fn gates() -> impl Strategy<Value = Gate> {
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Observe)];
    let destinations = prop_oneof![
        Just(Destinations::Local),
        Just(Destinations::Listed),
        Just(Destinations::All)
    ];
    let lens = || prop::array::uniform4(1..=128_u8).prop_map(|lens| PrefixLens::new(lens).unwrap());
    let protected = any::<[bool; 3]>();
    (mode, protected, destinations, lens(), lens(), 1..=u64::MAX).prop_map(
        |(mode, [tcp, udp, trusted], destinations, ipv4, ipv6, idle)| Gate {
            mode,
            tcp,
            udp,
            trusted,
            destinations,
            ipv4_prefix_lens: ipv4,
            prefix_lens: ipv6,
            udp_idle_ns: NonZeroU64::new(idle).unwrap(),
        },
    )
}

/// Whether a packet with this outcome is dropped.
fn is_dropped(
    outcome: Outcome,
    verdict: Verdict,
    datagram: Option<&Datagram>,
    gate: Option<&Gate>,
) -> bool {
    match outcome {
        Outcome::Knock
        | Outcome::RateLimited
        | Outcome::Held
        | Outcome::RingFull
        | Outcome::Martian => verdict == Verdict::Drop,
        Outcome::Datagram
        | Outcome::DatagramCopy
        | Outcome::DatagramLimited
        | Outcome::DatagramRingFull => datagram.is_some(),
        Outcome::GateRefused | Outcome::GateUnclear => {
            gate.is_some_and(|gate| gate.mode == Mode::Enforce)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn the_program_reads_what_the_daemon_has_set(
        base in 1..=Window::MAX_BASE,
        pass: bool,
        [rate, new_sources] in [rates(), rates()],
        datagram in prop::option::of(datagrams()),
        gate in prop::option::of(gates()),
        port: u16,
    ) {
        let window = Window::new(base).unwrap();
        let verdict = if pass { Verdict::Pass } else { Verdict::Drop };
        let mut settings = Settings::new(window, verdict, rate).with_new_sources_rate(new_sources);
        if let Some(datagram) = &datagram {
            settings = settings.with_datagram(datagram);
        }
        if let Some(gate) = &gate {
            settings = settings.with_gate(gate);
        }
        prop_assert_eq!(settings.rate(), rate);
        prop_assert_eq!(settings.new_sources_rate(), new_sources);
        prop_assert_eq!(settings.offset_of(port), window.offset_of(port));
        prop_assert_eq!(settings.offset_of(base), Some(0));
        for outcome in Outcome::ALL {
            let expected = is_dropped(*outcome, verdict, datagram.as_ref(), gate.as_ref());
            prop_assert_eq!(settings.drops(*outcome), expected, "{}", outcome.name());
        }
        check_datagrams(&settings, datagram.as_ref(), port)?;
        check_gate(&settings, gate.as_ref())?;
    }
}

fn check_datagrams(
    settings: &Settings,
    datagram: Option<&Datagram>,
    port: u16,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(settings.has_datagrams(), datagram.is_some());
    let is_for = |port| datagram.is_some_and(|datagram| datagram.port.get() == port);
    for port in [0, port, datagram.map_or(0, |datagram| datagram.port.get())] {
        prop_assert_eq!(settings.is_for_datagrams(port), is_for(port));
    }
    if let Some(datagram) = datagram {
        prop_assert_eq!(settings.mac1(), datagram.mac1);
        prop_assert_eq!(settings.datagram_rate(), datagram.rate);
    }
    Ok(())
}

fn check_gate(settings: &Settings, gate: Option<&Gate>) -> Result<(), TestCaseError> {
    let is = |of: fn(&Gate) -> bool| gate.is_some_and(of);
    prop_assert_eq!(settings.guards(Transport::Tcp), is(|gate| gate.tcp));
    prop_assert_eq!(settings.guards(Transport::Udp), is(|gate| gate.udp));
    prop_assert_eq!(settings.has_gate(), is(|gate| gate.tcp || gate.udp));
    prop_assert_eq!(settings.has_trusted(), is(|gate| gate.trusted));
    prop_assert_eq!(settings.observes(), is(|gate| gate.mode == Mode::Observe));
    prop_assert_eq!(settings.idle_ns(Transport::Tcp), None);
    prop_assert_eq!(
        settings.idle_ns(Transport::Udp),
        gate.map(|gate| gate.udp_idle_ns)
    );
    let destinations = gate.map_or(Destinations::Local, |gate| gate.destinations);
    prop_assert_eq!(settings.destinations(), destinations);
    let lens = |of: fn(&Gate) -> PrefixLens| gate.map_or([0; 4], |gate| of(gate).as_array());
    prop_assert_eq!(settings.prefix_lens(), lens(|gate| gate.prefix_lens));
    prop_assert_eq!(
        settings.ipv4_prefix_lens(),
        lens(|gate| gate.ipv4_prefix_lens)
    );
    Ok(())
}
