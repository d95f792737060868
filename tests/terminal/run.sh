#!/bin/bash
# The full screen of `rollcall status --watch` in a real terminal: tmux gives the keys and reads the screen, a live server
# is behind it. Moves, filters, drains with a reason and takes the drain back; sees the answers follow; resizes; and
# finds the terminal as it was after `q`, SIGTERM, SIGINT, SIGHUP, the end of the server, and a panic.
#
#   tests/terminal/run.sh
#
# ROLLCALL names the binary (default: target/release/rollcall, built when missing), ROLLCALL_PANIC the one with the feature
# `panic-drill` (default: a debug build). Ends with `N passed, N failed`.
source "$(dirname "$0")/../interop/lib.sh"
need tmux=tmux dig=bind9-dnsutils
need_rollcall
TMUX_SOCKET=$WORK/tmux
tm() { tmux -f /dev/null -S "$TMUX_SOCKET" "$@"; }
trap 'tm kill-server 2>/dev/null || true; cleanup' EXIT

DNS=$(free_port) CONTROL=$(free_port)
mkdir -p "$WORK/zones"
cat >"$WORK/rollcall.toml" <<TOML
zones = "zones"
[listen]
dns = ["127.0.0.1:$DNS"]
control = "127.0.0.1:$CONTROL"
TOML
cat >"$WORK/zones/lb.toml" <<'TOML'
zone = "lb.example.com"
ttl = 5
[records]
"@" = { NS = "ns.example.net." }
[pools.web]
policy = "weighted"
backends = [
    { name = "alpha", address = "192.0.2.1", weight = 3 },
    { name = "beta", address = "192.0.2.2" },
    { name = "gamma", address = "192.0.2.3" },
]
[pools.mail]
backends = [{ name = "mx", address = "192.0.2.25" }]
[names]
www = { to = "web", answers = 8 }
mail = "mail"
TOML
serve() { background "$WORK/serve.log" "$ROLLCALL" --config "$WORK/rollcall.toml" serve; SERVER=$LAST; }
serve
wait_for 20 "the server" answers 127.0.0.1 "$DNS" lb.example.com

screen() { tm capture-pane -p -t board; }
# With what the terminal was told about looks: colours are CSI 3xm.
looks() { tm capture-pane -e -p -t board; }
shows() { screen | grep -qF -- "$1"; }
lacks() { ! shows "$1"; }
# sees WHAT TEXT / misses WHAT TEXT: soon, on the screen.
soon() { local i; for i in $(seq 100); do "$@" && return 0; sleep 0.1; done; return 1; }
sees() { if soon shows "$2"; then pass "$1"; else fail "$1: no <$2> on"; screen; fi; }
misses() { if soon lacks "$2"; then pass "$1"; else fail "$1: still <$2> on"; screen; fi; }
keys() { tm send-keys -t board "$@"; }
type_text() { tm send-keys -t board -l -- "$1"; }
addresses() { dig @127.0.0.1 -p "$DNS" www.lb.example.com A +short +time=2 | sort | xargs; }
answers_are() { [ "$(addresses)" = "$1" ]; }
follows() { if soon answers_are "$2"; then pass "$1"; else fail "$1: <$(addresses)>"; fi; }
# What it leaves is looked at before the shell reads the next line: bash has a terminal mode of its own for that.
cat >"$WORK/left" <<'SH'
echo "left=$1 off=<$(stty -a | grep -oE -- '-(echo|icanon|isig|icrnl|opost)\b' | xargs)>"
SH
watch_line() { printf '%s' "'${1:-$ROLLCALL}' status --watch --control 127.0.0.1:$CONTROL; . $WORK/left \$?"; }
watching() { pgrep -f "^[^ ]+ status --watch --control 127.0.0.1:$CONTROL"; }
# given_back AFTER EXIT: the program has left with that code, the terminal is as it was: the main screen, the cursor seen, keys
# echoed and gathered into lines, control-C a signal again.
given_back() {
    sees "$1: it leaves with exit code $2, and no mode of the terminal is off" "left=$2 off=<>"
    check "$1: the main screen and the cursor are back" "0 1" "$(tm display-message -p -t board '#{alternate_on} #{cursor_flag}')"
    type_text "clear"; keys Enter
}

# A shell, so that what is left of the terminal afterwards can be seen.
tm new-session -d -s board -x 120 -y 32 "env -u NO_COLOR RUST_BACKTRACE=0 PS1='$ ' TERM=screen-256color bash --norc --noprofile"
type_text "$(watch_line)"; keys Enter
sees "the screen has pools" "pool web  weighted  healthy"
sees "and backends with state, share and a bar" "alpha  ? unchecked        60 %  ######....  192.0.2.1"
sees "and the transitions" "transitions (UTC), newest first"
check "colours are used" yes "$(looks | grep -q $'\e\[[0-9;]*3[0-9]' && echo yes || echo no)"

keys Down
sees "down moves" "> alpha"
keys End
sees "end goes to the last" "> gamma"
keys Home
type_text "/gam"
misses "the filter narrows" "alpha"
sees "and is shown" "/gam_"
keys Enter
sees "the selection is what is left" "> gamma"

keys d
sees "a drain asks why" "drain lb.example.com/web/gamma  reason: _"
type_text "kernel update"
keys Enter
sees "the drain is done" "1 backend -> drain"
sees "and shown with its reason" "kernel update"
sees "and its state" "draining"
follows "the answers follow" "192.0.2.1 192.0.2.2"
check "status says who and why" "kernel update" \
    "$("$ROLLCALL" status --json --control "127.0.0.1:$CONTROL" | $PYTHON -c 'import json, sys
print([b for z in json.load(sys.stdin)["zones"] for p in z["pools"] for b in p["backends"] if b["backend"] == "gamma"][0]["override"]["reason"])')"
keys Escape
sees "escape shows everything" "alpha"
sees "shares are those of the others" "75 %"
sees "the transition is in the log" "lb.example.com/web/gamma"
keys u Enter
follows "undrained, it is answered again" "192.0.2.1 192.0.2.2 192.0.2.3"
keys x
type_text "no"
keys Escape
sees "escape lets be" "nothing was changed"
keys Up Up x Enter
follows "forced down" "192.0.2.2 192.0.2.3"
keys f Enter
follows "forced up" "192.0.2.1 192.0.2.2 192.0.2.3"
keys a Enter
sees "auto again" "1 backend -> auto"

keys '?'
sees "the help" "keys (any key goes back)"
keys q
misses "any key ends the help" "keys (any key goes back)"
sees "and no more than that" "pool web"

# A change from elsewhere comes by itself.
"$ROLLCALL" state 'lb.example.com/mail/mx' drain --reason 'from elsewhere' --control "127.0.0.1:$CONTROL" >/dev/null
sees "what others do is seen" "from elsewhere"
"$ROLLCALL" state 'lb.example.com/mail/mx' auto --control "127.0.0.1:$CONTROL" >/dev/null

tm resize-window -t board -x 38 -y 16
sees "a narrow screen keeps states and shares" "alpha"
misses "and leaves addresses out" "192.0.2.3"
sees "with short keys" "q quit  ? help"
tm resize-window -t board -x 120 -y 32
sees "wide again" "192.0.2.1"

check "meanwhile the screen is another one, without a cursor" "1 0" \
    "$(tm display-message -p -t board '#{alternate_on} #{cursor_flag}')"
keys q
misses "q gives the screen back" "pool web"
given_back q 0

keys C-l; type_text "clear; NO_COLOR=1 $(watch_line)"; keys Enter
sees "with NO_COLOR it shows" "pool web"
check "and no colour is used" no "$(looks | grep -q $'\e\[[0-9;]*[34][0-7]m' && echo yes || echo no)"
kill -TERM "$(watching)"
misses "SIGTERM gives the screen back" "pool web"
given_back SIGTERM 0

for signal in INT HUP; do
    type_text "clear; $(watch_line)"; keys Enter
    sees "once more" "pool web"
    kill -$signal "$(watching)"
    given_back SIG$signal 0
done

type_text "clear; $(watch_line)"; keys Enter
sees "once more" "pool web"
kill "$SERVER"; wait "$SERVER" 2>/dev/null || true
sees "a server that goes is lost" "lost the server"
sees "what was known last stays" "alpha"
serve
misses "and found again when it is back" "lost the server"
keys C-c
given_back control-C 0

type_text "clear; $(watch_line)"; keys Enter
sees "once more" "pool web"
kill "$SERVER"; wait "$SERVER" 2>/dev/null || true
sees "the server goes for good" "lost the server"
kill -TERM "$(watching)"
given_back "SIGTERM without a server" 0
serve
wait_for 20 "the server" answers 127.0.0.1 "$DNS" lb.example.com

if [ -z "${ROLLCALL_PANIC:-}" ]; then
    (cd "$ROOT" && cargo build --locked --features panic-drill --bin rollcall-panic-drill 2>&1 | tail -n 1)
    ROLLCALL_PANIC=$ROOT/target/debug/rollcall-panic-drill
fi
type_text "clear; $(watch_line "$ROLLCALL_PANIC")"; keys Enter
sees "with the program that panics when asked" "pool web"
keys F12
sees "a panic is said where it can be read" "the drill asked for a panic under the full screen"
given_back "a panic" 101

summary
