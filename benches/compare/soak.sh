#!/bin/bash
# Minutes of mixed load while files are reloaded and backends flap; prints RSS, descriptors, lost and wrong answers and
# percentiles. Fails when an answer was lost or wrong, or when descriptors or memory grew without end.
#
#   benches/compare/soak.sh [--minutes 5] [--qps 5000]
set -euo pipefail
cd "$(dirname "$0")/../.."
nice cargo build --release --locked --bin rollcall
exec python3 benches/compare/soak.py "$@"
