#!/bin/sh
# coverage.sh FOLDER... - runs the unit tests of these folders and all fuzz corpora, built in MODE=cov, and prints which part of the
# lines and of the branches of each file was reached. A branch is reached when it was taken at least once. Conditions of
# CHECK() are branches too, of which the one that panics is never taken.
cd "$(dirname "$0")/../.." || exit 1
. tests/tools/clean-env.sh
find build/cov -name '*.gcda' -delete
programs=$(for f in "$@"; do ls build/cov/unit/"$f"/test_*; done | grep -v '\.[od]$')
SUITE_SHARE=${SUITE_SHARE:-25} tests/tools/run-unit.sh build/cov $programs || rc=1
for target in build/cov/fuzz_*; do
    name=${target##*/fuzz_}
    "$target" -artifact=build/cov/input "tests/fuzz/corpus/$name" >/dev/null || { echo "FAIL fuzz_$name"; rc=1; }
done
for f in "$@"; do
    for o in build/cov/"$f"/*.gcno; do
        gcov -b -n -o "${o%.gcno}.o" "$f/$(basename "$o" .gcno).c" 2>/dev/null
    done
done | awk '
    # File name; then, in this order and only for code that has any: lines, branches executed, taken
    function value(text) { sub(/.*:/, "", text); return text + 0 }
    /^File / { file = $2; gsub(/\047/, "", file); wanted = file ~ /^[a-z]+\/[a-z0-9_]+\.c$/ && !(file in seen) }
    wanted && /^Lines executed/ { n = $NF; p = value($2); lines[file] = n; hit[file] = int(n * p / 100 + 0.5); seen[file] = 1 }
    wanted && /^Taken at least once/ { n = $NF; p = value($4); branches[file] = n; taken[file] = int(n * p / 100 + 0.5) }
    /^$/ { wanted = 0 }
    function row(name, l, h, b, t) {
        printf "%-36s %6d lines %5.1f %%  %6d branches %5.1f %%\n", name, l, l ? 100 * h / l : 100, b, b ? 100 * t / b : 100
    }
    END {
        for (f in seen) {
            split(f, part, "/"); d = part[1]
            L[d] += lines[f]; H[d] += hit[f]; B[d] += branches[f]; T[d] += taken[f]
            row(f, lines[f], hit[f], branches[f], taken[f]) | "sort"
        }
        close("sort")
        for (d in L) row(d "/", L[d], H[d], B[d], T[d]) | "sort"
    }'
exit ${rc:-0}
