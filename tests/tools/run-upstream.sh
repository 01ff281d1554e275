#!/bin/sh
# run-upstream.sh [FILE...] - upstream's own tests from the chromadb wheel, in integration mode, against build/chroma.
# Their default embedding model is replaced by a stand-in (tests/e2e/standin_embedding.py).
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tools/clean-env.sh"
python=$("$here/tools/venv.sh") || exit 1
exec "$python" "$here/tools/run_upstream.py" "$@"
