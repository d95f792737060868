#!/bin/bash
# What shells, `man` and other readers of master files are told: bash loads the completions and completes with them, zsh
# and fish take theirs where they are installed, man renders every page without a warning, and BIND's and ldns' readers
# take an export.
#
#   tests/interop/shell.sh
#
# ROLLCALL names the binary (default: target/release/rollcall, built when missing). Ends with `N passed, N failed`.
source "$(dirname "$0")/lib.sh"
need man=man-db groff=groff named-checkzone=bind9-utils ldns-read-zone=ldnsutils
need_rollcall

# As a user's bash loads it, then what TAB would offer behind these words.
"$ROLLCALL" completions bash >"$WORK/rollcall.bash"
offers() {
    bash --norc --noprofile -c '
        set -euo pipefail
        source "$1"; shift
        function=$(complete -p rollcall | sed "s/.*-F \([^ ]*\).*/\1/")
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        "$function" rollcall "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" || true
        printf "%s\n" "${COMPREPLY[@]}"' - "$WORK/rollcall.bash" "$@"
}
has() { offers "${@:2}" | grep -cx -- "$1" || true; }
check "bash completes commands" "state status" "$(offers rollcall sta | sort | xargs)"
check "bash completes what can be imported" 1 "$(has gdnsd rollcall import "")"
check "bash completes states" 1 "$(has drain rollcall state a/b/c "")"
check "bash completes options" 1 "$(has --offline rollcall export zone --o)"

"$ROLLCALL" completions zsh >"$WORK/_rollcall"
if command -v zsh >/dev/null; then
    check "zsh loads its script" _rollcall "$(zsh -f -c "autoload -Uz compinit; compinit -u -d '$WORK/dump'
        source '$WORK/_rollcall'; print \${_comps[rollcall]}" 2>&1)"
fi
"$ROLLCALL" completions fish >"$WORK/rollcall.fish"
if command -v fish >/dev/null; then
    check "fish completes commands" "state status" \
        "$(fish --no-config -c "source '$WORK/rollcall.fish'; complete -C 'rollcall sta'" | cut -f1 | sort | xargs)"
fi

# One page for each command, no warning of any kind, and the examples as they were written.
"$ROLLCALL" man "$WORK/man"
said=""
for page in "$WORK"/man/*.1; do
    said+=$(MANROFFOPT=-ww MANWIDTH=100 man -E UTF-8 -l --warnings "$page" 2>&1 >"$page.txt")
    grep -q '^NAME' "$page.txt" || said+="$(basename "$page") renders to nothing"
done
check "man renders $(ls "$WORK"/man/*.1 | wc -l) pages without a warning" "" "$said"
missing=""
for command in $("$ROLLCALL" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z0-9]*\) .*/\1/p' | grep -vx help); do
    [ -e "$WORK/man/rollcall-$command.1" ] || missing+=" $command"
done
check "every command has a page" "" "$missing"
check "examples stand as they were written" 1 \
    "$(grep -c "^ *rollcall state 'lb.example.com/web/a' drain --for 30m --reason 'kernel update'$" "$WORK/man/rollcall.1.txt")"

# An export of every zone of the examples, read by others.
for file in "$ROOT"/examples/*/rollcall.toml; do
    name=$(basename "$(dirname "$file")")
    while read -r zone; do
        "$ROLLCALL" export "$zone" --offline --config "$file" >"$WORK/$zone.zone"
        named-checkzone -q -i none -k ignore "$zone" "$WORK/$zone.zone" && code=0 || code=$?
        check "named-checkzone takes $zone of $name" 0 "$code"
        ldns-read-zone "$WORK/$zone.zone" >/dev/null && code=0 || code=$?
        check "ldns-read-zone takes $zone of $name" 0 "$code"
    done < <("$ROLLCALL" validate --config "$file" 2>/dev/null | sed -n 's/^  \([^ ]*\)\.  .*/\1/p')
done
summary
