#!/bin/bash
# The Debian package: built, looked at by lintian and systemd-analyze, installed into a clean Debian made by debootstrap,
# started there as its unit would, upgraded under a client, removed and purged.
#
#   tests/packaging/deb.sh           wants root, cargo-deb, lintian, debootstrap, systemd and dig
#   BUILT=1 tests/packaging/deb.sh   packs target/release/rollcall as it is
#   DEB=FILE tests/packaging/deb.sh  takes a package that is there already
#   ROOTFS=DIR …                     keeps the clean Debian there for the next time (a copy of it is used)
#
# Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
# shellcheck source=tests/packaging/lib.sh
. tests/packaging/lib.sh
in_clean_debian "$@"
echo "$DEB: $(du -h "$DEB" | cut -f1)"

ask() { dig @127.0.0.1 -p 5300 +short +time=1 +tries=1 "$@"; }
answers() { [ "$(ask www.lb.example.com | sort | tr '\n' ' ')" = "192.0.2.1 192.0.2.2 " ]; }
exposure() { systemd-analyze security --offline=true --threshold=20 "$ROOT/lib/systemd/system/rollcall.service"; }
sound() { systemd-analyze verify --man=no --root="$ROOT" "$@"; }
owned() { [ "$(within stat -c '%U:%G %a' "$1")" = "$2" ] || { within stat -c '%n %U:%G %a' "$1"; return 1; }; }

echo "the package"
check "lintian: no error, no warning" lintian --allow-root --fail-on error,warning "$DEB"
cp "$DEB" "$ROOT/package.deb"
check "dpkg installs it" within dpkg --install /package.deb
check "the user" within getent passwd rollcall
check "the unit's exposure is 2.0 at most" exposure
check "the unit is sound" sound /lib/systemd/system/rollcall.service
cp "$ROOT/usr/share/doc/rollcall/packaging/systemd/rollcall-dns.socket" "$ROOT/etc/systemd/system/"
check "and so is the socket unit, where the manual has it put" sound /etc/systemd/system/rollcall-dns.socket
rm "$ROOT/etc/systemd/system/rollcall-dns.socket"
check "enabled" test -L "$ROOT/etc/systemd/system/multi-user.target.wants/rollcall.service"
check "/etc/rollcall is the group's" owned /etc/rollcall "root:rollcall 750"
check "the server file is a conffile" within grep -q /etc/rollcall/rollcall.toml /var/lib/dpkg/info/rollcall.conffiles
check "man pages" within test -f /usr/share/man/man1/rollcall.1.gz
check "completions" bash -c "source '$ROOT/usr/share/bash-completion/completions/rollcall' && complete -p rollcall"

echo "the server, started as its unit would"
cat >"$ROOT/etc/rollcall/zones/lb.toml" <<'ZONE'
zone = "lb.example.com"
[records]
"@" = { NS = "ns.example.net." }
[pools.web]
backends = [{ name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2" }]
[names]
www = "web"
ZONE
chmod 644 "$ROOT/etc/rollcall/zones/lb.toml"
check "it validates" within rollcall validate --config /etc/rollcall/rollcall.toml
mkdir -p "$ROOT/sample/zones"
cp "$ROOT/etc/rollcall/rollcall.toml" "$ROOT/sample/"
cp "$ROOT/etc/rollcall/zones/lb.example.com.toml.sample" "$ROOT/sample/zones/lb.example.com.toml"
check "the sample validates too" within rollcall validate --config /sample/rollcall.toml
(as_unit) 2>"$ROOT/log" &
server=$!
check "it answers" eventually answers
as_user() { [ "$(stat -c %u /proc/$server)" = "$(within id -u rollcall)" ]; }
check "as its user" eventually as_user
check "status by the default socket" within rollcall status
check "a drain by the default socket" within rollcall state '*/web/b' drain --reason kept

echo "an upgrade"
check "dpkg installs it again" within dpkg --install /package.deb
ended() { ! kill -0 $server 2>/dev/null; }
[ "$PROC" = no ] || check "and the server is replaced by it" eventually ended
check "the override is there" says kept within rollcall status
only_a() { [ "$(ask www.lb.example.com)" = 192.0.2.1 ]; }
check "it answers without the drained" only_a
check "dpkg --remove" within dpkg --remove rollcall
check "leaves the configuration" test -f "$ROOT/etc/rollcall/rollcall.toml"
check "dpkg --purge" within dpkg --purge rollcall
check "takes the state" test ! -e "$ROOT/var/lib/rollcall"
check "and its own files" test ! -e "$ROOT/etc/rollcall/rollcall.toml"
summary
