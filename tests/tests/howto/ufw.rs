//! ufw, with the door that calls it.

use crate::{
    host::{self, run},
    page::Page,
    site::{CLIENT, Site, with_time},
};

/// What the package does when it is installed, and its user afterwards.
const SET_UP: &str = "
cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/ufw.conf /usr/share/ufw/*.init /etc/ufw
ufw --force enable
ufw deny 22/tcp
";

#[test]
fn ufw_has_a_rule_while_the_door_is_open() {
    let Some(pair) = host::pair() else {
        return;
    };
    let page = Page::read("ufw");
    let example = page.example("ufw itself as the door's command");
    run(&pair.server, SET_UP);
    let site = Site::ssh(pair, &with_time(&example, "\"30s\"", "\"6s\""));
    site.opens_for_a_time(&CLIENT);
    let status = run(&site.scene.pair.server, "ufw status");
    assert!(!status.contains("192.0.2.2"), "{status}");
}
