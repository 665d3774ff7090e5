# A service manager of one user, where the machine's first process need not be systemd: in a mount
# namespace, so that nobody else sees that this looks like a machine with it, and in a control group
# of its own, so that it ends nothing but what it started.
set -eu
for root in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -f "$root/cgroup.procs" ] && mkdir "$root/$GROUP" 2>/dev/null; then
        echo $$ > "$root/$GROUP/cgroup.procs" || true
    fi
done
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
for manager in /lib/systemd/systemd /usr/lib/systemd/systemd; do
    [ ! -x "$manager" ] || exec "$manager" --user --unit=basic.target
done
