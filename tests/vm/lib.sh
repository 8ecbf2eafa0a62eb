#!/bin/sh
# Functions of the checks. The server is the guest's own network namespace, its client is the
# namespace `client`. They share one link at a time.

SERVER=192.0.2.1
CLIENT=192.0.2.2
# Another address of the client's host, from which no knock comes.
STRANGER=192.0.2.3
CONFIG=/etc/knockd/knockd.toml
LOG=/var/log/knockd
# The exit status of a check that cannot be made on this kernel.
SKIPPED=77

# The value of a word on the kernel's command line.
argument() {
    sed -n "s/.*$1=\([^ ]*\).*/\1/p" /proc/cmdline
}

# Runs a check. What it prints says why it fails.
check() {
    name=$1
    shift
    dmesg -c >/dev/null
    why=$("$@" 2>&1)
    status=$?
    why=$(echo "$why" | tail -n 3 | tr '\r\n' '  ' | cut -c 1-400)
    case $status in
    0) echo "CHECK ok $name" ;;
    "$SKIPPED") echo "CHECK skip $name: $why" ;;
    *)
        echo "CHECK FAIL $name: $why"
        tail -n 12 "$LOG" 2>/dev/null | sed 's/^/LOG /'
        dmesg -c | tail -n 4 | sed 's/^/LOG kernel: /'
        ;;
    esac
    return $status
}

skip() {
    echo "$*"
    exit "$SKIPPED"
}

fail() {
    echo "$*"
    exit 1
}

# Waits until a command succeeds: at least twenty seconds, and longer where everything is slow.
wait_until() {
    tries=100
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.2
    done
}

has_module() {
    modprobe "$1" 2>/dev/null || [ -e "/sys/module/$1" ]
}

in_client() {
    ip netns exec client "$@"
}

# Moves the client's end of a link into its namespace.
move() {
    ip netns add client 2>/dev/null
    ip link set lo up
    ip -n client link set lo up
    ip link set "$1" netns client
}

# Gives an interface of the server and one of the client their addresses.
address() {
    ip addr add "$SERVER/24" dev "$1" || return
    ip link set "$1" up || return
    ip -n client addr add "$CLIENT/24" dev "$2" || return
    ip -n client addr add "$STRANGER/24" dev "$2"
    ip -n client link set "$2" up
}

# Takes the addresses away, and the client's end back.
unwire() {
    ip addr flush dev "$1"
    ip link set "$1" down
    ip -n client link set "$2" netns 1 2>/dev/null
    ip netns del client
}

# A link that carries packets, whatever its driver needs to come up.
reaches() {
    wait_until in_client ping -c 1 -W 1 "$SERVER" || fail "the link carries nothing: $(ip -br link)"
}

# Connects to a port of the server, from an address of the client.
#   connect ADDRESS PORT
connect() {
    in_client ip route replace "$SERVER" dev "$(client_interface)" src "$1"
    in_client timeout 5 nc -w 1 "$SERVER" "$2" </dev/null
}

client_interface() {
    ip -n client -o -4 addr show to "$CLIENT" | awk '{ print $2 }'
}

# A knock at the door $1, bound to the client's address, with the options that follow.
knock_for() {
    door=$1
    shift
    in_client ip route replace "$SERVER" dev "$(client_interface)" src "$CLIENT"
    in_client knock --source-ip "$CLIENT" "$@" home "$door"
}

# A service on port 22 that greets everybody.
serve() {
    nc -ll -p 22 -e /bin/echo hello >/dev/null 2>&1 &
}

# Whether an address of the client gets an answer.
is_open_for() {
    [ "$(connect "$1" 22)" = hello ]
}

is_closed_for() {
    ! is_open_for "$1"
}

# Writes a configuration for these interfaces, a list of TOML.
configure() {
    # Of the client that `knockd init` has made, which is the first one.
    public_key=$(sed -n 's/^public_key = //p' "$CONFIG" | head -n 1)
    cat >"$CONFIG" <<END
interfaces = [$1]
server_key_file = "server.key"

[metrics]
listen = "127.0.0.1:9811"

[datagram]
port = 62201

[gate]
protect = ["tcp/22"]

[[client]]
name = "laptop"
public_key = $public_key

[[door]]
name = "ssh"
open = ["tcp/22"]
for = "1m"

[[door]]
name = "brief"
open = ["tcp/22"]
for = "2s"

[[door]]
name = "command"
run = ["/bin/sh", "-c", "echo opened %IP% >>/run/commands"]
close = ["/bin/sh", "-c", "echo closed %IP% >>/run/commands"]
for = "2s"
END
}

# Starts the daemon, with the words before its name: `start setpriv …`
start() {
    rm -f /run/knockd.status
    : >"$LOG"
    (
        # shellcheck disable=SC2016 # The inner shell expands it.
        "$@" sh -c 'echo $$ >/run/knockd.pid; exec knockd' >"$LOG" 2>&1
        echo $? >/run/knockd.status
    ) </dev/null >/dev/null 2>&1 &
    wait_until has_started_or_stopped
    is_running || fail "it does not start: $(tail -n 3 "$LOG")"
    wait_until has_started || fail "no start: $(tail -n 3 "$LOG")"
}

has_started() {
    grep -qE 'listening on|waiting for' "$LOG"
}

has_started_or_stopped() {
    has_started || stopped
}

# The processes of the daemon that were started as `knockd-NAME`.
process() {
    pidof "knockd-$1" || {
        for folder in /proc/[0-9]*; do
            read -r words <"$folder/cmdline" 2>/dev/null
            case $words in
            "knockd-$1"*) basename "$folder" ;;
            esac
        done
    }
}

is_running() {
    [ ! -e /run/knockd.status ]
}

stopped() {
    [ -e /run/knockd.status ]
}

# Stops the daemon as systemd does.
stop() {
    kill -TERM "$(cat /run/knockd.pid)"
    wait_until stopped || fail "it does not stop"
    [ "$(cat /run/knockd.status)" = 0 ] || fail "exit status $(cat /run/knockd.status)"
}

# Stops and removes whatever a group of checks has left.
clean_up() {
    kill -KILL "$(cat /run/knockd.pid)" 2>/dev/null
    wait_until stopped
    knockd detach >/dev/null 2>&1
    rm -rf /sys/fs/bpf/knockd /run/commands
    : >"$LOG"
}

status_json() {
    knockd status --json
}

# A value of the status: a number or a word.
value() {
    status_json | sed -n "s/.*\"$1\":\"\{0,1\}\([a-z0-9_]*\).*/\1/p"
}

is_counted() {
    [ "$(value "$1")" = "$2" ]
}

# How an interface is attached to.
mode() {
    status_json | tr '{' '\n' | grep "\"interface\":\"$1\"" | sed -n 's/.*"mode":"\([a-z]*\)".*/\1/p'
}
