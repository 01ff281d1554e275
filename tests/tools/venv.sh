#!/bin/sh
# Prints the path of a Python with the tests' packages; makes the environment on first use, outside the repository.
set -e
here=$(cd "$(dirname "$0")/.." && pwd)
key=$(sha256sum "$here/e2e/requirements.txt" | cut -c1-12)
venv=${CHROMA_TEST_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/chroma-c-tests/venv-$key}
if [ ! -f "$venv/complete" ]; then
    # A Python of at least 3.9; Debian's own when the one in front cannot make environments.
    python=python3
    "$python" -c 'import venv, ensurepip' 2>/dev/null || python=/usr/bin/python3
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/e2e/requirements.txt" >&2
    touch "$venv/complete"
fi
echo "$venv/bin/python"
