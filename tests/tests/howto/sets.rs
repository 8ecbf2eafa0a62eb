//! Sets of nftables and ipset, from which the kernel removes an address by itself.

use knock_tests::{link::Pair, needs_bpf};

use crate::{
    host::{self, run},
    page::Page,
    site::{CLIENT, OTHER, Site, with_time},
};

#[test]
fn nftables_removes_an_address_after_its_time() {
    needs_bpf!();
    let page = Page::read("nftables");
    let example = with_time(&page.example("Door"), "timeout 1h", "timeout 6s");
    let pair = Pair::new().unwrap();
    run(
        &pair.server,
        &format!("nft -f - <<'END'\n{}END", page.sample("Rules", "nft")),
    );
    let site = Site::ssh(pair, &example);
    site.opens_for_a_time(&CLIENT);

    // A knock gives an address that is in the set another time.
    for (set, source) in ["knockers4", "knockers6"].into_iter().zip(OTHER) {
        let add = format!("nft 'add element inet filter {set} {{ {source} timeout 1d }}'");
        run(&site.scene.pair.server, &add);
        assert!(site.admits(source));
        site.knock(source);
    }
    for source in OTHER {
        site.until(false, source);
    }
}

#[test]
fn ipset_removes_an_address_after_its_time() {
    let Some(pair) = host::pair() else {
        return;
    };
    let page = Page::read("ipset");
    let example = with_time(&page.example("Door"), "timeout 3600", "timeout 6");
    run(&pair.server, &page.commands("Sets"));
    run(&pair.server, &page.commands("Rules"));
    let site = Site::ssh(pair, &example);
    site.opens_for_a_time(&CLIENT);

    for (set, source) in ["knockers4", "knockers6"].into_iter().zip(OTHER) {
        let add = format!("ipset add {set} {source} timeout 86400");
        run(&site.scene.pair.server, &add);
        assert!(site.admits(source));
        site.knock(source);
    }
    for source in OTHER {
        site.until(false, source);
    }
}
