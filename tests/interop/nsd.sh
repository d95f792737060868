#!/bin/bash
# Serves one zone with NSD and with rollcall, asks both the same few thousand questions, and wants every answer equal,
# section by section. `compare.py` says what is compared and what is not asked.
#
#   tests/interop/nsd.sh [HOW-MANY]
#
# ROLLCALL names the binary (default: target/release/rollcall, built when missing). Ends with `N passed, N failed`.
source "$(dirname "$0")/lib.sh"
need nsd=nsd dig=bind9-dnsutils /usr/lib/python3/dist-packages/dns=python3-dnspython
need_rollcall

mkdir -p "$WORK/zones"
$PYTHON "$HERE/zone.py" "$WORK/zones"
nsd-checkzone interop.example "$WORK/zones/interop.example.zone" >"$WORK/checkzone.log" || { cat "$WORK/checkzone.log"; exit 2; }

nsd_port=$(free_port)
cat >"$WORK/nsd.conf" <<CONF
server:
  ip-address: 127.0.0.1
  port: $nsd_port
  username: ""
  zonesdir: "$WORK/zones"
  database: ""
  zonelistfile: "$WORK/zone.list"
  pidfile: ""
  xfrdfile: ""
  xfrdir: "$WORK"
  logfile: ""
  server-count: 1
  minimal-responses: yes
  rrl-ratelimit: 0
  ipv4-edns-size: 1232
  hide-version: yes
remote-control:
  control-enable: no
zone:
  name: interop.example
  zonefile: interop.example.zone
zone:
  name: hosted.interop.example
  zonefile: hosted.interop.example.zone
CONF
background "$WORK/nsd.log" nsd -d -c "$WORK/nsd.conf"

rollcall_port=$(free_port)
cat >"$WORK/rollcall.toml" <<CONF
zones = "zones"
[listen]
dns = ["127.0.0.1:$rollcall_port"]
[dns.rate_limit]
enabled = false
CONF
background "$WORK/rollcall.log" "$ROLLCALL" serve --config "$WORK/rollcall.toml"

wait_for 10 NSD answers 127.0.0.1 "$nsd_port" interop.example
wait_for 10 rollcall answers 127.0.0.1 "$rollcall_port" interop.example

$PYTHON "$HERE/compare.py" "$WORK/zones" 127.0.0.1 "$nsd_port" 127.0.0.1 "$rollcall_port" "${1:-5000}"
