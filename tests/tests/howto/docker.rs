//! A port that a container publishes, with the chains of dockerd 28 and without dockerd.

use std::net::IpAddr;

use knock_tests::{link::Pair, netns::Namespace, service::Greeter};

use crate::{
    host::{self, run},
    page::Page,
    site::{CLIENT, Site, with_time},
};

/// What `docker run --publish 8443:443` makes on a new host. `{container}` is the path of the
/// container's network namespace.
const DOCKER: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link set docker0 up
ip link add veth0 type veth peer name eth0 netns {container}
ip link set veth0 master docker0 up
iptables-restore <<'END'
*filter
:FORWARD DROP
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-INTERNAL -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp --dport 443 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
COMMIT
*nat
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp --dport 8443 -j DNAT --to-destination 172.17.0.2:443
COMMIT
*raw
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
COMMIT
END
ip6tables-restore <<'END'
*filter
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
COMMIT
END
";

/// A container that answers on port 443, which `host` publishes.
fn publish(host: &Namespace) -> (Namespace, Greeter) {
    let container = Namespace::new().unwrap();
    let path = container.path().display().to_string();
    run(host, &DOCKER.replace("{container}", &path));
    container.ip("address add 172.17.0.2/16 dev eth0").unwrap();
    container.ip("link set eth0 up").unwrap();
    container.ip("route add default via 172.17.0.1").unwrap();
    let service = Greeter::start(&container, 443).unwrap();
    (container, service)
}

const CLIENT_V4: IpAddr = CLIENT[0];

#[test]
fn the_gate_protects_a_published_port() {
    let Some(pair) = host::pair() else {
        return;
    };
    let page = Page::read("docker");
    let example = page.example("Hide a published port");
    let example = with_time(&example, "\"5m\"", "\"4s\"");
    // The client's own network.
    let example = with_time(&example, "192.0.2.0/24", "198.51.100.0/24");
    let (_container, service) = publish(&pair.server);
    let site = Site::new(pair, &example, ("web", 8443), service);
    site.opens_for_a_time(&[CLIENT_V4]);
}

#[test]
fn a_rule_in_docker_user_protects_a_published_port() {
    let Some(pair) = host::pair() else {
        return;
    };
    let example = Page::read("ipset").example("Door");
    let example = with_time(&example, "timeout 3600", "timeout 6");
    let rules = Page::read("docker").commands("Without the gate");
    let (_container, service) = publish(&pair.server);
    run(&pair.server, &rules.replace("eth0", Pair::SERVER_INTERFACE));
    let site = Site::new(pair, &example, ("ssh", 8443), service);
    site.opens_for_a_time(&[CLIENT_V4]);
}
