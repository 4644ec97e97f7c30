#!/bin/sh
# Runs all tests, and prints their results in one line.
#
#   scripts/test.sh [OPTION...]
#
# OPTIONs go to `cargo test`, in place of `--workspace` (`-p stage`, `--test parts`). Every
# ten seconds it names the package or test that is being built or run. At the end it prints
# every failure whole, and then a line such as
#
#   1234 passed, 0 failed, 3 skipped
#
# The whole output is in target/test.log. It fails if `cargo test` fails.
set -eu

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
log=$target/test.log
mkdir -p "$target"
: > "$log"
began=$(date +%s)

[ $# -gt 0 ] || set -- --workspace
"${CARGO:-cargo}" test --locked --no-fail-fast "$@" > "$log" 2>&1 &
tests=$!
# Ctrl-C in a shell reaches both; a kill of this script alone must reach the tests too.
trap 'kill "$tests" 2> /dev/null; exit 130' INT TERM

# The package or file of tests that the last lines of the log name.
current() {
    sed -n -e 's/^ *Compiling \([^ ]*\).*/building \1/p' \
        -e 's/^ *Running unittests .*deps\/\([a-z_]*\)-.*/testing \1/p' \
        -e 's/^ *Running \([^ ]*\) .*/testing \1/p' \
        -e 's/^test \(.*\) has been running for over.*/testing \1/p' "$log" | tail -n 1
}

said=$began
while kill -0 "$tests" 2> /dev/null; do
    sleep 1
    now=$(date +%s)
    if [ $((now - said)) -ge 10 ]; then
        said=$now
        printf '%4d s  %s\n' $((now - began)) "$(current)"
    fi
done
status=0
wait "$tests" || status=$?

# The failures: errors of the compiler, and the output of each failed test.
awk '
    /^error(\[E[0-9]+\])?:/ && !/test failed|target failed|targets failed/ { error = 1 }
    error { print; if ($0 == "") error = 0; next }
    /^failures:$/ { failures = !failures; if (!failures) next }
    /^test result:/ { failures = 0 }
    failures { print }
' "$log"

awk -v status="$status" '
    /^test result:/ { passed += $4; failed += $6; skipped += $8 }
    END {
        if (status != 0 && failed == 0) print "not all tests could be run"
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    }
' "$log"
exit "$status"
