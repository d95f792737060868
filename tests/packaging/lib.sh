# What the package tests share: checks that are counted, and a clean end.
# shellcheck shell=bash
PASSED=0
FAILED=0

# check WHAT COMMAND …: runs it quietly; what it said is shown when it fails. With BEGIN set (an EPOCHREALTIME), the seconds
# since then.
since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        PASSED=$((PASSED + 1))
        echo "  ok   ${BEGIN:+$(printf '%6s s  ' "$(since "$BEGIN")")}$what"
    else
        FAILED=$((FAILED + 1))
        echo "  FAIL ${BEGIN:+$(printf '%6s s  ' "$(since "$BEGIN")")}$what"
        # shellcheck disable=SC2001
        sed 's/^/         /' <<<"$said"
    fi
}

# eventually COMMAND …: until it succeeds, 10 s at most.
eventually() {
    local end=$((SECONDS + 10))
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

summary() {
    echo "$PASSED passed, $FAILED failed"
    [ $FAILED -eq 0 ]
}

PATH=$PATH:/usr/sbin:/sbin
as_root() { [ "$(id -u)" -eq 0 ] || { echo "wants root: a chroot is made"; exit 2; }; }
# A package and a clean Debian: made by whoever needs them first, and kept in DEB and ROOTFS.
ROOTFS=${ROOTFS:-$PWD/target/ci/debian-root}
have_package() {
    if [ -z "${DEB:-}" ]; then
        PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin packaging/build-deb.sh >target/build-deb.log 2>&1 || {
            tail -n 30 target/build-deb.log
            exit 2
        }
        # shellcheck disable=SC2012  # names of our own making
        DEB=$(ls -t target/debian/rollcall_*.deb | head -n 1)
    fi
    export DEB ROOTFS
}
have_debian() {
    # The last thing that debootstrap does is to remove its own directory.
    if [ ! -x "$ROOTFS/usr/bin/dpkg" ] || [ -d "$ROOTFS/debootstrap" ]; then
        rm -rf "$ROOTFS"
        mkdir -p "$ROOTFS"
        debootstrap --variant=minbase --include=adduser,systemd bookworm "$ROOTFS" >target/debootstrap.log 2>&1 || {
            tail -n 5 target/debootstrap.log
            exit 2
        }
    fi
}

# apart ARGUMENTS …: starts this script once more with a network, mounts and processes of its own, which end with it. Where
# the machine makes no namespaces, it goes on in the machine's own and says so; APART=no asks for that.
apart() {
    [ -z "${APART:-}" ] || return 0
    export APART=no
    local namespaces=(unshare --net --mount --pid --fork --kill-child --mount-proc)
    if "${namespaces[@]}" true 2>/dev/null; then
        APART=yes
        exec "${namespaces[@]}" "$0" "$@"
    fi
    echo "no namespaces here: in the machine's own network"
}

# enter: a copy of the clean Debian, in ROOT. leave: gone, and whatever still runs in it.
enter() {
    [ "${APART:-}" != yes ] || ip link set lo up
    ROOT=$(mktemp -d /tmp/rollcall-root.XXXXXX)
    trap leave EXIT
    cp -a --reflink=auto "$ROOTFS/." "$ROOT"
    PROC=yes
    mount -t proc proc "$ROOT/proc" 2>/dev/null || PROC=no
    [ $PROC = yes ] || echo "no mounts here: the clean Debian is without /proc, and so without 'rollcall replace', which wants it"
    # No init runs there, so nothing may be started by the package's scripts.
    printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
    chmod 755 "$ROOT/usr/sbin/policy-rc.d"
}
leave() {
    local process
    # The server may have been replaced: whatever has its root there.
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/root" 2>/dev/null)" != "$ROOT" ] || kill "${process#/proc/}" 2>/dev/null
    done
    sleep 0.3
    umount "$ROOT/proc" 2>/dev/null
    rm -rf --one-file-system "$ROOT"
}
# in_clean_debian ARGUMENTS …: the script goes on apart, with a package in DEB and the clean Debian entered.
in_clean_debian() {
    as_root
    have_package
    have_debian
    apart "$@"
    enter
}
within() { chroot "$ROOT" "$@"; }
# says PATTERN COMMAND …: it succeeds and says so. What it said is in ROOT/said.
says() {
    if "${@:2}" >"$ROOT/said" 2>&1 && grep -qE -- "$1" "$ROOT/said"; then return 0; fi
    cat "$ROOT/said"
    return 1
}

# as_unit: what systemd does for the installed unit, read from it: directories, user, the one right, the command. Its
# restrictions of system calls and mounts are systemd's alone.
as_unit() {
    local unit=$ROOT/lib/systemd/system/rollcall.service user group right directory
    of_unit() { sed -n "s/^$1=//p" "$unit"; }
    user=$(of_unit User) group=$(of_unit Group) right=$(of_unit AmbientCapabilities)
    right=${right#CAP_}
    for directory in "/var/lib/$(of_unit StateDirectory)" "/run/$(of_unit RuntimeDirectory)"; do
        within install -d -o "$user" -g "$group" -m 750 "$directory"
    done
    umask "$(of_unit UMask)"
    # shellcheck disable=SC2046  # a command of several words
    exec chroot "$ROOT" setpriv --reuid="$user" --regid="$group" --init-groups --no-new-privs --bounding-set="-all,+${right,,}" \
        --inh-caps="+${right,,}" --ambient-caps="+${right,,}" $(of_unit ExecStart)
}
