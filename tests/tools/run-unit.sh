#!/bin/sh
# run-unit.sh BUILD_DIR PROGRAM... - runs unit test programs, $JOBS at a time (1), and adds up what Check says of them.
# Ends with "N passed, N failed"; exit 1 if anything failed or a program died. A program that still runs after
# $UNIT_TIMEOUT seconds (900) is killed and counts as one failure.
. "$(dirname "$0")/clean-env.sh"

# As a worker: one program; leaves "PASSED FAILED" in a file of the directory $UNIT_RESULTS.
if [ "$1" = --one ]; then
    build=$2; program=$3
    name=${program#"$build"/unit/}
    begun=$(date +%s)
    out=$(CK_VERBOSITY=normal CK_FORK=no timeout -k 10 "$UNIT_TIMEOUT" "$program" 2>&1); rc=$?
    took=$(($(date +%s) - begun))
    # Check prints: 100%: Checks: 12, Failures: 0, Errors: 0
    line=$(printf '%s\n' "$out" | grep -E '^[0-9]+%: Checks: ' | tail -n 1)
    if [ -z "$line" ]; then
        p=0; f=1
    else
        n=$(printf '%s' "$line" | sed -E 's/.*Checks: ([0-9]+).*/\1/')
        f=$(printf '%s' "$line" | sed -E 's/.*Failures: ([0-9]+), Errors: ([0-9]+).*/\1 + \2/'); f=$(($f))
        p=$((n - f))
        # a sanitizer that complains at the end, or a program with no test in it
        if [ "$f" -eq 0 ] && { [ "$rc" -ne 0 ] || [ "$n" -eq 0 ]; }; then f=1; fi
    fi
    echo "$p $f" >"$UNIT_RESULTS/$(printf '%s' "$name" | tr / +)"
    if [ "$f" -eq 0 ]; then
        echo "ok   $name ($p) $took s"
    else
        printf 'FAIL %s (exit %s) %s s\n%s\n' "$name" "$rc" "$took" "$(printf '%s\n' "$out" | tail -n 200)"
    fi
    exit 0
fi

build=$1; shift
UNIT_RESULTS=$(mktemp -d) || exit 1
trap 'rm -rf "$UNIT_RESULTS"' EXIT
UNIT_TIMEOUT=${UNIT_TIMEOUT:-900}
export UNIT_RESULTS UNIT_TIMEOUT
# The log's programs take longest; they come first, so that no other core idles at the end.
for first in 1 0; do
    for program in "$@"; do
        case $program in */wal/*) is_first=1 ;; *) is_first=0 ;; esac
        [ "$is_first" = "$first" ] && printf '%s\n' "$program"
    done
done | xargs -P "${JOBS:-1}" -n 1 "$0" --one "$build"
passed=0; failed=0
for program in "$@"; do
    result=$UNIT_RESULTS/$(printf '%s' "${program#"$build"/unit/}" | tr / +)
    if read -r p f <"$result"; then :; else p=0; f=1; fi
    passed=$((passed + p)); failed=$((failed + f))
done
echo "unit: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
