#!/bin/bash
# The container image: built from scratch by buildah, and its program started with nothing but the image as its root.
#
#   tests/packaging/image.sh               wants root, buildah and dig
#   STATIC=PATH tests/packaging/image.sh   takes a static binary that is there already
#
# Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
# shellcheck source=tests/packaging/lib.sh
. tests/packaging/lib.sh
NAME=localhost/rollcall-test:$$
packaging/image/build.sh "$NAME" >target/build-image.log 2>&1 || { tail -n 30 target/build-image.log; exit 2; }
# A plain chroot of the image's files: no runtime, no network, no other process's files.
container=$(buildah --storage-driver vfs from "$NAME") || exit 2
root=$(buildah --storage-driver vfs mount "$container") || exit 2
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    buildah --storage-driver vfs rm "$container" >/dev/null
    buildah --storage-driver vfs rmi "$NAME" >/dev/null
}
trap finish EXIT

inspect() { buildah --storage-driver vfs inspect --type image --format "$1" "$NAME"; }
only() { [ "$(cd "$root" && find . -type f | sort | tr '\n' ' ')" = "$1" ] || { find "$root" -type f; return 1; }; }
is_static() { ! LC_ALL=C ldd "$root/rollcall" | grep '=>'; }
within() { chroot --userspec=65532:65532 "$root" "$@"; }
ask() { dig @127.0.0.1 -p 5300 +short +time=1 +tries=1 "$@"; }
answers() { [ "$(ask www.lb.example.com)" = 192.0.2.1 ]; }
serving() { kill -0 "$server"; }

echo "the image: $(du -sh "$root" | cut -f1)"
check "holds the program, its trust and a server file" only "./etc/rollcall/rollcall.toml ./etc/ssl/certs/ca-certificates.crt ./rollcall "
check "the program is static" is_static
check "runs as nobody in particular" test "$(inspect '{{.OCIv1.Config.User}}')" = 65532:65532
check "says its ports" test "$(inspect '{{len .OCIv1.Config.ExposedPorts}}')" = 3
check "its state directory is its user's" test "$(stat -c %u "$root/var/lib/rollcall")" = 65532
check "the program runs in an empty root" within /rollcall --version
mkdir "$root/etc/rollcall/zones"
cat >"$root/etc/rollcall/zones/lb.toml" <<'END'
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
END
within /rollcall serve --config /etc/rollcall/rollcall.toml 2>"$root/var/lib/log" &
server=$!
check "answers" eventually answers
check "over TCP" test "$(ask +tcp www.lb.example.com)" = 192.0.2.1
check "status" eventually within /rollcall status --control 127.0.0.1:8053 --json
check "keeps state" eventually test -s "$root/var/lib/rollcall/state.json"
ended() { kill -TERM "$server" && wait "$server"; }
check "SIGTERM ends it in order" ended
summary
