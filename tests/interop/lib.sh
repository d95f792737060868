# Shared by the scripts beside it: packages, free ports, processes that end with the script, counting.
# Sourced, never run.

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
ROLLCALL=${ROLLCALL:-$ROOT/target/release/rollcall}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/rollcall-interop.XXXXXX")
PYTHON=/usr/bin/python3          # Debian's, which sees Debian's python3-dnspython
PIDS=()
PASSED=0
FAILED=0

# Removes the working directory and ends only what this script started. Keeps the directory with KEEP=1.
cleanup() {
    local pid
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ -n "${KEEP:-}" ]; then echo "kept: $WORK"; else rm -rf "$WORK"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

pass() { PASSED=$((PASSED + 1)); echo "ok    $*"; }
fail() { FAILED=$((FAILED + 1)); echo "FAIL  $*"; }

# check WHAT EXPECTED ACTUAL
check() {
    if [ "$2" = "$3" ]; then pass "$1"; else fail "$1: expected <$2>, got <$3>"; fi
}

# The last line of every script; its exit code.
summary() {
    echo "$PASSED passed, $FAILED failed"
    [ "$FAILED" -eq 0 ]
}

# need COMMAND=PACKAGE …: installs the Debian packages whose commands (or, with a slash, files) are missing.
need() {
    local pair missing=()
    for pair in "$@"; do
        case ${pair%%=*} in
            /*) [ -e "${pair%%=*}" ] || missing+=("${pair#*=}") ;;
            *) command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}") ;;
        esac
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "installing ${missing[*]}"
    local sudo=""
    [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
    # A daemon that a package would start is not wanted: a policy of 101 tells Debian's maintainer scripts so.
    local policy=/usr/sbin/policy-rc.d made=""
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod 755 $policy && made=1
    fi
    local options=(-y -qq --no-install-recommends -o Dpkg::Use-Pty=0)
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install "${options[@]}" "${missing[@]}" >"$WORK/apt.log" 2>&1 ||
        { DEBIAN_FRONTEND=noninteractive $sudo apt-get update -qq >>"$WORK/apt.log" 2>&1 || true
          DEBIAN_FRONTEND=noninteractive $sudo apt-get install "${options[@]}" "${missing[@]}" >>"$WORK/apt.log" 2>&1; } ||
        { cat "$WORK/apt.log"; [ -z "$made" ] || $sudo rm -f $policy; exit 2; }
    [ -z "$made" ] || $sudo rm -f $policy
}

need_rollcall() {
    if [ ! -x "$ROLLCALL" ]; then
        echo "building $ROLLCALL"
        (cd "$ROOT" && cargo build --release --locked)
    fi
}

# A port free on 127.0.0.1 for UDP and TCP alike.
free_port() {
    $PYTHON - <<'PY'
import socket
while True:
    tcp = socket.socket(); tcp.bind(("127.0.0.1", 0)); port = tcp.getsockname()[1]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        udp.bind(("127.0.0.1", port))
    except OSError:
        continue
    print(port)
    break
PY
}

# background LOG COMMAND …: runs it, remembers it for cleanup. The pid is in $LAST.
background() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 &
    LAST=$!
    PIDS+=("$LAST")
}

# wait_for SECONDS WHAT COMMAND …: until the command succeeds. Shows the logs and ends the script when it never does.
wait_for() {
    local seconds=$1 what=$2 end
    shift 2
    end=$(($(date +%s) + seconds))
    until "$@" >/dev/null 2>&1; do
        if [ "$(date +%s)" -ge "$end" ]; then
            echo "gave up waiting for $what"
            tail -n 20 "$WORK"/*.log 2>/dev/null || true
            exit 2
        fi
        sleep 0.05
    done
}

# answers ADDRESS PORT ZONE: whether a server there answers the zone's SOA with authority.
answers() { dig "@$1" -p "$2" "$3" SOA +norecurse +time=1 +tries=1 | grep -q '^;; flags: qr aa'; }
