#!/bin/sh
# run-upstream.sh [ARGUMENTS] - upstream's own tests from the chromadb wheel against build/chroma: tests/upstream/run.py.
# Their default embedding model is replaced by a stand-in (tests/e2e/standin_embedding.py).
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tools/clean-env.sh"
python=$("$here/tools/venv.sh") || exit 1
exec "$python" "$here/upstream/run.py" "$@"
