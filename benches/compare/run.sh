#!/bin/bash
# Compares rollcall with gdnsd, NSD, Knot, PowerDNS, BIND and a bare echo on this machine, over loopback, one worker each.
# Installs what is missing (Debian packages, as root or by sudo), builds rollcall, then runs compare.py.
#
#   benches/compare/run.sh [--rounds 5] [--seconds 2] [--only rollcall,gdnsd] [--json FILE] [--svg FILE]
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/compare/install.sh
nice cargo build --release --locked --bin rollcall --example echo --example flood
exec python3 benches/compare/compare.py "$@"
