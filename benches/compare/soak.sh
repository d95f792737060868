#!/bin/bash
# Minutes or hours of good and bad questions over UDP and TCP while files are reloaded and backends flap; prints RSS, descriptors,
# lost and wrong answers and percentiles, also as they were in each tenth of the time. Fails when an answer was lost or wrong, or
# other than NSD's, or when descriptors or memory grew without end.
#
#   benches/compare/soak.sh [--minutes 5] [--qps 2000] [--reload 10] [--json samples.jsonl]
set -euo pipefail
cd "$(dirname "$0")/../.."
nice cargo build --release --locked --bin rollcall
exec python3 benches/compare/soak.py "$@"
