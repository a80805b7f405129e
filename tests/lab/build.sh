#!/bin/sh
# Make the lab's guest: a Debian 12 with its kernels, as files that they boot from.
#
#     tests/lab/build.sh PACKAGES DIRECTORY
#
# Reads names of packages, one a line, and makes in DIRECTORY:
#     vmlinuz   the kernel
#     initrd    what finds the disk and the shares
#     linux     the kernel that is a process
#     root.img  the disk, which every run reads and none writes
# Needs root, for debootstrap's chroot.

set -eu

packages=$1
directory=$2
root=$directory/root
initrd=$root/initrd.d # below the root, whose busybox packs it

# What the initrd loads before the disk is there; all else is loaded from the disk.
modules='virtio_pci virtio_blk ext4 9pnet_virtio 9p'

# The mirror that this machine uses itself; none known: debootstrap's own.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    2>/dev/null | head -n 1)
[ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
    2>/dev/null | grep '/debian/*$' | head -n 1)

include=$(grep -v '^#' "$packages" | paste -sd, -)
rm -rf "$root"
mkdir -p "$root"
debootstrap --variant=minbase --include="$include" bookworm "$root" ${mirror:+"$mirror"}

kernel=$(ls "$root/lib/modules")
cp "$root/boot/vmlinuz-$kernel" "$directory/vmlinuz"
mv "$root/usr/bin/linux.uml" "$directory/linux"

mkdir -p "$initrd/bin" "$initrd/lib/modules" "$initrd/proc" "$initrd/sys" "$initrd/dev" "$initrd/root"
cp "$root/bin/busybox" "$initrd/bin/busybox"
list=$initrd/lib/modules/list
: >"$list"
for module in $modules; do
    chroot "$root" modprobe --set-version "$kernel" --show-depends "$module" | sed -n 's/^insmod //p'
done | awk '!seen[$1]++ { print $1 }' | while read -r file; do
    cp "$root$file" "$initrd/lib/modules/"
    basename "$file" >>"$list"
done
cat >"$initrd/init" <<'INIT'
#!/bin/busybox sh
# Find the disk and the shares, and hand over to the script that the first share brings.
set -e
busybox=/bin/busybox
$busybox mount -t proc none /proc
$busybox mount -t sysfs none /sys
$busybox mount -t devtmpfs none /dev
while read -r module; do $busybox insmod "/lib/modules/$module"; done </lib/modules/list
$busybox mount -t ext4 /dev/vda /root
for share in tree dependencies exchange; do
    options=trans=virtio,version=9p2000.L,msize=262144
    [ $share = exchange ] || options=$options,ro
    # It does not change while the guest runs, and is read again and again.
    [ $share != dependencies ] || options=$options,cache=loose
    $busybox mkdir -p /root/lab/$share
    $busybox mount -t 9p -o $options $share /root/lab/$share
done
$busybox mount --move /proc /root/proc
$busybox mount --move /sys /root/sys
$busybox mount --move /dev /root/dev
exec $busybox switch_root /root /bin/sh /lab/tree/tests/lab/guest.sh
INIT
chmod 755 "$initrd/init"
chroot "$root" sh -c 'cd /initrd.d && find . | busybox cpio -o -H newc' | gzip -1 >"$directory/initrd"

# The other kernel mounts its disk by itself.
mkdir -p "$root/lab/tree" "$root/lab/dependencies" "$root/lab/exchange"
cat >"$root/lab/init" <<'INIT'
#!/bin/sh
# Find the shares, and hand over to the script that the first one brings.
set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc none /proc
mount -t sysfs none /sys
for word in $(cat /proc/cmdline); do
    case $word in
    lab.*=*)
        share=${word%%=*}
        mount -t hostfs -o "${word#*=}" none "/lab/${share#lab.}"
        ;;
    esac
done
exec sh /lab/tree/tests/lab/guest.sh
INIT
chmod 755 "$root/lab/init"
for modules in "$root"/usr/lib/uml/modules/*; do
    mv "$modules" "$root/lib/modules/"
    chroot "$root" depmod "$(basename "$modules")"
done

rm -rf "$initrd" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc \
    "$root"/usr/share/locale "$root"/usr/share/man "$root"/boot
size=$(du -sm "$root" | cut -f 1)
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$directory/root.img" "$((size + size / 4 + 512))M"
rm -rf "$root"
