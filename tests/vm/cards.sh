#!/bin/sh
# Checks of every network card of the guest. Two of a kind are joined by a hub.
# shellcheck disable=SC2153 # lib.sh sets SERVER and CLIENT.

# The interface with this address.
with_address() {
    grep -l "$1" /sys/class/net/*/address 2>/dev/null | sed 's,/sys/class/net/\(.*\)/address,\1,'
}

carries() {
    move "$2" && address "$1" "$2" || return
    reaches
}

attaches_to() {
    configure "\"$1\""
    start || return
    [ -n "$(mode "$1")" ] || fail "not attached: $(status_json)"
}

sees_traffic() {
    in_client ping -c 2 -W 2 "$SERVER" >/dev/null || fail "nothing passes"
    seen=$(status_json | sed 's/.*"kernel":{\([^}]*\)}.*/\1/' | grep -c '[1-9]')
    [ "$seen" -gt 0 ] || fail "attached in mode $(mode "$1"), but the program sees nothing"
    # A mode that misses the traffic has to be left for one that does not.
    ! status_json | grep -q '"traffic":"missed"' || fail "knockd says that it misses the traffic"
}

refuses() {
    is_closed_for "$CLIENT" || fail "connected without a knock, in mode $(mode "$1")"
}

opens() {
    knock_for ssh || return
    wait_until is_counted accepted 1 || fail "the knock was not seen: $(status_json)"
    wait_until is_open_for "$CLIENT" || fail "not open"
    is_closed_for "$STRANGER" || fail "open for another address"
}

card() {
    model=$1
    server=$(with_address "52:54:00:00:$2:01")
    client=$(with_address "52:54:00:00:$2:02")
    if [ -z "$server" ] || [ -z "$client" ]; then
        echo "CHECK skip nic $model attaches: this kernel has no driver for it"
        return
    fi
    if check "nic $model carries packets" carries "$server" "$client" &&
        check "nic $model attaches" attaches_to "$server"; then
        check "nic $model sees traffic" sees_traffic "$server"
        check "nic $model refuses without a knock" refuses "$server"
        check "nic $model opens" opens
        echo "NIC $model $(mode "$server")"
        check "nic $model stops" stop
    else
        echo "NIC $model none"
    fi
    clean_up
    unwire "$server" "$client"
}

for module in virtio_pci virtio_net e1000 e1000e igb e100 8139cp 8139too vmxnet3 tulip pcnet32 ne2k-pci; do
    modprobe "$module" 2>/dev/null
done
# A model may contain commas.
for nic in $(argument vm_nics | tr ';' ' '); do
    card "${nic%:*}" "${nic##*:}"
done
