# What the package tests share: checks that are counted, and a clean end.
# shellcheck shell=bash
PASSED=0
FAILED=0

# check WHAT COMMAND …: runs it quietly; what it said is shown when it fails.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        PASSED=$((PASSED + 1))
        echo "  ok   $what"
    else
        FAILED=$((FAILED + 1))
        echo "  FAIL $what"
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
