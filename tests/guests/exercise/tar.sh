#!/bin/bash
# tar of a source tree into the share, comparison, and back.
. "$(dirname "$0")/common.sh"

source_tree "$scratch/source"
cd "$scratch" && tar -cf source.tar source && cd "$work"

step "unpack $(tar -tf "$scratch/source.tar" | wc -l) files and compare"
tar -xf "$scratch/source.tar" --no-same-owner
tar --compare -f "$scratch/source.tar" 2>"$scratch/differences" >&2 || true
grep -vE 'Uid differs|Gid differs' "$scratch/differences" && fail "tar --compare found differences"
same_tree "$scratch/source" source

step "pack on the share and compare again"
reproducible=(--sort=name --owner=0 --group=0 --numeric-owner)
tar -cf packed.tar "${reproducible[@]}" source
equal "archive" "$(tar -C "$scratch" -c "${reproducible[@]}" source | md5sum)" "$(md5sum <packed.tar)"
tar -czf packed.tar.gz source
tar -tzf packed.tar.gz | wc -l >/dev/null
gzip -t packed.tar.gz

step "remove the tree"
rm -r source
[ ! -e source ] || fail "rm -r left something"
finish
