#!/bin/sh
# run-e2e.sh [pytest arguments] - tests through the real Python client against build/chroma.
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tools/clean-env.sh"
python=$("$here/tools/venv.sh") || exit 1
cd "$here/e2e" && exec "$python" -m pytest -q -p no:cacheprovider "$@"
