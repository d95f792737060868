#!/bin/bash
# Unbound resolves through rollcall and follows a failover within TTL plus detection: once plainly, once with strict QNAME
# minimisation (RFC 9156) and 0x20 (random case in questions, which the answer must return).
#
# In a network namespace of its own (root, or user namespaces) port 53 is free, so the delegation is a real one:
#
#   unbound 127.0.1.4 -> root (NSD) 127.0.1.1 -> example. (NSD) 127.0.1.2 -> lb.example. (rollcall) 127.0.1.3
#
# Elsewhere unbound is told by `stub-zone` where rollcall is. Ends with `N passed, N failed`.

if [ -z "${INTEROP_NETNS:-}" ]; then
    # Packages come first: the namespace has no network.
    (source "$(dirname "$0")/lib.sh"
     need nsd=nsd unbound=unbound dig=bind9-dnsutils unshare=util-linux ip=iproute2
     need_rollcall) || exit 2
    if unshare --net true 2>/dev/null; then
        INTEROP_NETNS=yes exec unshare --net "$0" "$@"
    elif unshare --net --map-root-user true 2>/dev/null; then
        INTEROP_NETNS=yes exec unshare --net --map-root-user "$0" "$@"
    fi
    export INTEROP_NETNS=no
fi
source "$(dirname "$0")/lib.sh"

TTL=2                                   # of the balanced names, seconds
DETECTION_MS=750                        # interval + jitter, one more failure: killed backends refuse at once
SLACK_MS=1500                           # unbound counts TTLs in whole seconds; dig and the shell take their time
BOUND_MS=$((TTL * 1000 + DETECTION_MS + SLACK_MS))

PRIMARY=127.0.2.1
STANDBY=127.0.2.2
backend_port=$(free_port)
if [ "$INTEROP_NETNS" = yes ]; then
    ip link set lo up
    rollcall_address=127.0.1.3 rollcall_port=53
else
    rollcall_address=127.0.0.1 rollcall_port=$(free_port)
fi

start_backend() { background "$WORK/backend-$1.log" $PYTHON "$HERE/backend.py" "$1" "$backend_port"; }
start_backend $PRIMARY
primary_pid=$LAST
start_backend $STANDBY
standby_pid=$LAST
# Both listen before rollcall probes for the first time: were both found down, it would fail open with the primary, and answer
# the standby for as long as that one alone has come up.
listens() { (exec 3<>"/dev/tcp/$1/$backend_port") 2>/dev/null; }
wait_for 10 "the primary to listen" listens $PRIMARY
wait_for 10 "the standby to listen" listens $STANDBY

start_rollcall() {
    mkdir "$WORK/zones"
    {
        cat <<CONF
zone = "lb.example"
ttl  = $TTL
[soa]
negative_ttl = 1
[records]
"@"   = { NS = "ns1" }
ns1   = { A = "127.0.1.3" }
alias = { CNAME = "www" }
text  = { TXT = "static" }
"very.deep.static" = { A = "192.0.2.7" }
CONF
        printf 'big = { TXT = ['
        for n in $(seq 40); do printf '"%03d %0120d", ' "$n" 0; done
        printf '] }\n'
        cat <<CONF
[checks.web]
type          = "http"
port          = $backend_port
interval      = "500ms"
fast_interval = "100ms"
timeout       = "500ms"
fall          = 2                        # a late probe on a busy machine alone decides nothing
rise          = 2
[pools.web]
check    = "web"
backends = [
  { name = "primary", address = "$PRIMARY" },
  { name = "standby", address = "$STANDBY", tier = 1 },
]
[names]
www = "web"
"*.apps" = "web"
"svc.eu.prod" = "web"
CONF
    } >"$WORK/zones/lb.example.toml"
    cat >"$WORK/rollcall.toml" <<CONF
zones = "zones"
[listen]
dns = ["$rollcall_address:$rollcall_port"]
CONF
    background "$WORK/rollcall.log" "$ROLLCALL" serve --config "$WORK/rollcall.toml"
    wait_for 10 rollcall answers $rollcall_address "$rollcall_port" lb.example
    wait_for 10 "the primary in the answers" answers_primary
}
answers_primary() {
    [ "$(dig "@$rollcall_address" -p "$rollcall_port" www.lb.example A +short +norecurse +time=1 +tries=1)" = $PRIMARY ]
}

# start_nsd NAME ADDRESS ZONE: serves the zone from standard input.
start_nsd() {
    cat >"$WORK/$1.zone"
    cat >"$WORK/$1.conf" <<CONF
server:
  ip-address: $2
  port: 53
  username: ""
  database: ""
  zonelistfile: "$WORK/$1.list"
  pidfile: ""
  xfrdfile: ""
  xfrdir: "$WORK"
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: $3
  zonefile: "$WORK/$1.zone"
CONF
    background "$WORK/nsd-$1.log" nsd -d -c "$WORK/$1.conf"
    wait_for 10 "NSD with $3" answers "$2" 53 "$3"
}

start_parents() {
    start_nsd root 127.0.1.1 . <<'ZONE'
$TTL 86400
.          IN SOA root-server. hostmaster. 1 7200 900 1209600 60
.          IN NS  root-server.
root-server. IN A 127.0.1.1
example.   IN NS  ns.example.
ns.example. IN A  127.0.1.2
ZONE
    start_nsd parent 127.0.1.2 example. <<'ZONE'
$TTL 86400
example.   IN SOA ns.example. hostmaster.example. 1 7200 900 1209600 60
example.   IN NS  ns.example.
ns.example. IN A  127.0.1.2
lb.example. IN NS ns1.lb.example.
ns1.lb.example. IN A 127.0.1.3
www.example. 300 IN CNAME www.lb.example.
ZONE
    printf '. 86400 NS root-server.\nroot-server. 86400 A 127.0.1.1\n' >"$WORK/root.hints"
}

# start_unbound NAME OPTION …: sets $resolver_address, $resolver_port and $unbound_pid.
start_unbound() {
    local name=$1
    shift
    resolver_address=127.0.0.1 resolver_port=$(free_port)
    {
        cat <<CONF
server:
  interface: $resolver_address
  port: $resolver_port
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  do-not-query-localhost: no
  module-config: "iterator"
  username: ""
  chroot: ""
  directory: "$WORK"
  pidfile: ""
  use-syslog: no
  logfile: ""
  verbosity: 2
  num-threads: 1
CONF
        printf '  %s\n' "$@"
        if [ "$INTEROP_NETNS" = yes ]; then
            printf '  root-hints: "%s"\n' "$WORK/root.hints"
        else
            printf 'stub-zone:\n  name: "lb.example."\n  stub-addr: %s@%s\n' "$rollcall_address" "$rollcall_port"
        fi
        printf 'remote-control:\n  control-enable: no\n'
    } >"$WORK/unbound-$name.conf"
    background "$WORK/unbound-$name.log" unbound -d -c "$WORK/unbound-$name.conf"
    unbound_pid=$LAST
    wait_for 10 unbound resolves_text
}

resolve() { dig "@$resolver_address" -p "$resolver_port" +time=2 +tries=2 "$@"; }
short() { resolve +short "$@" | sort | tr '\n' ' ' | sed 's/ $//'; }
rcode() { resolve "$@" | sed -n 's/.*status: \([A-Z]*\),.*/\1/p'; }
resolves_text() { [ "$(short text.lb.example TXT)" = '"static"' ]; }
now_ms() { date +%s%3N; }

# follow WHAT EXPECTED: polls until www answers EXPECTED, and holds the time against the bound.
follow() {
    local begin end
    begin=$(now_ms)
    while [ "$(short www.lb.example A)" != "$2" ]; do
        if [ $(($(now_ms) - begin)) -gt 15000 ]; then
            fail "$1: after 15 s still $(short www.lb.example A)"
            return
        fi
        sleep 0.05
    done
    end=$(($(now_ms) - begin))
    if [ $end -le $BOUND_MS ]; then
        pass "$1: after $end ms, at most $BOUND_MS allowed"
    else
        fail "$1: after $end ms, more than $BOUND_MS"
    fi
}

stop() {
    kill -9 "$1"
    wait "$1" 2>/dev/null || true
}

story() {
    local how=$1
    shift
    start_unbound "$how" "$@"
    check "$how: a balanced name" "$PRIMARY" "$(short www.lb.example A)"
    check "$how: a CNAME to it" "www.lb.example. $PRIMARY" "$(short alias.lb.example A | tr ' ' '\n' | sort -r | tr '\n' ' ' | sed 's/ $//')"
    check "$how: a balanced wildcard" "$PRIMARY" "$(short shop.apps.lb.example A)"
    check "$how: below empty non-terminals" "$PRIMARY" "$(short svc.eu.prod.lb.example A)"
    check "$how: static, below empty non-terminals" 192.0.2.7 "$(short very.deep.static.lb.example A)"
    check "$how: an empty non-terminal exists" NOERROR "$(rcode eu.prod.lb.example A)"
    check "$how: a missing name" NXDOMAIN "$(rcode missing.lb.example A)"
    check "$how: a missing name below a name" NXDOMAIN "$(rcode x.y.text.lb.example A)"
    check "$how: a missing type" NOERROR "$(rcode www.lb.example MX)"
    check "$how: a missing family" "" "$(short www.lb.example AAAA)"
    check "$how: an unknown type" NOERROR "$(rcode www.lb.example TYPE65280)"
    check "$how: a set too large for UDP, over TCP" 40 "$(resolve +short big.lb.example TXT | wc -l)"
    if [ "$INTEROP_NETNS" = yes ]; then
        check "$how: from the parent's CNAME through the delegation" "$PRIMARY" "$(short www.example A | tr ' ' '\n' | grep '^[0-9]')"
    fi

    stop "$primary_pid"
    follow "$how: the primary is killed, the standby answers" $STANDBY
    stop "$standby_pid"
    follow "$how: the standby is killed too, the pool fails open" $PRIMARY
    start_backend $STANDBY
    standby_pid=$LAST
    follow "$how: the standby is back" $STANDBY
    start_backend $PRIMARY
    primary_pid=$LAST
    follow "$how: the primary is back" $PRIMARY
    check "$how: no fallback from 0x20" 0 "$(grep -ci 'capsforid' "$WORK/unbound-$how.log" || true)"
    check "$how: the wildcard follows the pool" "$PRIMARY" "$(short other.apps.lb.example A)"
    stop "$unbound_pid"
}

start_rollcall
if [ "$INTEROP_NETNS" = yes ]; then
    start_parents
    echo "a real delegation, in a network namespace"
else
    echo "no network namespace to be had: unbound is given a stub-zone"
fi
story plain "qname-minimisation: no" "use-caps-for-id: no"
story strict "qname-minimisation: yes" "qname-minimisation-strict: yes" "use-caps-for-id: yes"
summary
