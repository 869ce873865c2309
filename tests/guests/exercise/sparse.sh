#!/bin/bash
# A sparse file of 3 GiB: offsets beyond 2^31, holes, blocks.
. "$(dirname "$0")/common.sh"
size=$((3 * 1024 * 1024 * 1024))

step "truncate to 3 GiB"
truncate -s $size big
equal "size" $size "$(stat -c %s big)"
[ "$(du -k big | cut -f1)" -lt 1024 ] || fail "the file takes space: $(du -k big)"

step "write at 2 GiB and at the end"
head -c 1048576 /dev/urandom >"$scratch/data"
sum=$(md5sum <"$scratch/data")
middle=$((2 * 1024 * 1024 * 1024 - 524288))
dd if="$scratch/data" of=big bs=64k seek=$middle oflag=seek_bytes conv=notrunc,fsync status=none
dd if="$scratch/data" of=big bs=64k seek=$((size - 1048576)) oflag=seek_bytes conv=notrunc,fsync status=none
printf 'beyond' | dd of=big bs=1M seek=$size oflag=seek_bytes conv=notrunc,fsync status=none
equal "size" $((size + 6)) "$(stat -c %s big)"
blocks=$(stat -c %b big)
case $CACHE in
    loose | fscache) ;; # the guest keeps its own idea of the blocks
    *) [ "$blocks" -ge 4096 ] || fail "too few blocks: $blocks" ;;
esac
[ "$blocks" -lt 20000 ] || fail "the holes take space: $blocks blocks"

step "md5 of parts"
part() { dd if=big bs=64k skip="$1" count="$2" iflag=skip_bytes,count_bytes status=none | md5sum; }
zeroes=$(head -c 1048576 /dev/zero | md5sum)
equal "middle" "$sum" "$(part $middle 1048576)"
equal "end" "$sum" "$(part $((size - 1048576)) 1048576)"
equal "hole" "$zeroes" "$(part 0 1048576)"
equal "hole" "$zeroes" "$(part $((middle + 1048576)) 1048576)"
equal "last bytes" beyond "$(tail -c 6 big)"

step "shrink and grow again"
truncate -s $((middle + 1000)) big
truncate -s $size big
equal "start of the middle" "$(head -c 1000 "$scratch/data" | md5sum)" "$(part $middle 1000)"
equal "end is zero now" "$zeroes" "$(part $((size - 1048576)) 1048576)"
finish
