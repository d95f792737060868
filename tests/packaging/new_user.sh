#!/bin/bash
# A new user's way, from the package and its README alone: files, commands and delegation lines are taken out of the README
# that the package installs, in its order, and the seconds since dpkg began are told. README's addresses and ports are real
# here, in a network of the script's own; its backends are Python's http.server.
#
#   tests/packaging/new_user.sh            wants root, cargo-deb, debootstrap, python3, curl, iproute2 and dig
#   BUILT=1, DEB=FILE, ROOTFS=DIR …        as for deb.sh
#
# Where no namespaces can be made, loopback addresses stand for README's. There is no init in the clean Debian: where README
# says `systemctl restart rollcall`, the server is started with the unit's user, right and command.
# Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
# shellcheck source=tests/packaging/lib.sh
. tests/packaging/lib.sh
in_clean_debian "$@"
README=$ROOT/usr/share/doc/rollcall/README.md
if [ "${APART:-}" = yes ]; then
    here() { cat; }
    for address in 192.0.2.1 192.0.2.10 192.0.2.11 192.0.2.53 198.51.100.10 198.51.100.53; do ip address add $address/32 dev lo; done
else
    here() { sed 's/192\.0\.2\./127.0.2./g; s/198\.51\.100\./127.51.100./g; s/"0\.0\.0\.0:53", "\[::]:53"/"127.0.2.53:53", "127.51.100.53:53"/'; }
fi
address() { here <<<"$1"; }

# part N: step N of README. fenced KIND N: its first block of that kind. command N WORDS: its first command that begins so.
part() { sed -n "/^\*\*$1\. /,/^\(\*\*$(($1 + 1))\. \|## \)/p" "$README"; }
fenced() { part "$2" | sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" | sed '/^```/d' | here; }
command() { fenced console "$1" | sed -n "s/^[\$#] \($2.*\)/\1/p" | sed 's/  *#.*//' | head -n 1; }
# readme N WORDS: runs that command in the clean Debian, in /, as its root.
readme() {
    local line
    line=$(command "$1" "$2")
    [ -n "$line" ] || { echo "README's step $1 has no command '$2'"; return 1; }
    echo "\$ $line"
    within bash -c "cd / && $line"
}

answer() { dig @"$(address 192.0.2.53)" +time=1 +tries=1 +short "${@:-www.lb.example.com}" A | sort | tr '\n' ' '; }
answered() { [ "$(answer)" = "$(address "$1") " ]; }
both() { [ "$(answer)" = "$(address 192.0.2.10) $(address 192.0.2.11) " ]; }
declare -A BACKENDS
mkdir -p "$ROOT/www"
touch "$ROOT/www/healthz"
backend() {
    python3 -m http.server --bind "$(address "$1")" --directory "$ROOT/www" 8080 >/dev/null 2>&1 &
    BACKENDS[$1]=$!
    disown
}
stop() { kill -KILL "${BACKENDS[$1]}"; }
# within_seconds LIMIT WHAT COMMAND …: polls, and says how long it took.
within_seconds() {
    local limit=$1 what=$2 from=$EPOCHREALTIME took
    shift 2
    until "$@" || awk -v a="$from" -v b="$EPOCHREALTIME" -v l="$limit" 'BEGIN { exit b - a < l + 5 }'; do sleep 0.05; done
    took=$(since "$from")
    check "$what: $took s, of $limit at most" awk -v t="$took" -v l="$limit" 'BEGIN { exit t > l }'
}
# The backends that the example lacks, and nothing else of the machine.
for one in 192.0.2.10 192.0.2.11 198.51.100.10; do backend $one; done
finish() {
    kill -KILL "${BACKENDS[@]}" 2>/dev/null
    leave
}
trap finish EXIT

echo "from $DEB"
cp "$DEB" "$ROOT/package.deb"
BEGIN=$EPOCHREALTIME
check "the package is installed" within dpkg --install /package.deb
check "README names its installation" grep -q '^# apt install ./rollcall_' "$README"
links() {
    local link
    # The licences are in the file that Debian has for them, `copyright`.
    grep -o '](\([^)#]*\)' "$README" | sed 's/](//; /^$/d; /^http/d; /^LICENSE-/d' | sort -u | while read -r link; do
        [ -e "$ROOT/usr/share/doc/rollcall/$link" ] || { echo "$link is not there"; false; }
    done
}
check "what it links to is there" links

echo "1. A zone, 2. a server file"
# Written as who follows README would: as root, with the usual umask.
fenced "toml zone" 1 >"$ROOT/etc/rollcall/zones/lb.example.com.toml"
check "the zone is README's" grep -q '^\[pools.web\]' "$ROOT/etc/rollcall/zones/lb.example.com.toml"
lines() { fenced "toml server" 2 | sed 's/ *#.*//' | grep "^$1 "; }
sed -i "s|^dns = .*|$(lines dns)|; s|^control = .*|$(lines control)|" "$ROOT/etc/rollcall/rollcall.toml"
check "and so are the addresses of the server" grep -qxF "$(lines dns)" "$ROOT/etc/rollcall/rollcall.toml"

echo "3. Run it"
check "rollcall validate" readme 3 "rollcall validate"
check "README says how the service is started" grep -q 'systemctl restart rollcall' "$README"
(as_unit) 2>"$ROOT/log" &
check "first right answer" eventually both
check "README's dig says what README says" \
    test "$(eval "$(command 3 dig)" | sort)" = "$(fenced console 3 | grep '^[0-9.]*$' | sort)"
check "rollcall status" says 'web' readme 3 "rollcall status"

echo "4. Delegate"
mkdir -p "$ROOT/parent/zones"
{
    # shellcheck disable=SC2016  # a zone's own words
    printf '$TTL 3600\n@ IN SOA ns hostmaster 1 3600 600 86400 300\n@ IN NS ns\nns IN A %s\n' "$(address 192.0.2.1)"
    fenced text 4
} >"$ROOT/parent/zones/example.com.zone"
printf 'zones = "zones"\n[listen]\ndns = ["%s:5353"]\n' "$(address 192.0.2.1)" >"$ROOT/parent/rollcall.toml"
check "README's lines in a parent zone" within rollcall validate --config /parent/rollcall.toml
within rollcall serve --config /parent/rollcall.toml 2>"$ROOT/parent/log" &
parent() { dig @"$(address 192.0.2.1)" -p 5353 +time=1 +tries=1 +norecurse "$@"; }
refers() { says 'ns2\.lb' parent lb.example.com NS +noall +authority; }
check "the parent refers to both servers" eventually refers
glue() { parent www.lb.example.com A +noall +additional | awk '$4 == "A" { print $5 }' | sort; }
in_child() { for one in ns1 ns2; do answer $one.lb.example.com; done | tr ' ' '\n' | sed '/^$/d' | sort; }
check "with the addresses that they have in the zone itself" test "$(glue)" = "$(in_child)"
reached() {
    local one
    [ "$(glue | wc -l)" = 2 ] || return 1
    for one in $(glue); do says 'flags: qr aa' dig @"$one" +time=1 +tries=1 +norecurse www.lb.example.com A || return 1; done
}
check "each of which answers, with authority" reached
check "and the parent's www leads there" says 'CNAME.*www\.lb\.example\.com' parent www.example.com A

echo "5. Fail over"
promised=$(part 5 | sed -n 's/.*Within \([0-9.]*\) s .*/\1/p')
stop 192.0.2.10
within_seconds "$promised" "only b is answered" answered 192.0.2.11
stop 192.0.2.11
within_seconds "$promised" "the standby is" answered 198.51.100.10
check "rollcall explain" says 'standby' readme 5 "rollcall explain"
check "says why they are down" grep -q 'refused' "$ROOT/said"
check "rollcall history" says 'lb.example.com/web/a' readme 5 "rollcall history"
page() { curl --silent --fail --max-time 2 "http://127.0.0.1:8053/$1"; }
check "the page in a browser" says '<html' page ""
check "/metrics" says '^rollcall_backend_state' page metrics

echo "6. Drill"
backend 192.0.2.10
backend 192.0.2.11
check "both run again" eventually both
check "a rehearsal" readme 6 "rollcall drill .*--dry-run"
check "the drill" readme 6 "rollcall drill .*--markdown"
check "its report names what was taken out" grep -q 'Taken out: lb.example.com/web/b ' "$ROOT/drill.md"
measured() { grep -E '^\| lb.example.com/web/b \| down at .*ms \|' "$ROOT/drill.md"; }
check "and when it was answered no more" measured
check "and where clients were led" grep -q '^| Clients led to' "$ROOT/drill.md"
drain=$(part 6 | tr '\n' ' ' | grep -o 'rollcall state [^`]*')
check "a drain for work of one's own" within bash -c "$drain"

echo "7. Upgrade"
check "the new program is installed over the old" within dpkg --install /package.deb
[ "$PROC" = no ] || check "rollcall replace" says 'replaced: process' readme 7 "rollcall replace"
check "the drain is kept" says 'kernel update' within rollcall status
check "and heeded" answered 192.0.2.10
echo "the report:"
sed -n '1,16s/^/  /p' "$ROOT/drill.md"
summary
