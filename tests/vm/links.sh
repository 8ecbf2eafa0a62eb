#!/bin/sh
# Checks of links that are made of other links. Each check says that knockd guards the interface,
# or that it refuses to start and names the interface. What must not be is an open gate.

# The daemon on an interface.
guards() {
    configure "\"$1\""
    (start) >/dev/null
    if stopped; then
        grep -q "$1" "$LOG" || fail "it does not start, and does not name $1: $(tail -n 2 "$LOG")"
        return
    fi
    is_guarded "$1"
}

is_guarded() {
    is_closed_for "$CLIENT" || fail "open without a knock, attached in mode $(mode "$1")"
    knock_for ssh || return
    wait_until is_open_for "$CLIENT" || fail "a knock opens nothing, mode $(mode "$1"): $(status_json)"
    is_closed_for "$STRANGER" || fail "open for another address"
}

# A check of one kind of link on a veth pair.
#   link NAME MODULE INTERFACE COMMAND…: makes the links, with the server's address on one
link() {
    title=$1 module=$2 interface=$3
    shift 3
    if ! has_module "$module"; then
        echo "CHECK skip $title: this kernel has no module $module"
        return
    fi
    if check "$title carries packets" "$@"; then
        check "$title" guards "$interface"
    fi
    clear_links
}

clear_links() {
    clean_up
    for made in bond0 br0 vrf0 tunnel over srv.5 srv; do
        ip link del "$made" 2>/dev/null
    done
    ip netns del client
}

# The veth pair below every link, without addresses.
pair() {
    ip link add srv type veth peer name cli
    move cli
    ip link set srv up
    ip -n client link set cli up
}


few_queues() {
    ip link add srv numrxqueues 1 numtxqueues 4 type veth peer name cli numrxqueues 1 numtxqueues 4 || return
    move cli && address srv cli && reaches
}

large_frames() {
    pair && address srv cli || return
    ip link set srv mtu 9000 && in_client ip link set cli mtu 9000 && reaches
}

vlan() {
    pair || return
    ip link add link srv name srv.5 type vlan id 5 || return
    in_client ip link add link cli name cli.5 type vlan id 5
    address srv.5 cli.5 && reaches
}

bridge() {
    pair && ip link add br0 type bridge && ip link set srv master br0 && address br0 cli && reaches
}

bond() {
    pair && ip link add bond0 type bond mode "$1" miimon 100 || return
    ip link set srv down && ip link set srv master bond0 && address bond0 cli && reaches
}

# An interface above the pair's, of the kind that the arguments say.
above() {
    pair && ip link add link srv name over type "$@" && address over cli && reaches
}

vrf() {
    pair && ip link add vrf0 type vrf table 10 && ip link set vrf0 up || return
    ip link set srv master vrf0
    # The service is outside.
    sysctl -q net.ipv4.tcp_l3mdev_accept=1
    address srv cli && reaches
}

# A tunnel has no Ethernet header.
tunnel() {
    pair || return
    ip addr add 198.51.100.1/24 dev srv
    in_client ip addr add 198.51.100.2/24 dev cli
    ip link add tunnel type "$1" local 198.51.100.1 remote 198.51.100.2 || return
    in_client ip link add tunnel type "$1" local 198.51.100.2 remote 198.51.100.1
    address tunnel tunnel && reaches
}

# The kernel changes the mode of an IPVLAN at any time.
becomes_blind() {
    configure '"over"'
    start || return
    is_guarded over || return
    ip link set over type ipvlan mode l3s || return
    wait_until names_refused over || fail "still attached: $(status_json)"
}

names_refused() {
    status_json | grep -q "\"refused\":\[{\"interface\":\"$1\""
}

# Before Linux 6.6 the program of tc is held by a filter instead of a pinned link.
outlives_on_a_tunnel() {
    configure '"tunnel"'
    start || return
    [ "$(mode tunnel)" = tc ] || fail "mode $(mode tunnel)"
    is_guarded tunnel || return
    stays_closed_when_killed || return
    is_taken_over || return
    stop || return
    is_closed_for "$CLIENT" || fail "open after a stop"
    knockd detach || return
    wait_until is_open_for "$CLIENT" || fail "the port is still closed"
}

tunnel_without_daemon() {
    has_module ipip || return
    if check "IPIP tunnel, again, carries packets" tunnel ipip; then
        check "the gate of tc outlives the daemon" outlives_on_a_tunnel
    fi
    clear_links
}

ipvlan_that_changes() {
    has_module ipvlan || return
    if check "ipvlan before its change carries packets" above ipvlan mode l2; then
        check "ipvlan that becomes l3s is given up" becomes_blind
    fi
    clear_links
}

enslaves() {
    configure '"*"'
    start || return
    ip link add bond0 type bond mode active-backup miimon 100 || return
    ip link set srv down && ip link set srv master bond0 || return
    address bond0 cli && reaches
}

bond_while_running() {
    has_module bonding || return
    pair
    if check "bond made while knockd listens on all interfaces" enslaves; then
        check "bond made while knockd listens on all interfaces is guarded" is_guarded bond0
    fi
    is_running && check "SIGTERM with a bond" stop
    clear_links
}

# For the filters of tc. The kernel of a guest does not load them by itself.
modprobe sch_ingress 2>/dev/null
modprobe cls_bpf 2>/dev/null
# Otherwise it makes a bond by itself.
modprobe bonding max_bonds=0 2>/dev/null
link "veth with fewer queues than its peer" veth srv few_queues
link "veth with an MTU of 9000" veth srv large_frames
link "interface below a VLAN" 8021q srv vlan
link "VLAN" 8021q srv.5 vlan
link "bridge" bridge br0 bridge
link "interface in a bridge" bridge srv bridge
link "bond, active-backup" bonding bond0 bond active-backup
link "bond, balance-alb" bonding bond0 bond balance-alb
bond_while_running
link "VRF" vrf vrf0 vrf
link "interface in a VRF" vrf srv vrf
link "macvlan" macvlan over above macvlan mode bridge
link "ipvlan, l2" ipvlan over above ipvlan mode l2
link "ipvlan, l3s" ipvlan over above ipvlan mode l3s
ipvlan_that_changes
link "IPIP tunnel" ipip tunnel tunnel ipip
tunnel_without_daemon
link "GRE tunnel" ip_gre tunnel tunnel gre
