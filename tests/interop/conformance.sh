#!/bin/bash
# The promises of docs/conformance.md, one case each, over UDP and TCP: asked of rollcall, and of BIND, NSD and Knot with the
# same zones, so that a wrong expectation shows. Prints what anyone breaks, a table of scores, and `N passed, N failed`
# for rollcall.
#
#   tests/interop/conformance.sh [--only WORD]      cases whose section or title holds WORD
#
# ROLLCALL names the binary; ONLY_ROLLCALL=1 leaves the others out; TABLE=FILE keeps the tables as Markdown.
source "$(dirname "$0")/lib.sh"
export PYTHONDONTWRITEBYTECODE=1
packages=(dig=bind9-dnsutils)
[ -n "${ONLY_ROLLCALL:-}" ] || packages+=(named=bind9 nsd=nsd knotd=knot)
need "${packages[@]}"
need_rollcall

zones="$WORK/zones"
mkdir -p "$zones"
$PYTHON "$HERE/conformance_zone.py" "$zones"
source "$HERE/conformance-servers.sh"

targets=()
start_rollcall conf.example hosted.conf.example
targets+=("rollcall=127.0.0.1:$LAST_PORT")
if [ -z "${ONLY_ROLLCALL:-}" ]; then
    for other in bind nsd knot; do
        "start_$other" conf.example hosted.conf.example
        targets+=("$other=127.0.0.1:$LAST_PORT")
    done
fi
for target in "${targets[@]}"; do wait_for 15 "${target%%=*}" answers 127.0.0.1 "${target##*:}" conf.example; done

arguments=("$@")
[ -z "${TABLE:-}" ] || arguments+=(--table "$TABLE")
status=0
$PYTHON "$HERE/conformance.py" "${arguments[@]}" "${targets[@]}" || status=$?
for pid in "${PIDS[@]}"; do kill -0 "$pid" 2>/dev/null || { echo "a server did not survive: pid $pid"; status=1; }; done
exit "$status"
