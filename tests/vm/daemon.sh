#!/bin/sh
# Checks of everything that the daemon does, on a veth pair.

sets_up() {
    mkdir -p /etc/knockd /run/knockd /var/lib/knockd/knocks /root/.config
    chmod 700 /var/lib/knockd
    # As the package's files for systemd do it.
    chown 100:0 /var/lib/knockd/knocks
    chmod 750 /var/lib/knockd/knocks
    knockd init --server "$SERVER" >/run/invitation || return
    configure '"srv"'
    sed "s/^knock import //; s/'//g" /run/invitation | in_client knock import --name home
}

adds_a_client() {
    knockd client add --server "$SERVER" phone || return
    grep -q phone "$CONFIG" || fail "the configuration has no client phone"
}

attaches() {
    start || return
    [ "$(mode srv)" = native ] || fail "mode $(mode srv), expected native"
}

sees_packets() {
    in_client ping -c 1 -W 2 "$SERVER" >/dev/null || fail "no answer to a ping"
    [ "$(value not_tcp)" -gt 0 ] || fail "the program has seen nothing: $(status_json)"
}

refuses_strangers() {
    is_closed_for "$CLIENT" || fail "connected without a knock"
    [ "$(value gate_refused)" -gt 0 ] || fail "no refusal was counted: $(status_json)"
}

opens_for_the_knocker_alone() {
    knock_for ssh || return
    wait_until is_open_for "$CLIENT" || fail "the knock has opened nothing"
    is_closed_for "$STRANGER" || fail "open for another address"
    knockd leases | grep -q "$CLIENT" || fail "leases does not list it"
    knockd close "$CLIENT" || return
    is_closed_for "$CLIENT" || fail "still open once it is closed"
}

opens_by_datagram() {
    knock_for ssh --udp --udp-port 62201 || return
    wait_until is_open_for "$CLIENT" || fail "the datagram has opened nothing: $(status_json)"
    is_closed_for "$STRANGER" || fail "open for another address"
    [ "$(value datagram)" -gt 0 ] || fail "the datagram is not counted: $(status_json)"
    knock_for ssh --udp --udp-port 62201 --close || return
    wait_until is_closed_for "$CLIENT" || fail "still open once the client has closed it"
}

closes_by_itself() {
    knock_for brief || return
    wait_until grep -q 'gate open .*door="brief"' "$LOG" || fail "it does not open"
    wait_until is_closed_for "$CLIENT" || fail "still open"
}

runs_commands() {
    knock_for command || return
    wait_until grep -q "opened $CLIENT" /run/commands || fail "run was not called"
    wait_until grep -q "closed $CLIENT" /run/commands || fail "close was not called"
}

opens_manually() {
    knockd open "$STRANGER" ssh || return
    wait_until is_open_for "$STRANGER" || fail "not open"
    knockd close "$STRANGER" || return
    wait_until is_closed_for "$STRANGER" || fail "still open"
}

tails() {
    timeout 20 knockd tail >/run/tail 2>&1 &
    wait_until test -s /run/tail || fail "no connection"
    knock_for ssh || return
    wait_until grep -q laptop /run/tail || fail "the knock is not shown: $(tail -n 3 /run/tail)"
    kill $!
    knockd close "$CLIENT"
}

reloads() {
    sed -i 's/^for = "1m"/for = "2m"/' "$CONFIG"
    knockd reload || return
    [ "$(value reloads)" = 1 ] || fail "not counted: $(status_json)"
    echo "broken =" >>"$CONFIG"
    knockd reload >/dev/null 2>&1 && fail "a broken configuration was taken"
    sed -i '/^broken/d' "$CONFIG"
    is_running
}

# The metrics, within some seconds. The server gives up when its client's half of the connection
# ends.
fetch_metrics() {
    { printf 'GET /metrics HTTP/1.0\r\n\r\n' && sleep "$1"; } | timeout 10 nc -w 2 127.0.0.1 9811 >/run/metrics
    [ -s /run/metrics ]
}

exports_metrics() {
    fetch_metrics 1 || fetch_metrics 5 || fail "no answer"
    grep -q '^knockd_packets_total{.*} [1-9]' /run/metrics || fail "$(tail -n 2 /run/metrics)"
}

is_in_a_sandbox() {
    for role in listener metrics; do
        pid=$(process $role)
        [ -n "$pid" ] || fail "no process of $role"
        for line in 'Seccomp:.*2' 'NoNewPrivs:.*1' 'CapEff:.*0000000000000000'; do
            grep -q "^$line\$" "/proc/$pid/status" || fail "$role: $(grep "^${line%%:*}" "/proc/$pid/status")"
        done
    done
    grep -q '^Uid:.100.100' "/proc/$(process listener)/status" || fail "the listener has the wrong user"
}

survives_a_dead_listener() {
    before=$(process listener)
    kill -KILL "$before"
    wait_until another_listener "$before" || fail "no other listener"
    wait_until is_counted listener_restarts 1 || fail "not counted"
    # Its sockets are ready once it answers.
    knock_for ssh || return
    wait_until is_open_for "$CLIENT" || fail "the new listener does not hear a knock"
}

another_listener() {
    now=$(process listener)
    [ -n "$now" ] && [ "$now" != "$1" ]
}

is_gone() {
    [ -z "$(process "$1")" ]
}

stays_closed_when_killed() {
    knockd close "$CLIENT" || return
    kill -KILL "$(cat /run/knockd.pid)"
    wait_until stopped || fail "it is not dead"
    wait_until is_gone listener
    is_closed_for "$CLIENT" || fail "open"
}

is_taken_over() {
    start || return
    grep -q 'another program' "$LOG" && fail "$(cat "$LOG")"
    is_closed_for "$CLIENT" || fail "open"
    knock_for ssh || return
    wait_until is_open_for "$CLIENT" || fail "no knock is heard"
    # The next start would restore the lease.
    knockd close "$CLIENT"
}

# The capabilities of the unit, by their numbers: setpriv may not know the names of new ones.
UNIT=-all,+cap_5,+cap_6,+cap_7,+cap_12,+cap_18,+cap_38,+cap_39

lives_with_the_units_capabilities() {
    # As in the unit: before Linux 5.11, eBPF maps count as locked memory.
    # shellcheck disable=SC3045 # dash has it.
    ulimit -l unlimited
    start setpriv --no-new-privs --bounding-set "$UNIT" --inh-caps=-all || return
    grep -q '^CapEff:.000000c0000410e0$' "/proc/$(cat /run/knockd.pid)/status" ||
        fail "$(grep CapEff "/proc/$(cat /run/knockd.pid)/status")"
    is_closed_for "$CLIENT" || fail "open"
    knock_for ssh || return
    wait_until is_open_for "$CLIENT" || fail "no knock is heard"
    knock_for command || return
    wait_until grep -q "opened $CLIENT" /run/commands || fail "run was not called"
}

detaches() {
    knockd detach || return
    wait_until is_open_for "$STRANGER" || fail "the port is still closed"
    ip link show srv | grep -q xdp && fail "a program is still attached"
    [ -z "$(ls /sys/fs/bpf/knockd 2>/dev/null)" ] || fail "pins are left: $(ls /sys/fs/bpf/knockd)"
}

while_attached() {
    check "packets are counted" sees_packets
    check "gate refuses without a knock" refuses_strangers
    check "gate opens for the knocker alone" opens_for_the_knocker_alone
    check "a datagram opens and closes the gate" opens_by_datagram
    check "door closes by itself" closes_by_itself
    check "door runs commands" runs_commands
    check "open and close by hand" opens_manually
    check "tail" tails
    check "reload" reloads
    check "metrics" exports_metrics
    check "sandbox" is_in_a_sandbox
    check "listener killed" survives_a_dead_listener
    check "daemon killed, gate stays closed" stays_closed_when_killed
    check "take-over" is_taken_over
    check "SIGTERM" stop
    check "the capabilities of the unit" lives_with_the_units_capabilities
    check "SIGTERM with the capabilities of the unit" stop
    check "detach" detaches
}

has_module veth
ip link add srv type veth peer name cli
move cli
address srv cli
serve
check "init" sets_up
check "check" knockd check
check "client add" adds_a_client
# The others would only wait in vain.
check "attach to veth" attaches && while_attached
clean_up
unwire srv cli
ip link del srv
