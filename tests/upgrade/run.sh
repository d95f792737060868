#!/bin/bash
# Upgrades under load: how many queries does it cost to replace the running server, and how many to kill and restart it?
#
#   tests/upgrade/run.sh              200 replaces and 200 kills, some three minutes
#   tests/upgrade/run.sh --short      20 of each, what CI runs
#   tests/upgrade/run.sh --replaces 50 --kills 0 --rate 5000
#
# ROLLCALL=… names the program (default: target/release/rollcall). Clients ask over UDP, over one TCP and one TLS connection
# that they keep, and over a new TCP connection each time. Each query is sent once: what is not answered in 2 s is lost, and
# an answer that names a drained or dead backend is wrong. Ends with `N passed, N failed`.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
export ROLLCALL=${ROLLCALL:-$ROOT/target/release/rollcall}
[ -x "$ROLLCALL" ] || (cd "$ROOT" && cargo build --release --locked) || exit 2
exec python3 "$HERE/upgrade.py" "$@"
