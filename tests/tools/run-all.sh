#!/bin/sh
# Builds and runs everything that CI runs; the last line is "N passed, N failed" over all of it. Exit 1 if any failed.
#
# The parts, in order: includes go one way; a release build with warnings as errors; unit tests in release, under
# ASan+UBSan and under TSan; the fuzz targets over their corpora (`make fuzz-run` is for longer); the gateway's torture test; the recorded contract (where ../shared is); tests through the
# Python client, crashes included; upstream's own tests from the wheel (few examples of each property: `make upstream`
# takes more); generated requests beside the real server (one seed: `make differential` draws others); the JavaScript
# client (where node is); LangChain's and LlamaIndex's stores (where their packages can be had).
#
# A part that ends with a status other than 0, that runs nothing, or that has to be killed after its time, counts as one
# failure if it does not itself name any. Status 77 means that the part cannot run here, which is neither.
cd "$(dirname "$0")/../.." || exit 1
. tests/tools/clean-env.sh
unset CHROMA_BINARY # what was just built is what is tested
jobs=$(nproc)
passed=0; failed=0
begun_all=$(date +%s)
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/chroma-tests-XXXXXX") || exit 1
export TMPDIR
log=$TMPDIR/log
pid=""
trap 'rm -rf "$TMPDIR"' EXIT
trap 'test -n "$pid" && kill "$pid" 2>/dev/null; exit 1' INT TERM HUP

# run SECONDS COMMAND...: runs it, killing it with all its children after SECONDS; what it prints goes to our output as
# it comes and to $log. `timeout` leads a process group of its own. The status is in $rc.
run() {
    : >"$log"
    timeout -k 10 "$@" >"$log" 2>&1 &
    pid=$!
    tail -n +1 -s 0.2 -f --pid="$pid" "$log" &
    shower=$!
    wait "$pid"; rc=$? # a `wait`, unlike a command in front, can be interrupted by a signal to us
    pid=""
    wait "$shower"
    case $rc in 124 | 137) echo "killed after $1 s" ;; esac
}

number() { # PATTERN: the number before it in the log's last line that counts tests, or 0
    n=$(grep -E '[0-9]+ (passed|failed|errors?)\b' "$log" | tail -n 1 | grep -oE "\b[0-9]+ $1\b" | tail -n 1)
    n=${n%% *}
    echo "${n:-0}"
}

part() { # NAME SECONDS COMMAND...: a part whose last line that counts says "N passed" and, if any, "N failed"
    name=$1; shift
    begun=$(date +%s)
    echo "== $name"
    run "$@"
    took=$(($(date +%s) - begun))
    if [ "$rc" -eq 77 ]; then echo "== $name: skipped ($took s)"; return; fi
    p=$(number passed); f=$(($(number failed) + $(number 'errors?')))
    if [ "$f" -eq 0 ] && { [ "$rc" -ne 0 ] || [ "$p" -eq 0 ]; }; then f=1; fi
    passed=$((passed + p)); failed=$((failed + f))
    echo "== $name: $p passed, $f failed ($took s)"
}

step() { # NAME SECONDS COMMAND...: a part that is one test, passed if the command succeeds
    name=$1; shift
    begun=$(date +%s)
    echo "== $name"
    run "$@"
    if [ "$rc" -eq 0 ]; then passed=$((passed + 1)); word=passed; else failed=$((failed + 1)); word=FAILED; fi
    echo "== $name: $word ($(($(date +%s) - begun)) s)"
    [ "$rc" -eq 0 ]
}

step "includes" 60 tests/tools/check-includes.sh
if step "build" 900 make -s -j"$jobs" WERROR=1 all; then
    for mode in release asan tsan; do
        step "build $mode" 900 make -s -j"$jobs" MODE=$mode WERROR=1 unit-build &&
            part "unit $mode" 1500 make -s MODE=$mode WERROR=1 JOBS="$jobs" check
    done
    step "build fuzz" 900 make -s -j"$jobs" MODE=asan WERROR=1 fuzz-build &&
        part "fuzz" 300 env JOBS="$jobs" tests/tools/run-fuzz.sh ci 1
    if step "python packages" 900 tests/tools/venv.sh; then
        python=$(tests/tools/venv.sh)
        part "gateway" 600 "$python" tests/e2e/test_gateway.py build/chroma
        part "contract" 900 "$python" tests/tools/run_contract.py
        part "python client" 900 tests/tools/run-e2e.sh -rs -s
        part "upstream's tests" 900 tests/tools/run-upstream.sh --part ci
        part "beside the real server" 600 tests/tools/run-differential.sh 20261124 1500
        part "javascript client" 600 tests/tools/run-js.sh
        part "integrations" 900 tests/tools/run-integrations.sh
    fi
fi
echo "== all of it took $(($(date +%s) - begun_all)) s"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
