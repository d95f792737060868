#!/bin/bash
# Counts the instructions of an answer of each kind under callgrind, and compares them with benches/instructions/baseline:
# more than 3 % above fails. Installs valgrind when missing (as root or by sudo).
#
# To renew the baseline, after a change that is meant to cost more, or with another toolchain: `check.sh --accept` writes the
# counts down; commit the file with the change and say in the message why they rose. The counts depend on the compiler's
# version and, by a few, on how libc copies on the machine at hand.
set -euo pipefail
cd "$(dirname "$0")/../.."
BASELINE=benches/instructions/baseline
QUERIES=1000
if ! command -v valgrind >/dev/null; then
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
    $sudo apt-get update -q || true
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends valgrind
fi
binary=$(cargo build --profile release --locked --bench instructions --message-format=json |
    sed -n 's/.*"executable":"\([^"]*instructions[^"]*\)".*/\1/p' | tail -n 1)
[ -x "$binary" ] || { echo "the bench was not built"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
for kind in static weighted rotated subnet hashed mapped tree nxdomain alias referral edns static_in_large nxdomain_in_large; do
    valgrind --tool=callgrind --callgrind-out-file="$work/out" '--toggle-collect=*measured*' "$binary" "$kind" \
        >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    count=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/log")
    count=$((count / QUERIES))
    [ "$count" -gt 100 ] || { echo "$kind: nothing was counted"; exit 1; }
    echo "$kind $count" >>"$work/counts"
    before=$(sed -n "s/^$kind //p" $BASELINE 2>/dev/null || true)
    verdict=""
    if [ -z "$before" ]; then
        verdict="no baseline"
        failed=1
    elif [ $((count * 100)) -gt $((before * 103)) ]; then
        verdict="more than 3 % above the baseline"
        failed=1
    elif [ $((count * 100)) -lt $((before * 97)) ]; then
        verdict="better: run benches/instructions/check.sh --accept"
    fi
    printf '%-18s %6d instructions a query, baseline %6s  %s\n' "$kind" "$count" "${before:--}" "$verdict"
done
if [ "${1:-}" = --accept ]; then
    cp "$work/counts" $BASELINE
    echo "written to $BASELINE"
    exit 0
fi
exit $failed
