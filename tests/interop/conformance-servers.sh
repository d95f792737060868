# Starts each server on a free port with the master files in $zones: start_NAME ZONE …; the port is in $LAST_PORT. PLAIN=1: no
# cookies. Sourced behind lib.sh, never run.

start_rollcall() {
    LAST_PORT=$(free_port)
    cat >"$WORK/rollcall.toml" <<CONF
zones = "zones"
[listen]
dns = ["127.0.0.1:$LAST_PORT"]
[dns]
nsid = "conf"
version = "conf"
id = "conf"
[dns.cookies]
enabled = $([ -n "${PLAIN:-}" ] && echo false || echo true)
[dns.rate_limit]
enabled = false
CONF
    background "$WORK/rollcall.log" "$ROLLCALL" serve --config "$WORK/rollcall.toml"
}

start_bind() {
    LAST_PORT=$(free_port)
    mkdir -p "$WORK/bind"
    {
        cat <<CONF
options {
  directory "$WORK/bind"; pid-file none; session-keyfile none; lock-file none;
  listen-on port $LAST_PORT { 127.0.0.1; }; listen-on-v6 { none; };
  recursion no; notify no; minimal-responses yes; allow-transfer { none; }; dnssec-validation no;
  server-id "conf"; version "conf"; hostname "conf"; max-udp-size 1232; edns-udp-size 1232; check-integrity no;
};
controls { };
CONF
        for zone in "$@"; do echo "zone \"$zone\" { type primary; file \"$zones/$zone.zone\"; check-names ignore; };"; done
    } >"$WORK/named.conf"
    background "$WORK/bind.log" named -f -g -n 1 -c "$WORK/named.conf"
}

start_nsd() {
    LAST_PORT=$(free_port)
    {
        cat <<CONF
server:
  ip-address: 127.0.0.1
  port: $LAST_PORT
  username: ""
  zonesdir: "$zones"
  database: ""
  zonelistfile: "$WORK/nsd.list"
  pidfile: ""
  xfrdfile: ""
  xfrdir: "$WORK"
  logfile: ""
  server-count: 1
  minimal-responses: yes
  rrl-ratelimit: 0
  ipv4-edns-size: 1232
  nsid: "ascii_conf"
  version: "conf"
  identity: "conf"
  answer-cookie: $([ -n "${PLAIN:-}" ] && echo no || echo yes)
remote-control:
  control-enable: no
CONF
        for zone in "$@"; do printf 'zone:\n  name: %s\n  zonefile: %s.zone\n' "$zone" "$zone"; done
    } >"$WORK/nsd.conf"
    background "$WORK/nsd.log" nsd -d -c "$WORK/nsd.conf"
}

start_knot() {
    LAST_PORT=$(free_port)
    mkdir -p "$WORK/knot"
    {
        cat <<CONF
server:
    rundir: "$WORK/knot"
    listen: 127.0.0.1@$LAST_PORT
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    udp-max-payload: 1232
    nsid: "conf"
    version: "conf"
    identity: "conf"
database:
    storage: "$WORK/knot"
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: "$zones"
    file: "%s.zone"
    semantic-checks: soft
    zonefile-load: whole
    journal-content: none
CONF
        [ -n "${PLAIN:-}" ] || echo '    global-module: mod-cookies'
        echo 'zone:'
        for zone in "$@"; do echo "  - domain: $zone"; done
    } >"$WORK/knot.conf"
    background "$WORK/knot.log" knotd -c "$WORK/knot.conf"
}
