# Sourced by the scripts that run tests: what the caller's environment says must not change what is tested.
#
# The server takes settings from CHROMA_*, Python from PYTHON*, and a make below us would take flags and MODE from the
# make above us. The three CHROMA_ names kept are ours: where ../shared is, where the Python packages go, which server.
for name in $(env | sed -n -E 's/^((CHROMA|PYTHON|PYTEST|IS_PERSISTENT|PERSIST_DIRECTORY)[A-Za-z0-9_]*)=.*/\1/p'); do
    case $name in
    CHROMA_SHARED | CHROMA_TEST_VENV | CHROMA_BINARY) ;;
    *) unset "$name" ;;
    esac
done
unset MAKEFLAGS MFLAGS MAKELEVEL MODE WERROR T EXTRA_CFLAGS
export LC_ALL=C.UTF-8
