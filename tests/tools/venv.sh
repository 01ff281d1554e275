#!/bin/sh
# Prints the path of a Python with the tests' packages; makes the environment on first use, outside the repository.
set -e
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tools/clean-env.sh"
key=$(sha256sum "$here/e2e/requirements.txt" | cut -c1-12)
if [ -n "${HOME:-}" ] && [ -w "$HOME" ]; then cache=${XDG_CACHE_HOME:-$HOME/.cache}; else cache=$here/../build; fi
venv=${CHROMA_TEST_VENV:-$cache/chroma-c-tests/venv-$key}
if [ ! -f "$venv/complete" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    # A Python of at least 3.9; Debian's own when the one in front cannot make environments.
    python=python3
    "$python" -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 9)' 2>/dev/null || python=/usr/bin/python3
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
    "$venv/bin/pip" install -q --no-compile --disable-pip-version-check -r "$here/e2e/requirements.txt" >&2
    touch "$venv/complete"
fi
echo "$venv/bin/python"
