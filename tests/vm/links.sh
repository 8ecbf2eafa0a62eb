#!/bin/sh
# Checks of links that are made of other links: knockd guards the interface or, where no program sees
# its packets, refuses to start.

# The daemon guards an interface.
guards() {
    configure "\"$1\""
    start || return
    is_guarded "$1"
}

# The daemon refuses an interface, with a message that names it and the interface below.
gives_up() {
    configure "\"$1\""
    (start) >/dev/null
    stopped || fail "it starts in mode $(mode "$1")"
    grep "$1" "$LOG" | grep -q "(srv)" || fail "the message does not name $1 and srv: $(tail -n 2 "$LOG")"
}

is_guarded() {
    is_closed_for "$CLIENT" || fail "open without a knock, attached in mode $(mode "$1")"
    knock_for ssh || return
    wait_until is_open_for "$CLIENT" || fail "a knock opens nothing, mode $(mode "$1"): $(status_json)"
    is_closed_for "$STRANGER" || fail "open for another address"
}

# A check of one kind of link on a veth pair.
#   link EXPECTED NAME MODULE INTERFACE COMMAND…: makes the links, with the server's address on one
link() {
    expected=$1 title=$2 module=$3 interface=$4
    shift 4
    if ! has_module "$module"; then
        echo "CHECK skip $title: this kernel has no module $module"
        return
    fi
    if check "$title carries packets" "$@"; then
        check "$title" "$expected" "$interface"
    fi
    clear_links
}

clear_links() {
    clean_up
    hang_up
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
    pair || return
    # Otherwise the interface below answers for the address of the one above, and receives its packets.
    # Below an ipvlan it has to.
    [ "$1" != macvlan ] || sysctl -q net.ipv4.conf.srv.arp_ignore=1
    ip link add link srv name over type "$@" && address over cli && reaches
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

# The programs in /others have libraries of their own.
prepare_others() {
    mkdir -p /others/dev /others/proc /others/sys /others/run /others/tmp /others/var
    for folder in dev proc sys run; do
        mount -o rbind "/$folder" "/others/$folder"
    done
    ln -s ../run /others/var/run
    # Debian's options ask for a password and a modem.
    : >/others/etc/ppp/options
    printf '%s\n' noauth nodetach "connect-delay 0" >/others/etc/ppp/session
    # They call what is not there.
    rm -rf /others/etc/ppp/ip*
}

wireguard() {
    pair || return
    ip addr add 198.51.100.1/24 dev srv
    in_client ip addr add 198.51.100.2/24 dev cli
    for side in server client; do
        chroot /others wg genkey >"/run/wg-$side" || return
        chroot /others wg pubkey <"/run/wg-$side" >"/run/wg-$side.pub" || return
    done
    ip link add tunnel type wireguard || return
    in_client ip link add tunnel type wireguard || return
    chroot /others wg set tunnel listen-port 51820 private-key /run/wg-server \
        peer "$(cat /run/wg-client.pub)" allowed-ips 192.0.2.0/24 || return
    in_client chroot /others wg set tunnel private-key /run/wg-client \
        peer "$(cat /run/wg-server.pub)" endpoint 198.51.100.1:51820 allowed-ips 192.0.2.0/24 || return
    address tunnel tunnel && reaches
}

# A PPPoE session: the server's host dials, with the session in the kernel as on a router, and the
# access concentrator is in the client's namespace. It has one session, and does not answer until
# that has ended.
pppoe() {
    # What the kernel would load by itself.
    for module in ppp_async ppp_synctty; do
        modprobe "$module" || return
    done
    pair || return
    ip netns exec client chroot /others pppoe-server -F -I cli -L "$CLIENT" -R "$SERVER" \
        -N 1 -i -O /etc/ppp/session >/run/pppoe-server 2>&1 &
    wait_until in_client grep -q " 8863 " /proc/net/packet || fail "no concentrator: $(cat /run/pppoe-server)"
    dial
}

has_session() {
    [ -n "$(ip -4 addr show dev ppp0 to "$SERVER")" ] && [ -n "$(client_interface)" ]
}

dial() {
    chroot /others pppd plugin rp-pppoe.so nic-srv file /etc/ppp/session >/run/pppd 2>&1 &
    echo $! >/run/session.pid
    wait_until has_session || fail "no session: $(tail -n 3 /run/pppd) $(tail -n 3 /run/pppoe-server)"
    in_client ip addr add "$STRANGER/32" dev "$(client_interface)"
    ip route add "$STRANGER" dev ppp0
    reaches
}

# Ends a PPPoE session and its concentrator. The interfaces go with them.
hang_up() {
    killall pppd pppoe-server 2>/dev/null && wait_until is_absent ppp0
}

# Each session has an interface of its own, with the same name.
follows_sessions() {
    configure '"ppp0"'
    start || return
    is_guarded ppp0 || return
    knockd close "$CLIENT" || return
    kill "$(cat /run/session.pid)"
    wait_until is_absent ppp0 || fail "the session does not end"
    wait_until has_no_attachment || fail "still attached: $(status_json)"
    dial || return
    wait_until is_attached ppp0 || fail "not attached again: $(status_json)"
    is_guarded ppp0
}

is_absent() {
    [ ! -e "/sys/class/net/$1" ]
}

is_attached() {
    [ -n "$(mode "$1")" ]
}

has_no_attachment() {
    status_json | grep -q '"attachments":\[\]'
}

pppoe_without_daemon() {
    has_module pppoe || return
    if check "PPPoE, again, carries packets" pppoe; then
        check "the gate on a PPPoE session outlives the daemon" outlives_on ppp0
        check "another PPPoE session is guarded" follows_sessions
        check "SIGTERM with a PPPoE session" stop
    fi
    clear_links
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
outlives_on() {
    configure "{ name = \"$1\", attach = \"tc\" }"
    start || return
    [ "$(mode "$1")" = tc ] || fail "mode $(mode "$1")"
    is_guarded "$1" || return
    stays_closed_when_killed || return
    is_taken_over || return
    stop || return
    is_closed_for "$CLIENT" || fail "open after a stop"
    knockd detach || return
    wait_until is_open_for "$CLIENT" || fail "the port is still closed"
}

# The start fails at the IPVLAN, after it has taken over the tunnel, which was made before.
outlives_a_failed_start() {
    ip link add link srv name over type ipvlan mode l2 && ip link set over up || return
    configure '"tunnel", "over"'
    start || return
    kill -KILL "$(cat /run/knockd.pid)"
    wait_until stopped || fail "it is not dead"
    ip link set over type ipvlan mode l3s || return
    (start) >/dev/null
    stopped || fail "it starts on an IPVLAN in the mode l3s"
    is_closed_for "$CLIENT" || fail "open"
    knockd detach
}

tunnel_without_daemon() {
    has_module ipip || return
    if check "IPIP tunnel, again, carries packets" tunnel ipip; then
        check "the gate of tc outlives the daemon" outlives_on tunnel
        has_module ipvlan && check "the gate of tc outlives a failed start" outlives_a_failed_start
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
link guards "veth with fewer queues than its peer" veth srv few_queues
link guards "veth with an MTU of 9000" veth srv large_frames
link guards "interface below a VLAN" 8021q srv vlan
link guards "VLAN" 8021q srv.5 vlan
link guards "bridge" bridge br0 bridge
link guards "interface in a bridge" bridge srv bridge
link guards "bond, active-backup" bonding bond0 bond active-backup
link guards "bond, balance-alb" bonding bond0 bond balance-alb
bond_while_running
link gives_up "VRF" vrf vrf0 vrf
link guards "interface in a VRF" vrf srv vrf
link guards "macvlan" macvlan over above macvlan mode bridge
link guards "ipvlan, l2" ipvlan over above ipvlan mode l2
link gives_up "ipvlan, l3s" ipvlan over above ipvlan mode l3s
ipvlan_that_changes
prepare_others
link guards "PPPoE session" pppoe ppp0 pppoe
pppoe_without_daemon
link guards "WireGuard tunnel" wireguard tunnel wireguard
link guards "IPIP tunnel" ipip tunnel tunnel ipip
tunnel_without_daemon
link guards "GRE tunnel" ip_gre tunnel tunnel gre
