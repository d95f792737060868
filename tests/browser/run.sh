#!/bin/bash
# The dashboard in Debian's Chromium, in front of `rollcall demo` and asked beside by dig. Installs chromium and, from npm,
# playwright-core. Screenshots go to target/browser.
#
#   tests/browser/run.sh [BINARY]        default: target/release/rollcall
set -euo pipefail
cd "$(dirname "$0")/../.."
ROLLCALL=$(realpath "${1:-target/release/rollcall}")
SHOTS=$PWD/target/browser
mkdir -p "$SHOTS"

if ! command -v chromium >/dev/null; then
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get install -y -q --no-install-recommends chromium >/dev/null
fi
if [ ! -d "$SHOTS/node_modules/playwright-core" ]; then
    (cd "$SHOTS" && npm install --no-save --no-audit --no-fund --silent playwright-core@1)
fi

log=$SHOTS/demo.log
"$ROLLCALL" demo --for 120s --lines >"$log" 2>&1 &
demo=$!
trap 'kill $demo 2>/dev/null || true' EXIT
control="" port=""
for _ in $(seq 200); do
    control=$(sed -n 's/.*rollcall status --control \([0-9.:]*\).*/\1/p' "$log" | head -1)
    port=$(sed -n 's/.*dig @127.0.0.1 -p \([0-9]*\) .*/\1/p' "$log" | head -1)
    [ -n "$control" ] && [ -n "$port" ] && break
    sleep 0.1
done
if [ -z "$control" ] || [ -z "$port" ]; then
    echo "the demo did not start:"
    cat "$log"
    exit 1
fi

# A second server, which wants tokens.
guarded=$(mktemp -d)
mkdir "$guarded/zones"
cat >"$guarded/rollcall.toml" <<'TOML'
[listen]
dns = ["127.0.0.1:0"]
control = "127.0.0.1:0"
[control]
tokens = "tokens.toml"
TOML
cat >"$guarded/tokens.toml" <<'TOML'
grafana = { secret = "reads-reads-reads-reads", scopes = ["read"] }
ops     = { secret = "writes-writes-writes-w", scopes = ["write"] }
TOML
cat >"$guarded/zones/lb.toml" <<'TOML'
zone = "lb.example.com"
[records]
"@" = { NS = "ns1.example.net." }
[pools.web]
backends = [{ name = "a", address = "192.0.2.10" }, { name = "b", address = "192.0.2.11" }]
[names]
www = "web"
TOML
chmod 600 "$guarded/tokens.toml"
"$ROLLCALL" serve --config "$guarded/rollcall.toml" >"$SHOTS/guarded.log" 2>&1 &
second=$!
trap 'kill $demo $second 2>/dev/null || true; rm -rf "$guarded"' EXIT
address=""
for _ in $(seq 200); do
    address=$(sed -n 's/.*control \(127[0-9.:]*\).*/\1/p' "$SHOTS/guarded.log" | head -1)
    [ -n "$address" ] && break
    sleep 0.1
done
if [ -z "$address" ]; then
    echo "the server with tokens did not start:"
    cat "$SHOTS/guarded.log"
    exit 1
fi
NODE_PATH=$SHOTS/node_modules node tests/browser/dashboard.js "http://$control/" "$port" "$SHOTS" "http://$address/"
