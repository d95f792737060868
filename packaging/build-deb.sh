#!/bin/bash
# Builds the Debian package: target/debian/rollcall_VERSION_ARCH.deb. Wants cargo-deb (`cargo install cargo-deb`).
#
# BUILT=1 takes target/release/rollcall as it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${BUILT:-}" ] || cargo build --release --locked
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
staged=target/deb-assets
rm -rf "$staged"
mkdir -p "$staged/man"
# Debian's form of the changelog, for apt: one entry, the rest is changelog.gz, our CHANGELOG.md.
cat >"$staged/changelog" <<END
rollcall ($version-1) unstable; urgency=medium

  * Version $version; see changelog.gz beside this file.

 -- rollcall maintainers <maintainers@rollcall.example>  $(date --rfc-email --utc --date="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")
END
mkdir "$staged/doc"
git ls-files -z README.md docs examples packaging/{systemd,prometheus,grafana,kubernetes} | xargs -0 cp --parents -t "$staged/doc"
target/release/rollcall man "$staged/man" >/dev/null
target/release/rollcall completions bash >"$staged/rollcall.bash"
target/release/rollcall completions zsh >"$staged/_rollcall"
target/release/rollcall completions fish >"$staged/rollcall.fish"
# Not compressed: neither man page; dpkg wants them so.
gzip --best --no-name --force "$staged"/man/*.1
cargo deb --no-build --locked "$@"
