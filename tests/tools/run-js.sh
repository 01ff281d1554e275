#!/bin/sh
# run-js.sh - every call of the published JavaScript client against build/chroma; ends with "N passed, N failed".
# The client is installed outside the repository on first use. Without node and npm nothing is tested: exit 77.
here=$(cd "$(dirname "$0")/.." && pwd)
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "node and npm are not here"
    exit 77
fi
key=$(sha256sum "$here/e2e/js/package.json" | cut -c1-12)
packages=${XDG_CACHE_HOME:-$HOME/.cache}/chroma-c-tests/js-$key
if [ ! -f "$packages/complete" ]; then
    rm -rf "$packages"
    mkdir -p "$packages" && cp "$here/e2e/js/package.json" "$packages/" || exit 1
    (cd "$packages" && npm install --no-audit --no-fund --omit=optional --ignore-scripts >&2) || exit 1
    touch "$packages/complete"
fi
exec node "$here/e2e/js/client.mjs" "${CHROMA_BINARY:-$here/../build/chroma}" "$packages"
