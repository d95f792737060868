#!/bin/bash
# Generated questions over generated zones: rollcall against NSD and Knot, section by section, every difference printed.
#
#   tests/interop/differential.sh [HOW-MANY]        20000 questions unless said otherwise
#
# SEED (1) and ZONES (12) choose the zones. ROLLCALL names the binary. Ends with `N passed, N failed`.
source "$(dirname "$0")/lib.sh"
export PYTHONDONTWRITEBYTECODE=1
need nsd=nsd knotd=knot dig=bind9-dnsutils /usr/lib/python3/dist-packages/dns=python3-dnspython
need_rollcall
seed=${SEED:-1} count=${ZONES:-12} PLAIN=1
zones="$WORK/zones"
mkdir -p "$zones"
$PYTHON "$HERE/differential_zone.py" "$zones" "$seed" "$count"
source "$HERE/conformance-servers.sh"

names=()
for number in $(seq "$count"); do names+=("z$number.diff.example"); done
targets=()
for server in rollcall nsd knot; do
    "start_$server" "${names[@]}"
    targets+=("$server=127.0.0.1:$LAST_PORT")
done
# The last zone in the list is the last to be loaded; Knot loads them in the background.
for target in "${targets[@]}"; do
    for zone in "${names[@]}"; do wait_for 20 "${target%%=*} with $zone" answers 127.0.0.1 "${target##*:}" "$zone"; done
done
$PYTHON "$HERE/differential.py" "$zones" "$seed" "${1:-20000}" "${targets[@]}"
