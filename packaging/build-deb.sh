#!/bin/bash
# Builds the Debian package: target/debian/rollcall_VERSION_ARCH.deb. Wants cargo-deb (`cargo install cargo-deb`).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
staged=target/deb-assets
rm -rf "$staged"
mkdir -p "$staged/man"
# Debian's form of the changelog, for apt: one entry, the rest is CHANGELOG.md.
cat >"$staged/changelog" <<END
rollcall ($version-1) unstable; urgency=medium

  * Version $version; see CHANGELOG.md beside this file.

 -- rollcall maintainers <maintainers@rollcall.example>  $(date --rfc-email --utc --date="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")
END
target/release/rollcall man "$staged/man" >/dev/null
target/release/rollcall completions bash >"$staged/rollcall.bash"
target/release/rollcall completions zsh >"$staged/_rollcall"
target/release/rollcall completions fish >"$staged/rollcall.fish"
# Not compressed: neither man page; dpkg wants them so.
gzip --best --no-name --force "$staged"/man/*.1
cargo deb --no-build --locked "$@"
