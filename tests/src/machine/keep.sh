# Boots a machine and keeps it until standard input ends, whatever ends that; then nothing is left.
# shellcheck shell=sh
set -eu
# From a terminal: standard input ends then too.
trap '' HUP INT TERM

# Nobody else sees this folder's content, which every host has.
folder=${0%/*}
mount -t tmpfs -o mode=0755 machine /mnt
cd /mnt
mkdir cgroup upper work root
mkfifo init
exec 3<&0 4<>init </dev/null

# Ended with this status it is not to be had here, for what the last line says.
cannot() { echo "$1" >&2; exit 77; }
mount -t cgroup2 cgroup2 cgroup || cannot "cgroup v2"
group=/mnt/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/knock-machine-$$
mkdir "$group" || cannot "a cgroup of its own"
trap 'find "$group" -depth -type d -exec rmdir {} +' EXIT

{
    status=0
    unshare --pid --fork --kill-child sh "$folder/boot.sh" "$group" 3<&- || status=$?
    # If it has not come so far as to say who it is.
    echo >&4
    exit "$status"
} &
boot=$!
read -r init <&4
status=0
if [ -n "$init" ]; then
    echo "$init"
    # An init takes every process of its namespace with it, and is not gone before they are.
    { read -r _ <&3 || kill -KILL "$init"; } &
    end=$!
    wait "$boot" || status=$?
    kill -KILL "$end" 2>/dev/null || true
else
    wait "$boot" || status=$?
fi
exit "$status"
