#!/bin/sh
# run-fuzz.sh run SECONDS [NAME]    each target with libFuzzer, two at a time, from tests/fuzz/corpus and what earlier runs found
#                                   (build/fuzz/corpus); says how many inputs ran and how many edges are covered
# run-fuzz.sh ci SECONDS [NAME]     each target with driver.c over tests/fuzz/corpus, then random changes; JOBS at a time
# run-fuzz.sh merge 0 [NAME]        takes over into tests/fuzz/corpus what build/fuzz/corpus adds in coverage
#
# What breaks a target is left in build/fuzz/found/NAME-*. Ends with "fuzz: N passed, N failed", a target being one.
cd "$(dirname "$0")/../.." || exit 1
. tests/tools/clean-env.sh
MAX_LEN=4096
found=build/fuzz/found
export ASAN_OPTIONS="allocator_may_return_null=1:${ASAN_OPTIONS:-}"

if [ "$1" = --one ]; then # MODE SECONDS NAME: as a worker
    mode=$2; seconds=$3; name=$4; log=$found/$name.log
    seeds=tests/fuzz/corpus/$name; more=build/fuzz/corpus/$name
    mkdir -p "$more"
    case $mode in
    run)
        nice -n 10 "build/fuzz/fuzz_$name" -max_total_time="$seconds" -max_len=$MAX_LEN -timeout=60 -rss_limit_mb=2000 \
            -print_final_stats=1 -artifact_prefix="$found/$name-" "$more" "$seeds" >"$log" 2>&1; rc=$?
        told="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs,$(
            sed -n 's/^#[0-9]*\tDONE *cov: \([0-9]*\) .*corp: \([0-9]*\).*/ \1 edges, corpus \2/p' "$log")" ;;
    ci)
        "build/asan/fuzz_$name" -seconds="$seconds" -max_len=$MAX_LEN -artifact="$found/$name-input" "$seeds" >"$log" 2>&1; rc=$?
        told=$(tail -n 1 "$log") ;;
    merge)
        "build/fuzz/fuzz_$name" -merge=1 -max_len=$MAX_LEN "$seeds" "$more" >"$log" 2>&1; rc=$?
        told="$(find "$seeds" -type f | wc -l) files" ;;
    esac
    if [ "$rc" -eq 0 ]; then echo "ok   $name: $told"; exit 0; fi
    echo "FAIL $name (exit $rc; what broke it is in $found)"
    tail -n 60 "$log"
    exit 1
fi

mode=$1; seconds=$2; only=$3
mkdir -p "$found"
names=$(ls tests/fuzz/fuzz_*.c | sed 's|.*/fuzz_||; s|\.c$||')
[ -z "$only" ] || names=$only
case $mode in run) jobs=2 ;; *) jobs=${JOBS:-2} ;; esac
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
printf '%s\n' $names | xargs -P "$jobs" -n 1 "$0" --one "$mode" "$seconds" | tee "$out"
passed=$(grep -c '^ok   ' "$out"); failed=$(($(printf '%s\n' $names | wc -l) - passed))
echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
