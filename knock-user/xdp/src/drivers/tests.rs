//! Each rule at its limit, and the command that it gives.

use super::*;

/// A card of `driver` on which native mode works.
fn card(driver: &str) -> Facts {
    Facts {
        name: "eth0".into(),
        driver: driver.into(),
        kernel: KernelVersion::new(6, 12, 0),
        page: 4096,
        mtu: 1500,
        processors: 8,
        channels: None,
        lro: Some(false),
        virtual_functions: 0,
        virtio: features(&[
            GUEST_CSUM,
            CTRL_GUEST_OFFLOADS,
            7,
            8,
            MERGEABLE_BUFFERS,
            VERSION_1,
        ]),
    }
}

fn features(bits: &[usize]) -> String {
    let bit = |bit| if bits.contains(&bit) { '1' } else { '0' };
    (0..64).map(bit).collect()
}

fn old(driver: &str) -> Facts {
    Facts {
        kernel: KernelVersion::new(6, 1, 0),
        ..card(driver)
    }
}

/// The only condition that `facts` do not meet.
fn need(facts: &Facts) -> String {
    let needs = unmet(facts);
    let [need] = &needs[..] else {
        panic!("not one: {needs:?}");
    };
    need.to_string()
}

/// The largest MTU on which `facts` have nothing to say; the command of the next one names it.
fn largest_mtu(facts: &Facts) -> Option<u32> {
    let with = |mtu| {
        unmet(&Facts {
            mtu,
            ..facts.clone()
        })
    };
    let limit = (1500..65_536).find(|mtu| !with(mtu + 1).is_empty())?;
    let command = format!("`ip link set dev eth0 mtu {limit}`");
    let needs = with(limit + 1);
    assert!(needs[0].how.starts_with(&command), "{needs:?}");
    Some(limit)
}

const DRIVERS: [&str; 8] = [
    "virtio_net",
    "ena",
    "gve",
    "ixgbe",
    "i40e",
    "ice",
    "mlx5_core",
    "hv_netvsc",
];

#[test]
fn a_card_that_meets_all_conditions_needs_nothing() {
    for driver in DRIVERS {
        assert_eq!(unmet(&card(driver)), [], "{driver}");
    }
    assert_eq!(unmet(&card("e1000")), []);
    assert_eq!(unseen(&card("e1000")), []);
}

#[test]
fn the_limits_of_the_mtu_are_those_of_the_drivers() {
    let limits = DRIVERS.map(|driver| largest_mtu(&card(driver)));
    let expected = [3500, 3498, 2032, 3050].map(Some);
    assert_eq!(limits[..4], expected);
    assert_eq!(limits[4..], [None, None, None, Some(3506)]);
    assert_eq!(largest_mtu(&old("i40e")), Some(3050));
    assert_eq!(largest_mtu(&old("ice")), Some(3046));
    assert_eq!(largest_mtu(&old("mlx5_core")), Some(3498));
}

#[test]
fn the_limits_of_the_mtu_depend_on_the_page() {
    let large = |driver| Facts {
        page: 16_384,
        ..card(driver)
    };
    assert_eq!(largest_mtu(&large("ena")), Some(15_786));
    assert_eq!(largest_mtu(&large("ixgbe")), Some(2026));
    assert_eq!(largest_mtu(&large("hv_netvsc")), Some(15_794));
}

#[test]
fn large_receive_offload_is_turned_off_also_if_it_cannot_be_read() {
    for driver in ["gve", "ixgbe", "mlx5_core", "hv_netvsc"] {
        for lro in [Some(true), None] {
            let need = need(&Facts {
                lro,
                ..card(driver)
            });
            assert!(need.ends_with("`ethtool -K eth0 lro off`"), "{need}");
        }
    }
    for driver in ["virtio_net", "ena", "i40e", "ice"] {
        let lro = Some(true);
        let facts = Facts {
            lro,
            ..card(driver)
        };
        assert_eq!(unmet(&facts), [], "{driver}");
    }
}

#[test]
fn ena_needs_half_of_its_channels() {
    let ena = |combined, max_combined| Facts {
        channels: Some(Channels {
            combined,
            max_combined,
            ..Channels::default()
        }),
        ..card("ena")
    };
    assert_eq!(unmet(&ena(4, 8)), []);
    let text = need(&ena(5, 9));
    assert!(text.contains("of the 9 possible channels (there are 5)"));
    assert!(text.ends_with("`ethtool -L eth0 combined 4`"), "{text}");
    assert!(need(&ena(2, 2)).ends_with("`ethtool -L eth0 combined 1`"));
}

#[test]
fn gve_needs_as_many_receive_as_transmit_queues_and_half_of_them() {
    let gve = |rx, tx, max| Facts {
        channels: Some(Channels {
            rx,
            tx,
            max_tx: max,
            ..Channels::default()
        }),
        ..card("gve")
    };
    assert_eq!(unmet(&gve(4, 4, 8)), []);
    for (facts, command) in [
        (gve(8, 8, 8), "`ethtool -L eth0 rx 4 tx 4`"),
        (gve(4, 2, 8), "`ethtool -L eth0 rx 2 tx 2`"),
        (gve(1, 1, 1), "`ethtool -L eth0 rx 1 tx 1`"),
    ] {
        let need = need(&facts);
        assert!(need.ends_with(command), "{need}");
    }
    assert!(need(&old("gve")).starts_with("Linux 6.4"));
    assert!(unseen(&card("gve")).len() == 2);
}

#[test]
fn ixgbe_needs_no_virtual_functions_and_not_too_many_processors() {
    let functions = Facts {
        virtual_functions: 2,
        ..card("ixgbe")
    };
    let command = "`echo 0 > /sys/class/net/eth0/device/sriov_numvfs`";
    assert!(need(&functions).ends_with(command));
    let with = |processors| Facts {
        processors,
        ..card("ixgbe")
    };
    assert_eq!(unmet(&with(128)), []);
    assert!(need(&with(129)).ends_with("`nr_cpus=128`"));
}

#[test]
fn virtio_net_needs_features_of_the_hypervisor() {
    let with = |bits: &[usize]| Facts {
        virtio: features(bits),
        ..card("virtio_net")
    };
    // No offloads and small frames: nothing is needed.
    assert_eq!(unmet(&with(&[VERSION_1])), []);
    assert_eq!(unmet(&with(&[ANY_LAYOUT, MERGEABLE_BUFFERS])), []);
    for (bits, option) in [
        (&[VERSION_1, GUEST_CSUM][..], "ctrl_guest_offloads=on"),
        (
            &[VERSION_1, 54, MERGEABLE_BUFFERS],
            "ctrl_guest_offloads=on",
        ),
        (&[VERSION_1, CTRL_GUEST_OFFLOADS, 7], "mrg_rxbuf=on"),
        (&[MERGEABLE_BUFFERS], "disable-modern=off"),
    ] {
        let need = need(&with(bits));
        assert!(need.contains(option), "{need}");
    }
    assert!(need(&old("virtio_net")).starts_with("Linux 6.3"));
}

#[test]
fn what_cannot_be_read_is_told_only_if_nothing_else_is_wrong() {
    let legacy = |facts: &Facts| {
        let needs = to_change(facts);
        needs.iter().any(|need| need.how.contains("legacy-rx off"))
    };
    assert!(legacy(&card("ixgbe")) && legacy(&card("i40e")));
    let mtu = 9000;
    assert!(!legacy(&Facts {
        mtu,
        ..card("ixgbe")
    }));
    let channels = Some(Channels {
        combined: 16,
        ..Channels::default()
    });
    let ice = Facts {
        channels,
        ..card("ice")
    };
    assert!(to_change(&ice)[0].how.contains("combined 8"));
    for driver in ["mlx5_core", "hv_netvsc"] {
        assert_eq!(to_change(&card(driver)).len(), 1);
    }
}

#[test]
fn processors_are_counted_from_the_last_number() {
    assert_eq!(processors("0\n"), 1);
    assert_eq!(processors("0-127\n"), 128);
    assert_eq!(processors("0-3,8-11,13\n"), 14);
    assert_eq!(processors(""), 1);
}

#[test]
fn an_interface_without_such_a_driver_gets_no_advice() {
    let interfaces = crate::interfaces::list().unwrap();
    let lo = interfaces.iter().find(|one| one.name == "lo").unwrap();
    assert_eq!(advice(lo), [""; 0]);
    assert_eq!(remedy(lo), "");
}

#[test]
fn a_driver_that_skips_the_program_gets_no_native_one() {
    let modern = card("virtio_net");
    assert!(!is_misleading(&modern));
    assert!(is_misleading(&old("virtio_net")));
    let with = |bits: &[usize], mtu| Facts {
        virtio: features(bits),
        mtu,
        ..modern.clone()
    };
    let mergeable = [7, MERGEABLE_BUFFERS, VERSION_1];
    assert!(!is_misleading(&with(&mergeable, VIRTIO_ONE_BUFFER)));
    assert!(is_misleading(&with(&mergeable, VIRTIO_ONE_BUFFER + 1)));
    assert!(is_misleading(&with(&[7, VERSION_1], 1500)), "large buffers");
    assert!(!is_misleading(&with(&[VERSION_1], 1500)), "small buffers");
    assert!(is_misleading(&with(&[VERSION_1], 9000)));
    let other = Facts {
        mtu: 9000,
        ..card("ena")
    };
    assert!(!is_misleading(&other), "it refuses the program itself");
    assert!(is_misleading(&card("vmxnet3")));
    assert_eq!(unmet(&card("vmxnet3")), [], "no advice");
}
