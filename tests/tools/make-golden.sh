#!/bin/sh
# make-golden.sh COMMIT NAME: builds the server of a commit (or of the working tree: COMMIT is ".") and has it make
# tests/golden/NAME: a data directory in its formats, and its answers. To be run when a format's number changes.
set -eu
cd "$(dirname "$0")/../.."
commit=$1 name=$2
if [ "$commit" = . ]; then
    make all
    binary=build/chroma
else
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    git archive "$commit" | tar x -C "$tree"
    make -C "$tree" all
    binary=$tree/build/chroma
fi
python3 tests/golden/make_golden.py "$binary" "tests/golden/$name"
ls -l "tests/golden/$name"
