//! firewalld, with the door that binds an address to a zone.

use std::time::Instant;

use knock_tests::{netns::Namespace, process::Running, scene::SOON};

use crate::{
    host::{self, run},
    page::Page,
    site::{CLIENT, Site, with_time},
};

/// A bus that starts no services: without polkit, firewalld asks for root.
const BUS: &str = r#"<busconfig>
<type>system</type>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow eavesdrop="true"/>
<allow send_destination="*" eavesdrop="true"/></policy>
</busconfig>"#;

/// Starts firewalld and its bus.
fn start(host: &Namespace) -> [Running; 2] {
    run(
        host,
        &format!("mkdir /run/dbus; cat > /run/bus.conf <<'END'\n{BUS}\nEND"),
    );
    let mut bus = host.command("dbus-daemon");
    bus.args(["--config-file=/run/bus.conf", "--nofork", "--nopidfile"]);
    bus.arg("--print-address");
    let bus = Running::spawn(bus).unwrap();
    bus.wait_for(|line| line.contains("unix:path="), SOON)
        .unwrap();
    let mut firewalld = host.command("firewalld");
    firewalld.env("PYTHONDONTWRITEBYTECODE", "1");
    firewalld.args(["--nofork", "--nopid"]);
    let firewalld = Running::spawn(firewalld).unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let mut state = host.command("firewall-cmd");
        if state.arg("--state").output().unwrap().status.success() {
            return [firewalld, bus];
        }
        assert!(Instant::now() < deadline, "{:?}", firewalld.lines());
    }
}

#[test]
fn firewalld_has_the_address_in_a_zone_while_the_door_is_open() {
    let Some(pair) = host::pair() else {
        return;
    };
    let page = Page::read("firewalld");
    let section = "A zone for admitted addresses";
    let example = page.example(section);
    let _firewalld = start(&pair.server);
    run(&pair.server, &page.commands(section));
    let site = Site::ssh(pair, &with_time(&example, "\"30s\"", "\"6s\""));
    site.opens_for_a_time(&CLIENT);
}
