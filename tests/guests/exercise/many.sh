#!/bin/bash
# 20 000 files in one directory: create, list, look up, remove while listing.
. "$(dirname "$0")/common.sh"
: "${FILES:=20000}"

step "create $FILES files"
mkdir directory
"$PYTHON" - "$FILES" <<'PROGRAM'
import os, sys
os.chdir("directory")
for number in range(int(sys.argv[1])):
    os.mknod(f"file number {number:06d}", 0o100600)
PROGRAM

step "count, each name once"
equal "files" "$FILES" "$(ls -f directory | grep -c number)"
ls directory >"$scratch/names"
equal "names" "$(seq -f 'file number %06.0f' 0 $((FILES - 1)) | md5sum)" "$(md5sum <"$scratch/names")"

step "look some up"
for number in 0 1 $((FILES / 2)) $((FILES - 1)); do
    [ -f "directory/$(printf 'file number %06d' $number)" ] || fail "file $number is not found"
done
[ ! -e "directory/file number $FILES" ] || fail "a file that was never made"

step "continue a listing while files come and go"
"$PYTHON" - "$FILES" <<'PROGRAM'
import os, sys
total = int(sys.argv[1])
seen = []
with os.scandir("directory") as entries:
    for position, entry in enumerate(entries):
        seen.append(entry.name)
        if position % 100 == 0:
            os.unlink(f"directory/{entry.name}")
            open(f"directory/new {position}", "x").close()
old = [name for name in seen if name.startswith("file")]
assert len(old) == len(set(old)) == total, f"{total} files, listed {len(old)}, different {len(set(old))}"
PROGRAM
equal "files" "$FILES" "$(ls -f directory | grep -cE 'number|new')"

step "rm -r"
rm -r directory
[ ! -e directory ] || fail "the directory is still there"
finish
