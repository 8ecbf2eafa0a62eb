#!/bin/sh
# The init of a guest: sets up what every host has, runs the checks, and powers off.
#
# `cargo xtask vm` reads what this prints on the console: see xtask/src/vm/report.rs.
# shellcheck disable=SC1091 # The other scripts are checked by themselves.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
/bin/busybox mount -t proc proc /proc
# Programs that busybox and another package have are found first in the other's folder.
/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmp /run
mount -t tmpfs tmp /tmp
# The user of the listener looks up files below them.
chmod 755 /run /tmp
mount -t securityfs security /sys/kernel/security 2>/dev/null
hostname vm
dmesg -c >/dev/null
echo "KERNEL $(uname -rv)"

. /vm/lib.sh

case $(argument vm_scope) in
short) . /vm/daemon.sh && . /vm/cards.sh ;;
all) . /vm/daemon.sh && . /vm/links.sh && . /vm/cards.sh ;;
tests) . /vm/tests.sh ;;
esac
echo "CHECKS DONE"
poweroff -f
