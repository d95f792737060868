#!/bin/bash
# What is shipped for Prometheus and Grafana, as Debian's promtool judges it: the alert rules, what they do over time, and a
# live scrape of `rollcall demo` in the older text format; then a Prometheus that scrapes it, in the newer format, and is
# asked every expression of the dashboard and of the alerts.
#
#   tests/packaging/prometheus.sh    installs prometheus and python3-yaml when missing (as root or by sudo)
#
# ROLLCALL names another program than target/release/rollcall. Ends with `N passed, N failed`.
# shellcheck source=tests/interop/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../interop/lib.sh"
need promtool=prometheus curl=curl /usr/lib/python3/dist-packages/yaml=python3-yaml
need_rollcall
cd "$ROOT"

# tells WHAT COMMAND …: whether it succeeds; what it said is shown when it fails.
tells() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then pass "$what"; else fail "$what: $said"; fi
}

tells "promtool reads the alert rules" promtool check rules packaging/prometheus/alerts.yml
tells "the alerts fire when they should, and not before" promtool test rules packaging/prometheus/alerts_test.yml

background "$WORK/demo.log" "$ROLLCALL" demo --for 300s --lines
control_of() { sed -n 's/.*rollcall status --control \([0-9.:]*\).*/\1/p' "$WORK/demo.log" | head -1 | grep .; }
wait_for 20 "the demo" control_of
CONTROL=$(control_of)
PORT=$(sed -n 's/.*dig @127.0.0.1 -p \([0-9]*\) .*/\1/p' "$WORK/demo.log" | head -1)
scrape() { curl -sSf "$@" "http://$CONTROL/metrics"; }
wait_for 20 "the first scrape" scrape
scrape >"$WORK/metrics"
lint() { promtool check metrics <"$WORK/metrics"; }
tells "promtool finds nothing to say of a scrape" lint
check "the older format is what it says" "text/plain; version=0.0.4; charset=utf-8" \
    "$(scrape -o "$WORK/body" -w '%{content_type}')"

scrape_port=$(free_port)
cat >"$WORK/prometheus.yml" <<YAML
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$ROOT/packaging/prometheus/alerts.yml]
scrape_configs: [{job_name: rollcall, static_configs: [{targets: ["$CONTROL"]}]}]
YAML
tells "promtool reads the configuration" promtool check config "$WORK/prometheus.yml"
background "$WORK/prometheus.log" prometheus --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/data" \
    --web.listen-address="127.0.0.1:$scrape_port" --log.level=warn
ask() { curl -sSf "http://127.0.0.1:$scrape_port/api/v1/query" --data-urlencode "query=$1"; }
# By Prometheus' own account, in the format that it asks for: OpenMetrics.
count() { ask "$1" | $PYTHON -c 'import json, sys; print(len(json.load(sys.stdin)["data"]["result"]))'; }
scraped() { [ "$(count 'up{job="rollcall"} == 1')" = 1 ]; }
wait_for 30 "Prometheus to scrape" scraped
pass "Prometheus scrapes it"
moved() {
    dig @127.0.0.1 -p "$PORT" www.demo.test A +time=1 +tries=1 >/dev/null
    [ "$(count 'increase(rollcall_backend_answers_total[1m]) > 0')" -gt 0 ]
}
wait_for 30 "answers to be counted by Prometheus" moved
pass "answers by backend move"

$PYTHON - packaging/grafana/rollcall.json packaging/prometheus/alerts.yml >"$WORK/expressions" <<'PY'
import json, re, sys, yaml
dashboard, alerts = json.load(open(sys.argv[1])), yaml.safe_load(open(sys.argv[2]))
variables = {"job": ".*", "instance": ".*", "zone": ".*", "pool": ".*", "__rate_interval": "1m", "__interval": "1m"}
for panel in dashboard["panels"]:
    for target in panel.get("targets", []):
        print(re.sub(r"\$(\w+)", lambda name: variables[name[1]], target["expr"]))
for rule in (rule for group in alerts["groups"] for rule in group["rules"]):
    print(rule["expr"].replace("\n", " "))
PY
while IFS= read -r expression; do
    if ! said=$(ask "$expression" 2>&1); then fail "Prometheus refuses: $expression: $said"; continue; fi
    pass "asked: ${expression:0:100}"
done <"$WORK/expressions"
check "no alert of the demo fires" 0 "$(count 'ALERTS{alertstate="firing"}')"
summary
