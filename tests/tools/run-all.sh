#!/bin/sh
# Builds and runs everything that CI runs; ends with "N passed, N failed" over all of it. Exit 1 if anything failed.
#
# The parts, in order: includes go one way; a release build with warnings as errors; unit tests in release, under
# ASan+UBSan and under TSan; the gateway's torture test; the recorded contract (where ../shared is); tests through the
# Python client, crashes included; upstream's own tests from the wheel.
cd "$(dirname "$0")/../.." || exit 1
jobs=$(nproc)
passed=0; failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# count NAME PATTERN-OF-PASSED PATTERN-OF-FAILED EXIT: adds what a part's output says.
count() {
    p=$(grep -oE "$2" "$log" | tail -1 | grep -oE '[0-9]+' | head -1); f=$(grep -oE "$3" "$log" | tail -1 | grep -oE '[0-9]+' | head -1)
    p=${p:-0}; f=${f:-0}
    # a part that failed without saying so, or that ran nothing, counts as one failure
    if [ "$4" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    if [ "$p" -eq 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + p)); failed=$((failed + f))
    echo "== $1: $p passed, $f failed ($(($(date +%s) - began)) s)"
}

part() { # NAME PASSED FAILED COMMAND...
    name=$1; ok=$2; bad=$3; shift 3
    began=$(date +%s)
    echo "== $name"
    "$@" >"$log" 2>&1; rc=$?
    tail -n 60 "$log"
    count "$name" "$ok" "$bad" "$rc"
}

began=$(date +%s)
if tests/tools/check-includes.sh; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
if make -s -j"$jobs" WERROR=1 all; then passed=$((passed + 1)); else echo "the build failed"; echo "$passed passed, $((failed + 1)) failed"; exit 1; fi

ours='[0-9]+ passed'; theirs='[0-9]+ failed'
for mode in release asan tsan; do
    make -s -j"$jobs" MODE=$mode WERROR=1 unit-build || { echo "the $mode build failed"; failed=$((failed + 1)); continue; }
    part "unit $mode" "$ours" "$theirs" make -s MODE=$mode WERROR=1 check
done
part "gateway" "$ours" "$theirs" sh -c '"$(tests/tools/venv.sh)" tests/e2e/test_gateway.py build/chroma'
part "contract" "$ours" "$theirs" sh -c '"$(tests/tools/venv.sh)" tests/tools/run_contract.py'
part "python client" "$ours" "$theirs" tests/tools/run-e2e.sh -rs -s --ignore=test_gateway.py
part "upstream's tests" "$ours" "$theirs" tests/tools/run-upstream.sh
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
