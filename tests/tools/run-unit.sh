#!/bin/sh
# run-unit.sh BUILD_DIR PROGRAM... - runs unit test programs and adds up what Check says of them.
# Ends with "N passed, N failed"; exit 1 if anything failed or a program died.
build=$1; shift
passed=0; failed=0
for program in "$@"; do
    out=$(CK_VERBOSITY=minimal CK_FORK=no "$program" 2>&1); rc=$?
    # Check prints: 100%: Checks: 12, Failures: 0, Errors: 0
    line=$(printf '%s\n' "$out" | grep -E '^[0-9]+%: Checks: ' | tail -1)
    n=$(printf '%s' "$line" | sed -E 's/.*Checks: ([0-9]+).*/\1/'); f=$(printf '%s' "$line" | sed -E 's/.*Failures: ([0-9]+).*/\1/')
    e=$(printf '%s' "$line" | sed -E 's/.*Errors: ([0-9]+).*/\1/')
    name=${program#"$build"/unit/}
    if [ -z "$line" ] || { [ "$rc" -ne 0 ] && [ "$((${f:-0} + ${e:-0}))" -eq 0 ]; }; then
        echo "FAIL $name (exit $rc)"; printf '%s\n' "$out" | tail -40; failed=$((failed + 1)); continue
    fi
    passed=$((passed + n - f - e)); failed=$((failed + f + e))
    if [ "$((f + e))" -gt 0 ]; then echo "FAIL $name: $line"; printf '%s\n' "$out" | tail -40; else echo "ok   $name ($n)"; fi
done
echo "unit: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
