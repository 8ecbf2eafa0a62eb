//! CrowdSec and its firewall bouncer, with the door that lifts a ban.

use std::time::Instant;

use knock_tests::{netns::Namespace, process::Running, scene::SOON, service::Greeter};

use crate::{
    host::{self, run},
    page::Page,
    site::{CLIENT, OTHER, Site},
};

/// What the packages do when they are installed, without CrowdSec's servers on the internet.
const REGISTER: &str = "
mkdir -p /var/lib/crowdsec/data /var/lib/crowdsec/hub
sed -i '/online_client/,+1d' /etc/crowdsec/config.yaml
cscli --error machines add --auto --file /etc/crowdsec/local_api_credentials.yaml
key=$(cscli --error --output raw bouncers add test)
sed -i -e \"s/.{BACKEND}/nftables/; s/.{API_KEY}/$key/\" \
    -e 's/daemonize: true/daemonize: false/; s/10s/1s/' $BOUNCER
";
const BOUNCER: &str = "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml";

/// Starts CrowdSec without its reader of logs, and the bouncer.
fn start(host: &Namespace) -> [Running; 2] {
    run(host, &REGISTER.replace("$BOUNCER", BOUNCER));
    let mut crowdsec = host.command("crowdsec");
    crowdsec.arg("-no-cs");
    let crowdsec = Running::spawn(crowdsec).unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let mut list = host.command("cscli");
        let output = list.args(["decisions", "list"]).output().unwrap();
        if output.status.success() {
            break;
        }
        assert!(Instant::now() < deadline, "{output:?}");
    }
    let mut bouncer = host.command("crowdsec-firewall-bouncer");
    bouncer.args(["-c", BOUNCER]);
    [Running::spawn(bouncer).unwrap(), crowdsec]
}

#[test]
fn a_knock_lifts_the_ban_of_crowdsec() {
    let Some(pair) = host::pair() else {
        return;
    };
    let example = Page::read("crowdsec").example("Lift a ban");
    let _crowdsec = start(&pair.server);
    let service = Greeter::start(&pair.server, 22).unwrap();
    let site = Site::new(pair, &example, ("unban", 22), service);
    for source in CLIENT.into_iter().chain(OTHER) {
        assert!(site.admits(source));
        let ban = format!("cscli --error decisions add --ip {source}");
        run(&site.scene.pair.server, &ban);
    }
    for source in CLIENT.into_iter().chain(OTHER) {
        site.until(false, source);
    }
    for source in CLIENT {
        site.knock(source);
        site.until(true, source);
    }
    for other in OTHER {
        assert!(!site.admits(other), "{other} has not knocked");
    }
}
