# Boots a machine and keeps it until standard input ends, for whatever reason. Then it cleans up.
# shellcheck shell=sh
set -eu
# After Ctrl-C or a hang-up, standard input ends as well and starts the clean-up.
trap '' HUP INT TERM

# Every host has /mnt, and only this mount namespace sees the tmpfs on it.
folder=${0%/*}
mount -t tmpfs -o mode=0755 machine /mnt
cd /mnt
mkdir cgroup upper work root
mkfifo init
exec 3<&0 4<>init </dev/null

# This status means that the host cannot run a machine; the last line names what is missing.
cannot() { echo "$1" >&2; exit 77; }
mount -t cgroup2 cgroup2 cgroup || cannot "cgroup v2"
group=/mnt/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/knock-machine-$$
mkdir "$group" || cannot "a cgroup of its own"
trap 'find "$group" -depth -type d -exec rmdir {} +' EXIT

{
    status=0
    unshare --pid --fork --kill-child sh "$folder/boot.sh" "$group" 3<&- || status=$?
    # Unblocks the read below if boot.sh failed before it printed its process id.
    echo >&4
    exit "$status"
} &
boot=$!
read -r init <&4
status=0
if [ -n "$init" ]; then
    echo "$init"
    # Killing the init of a PID namespace kills all its processes, and the init is reaped last.
    { read -r _ <&3 || kill -KILL "$init"; } &
    end=$!
    wait "$boot" || status=$?
    kill -KILL "$end" 2>/dev/null || true
else
    wait "$boot" || status=$?
fi
exit "$status"
