#!/bin/bash
# Drills: what befalls a name server in its life, done on purpose to the real program. Each file beside this one is a
# chapter; `tests/drills/run.sh --list` names every drill.
#
#   tests/drills/run.sh              everything, twenty minutes or so
#   tests/drills/run.sh --short      what CI runs: two or three minutes
#   tests/drills/run.sh network      one chapter: backends, configuration, node, network, panics
#   tests/drills/run.sh --only flood the drills whose name holds that word
#
# ROLLCALL=… names the program (default: target/release/rollcall). Each chapter runs in namespaces of its own (network,
# mounts, processes), as root or, where users may make them, without; when it ends, its processes, mounts and addresses are
# gone with them. Where no namespaces can be made, drills that need them are skipped and say so.
# Ends with `N passed, N failed`.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
export ROLLCALL=${ROLLCALL:-$ROOT/target/release/rollcall}
[ -x "$ROLLCALL" ] || (cd "$ROOT" && cargo build --release --locked) || exit 2

chapters=() options=()
while [ $# -gt 0 ]; do
    case $1 in
        --only) options+=(--only "$2"); shift ;;
        -*) options+=("$1") ;;
        *) chapters+=("$1") ;;
    esac
    shift
done
[ ${#chapters[@]} -gt 0 ] || chapters=(backends configuration node network panics)

apart=(unshare --net --mount --pid --fork --kill-child --mount-proc)
for way in "${apart[*]}" "${apart[*]} --map-root-user"; do
    # shellcheck disable=SC2086  # a command of several words
    if $way true 2>/dev/null; then APART=$way; break; fi
done
export DRILL_APART=${APART:+yes}

WORK=$(mktemp -d "${TMPDIR:-/tmp}/rollcall-drills.XXXXXX")
chapter=
finish() {
    [ -z "$chapter" ] || kill "$chapter" 2>/dev/null
    [ -n "${KEEP:-}" ] && echo "kept: $WORK" || rm -rf "$WORK"
}
trap finish EXIT
trap 'exit 130' INT TERM

passed=0 failed=0
for name in "${chapters[@]}"; do
    echo "== $name"
    mkdir -p "$WORK/$name"
    : >"$WORK/$name.out"
    # shellcheck disable=SC2086
    DRILL_WORK=$WORK/$name ${APART:-} python3 -u "$HERE/$name.py" "${options[@]}" >"$WORK/$name.out" 2>&1 &
    chapter=$!
    tail -f --pid=$chapter "$WORK/$name.out" 2>/dev/null
    wait $chapter
    code=$?
    chapter=
    last=$(tail -n 1 "$WORK/$name.out")
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
    elif [[ " ${options[*]-} " != *" --list "* ]]; then
        echo "the chapter $name broke off, exit code $code"
        failed=$((failed + 1))
    fi
done
echo "== all"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
