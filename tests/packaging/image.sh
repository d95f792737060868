#!/bin/bash
# The container image: built from scratch by buildah, and its program started with nothing but the image as its root.
#
#   tests/packaging/image.sh               wants root, buildah, curl and dig
#   STATIC=PATH tests/packaging/image.sh   takes a static binary that is there already
#
# No container runtime and no daemon: buildah runs it, with chroot isolation, as the user and by the command of the image.
# Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
# shellcheck source=tests/packaging/lib.sh
. tests/packaging/lib.sh
as_root
if [ -z "${NAME:-}" ]; then
    export NAME=localhost/rollcall-test:$$
    mkdir -p target
    packaging/image/build.sh "$NAME" >target/build-image.log 2>&1 || { tail -n 30 target/build-image.log; exit 2; }
fi
apart "$@"
[ "$APART" != yes ] || ip link set lo up
vfs() { buildah --storage-driver vfs "$@"; }
container=$(vfs from "$NAME") || exit 2
root=$(vfs mount "$container") || exit 2
server=
LOG=$(mktemp)
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    vfs rm "$container" >/dev/null
    vfs rmi "$NAME" >/dev/null
    rm -f "$LOG" "$LOG.status"
}
trap finish EXIT

inspect() { vfs inspect --type image --format "$1" "$NAME"; }
only() { [ "$(cd "$root" && find . -type f | sort | tr '\n' ' ')" = "$1" ] || { find "$root" -type f; return 1; }; }
is_static() { ! LC_ALL=C ldd "$root/rollcall" | grep '=>'; }
by_buildah() { vfs run --isolation chroot "$container" -- /rollcall "$@"; }
user=$(inspect '{{.OCIv1.Config.User}}')
within() { chroot --userspec="$user" "$root" "$@"; }
ask() { dig @127.0.0.1 -p 5300 +short +time=1 +tries=1 "$@"; }
answers() { [ "$(ask "$@" www.lb.example.com)" = 192.0.2.1 ]; }
ready() { curl --silent --fail --max-time 2 http://127.0.0.1:8053/readyz; }

echo "the image: $(du -sh "$root" | cut -f1)"
check "holds the program, its trust and a server file" only "./etc/rollcall/rollcall.toml ./etc/ssl/certs/ca-certificates.crt ./rollcall "
check "the program is static" is_static
check "runs as nobody in particular" test "$user" = 65532:65532
check "says its ports" test "$(inspect '{{len .OCIv1.Config.ExposedPorts}}')" = 3
check "its state directory is its user's" test "$(stat -c %u "$root/var/lib/rollcall")" = 65532
check "the program runs in an empty root" within /rollcall --version
check "and in buildah's container" by_buildah --version
mkdir "$root/etc/rollcall/zones"
cat >"$root/etc/rollcall/zones/lb.toml" <<'ZONE'
zone = "lb.example.com"
[records]
"@" = { NS = "ns.example.net." }
[checks.web]
type = "https"
port = 9
tls = { verify = true }
[pools.web]
backends = [{ name = "a", address = "192.0.2.1" }]
[pools.other]
check = "web"
initial = "up"
backends = [{ name = "c", address = "127.0.0.1" }]
[names]
www = "web"
other = "other"
ZONE
check "its own server file and a zone are sound" by_buildah validate --config /etc/rollcall/rollcall.toml
# What the image itself says is started.
read -ra started <<<"$(inspect '{{range .OCIv1.Config.Entrypoint}}{{.}} {{end}}{{range .OCIv1.Config.Cmd}}{{.}} {{end}}')"
vfs run --isolation chroot "$container" -- "${started[@]}" >"$LOG" 2>&1 &
runner=$!
check "answers: ${started[*]}" eventually answers
check "over TCP" answers +tcp
check "/readyz" eventually ready
# Exit code 3: the other pool is down, as it should be.
reports() { within /rollcall status --control 127.0.0.1:8053 >"$LOG.status"; [ $? -eq 3 ] && grep -q "connection refused" "$LOG.status"; }
check "status" eventually reports
for process in /proc/[0-9]*; do
    [ "$(stat -c %u "$process" 2>/dev/null)" != "${user%:*}" ] || server=${process#/proc/}
done
check "as its user, holding no capability" grep -q '^CapPrm:[[:space:]]*0*$' "/proc/$server/status"
kept() { (cd "/proc/$server/root" && test -s var/lib/rollcall/state.json); }
check "keeps state" eventually kept
# A check runs in a shell of its own, whose child the server is not.
kill -TERM "$server"
wait "$runner"
code=$?
server=
check "SIGTERM ends it in order" [ $code -eq 0 ]
[ "$FAILED" -eq 0 ] || tail -n 20 "$LOG"
summary
