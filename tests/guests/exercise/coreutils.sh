#!/bin/bash
# The everyday tools: cp -a, mv, ln, rm, chmod, chown, touch, truncate, stat, dd.
. "$(dirname "$0")/common.sh"

step "cp -a of a tree with every kind of file"
mkdir -p "$scratch/tree/a/b/c" "$scratch/tree/empty directory"
cd "$scratch/tree"
seq 1000 >a/numbers
: >a/empty
head -c 300000 /dev/urandom >a/b/random
ln a/numbers a/b/c/second-name
ln -s ../numbers a/b/link
ln -s /nowhere/at/all a/dangling
ln -s . a/self
mkfifo a/b/fifo
chmod 640 a/empty; chmod 4755 a/numbers; chmod 1777 a/b; chmod 2750 'empty directory'; chmod 500 a/b/random
touch -h -d '2001-02-03 04:05:06.123456789' a/dangling
touch -d '1999-12-31 23:59:59.987654321' a/empty
touch -d '2030-01-01 00:00:00.000000001' a/b
touch -d '1960-01-01 00:00:00' a/b/random
cd "$work"
if [ "$SERVER_ROOT" = yes ]; then
    cp -a "$scratch/tree" copy
else # owners cannot be kept
    cp -dR --preserve=mode,timestamps,links "$scratch/tree" copy
fi
same_tree "$scratch/tree" copy
cp -dR --preserve=mode,timestamps,links copy again
same_tree copy again
cp -dR --preserve=mode,timestamps,links copy "$scratch/back"
same_tree "$scratch/tree" "$scratch/back"
rm -rf "$scratch/back"

step "hard links share one inode"
equal "inode" "$(stat -c %i copy/a/numbers)" "$(stat -c %i copy/a/b/c/second-name)"
ln copy/a/numbers third
equal "links" 3 "$(stat -c %h third)"
echo more >>third
cmp copy/a/numbers third
rm copy/a/numbers
equal "links after rm" 2 "$(stat -c %h third)"
refused "File exists" ln third copy/a/empty
refused "not allowed" ln copy/a here

step "symbolic links"
ln -s third link
equal "target" third "$(readlink link)"
cmp third link
ln -sfn copy link
equal "new target" copy "$(readlink link)"
ls link/a >/dev/null
long=$(printf '%0500d' 7)
ln -s "$long" long-link
equal "long target" "$long" "$(readlink long-link)"
refused "No such file" cat long-link

step "mv: in one directory, to another, over a file, a directory"
echo one >one; echo two >two
mv one renamed; [ ! -e one ] || fail "the old name is still there"
equal "content" one "$(cat renamed)"
mv renamed two
equal "content" one "$(cat two)"
mkdir -p from/sub to; echo deep >from/sub/file
mv from/sub to/
equal "content" deep "$(cat to/sub/file)"
[ ! -e from/sub ] || fail "the moved directory is still in its old place"
mv to/sub/file .; mv file to/sub/
mv to from/
equal "content" deep "$(cat from/to/sub/file)"
mkdir full other; : >full/file
refused "subdirectory of itself" mv from from/to/sub
refused "not empty" mv -T other full
refused "directory" mv -T two full

step "rmdir, rm"
refused "not empty" rmdir full
refused "Not a directory" rmdir two
refused "s a directory" rm full
rm full/file; rmdir full
refused "No such file" rm full
refused "No such file" cat full/file
refused "Not a directory" cat two/file

step "chmod, umask"
for mode in 0 111 444 600 644 755 1755 2711 4755 6755 7777; do
    chmod $mode two; equal "mode" $mode "$(stat -c %a two)"
    chmod $mode other; equal "mode of a directory" $mode "$(stat -c %a other)"
done
chmod 600 two; chmod 755 other
(umask 077; mkdir private; : >private/file; equal "umask" "700 600" "$(stat -c %a private private/file | paste -sd' ')")
mkdir -m 1777 sticky; equal "mkdir -m" 1777 "$(stat -c %a sticky)"
install -m 751 two installed; equal "install -m" 751 "$(stat -c %a installed)"

if [ "$SERVER_ROOT" = yes ]; then
    step "chown"
    chown 1234:4321 two; equal "owner" 1234:4321 "$(stat -c %u:%g two)"
    chown :77 two; equal "group" 1234:77 "$(stat -c %u:%g two)"
    chown 4000000000:3000000000 two; equal "large numbers" 4000000000:3000000000 "$(stat -c %u:%g two)"
    ln -s two owned; chown -h 5:6 owned; equal "link" 5:6 "$(stat -c %u:%g owned)"
    equal "its target" 4000000000:3000000000 "$(stat -c %u:%g two)"
    chown -R 12:13 copy; equal "all owners" 12:13 "$(find copy -printf '%U:%G\n' | sort -u)"
    chmod 4755 two; chown 1:1 two; equal "set-user-id after chown" 755 "$(stat -c %a two)"
    chown 0:0 two; chmod 600 two

    step "another user of the guest"
    chmod 755 .; mkdir -m 777 public; mkdir -m 755 closed; echo secret >closed/secret; chmod 600 closed/secret
    [ "$(stat -c %a "$DIR")" = 755 ] || chmod 755 "$DIR"
    setpriv --reuid 1234 --regid 4321 --clear-groups bash -c ': >public/mine; mkdir public/sub; ln -s x public/link'
    equal "owners" "1234:4321" "$(stat -c %u:%g public/mine public/sub public/link | sort -u)"
    refused "ermission denied" setpriv --reuid 1234 --regid 4321 --clear-groups cat closed/secret
    refused "ermission denied" setpriv --reuid 1234 --regid 4321 --clear-groups touch closed/new
    refused "ot permitted" setpriv --reuid 4444 --regid 4321 --clear-groups chmod 777 public/mine

    step "devices"
    mknod null c 1 3; equal "numbers" "character special file 1:3" "$(stat -c '%F %t:%T' null)"
    mknod block b 7 300; equal "numbers" "block special file 7:12c" "$(stat -c '%F %t:%T' block)"
fi

step "touch"
touch -d '2020-02-02 02:02:02.222222222' two
equal "mtime" "2020-02-02 02:02:02.222222222 +0000" "$(stat -c %y two)"
touch -a -d '2021-01-01 01:01:01.111111111' two
equal "atime, mtime" "2021-01-01 01:01:01.111111111 +0000 2020-02-02 02:02:02.222222222 +0000" "$(stat -c '%x %y' two)"
touch -r two three; equal "touch -r" "$(stat -c '%x %y' two)" "$(stat -c '%x %y' three)"
touch three; [ three -nt two ] || fail "touch did not set the time to now"
[ $(($(date +%s) - $(stat -c %Y three))) -lt 100 ] || fail "touch set a wrong time"

step "truncate, append, overwrite in the middle"
truncate -s 5000000 sized; equal "size" 5000000 "$(stat -c %s sized)"
equal "zeroes" 0 "$(tr -d '\0' <sized | wc -c)"
printf 'abcdef' >sized; equal "size" 6 "$(stat -c %s sized)"
printf 'ghi' >>sized; printf 'XY' | dd of=sized bs=1 seek=2 conv=notrunc status=none
equal "content" abXYefghi "$(cat sized)"
truncate -s 4 sized; equal "content" abXY "$(cat sized)"
(set -C; refused "cannot overwrite" bash -C -c ': >sized')

step "dd and md5 both ways"
head -c 10000019 /dev/urandom >"$scratch/data"
sum=$(md5sum <"$scratch/data")
dd if="$scratch/data" of=data bs=70001 status=none conv=fsync
equal "md5" "$sum" "$(md5sum <data)"
equal "md5 in small pieces" "$(head -c 100000 data | md5sum)" "$(dd if=data bs=777 status=none | head -c 100000 | md5sum)"
dd if=data of="$scratch/data2" bs=1M status=none
equal "md5" "$sum" "$(md5sum <"$scratch/data2")"
rm "$scratch/data2"
if dd if="$scratch/data" of=direct bs=64k count=16 oflag=direct status=none 2>/dev/null; then
    cmp -n 1048576 direct data
fi
dd if=data of=sync bs=64k count=4 oflag=sync status=none; cmp -n 262144 sync data
cp data data3; cmp data data3
sync data3

step "df, du, ls -lR, find"
df . >/dev/null; stat -f . >/dev/null
[ "$(du -s --apparent-size -k data | cut -f1)" = 9766 ] || fail "du: $(du -s --apparent-size -k data)"
ls -lR . >/dev/null
equal "find -newer" "" "$(find copy/a/empty -newer two)"

step "a process whose directory was removed"
mkdir gone; (cd gone; rmdir ../gone; refused "No such file" touch x; ls -a >/dev/null 2>&1 || true)

finish
