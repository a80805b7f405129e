#!/bin/sh
# The guest's first process: prepare the machine, then run the scripts that the host hands in.
#
# A script is /lab/exchange/NAME.sh; what it writes goes to NAME.out, its exit code to NAME.rc.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8 HOME=/root
exchange=/lab/exchange

mount -t tmpfs -o mode=1777 none /tmp
mount -t tmpfs none /run
mount -t devpts none /dev/pts 2>/dev/null || { mkdir -p /dev/pts; mount -t devpts none /dev/pts; }
mkdir -p /run/lock /run/lvm /dev/shm /etc/rtslib-fb-target # which rtslib wants
mount -t tmpfs none /dev/shm
hostname lab
ip link set lo up
/lib/systemd/systemd-udevd --daemon
for module in configfs ipv6 dm_mod dm_thin_pool loop target_core_mod iscsi_target_mod \
    target_core_iblock target_core_file iscsi_tcp nvmet nvmet-tcp nvme-tcp; do
    modprobe $module
done
mount -t configfs none /sys/kernel/config
udevadm settle

disk=/dev/vdb
[ ! -b /dev/ubdb ] || disk=/dev/ubdb

# A volume group with a thin pool, and the daemon of the kernel's own initiator.
# After a loss of power they are there.
if ! vgchange --quiet --activate y lab; then
    vgcreate --yes --quiet --physicalextentsize 4m lab $disk
    lvcreate --yes --quiet --size 2g --thin lab/pool
fi
iscsid

touch $exchange/booted
while :; do
    for script in $exchange/*.sh; do
        [ -e "$script" ] || continue
        name=${script%.sh}
        mv "$script" "$name.running"
        sh "$name.running" >"$name.out" 2>&1 </dev/null
        echo $? >"$name.rc.new"
        mv "$name.rc.new" "$name.rc"
    done
    if [ -e $exchange/halt ]; then
        sync
        echo o >/proc/sysrq-trigger
    fi
    sleep 0.2
done
