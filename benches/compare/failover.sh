#!/bin/bash
# From the death of a backend to the last answer that still named it: rollcall, gdnsd and PowerDNS, each at its quickest
# setting, over loopback.
#
#   benches/compare/failover.sh [--trials 10] [--only rollcall,gdnsd]
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/compare/install.sh
nice cargo build --release --locked --bin rollcall
exec python3 benches/compare/failover.py "$@"
