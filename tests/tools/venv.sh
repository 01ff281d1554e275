#!/bin/sh
# venv.sh [REQUIREMENTS] - prints the path of a Python with the packages of tests/e2e/requirements.txt, or of another file
# of that folder; makes the environment on first use, outside the repository. Status 77: the registry cannot be reached.
set -e
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tools/clean-env.sh"
list=${1:-requirements.txt}
key=$(sha256sum "$here/e2e/$list" | cut -c1-12)
if [ -n "${HOME:-}" ] && [ -w "$HOME" ]; then cache=${XDG_CACHE_HOME:-$HOME/.cache}; else cache=$here/../build; fi
case $list in
requirements.txt) venv=${CHROMA_TEST_VENV:-$cache/chroma-c-tests/venv-$key} ;;
*) venv=$cache/chroma-c-tests/${list%-requirements.txt}-$key ;;
esac

# Is there an answer, of whatever kind, from the registry that pip asks?
registry_answers() {
    url=$("$venv/bin/pip" config get global.index-url 2>/dev/null || echo "${PIP_INDEX_URL:-https://pypi.org/simple/}")
    "$venv/bin/python" - "$url" <<'PYTHON'
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1].rstrip("/") + "/pip/", timeout=30).close()
except urllib.error.HTTPError:
    pass
except OSError as e:
    sys.exit(f"{sys.argv[1]} cannot be reached: {e}")
PYTHON
}

if [ ! -f "$venv/complete" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    # A Python of at least 3.9; Debian's own when the one in front cannot make environments.
    python=python3
    "$python" -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 9)' 2>/dev/null || python=/usr/bin/python3
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
    if ! "$venv/bin/pip" install -q --no-compile --disable-pip-version-check -r "$here/e2e/$list" >&2; then
        if registry_answers; then exit 1; else exit 77; fi
    fi
    touch "$venv/complete"
fi
echo "$venv/bin/python"
