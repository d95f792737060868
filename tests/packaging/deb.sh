#!/bin/bash
# The Debian package: built, looked at by lintian and systemd-analyze, installed into a clean Debian made by debootstrap,
# started there as its unit would, upgraded under a client, removed and purged.
#
#   tests/packaging/deb.sh           wants root, cargo-deb, lintian, debootstrap, systemd and dig
#   DEB=FILE tests/packaging/deb.sh  takes a package that is there already
#   ROOTFS=DIR …                     keeps the clean Debian there for the next time (a copy of it is used)
#
# Ends with `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/packaging/lib.sh
. tests/packaging/lib.sh
[ "$(id -u)" -eq 0 ] || { echo "wants root: a chroot is made"; exit 2; }
ROOTFS=${ROOTFS:-$PWD/target/ci/debian-root}
if [ -z "${DEB:-}" ]; then
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin packaging/build-deb.sh >target/build-deb.log 2>&1 || {
        tail -n 30 target/build-deb.log
        exit 2
    }
    DEB=$(ls -t target/debian/rollcall_*.deb | head -n 1)
fi
echo "$DEB: $(du -h "$DEB" | cut -f1)"
if [ ! -x "$ROOTFS/usr/bin/dpkg" ]; then
    rm -rf "$ROOTFS"
    debootstrap --variant=minbase --include=adduser bookworm "$ROOTFS" >target/debootstrap.log 2>&1 || {
        tail -n 5 target/debootstrap.log
        exit 2
    }
fi
ROOT=$(mktemp -d /tmp/rollcall-deb.XXXXXX)
cp -a "$ROOTFS/." "$ROOT"
finish() {
    # The server may have been replaced: whatever runs in this root.
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/root" 2>/dev/null)" != "$ROOT" ] || kill "${process#/proc/}" 2>/dev/null
    done
    sleep 0.3
    umount "$ROOT/proc" 2>/dev/null
    rm -rf --one-file-system "$ROOT"
}
trap finish EXIT
mount -t proc proc "$ROOT/proc"
# No init runs there, so nothing may be started by the package's scripts.
printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
chmod 755 "$ROOT/usr/sbin/policy-rc.d"

within() { chroot "$ROOT" "$@"; }
ask() { dig @127.0.0.1 -p 5300 +short +time=1 +tries=1 "$@"; }
answers() { [ "$(ask www.lb.example.com | sort | tr '\n' ' ')" = "192.0.2.1 192.0.2.2 " ]; }
exposure() { systemd-analyze security --offline=true --threshold=20 "$ROOT/lib/systemd/system/rollcall.service"; }
owned() { [ "$(within stat -c '%U:%G %a' "$1")" = "$2" ] || { within stat -c '%n %U:%G %a' "$1"; return 1; }; }

echo "the package"
check "lintian: no error, no warning" lintian --fail-on error,warning "$DEB"
check "dpkg installs it" within dpkg --install "/package.deb" < <(cp "$DEB" "$ROOT/package.deb")
check "the user" within getent passwd rollcall
check "the unit's exposure is 2.0 at most" exposure
check "the unit is sound" systemd-analyze verify --man=no --root="$ROOT" /lib/systemd/system/rollcall.service
check "and so is the socket unit" within test -f /usr/share/doc/rollcall/examples/rollcall-dns.socket
check "enabled" test -L "$ROOT/etc/systemd/system/multi-user.target.wants/rollcall.service"
check "/etc/rollcall is the group's" owned /etc/rollcall "root:rollcall 750"
check "the server file is a conffile" within grep -q /etc/rollcall/rollcall.toml /var/lib/dpkg/info/rollcall.conffiles
check "man pages" within test -f /usr/share/man/man1/rollcall.1.gz
check "completions" bash -c "source '$ROOT/usr/share/bash-completion/completions/rollcall' && complete -p rollcall"

echo "the server, started as its unit would"
# What systemd makes for the unit: StateDirectory= and RuntimeDirectory=.
within install -d -o rollcall -g rollcall -m 750 /var/lib/rollcall /run/rollcall
cat >"$ROOT/etc/rollcall/zones/lb.toml" <<'END'
zone = "lb.example.com"
[records]
"@" = { NS = "ns.example.net." }
[pools.web]
backends = [{ name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2" }]
[names]
www = "web"
END
chmod 644 "$ROOT/etc/rollcall/zones/lb.toml"
check "it validates" within rollcall validate --config /etc/rollcall/rollcall.toml
check "the sample validates too" within rollcall validate --config /sample/rollcall.toml \
    < <(within sh -c 'mkdir -p /sample/zones && echo > /sample/rollcall.toml && cp /etc/rollcall/zones/*.sample /sample/zones/lb.toml')
exec_start=$(sed -n 's/^ExecStart=//p' "$ROOT/lib/systemd/system/rollcall.service")
# shellcheck disable=SC2086  # a command of several words
chroot --userspec=rollcall:rollcall "$ROOT" $exec_start 2>"$ROOT/log" &
server=$!
check "it answers" eventually answers
check "as its user" eventually test "$(stat -c %u /proc/$server)" = "$(within id -u rollcall)"
check "status by the default socket" within rollcall status
check "a drain by the default socket" within rollcall state '*/web/b' drain --reason kept

echo "an upgrade"
check "dpkg installs it again" within dpkg --install /package.deb
replaced() { within rollcall replace --json | grep -q '"pid"'; }
check "and the server is replaced" replaced
check "the override is there" bash -c "chroot '$ROOT' rollcall status | grep -q kept"
check "it answers without the drained" test "$(ask www.lb.example.com)" = 192.0.2.1
check "dpkg --remove" within dpkg --remove rollcall
check "leaves the configuration" test -f "$ROOT/etc/rollcall/rollcall.toml"
check "dpkg --purge" within dpkg --purge rollcall
check "takes the state" test ! -e "$ROOT/var/lib/rollcall"
check "and its own files" test ! -e "$ROOT/etc/rollcall/rollcall.toml"
summary
