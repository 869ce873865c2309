#!/bin/busybox sh
# The first process of an emulated machine (see qemu.py), in its initramfs: mounts the host's / as the root, read-only, by
# a device of QEMU's own, and makes way for the script that is its argument, init.sh.

busybox=/bin/busybox
for module in /modules/*; do
    $busybox insmod "$module"
done
$busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any root /root &&
    exec $busybox switch_root /root /bin/bash "$1"
echo "guest: there is no root"
$busybox poweroff -f
