#!/bin/sh
# run-integrations.sh - LangChain's and LlamaIndex's stores against build/chroma; ends with "N passed, N failed".
# Their packages are many, so they have an environment of their own, made on first use outside the repository.
here=$(cd "$(dirname "$0")/.." && pwd)
key=$(sha256sum "$here/e2e/integrations-requirements.txt" | cut -c1-12)
venv=${CHROMA_INTEGRATIONS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/chroma-c-tests/integrations-$key}
if [ -z "$CHROMA_INTEGRATIONS_VENV" ] && [ ! -f "$venv/complete" ]; then
    python=python3
    "$python" -c 'import venv, ensurepip' 2>/dev/null || python=/usr/bin/python3
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2 || exit 1
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/e2e/integrations-requirements.txt" >&2 || exit 1
    touch "$venv/complete"
fi
exec "$venv/bin/python" "$here/e2e/integrations.py"
