# Read by every shell exercise: strict mode, a fresh directory $work, and ways to complain.
# shellcheck shell=bash

set -eEu -o pipefail
trap 'echo "FAILED in ${0##*/}, line $LINENO: $BASH_COMMAND" >&2' ERR
umask 022
export LC_ALL=C.UTF-8 TZ=UTC

: "${DIR:?the directory to work in}"
: "${SERVER_ROOT:=yes}"
: "${CACHE:=local}"
: "${PYTHON:=python3}"

work=$(mktemp -d "$DIR/${0##*/}.XXXXXX")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/exercise.XXXXXX")
trap 'cd /; rm -rf "$scratch"' EXIT
cd "$work"

step() { echo "- $*"; }
fail() { echo "FAILED in ${0##*/}, line ${BASH_LINENO[0]}: $*" >&2; exit 1; }
skip() { echo "$*"; exit 77; }

# equal WHAT EXPECTED GOT
equal() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }

# refused WORDS... COMMAND must fail, and its message must contain the first argument
refused() {
    local message=$1 output
    shift
    if output=$("$@" 2>&1); then fail "should have been refused: $*"; fi
    [[ $output == *"$message"* ]] || fail "$*: expected '$message', got '$output'"
}

# listing DIR: what a copy must have in common with its source
listing() {
    (cd "$1" && find . -mindepth 1 \( -type d -printf '%P %y %m %T@\n' \) -o \
        \( -printf '%P %y %m %T@ %s %n %l\n' \) | sort)
}

# same_tree A B
same_tree() {
    diff -r --no-dereference "$1" "$2" || fail "the contents of $1 and $2 differ"
    diff <(listing "$1") <(listing "$2") || fail "the attributes in $1 and $2 differ"
}

# a source tree that every machine with Python has, without its caches
source_tree() {
    local library
    library=$("$PYTHON" -c 'import os; print(os.path.dirname(os.__file__))')
    mkdir "$1"
    (cd "$library" && tar -c --exclude=__pycache__ --exclude='test*' asyncio concurrent ctypes email json logging multiprocessing \
        unittest xml) | tar -x -C "$1" --no-same-owner
}

finish() { cd "$DIR"; rm -rf "$work"; [ ! -e "$work" ] || fail "$work is still there"; echo "ok"; }
