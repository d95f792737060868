#!/bin/bash
# Installs the servers to compare with and the load generator; their daemons are not started.
set -euo pipefail
missing=()
have() { command -v "$1" >/dev/null || missing+=("${@:2}"); }
have gdnsd gdnsd
have nsd nsd
have knotd knot
have pdns_server pdns-server pdns-backend-bind
have named bind9
have dnsperf dnsperf
have perf linux-perf
have python3 python3
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo -n"
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod 755 $policy
    trap '$sudo rm -f $policy' EXIT
fi
$sudo apt-get update -q || true
$sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
