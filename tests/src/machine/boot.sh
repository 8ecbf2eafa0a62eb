# Becomes the init of a machine, whose root is an overlay over this host's files. $1 is its cgroup;
# /mnt has the layers of the overlay.
# shellcheck shell=sh
set -eu
cannot() { echo "$1" >&2; exit 77; }

echo 0 >"$1/cgroup.procs"
cd /mnt
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work machine root ||
    cannot "an overlay over the root"
cd root
[ -x lib/systemd/systemd ] || cannot "systemd"

mount -t proc proc proc
# /proc/sys is mostly shared with the host, so it is read-only.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t bpf -o mode=0700 bpf sys/fs/bpf
# Hide the host's units: they are in /etc/systemd or come from generators.
for folder in dev run tmp etc/systemd lib/systemd/system-generators; do
    mount -t tmpfs -o mode=0755 tmpfs "$folder"
done
chmod 1777 tmp

mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done

mkdir etc/systemd/system etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\n' >etc/systemd/journald.conf.d/machine.conf
printf '[Unit]\nDefaultDependencies=no\nRequires=systemd-journald.service\n' \
    >etc/systemd/system/machine.target
# With no machine id, systemd would run its first-boot setup.
echo 6b6e6f636b6d616368696e656b6e6f63 >etc/machine-id

# /proc is still that of the host, so this is the process id in the host's PID namespace.
read -r id _ </proc/self/stat
echo "$id" >&4

# The cgroup namespace is created last, so that its root is the machine's cgroup.
exec unshare --cgroup --mount --uts --ipc sh -euc '
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    pivot_root . mnt
    cd /
    umount -l mnt
    exec env -i container=knock NOTIFY_SOCKET=@knock-machine \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --unit=machine.target --log-target=journal --show-status=no
' 4>&-
