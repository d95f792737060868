#!/bin/bash
# Schemathesis against a live server: requests made from /openapi.json, right and wrong ones, and every answer held to the
# document. All of its checks, by a token of all scopes. Ends with `N passed, N failed`.
#
#   tests/api/schemathesis.sh            100 examples an operation
#   tests/api/schemathesis.sh --short    under a minute, for CI
#
# ROLLCALL: the binary (default: target/release/rollcall, else target/debug/rollcall). EXAMPLES, SEED: others than usual.
# Left out: /v1/events and /v1/tail, which never end by themselves (src/control/api/tests/changes.rs and tests/tail.rs read them), and /v1/replace, which puts
# another process in the server's place (tests/e2e_replace.rs).
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[ -n "${ROLLCALL:-}" ] || [ -x "$ROOT/target/release/rollcall" ] || export ROLLCALL=$ROOT/target/debug/rollcall
. "$ROOT/tests/interop/lib.sh"

VERSION=4.32.5
EXAMPLES=${EXAMPLES:-100}
SEED=${SEED:-20261129}
LIMIT=1500
if [ "${1:-}" = --short ]; then
    EXAMPLES=4
    LIMIT=120
fi
SECRET=schemathesis-schemathesis
PORT=$((20000 + RANDOM % 20000))
BASE=http://127.0.0.1:$PORT

need curl=curl
"$PYTHON" -c 'import ensurepip' 2>/dev/null || need /no/ensurepip=python3-venv
VENV=${VENV:-$ROOT/target/schemathesis-$VERSION}
if [ ! -x "$VENV/bin/st" ]; then
    "$PYTHON" -m venv "$VENV"
    "$VENV/bin/pip" install -q "schemathesis==$VERSION"
fi

mkdir "$WORK/zones"
cat >"$WORK/rollcall.toml" <<EOF
zones = "zones"
state_dir = "state"
[listen]
dns = ["127.0.0.1:0"]
control = "127.0.0.1:$PORT"
[control]
tokens = "tokens.toml"
EOF
cat >"$WORK/tokens.toml" <<EOF
all = { secret = "$SECRET", scopes = ["write", "push"] }
EOF
cat >"$WORK/zones/lb.toml" <<'EOF'
zone = "lb.example.com"

[records]
"@" = { NS = "ns1" }
ns1 = { A = "192.0.2.53" }

[checks.agent]
type = "push"
ttl = "60s"

[pools.web]
backends = [{ name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2" }, { name = "b6", address = "2001:db8::2" }]

[pools.pushed]
checks = ["agent"]
initial = "up"
backends = [{ name = "c", address = "192.0.2.3" }]

[routes.either]
type = "failover"
choices = ["web", "pushed"]

[names]
www = "web"
both = "either"
EOF

"$ROLLCALL" serve --config "$WORK/rollcall.toml" >"$WORK/server.log" 2>&1 &
SERVER=$!
PIDS+=("$SERVER")
for _ in $(seq 100); do kill -0 "$SERVER" && ! curl -sf "$BASE/readyz" >/dev/null || break; sleep 0.1; done
curl -sf "$BASE/readyz" >/dev/null || { cat "$WORK/server.log"; exit 2; }

cd "$WORK"
cp "$ROOT/tests/api/schemathesis.toml" .
code=0
timeout $LIMIT "$VENV/bin/st" --config-file schemathesis.toml --no-color run "$BASE/openapi.json" \
    -H "Authorization: Bearer $SECRET" --checks all --continue-on-failure \
    --exclude-path /v1/events --exclude-path /v1/tail --exclude-path /v1/replace \
    --max-examples "$EXAMPLES" --seed "$SEED" --request-timeout 20 >st.log 2>&1 || code=$?
sed -n '/FAILURES/,$p' st.log
grep -E '^ *(Operations:|[0-9]+ generated)' st.log || tail -n 20 st.log
check "no failure in what Schemathesis found" 0 $code

# What was tried left the server whole.
check "the server lives" "ok" "$(curl -s "$BASE/livez")"
check "it decides" "lb.example.com" \
    "$(curl -s -H "Authorization: Bearer $SECRET" "$BASE/v1/zones" | "$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["items"][0]["zone"])')"
if grep -q panicked server.log; then fail "it did not panic: $(grep -m1 panicked server.log)"; else pass "it did not panic"; fi
if grep -q "$SECRET" server.log; then fail "the token is not logged"; else pass "the token is not logged"; fi
summary
