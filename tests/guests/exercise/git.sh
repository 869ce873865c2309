#!/bin/bash
# A git repository on the share: init, commit, branch, gc, fsck, clone.
command -v git >/dev/null || { echo "git is not installed"; exit 77; }
. "$(dirname "$0")/common.sh"
export GIT_CONFIG_GLOBAL=$scratch/gitconfig GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
printf '[user]\nname = A guest\nemail = guest@example.org\n[safe]\ndirectory = *\n[init]\ndefaultBranch = main\n[gc]\nauto = 0\n' \
    >"$GIT_CONFIG_GLOBAL"

step "init, add, commit"
git init -q repository
cd repository
source_tree library
git add -A
git commit -qm "the library"
equal "status" "" "$(git status --porcelain)"

step "changes, executable bit, renames"
echo change >>library/json/__init__.py
chmod +x library/json/tool.py
git mv library/email library/mail
rm library/xml/__init__.py
equal "changed files" 3 "$(git status --porcelain | grep -vc '^R')"
git commit -qam "changes"
equal "status" "" "$(git status --porcelain)"

step "branches and merge"
git checkout -q -b side HEAD~1
[ -d library/email ] || fail "checkout did not bring the directory back"
echo side >side; git add side; git commit -qm side
git checkout -q main
git merge -q -m merged side
equal "status" "" "$(git status --porcelain)"

step "gc, fsck"
git gc -q
git fsck --full --strict 2>"$scratch/fsck" || { cat "$scratch/fsck"; fail "git fsck"; }
equal "loose objects" 0 "$(git count-objects | cut -d' ' -f1)"

step "clone on the share"
cd ..
git clone -q repository clone
equal "head" "$(git -C repository rev-parse HEAD)" "$(git -C clone rev-parse HEAD)"
diff -r -x .git repository clone
equal "status" "" "$(git -C clone status --porcelain)"
finish
