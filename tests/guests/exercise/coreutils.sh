#!/bin/bash
# The everyday tools: cp -a, mv, ln, rm, chmod, chown, touch, truncate, stat, dd.
# Starting a process costs 50 ms in a guest, so what can be asked at once is asked at once.
. "$(dirname "$0")/common.sh"
: "${NEW_GROUP:=4321}"
ordinary=(setpriv --reuid 1234 --regid 4321 --clear-groups)

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
touch -h -d '2001-02-03 04:05:06' a/dangling
touch -d '1999-12-31 23:59:59' a/empty
touch -d '2030-01-01 00:00:00' a/b
touch -d '1970-01-01 00:00:01' a/b/random
cd "$work"
keep=(cp -dR --preserve=mode,timestamps,links)
if [ "$SERVER_ROOT" = yes ]; then
    cp -a "$scratch/tree" copy
else # owners cannot be kept
    "${keep[@]}" "$scratch/tree" copy
fi
same_tree "$scratch/tree" copy
"${keep[@]}" copy again
"${keep[@]}" again "$scratch/back"
same_tree "$scratch/tree" "$scratch/back"
rm -rf "$scratch/back" again

step "hard links share one inode"
ln copy/a/numbers third
read -r one two three < <(stat -c %i:%h copy/a/numbers copy/a/b/c/second-name third | paste -sd' ')
equal "inode and links" "$one $one" "$two $three"
equal "links" 3 "${one#*:}"
echo more >>third
cmp copy/a/numbers third
rm copy/a/numbers
equal "links after rm" 2 "$(stat -c %h third)"
refused "File exists" ln third copy/a/empty
refused "not allowed" ln copy/a here

step "symbolic links"
ln -s third link
cmp third link
ln -sfn copy link
[ -f link/a/empty ] || fail "the link does not lead to the directory"
long=$(printf 'nowhere/%.0s' {1..100})
ln -s "$long" long-link
equal "targets" "copy $long" "$(readlink link long-link | paste -sd' ')"
refused "No such file" cat long-link

step "mv: in one directory, to another, over a file, a directory"
echo one >one; echo two >two
mv one renamed; [ ! -e one ] || fail "the old name is still there"
contains renamed one
mv renamed two
contains two one
mkdir -p from/sub to full other; echo deep >from/sub/file; : >full/file
mv from/sub to/
contains to/sub/file deep
[ ! -e from/sub ] || fail "the moved directory is still in its old place"
mv to/sub/file .; mv file to/sub/
mv to from/
contains from/to/sub/file deep
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
for mode in 00000 00444 00751 06755 07777; do
    chmod $mode two other; equal "mode" "$mode $mode" "$(stat -c %05a two other | paste -sd' ')"
done
chmod 600 two; chmod 00755 other
(umask 077; mkdir private; : >private/file)
mkdir -m 1777 sticky
install -m 751 two installed
equal "modes of new files" "700 600 1777 751" "$(stat -c %a private private/file sticky installed | paste -sd' ')"

if [ "$SERVER_ROOT" = yes ]; then
    step "chown"
    ln -s two owned
    chown 1234:4321 two; chown :77 two; chown -h 5:6 owned
    equal "owners" "1234:77 5:6" "$(stat -c %u:%g two owned | paste -sd' ')"
    chown 4000000000:3000000000 two; equal "large numbers" 4000000000:3000000000 "$(stat -c %u:%g two)"
    chown -R 12:13 copy; equal "all owners" 12:13 "$(find copy -printf '%U:%G\n' | sort -u)"
    chmod 4755 two; chown 1:1 two; equal "set-user-id after chown" 755 "$(stat -c %a two)"
    chown 0:0 two; chmod 600 two

    step "another user of the guest"
    chmod 755 .; mkdir -m 777 public; mkdir -m 755 closed; echo secret >closed/secret; chmod 600 closed/secret
    "${ordinary[@]}" bash -c ': >public/mine; mkdir public/sub; ln -s x public/link'
    equal "owners" "1234:$NEW_GROUP" "$(stat -c %u:%g public/mine public/sub public/link | sort -u)"
    refused "ermission denied" "${ordinary[@]}" cat closed/secret
    refused "ermission denied" "${ordinary[@]}" touch closed/new
    refused "ot permitted" setpriv --reuid 4444 --regid 4321 --clear-groups chmod 777 public/mine

    step "devices"
    mknod null c 1 3; mknod block b 7 300
    equal "numbers" "character special file 1:3 block special file 7:12c" "$(stat -c '%F %t:%T' null block | paste -sd' ')"
fi

step "touch"
touch -d '2020-02-02 02:02:02' two
touch -a -d '2021-01-01 01:01:01' two
touch -r two three
equal "atime, mtime" "1609462861 1580608922 1609462861 1580608922" "$(stat -c '%X %Y' two three | paste -sd' ')"
touch three; [ three -nt two ] || fail "touch did not set the time to now"
age=$((EPOCHSECONDS - $(stat -c %Y three)))
[ ${age#-} -lt 100 ] || fail "touch set a wrong time"

step "truncate, append, overwrite in the middle"
truncate -s 5000000 sized; equal "size" 5000000 "$(stat -c %s sized)"
equal "zeroes" 0 "$(tr -d '\0' <sized | wc -c)"
printf 'abcdef' >sized; contains sized abcdef
printf 'ghi' >>sized; printf 'XY' | dd of=sized bs=1 seek=2 conv=notrunc status=none
contains sized abXYefghi
truncate -s 4 sized; contains sized abXY
refused "cannot overwrite" bash -C -c ': >sized'

step "dd and md5 both ways"
head -c 10000019 /dev/urandom >"$scratch/data"
sum=$(md5sum <"$scratch/data")
dd if="$scratch/data" of=data bs=70001 status=none conv=fsync
equal "md5" "$sum" "$(md5sum <data)"
equal "md5 in small pieces" "$(head -c 155400 data | md5sum)" "$(dd if=data bs=777 count=200 status=none | md5sum)"
dd if=data of="$scratch/data2" bs=1M status=none
cmp "$scratch/data" "$scratch/data2"
rm "$scratch/data2"
if dd if="$scratch/data" of=direct bs=64k count=16 oflag=direct status=none 2>/dev/null; then
    cmp -n 1048576 direct data
fi
dd if=data of=sync bs=64k count=4 oflag=sync status=none; cmp -n 262144 sync data
cp data data3; sync data3; cmp data data3

step "df, du, ls -lR, find"
df . >/dev/null; stat -f . >/dev/null
equal "du --apparent-size" 9766 "$(du -s --apparent-size -k data | cut -f1)"
ls -lR . >/dev/null
equal "find -newer" "" "$(find copy/a/empty -newer two)"

step "a process whose directory was removed"
mkdir gone; (cd gone; rmdir ../gone; refused "No such file" touch x)

finish
