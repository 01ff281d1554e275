#!/bin/sh
# run-differential.sh [SEED] [COUNT] [SECONDS] - the same generated requests to the real server and to ours, compared.
# Without arguments: a seed of the moment, as many requests as fit 60 seconds. Ends with "N passed, N failed".
here=$(cd "$(dirname "$0")/.." && pwd)
python=$("$here/tools/venv.sh") || exit 1
seed=${1:-$(date +%s)}
exec "$python" "$here/differential/run.py" "$seed" "${2:-1000000000}" ${3:-$([ -n "$2" ] || echo 60)}
