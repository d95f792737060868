#!/bin/bash
# Builds the container image with Debian's buildah, without a daemon: localhost/rollcall:VERSION, or the name given.
#
#   packaging/image/build.sh                       into the local store
#   packaging/image/build.sh NAME oci-archive:FILE and a copy there
#
# STATIC=PATH takes a static binary that is there already.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=${1:-localhost/rollcall:$version}
target=$(rustc -vV | sed -n 's/^host: //p')
if [ -z "${STATIC:-}" ]; then
    # glibc, linked in whole. --target keeps build scripts and macros dynamic, which they must be.
    RUSTFLAGS="-Ctarget-feature=+crt-static" cargo build --release --locked --target "$target" --target-dir target/static
    STATIC=target/static/$target/release/rollcall
fi
if LC_ALL=C ldd "$STATIC" 2>&1 | grep -q '=>'; then
    echo "$STATIC is not static" >&2
    exit 1
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
install -m 755 "$STATIC" "$context/rollcall"
install -m 644 /etc/ssl/certs/ca-certificates.crt packaging/image/rollcall.toml packaging/image/Containerfile "$context"
mkdir "$context/state"
# Chroot isolation and the vfs driver work inside containers too.
buildah --storage-driver vfs build --isolation chroot --tag "$name" --label org.opencontainers.image.version="$version" "$context"
[ $# -lt 2 ] || buildah --storage-driver vfs push "$name" "$2"
