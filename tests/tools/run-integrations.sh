#!/bin/sh
# run-integrations.sh - LangChain's and LlamaIndex's stores against build/chroma; ends with "N passed, N failed".
# Their packages are many, so they have an environment of their own. Status 77: they cannot be had here.
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tools/clean-env.sh"
python=$("$here/tools/venv.sh" integrations-requirements.txt) || exit $?
exec "$python" "$here/e2e/integrations.py"
