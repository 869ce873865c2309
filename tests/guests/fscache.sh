#!/bin/bash
# Gives the guest a cache for cache=fscache: an ext4 image in its memory, bound without a daemon (nothing is ever culled).
set -eu
truncate -s 96M /tmp/fscache.img
mkfs.ext4 -q -O ^has_journal /tmp/fscache.img
mkdir /run/fscache
mount -o loop,user_xattr /tmp/fscache.img /run/fscache
exec 9<>/dev/cachefiles
echo "dir /run/fscache" >&9
echo "tag guest" >&9
echo "bind" >&9
# The cache lives as long as somebody holds the device open.
sleep infinity >/dev/null 2>&1 </dev/null &
