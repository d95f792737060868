#!/bin/bash
# What is shipped beside the program. The systemd units, as systemd judges them. The Kubernetes manifests: yamllint, whether
# what they name exists and fits together, and the files they mount, served by the real program as a pod would have them,
# with a ConfigMap's swap of files, probes and SIGTERM.
#
#   tests/packaging/manifests.sh    wants systemd, python3-yaml, yamllint, curl and dig; no cluster
#
# The Debian package has scripts of its own, deb.sh and new_user.sh; the image has image.sh, to be run by hand.
#
# Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
# shellcheck source=tests/packaging/lib.sh
. tests/packaging/lib.sh
ROLLCALL=${ROLLCALL:-$PWD/target/release/rollcall}
[ -x "$ROLLCALL" ] || cargo build --release --locked || exit 2
POD=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    rm -rf "$POD"
}
trap finish EXIT

echo "the units"
unit=packaging/systemd/rollcall.service
check "exposure is 2.0 at most" systemd-analyze security --offline=true --threshold=20 $unit
units=$POD/units
mkdir "$units"
sed "s,/usr/bin/rollcall,$ROLLCALL," $unit >"$units/rollcall.service"
cp packaging/systemd/rollcall-dns.socket "$units"
verified() { SYSTEMD_UNIT_PATH=$units: systemd-analyze verify --man=no "$units/rollcall.service" "$units/rollcall-dns.socket"; }
check "systemd understands them" verified

echo "the manifests"
rules='{extends: default, rules: {document-start: disable, line-length: {max: 125}}}'
check "yamllint" yamllint --strict -d "$rules" packaging/kubernetes
check "what they name exists and fits" python3 tests/packaging/kubernetes.py

echo "a pod's files"
# As the kubelet lays them out: ..data is a symlink that is swapped as a whole.
lay_out() {
    mkdir -p "$POD/..$1/zones" "$POD/..$1/tokens"
    sed -e "s,/etc/rollcall/,$POD/,; s,/var/lib/rollcall,$POD/state,; s,0.0.0.0:5300,127.0.0.1:$dns,; s,:8053,:$control," \
        packaging/kubernetes/rollcall.toml >"$POD/..$1/rollcall.toml"
    sed "s/192.0.2.10/$2/; s/check    = \"web\"//" packaging/kubernetes/zones/lb.example.com.toml >"$POD/..$1/zones/lb.example.com.toml"
    printf '[kubernetes]\nsecret = "%s"\nscopes = ["write"]\n' "$TOKEN" >"$POD/..$1/tokens/tokens.toml"
    ln -s "..$1" "$POD/..data_new"
    mv -T "$POD/..data_new" "$POD/..data"
}
TOKEN=$(head -c 24 /dev/urandom | base64)
read -r dns control < <(python3 - <<'END'
import socket
found = []
for _ in range(2):
    one = socket.socket()
    one.bind(("127.0.0.1", 0))
    found.append(one)
print(*[one.getsockname()[1] for one in found])
END
)
lay_out first 192.0.2.10
for name in rollcall.toml zones tokens; do ln -s "..data/$name" "$POD/$name"; done
"$ROLLCALL" serve --config "$POD/rollcall.toml" 2>"$POD/log" &
server=$!
first() { dig @127.0.0.1 -p "$dns" +short +time=1 +tries=1 www.lb.example.com | grep -qx "$1"; }
# A probe of the kubelet's: from elsewhere, to the pod's address.
probe() { curl --silent --fail --max-time 2 -H "Host: 10.1.2.3:8053" "http://127.0.0.1:$control$1"; }
code() { [ "$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 2 "${@:2}")" = "$1" ]; }
check "answers" eventually first 192.0.2.10
check "/readyz" eventually probe /readyz
check "/livez" probe /livez
check "nothing else without a token" code 401 -H "Host: 10.1.2.3:8053" "http://127.0.0.1:$control/v1/status"
check "status with one" code 200 -H "Authorization: Bearer $TOKEN" "http://127.0.0.1:$control/v1/status"
lay_out second 192.0.2.77
rm -r "$POD/..first"
check "a ConfigMap's new files are taken" eventually first 192.0.2.77
# A check runs in a shell of its own, whose child the server is not.
kill -TERM "$server"
wait "$server"
code=$?
server=
check "SIGTERM drains and ends in order" [ $code -eq 0 ]
summary
