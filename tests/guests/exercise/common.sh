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

started=${EPOCHREALTIME/[.,]/}
step() { local now=${EPOCHREALTIME/[.,]/}; printf -- '- %5d ms: %s\n' $(((now - started) / 1000)) "$*"; }
fail() { echo "FAILED in ${0##*/}, line ${BASH_LINENO[-2]}: $*" >&2; exit 1; }
skip() { echo "$*"; exit 77; }

# equal WHAT EXPECTED GOT
equal() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }

# contains FILE TEXT: the whole content, without a newline at the end
contains() {
    local text=
    [ -r "$1" ] || fail "$1 is not there"
    IFS= read -r -d '' text <"$1" || true
    equal "content of $1" "$2" "${text%$'\n'}"
}

# refused WORDS... COMMAND must fail, and its message must contain the first argument
refused() {
    local message=$1 output
    shift
    if output=$("$@" 2>&1); then fail "should have been refused: $*"; fi
    [[ $output == *"$message"* ]] || fail "$*: expected '$message', got '$output'"
}

# listing DIR: what a copy must have in common with its source. Times are compared in seconds, because that is what
# Linux 6.1 sets over 9P (its superblock has s_time_gran = 1 s, and nothing before 1970).
listing() {
    (cd "$1" && find . -mindepth 1 \( -type d -printf '%T@ %P %y %m\n' \) -o \( -printf '%T@ %P %y %m %s %n %l\n' \)) |
        sed 's/^\([0-9]*\)\.[0-9]*/\1/' | sort
}

# same_tree A B
same_tree() {
    diff -r --no-dereference -x fifo "$1" "$2" || fail "the contents of $1 and $2 differ"
    diff <(listing "$1") <(listing "$2") || fail "the attributes in $1 and $2 differ"
}

# a source tree that every machine with Python has, without its caches
source_tree() {
    local library
    library=$("$PYTHON" -c 'import os; print(os.path.dirname(os.__file__))')
    mkdir "$1"
    (cd "$library" && tar -c --exclude=__pycache__ --exclude='test*' asyncio concurrent email json logging unittest xml) | tar -x -C "$1" --no-same-owner
}

finish() { step "remove all"; cd "$DIR"; rm -rf "$work"; [ ! -e "$work" ] || fail "$work is still there"; step "ok"; }
