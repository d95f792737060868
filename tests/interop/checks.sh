#!/bin/bash
# Checks against servers that others wrote, and in a network of their own:
#   grpc  the health service of Python's grpcio, which changes its mind
#   dns   a second rollcall
#   icmp  in a network namespace, as a user without any capability: refused by the kernel with the remedy in the reason, then
#         permitted by net.ipv4.ping_group_range
# GRPC_PYTHON names a Python that has grpcio-health-checking; else a virtual environment is made (from PyPI).
#
# Ends with `N passed, N failed`.
source "$(dirname "$0")/lib.sh"
need ip=iproute2 unshare=util-linux setpriv=util-linux
need_rollcall

if [ -z "${GRPC_PYTHON:-}" ]; then
    python3 -m venv "$WORK/venv" && "$WORK/venv/bin/pip" install -q grpcio grpcio-health-checking
    GRPC_PYTHON=$WORK/venv/bin/python
fi

# state CONTROL ID: the backend's state, and its reason.
state() {
    "$ROLLCALL" status --json --control "unix:$1" | $PYTHON -c '
import json, sys
for zone in json.load(sys.stdin)["zones"]:
    for pool in zone["pools"]:
        for backend in pool["backends"]:
            if backend["id"] == sys.argv[1]:
                print(backend["state"] + ": " + backend["addresses"][0]["reason"])
' "$2"
}
is() { [[ "$(state "$1" "$2")" == $3 ]]; }
# expect WHAT CONTROL ID PATTERN: within ten seconds.
expect() {
    local end=$(($(date +%s) + 10))
    until is "$2" "$3" "$4"; do
        if [ "$(date +%s)" -ge $end ]; then fail "$1: $(state "$2" "$3")"; return; fi
        sleep 0.1
    done
    pass "$1: $(state "$2" "$3")"
}

"$GRPC_PYTHON" "$HERE/grpc_server.py" >"$WORK/grpc.port" 2>"$WORK/grpc.log" &
grpc=$!
PIDS+=("$grpc")
wait_for 10 "the gRPC server" test -s "$WORK/grpc.port"

other=$(free_port)
mkdir -p "$WORK/other/zones" "$WORK/zones"
printf 'zone = "other.example"\n[records]\n"@" = { NS = "ns1", TXT = "alive" }\nns1 = { A = "192.0.2.53" }\n' >"$WORK/other/zones/o.toml"
printf '[listen]\ndns = ["127.0.0.1:%s"]\n' "$other" >"$WORK/other/rollcall.toml"
background "$WORK/other.log" "$ROLLCALL" serve --config "$WORK/other/rollcall.toml"
wait_for 10 "the DNS server" answers 127.0.0.1 "$other" other.example

cat >"$WORK/zones/lb.toml" <<CONF
zone = "lb.example"
[records]
"@" = { NS = "ns.example.net." }
[checks]
server   = { type = "grpc", port = $(cat "$WORK/grpc.port"), interval = "300ms", fall = 1, rise = 1 }
web      = { type = "grpc", port = $(cat "$WORK/grpc.port"), interval = "300ms", fall = 1, rise = 1, service = "web" }
nobody   = { type = "grpc", port = $(cat "$WORK/grpc.port"), interval = "300ms", service = "nobody" }
plain    = { type = "grpc", port = $other, interval = "2s" }
txt      = { type = "dns", port = $other, interval = "300ms", fall = 1, rise = 1, name = "other.example", rtype = "TXT", expect = "alive" }
refused  = { type = "dns", port = $other, interval = "300ms", name = "example.org" }
[pools.all]
backends = [
  { name = "server", address = "127.0.0.1", check = "server" },
  { name = "web", address = "127.0.0.1", check = "web" },
  { name = "nobody", address = "127.0.0.1", check = "nobody" },
  { name = "plain", address = "127.0.0.1", check = "plain" },
  { name = "txt", address = "127.0.0.1", check = "txt" },
  { name = "refused", address = "127.0.0.1", check = "refused" },
]
[names]
www = "all"
CONF
printf '[listen]\ndns = ["127.0.0.1:0"]\ncontrol = "unix:control.sock"\n' >"$WORK/rollcall.toml"
background "$WORK/rollcall.log" "$ROLLCALL" serve --config "$WORK/rollcall.toml"
control=$WORK/control.sock
wait_for 10 rollcall test -S "$control"
expect "grpcio serves" "$control" lb.example/all/server "up: SERVING"
expect "grpcio's service serves" "$control" lb.example/all/web "up: SERVING"
expect "grpcio does not know it" "$control" lb.example/all/nobody 'down: the server does not know the service "nobody"'
expect "a DNS server is no gRPC server" "$control" lb.example/all/plain "down: *"
kill -USR1 "$grpc"
expect "the service stops serving" "$control" lb.example/all/web "down: health status NOT_SERVING"
expect "the server as a whole still does" "$control" lb.example/all/server "up: SERVING"
kill -USR2 "$grpc"
expect "the service serves again" "$control" lb.example/all/web "up: SERVING"
kill "$grpc"
expect "the server is gone" "$control" lb.example/all/server "down: connection refused"
expect "the DNS answer has its text" "$control" lb.example/all/txt 'up: answered NOERROR with "alive"'
expect "the DNS server refuses" "$control" lb.example/all/refused "down: answered REFUSED"

if [ "$(id -u)" -ne 0 ]; then
    echo "skip  icmp: making a network takes root"
    summary
    exit
fi
mkdir -p "$WORK/icmp/zones"
chmod 755 "$WORK"
chmod 777 "$WORK/icmp"
cat >"$WORK/icmp/zones/lb.toml" <<'CONF'
zone = "lb.example"
[records]
"@" = { NS = "ns.example.net." }
[checks]
echo = { type = "icmp", interval = "500ms", timeout = "300ms", fall = 1, rise = 1 }
[pools.all]
check = "echo"
backends = [
  { name = "here", address = "192.0.2.1" },
  { name = "six", address = "2001:db8::1" },
  { name = "nowhere", address = "203.0.113.9" },
]
[names]
www = "all"
CONF
printf '[listen]\ndns = ["127.0.0.1:0"]\ncontrol = "unix:control.sock"\n' >"$WORK/icmp/rollcall.toml"
cat >"$WORK/icmp/inside" <<'CONF'
#!/bin/sh
# Two addresses, and no route to anywhere else.
ip link set lo up
ip addr add 192.0.2.1/32 dev lo
ip addr add 2001:db8::1/128 dev lo nodad
[ "$1" = permitted ] && echo "0 65534" >/proc/sys/net/ipv4/ping_group_range || echo "1 0" >/proc/sys/net/ipv4/ping_group_range
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$2" serve --config "$3"
CONF
chmod 755 "$WORK/icmp/inside"
control=$WORK/icmp/control.sock
for permission in refused permitted; do
    background "$WORK/icmp.log" unshare --net "$WORK/icmp/inside" $permission "$ROLLCALL" "$WORK/icmp/rollcall.toml"
    icmp=$LAST
    wait_for 10 "rollcall in its network" test -S "$control"
    if [ $permission = refused ]; then
        expect "ICMP is not permitted" "$control" lb.example/all/here "down: *net.ipv4.ping_group_range*CAP_NET_RAW"
        kill "$icmp"
        wait "$icmp" 2>/dev/null || true
    else
        expect "an echo comes back" "$control" lb.example/all/here "up: echo after *"
        expect "over IPv6 too" "$control" lb.example/all/six "up: echo after *"
        expect "no route" "$control" lb.example/all/nowhere "down: network unreachable"
        nsenter --net="/proc/$icmp/ns/net" sh -c 'echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all'
        expect "silence" "$control" lb.example/all/here "down: timed out waiting for the echo"
    fi
done
summary
