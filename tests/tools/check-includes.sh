#!/bin/sh
# Folder dependencies go one way: core <- wal, catalog, index <- api <- server.
bad=0
deny() { # folder, pattern of what it may not include
    if grep -nE "^#include \"($2)/" "$1"/*.[ch]; then echo "$1/ must not include the above"; bad=1; fi
}
deny core 'wal|catalog|index|api|server'
deny wal 'catalog|index|api|server'
deny catalog 'wal|index|api|server'
deny index 'wal|catalog|api|server'
deny api 'server'
if grep -nE '^#include <(microhttpd|uv)\.h>' core/*.[ch] wal/*.[ch] catalog/*.[ch] index/*.[ch] api/*.[ch]; then
    echo "only server/ knows sockets"; bad=1
fi
if grep -nE '\b(malloc|calloc|realloc|free|strdup)\(' wal/*.[ch] catalog/*.[ch] index/*.[ch] api/*.[ch] server/*.[ch] core/*.[ch] | grep -vE 'core/mem\.|cJSON|sqlite3_|_free\(|->free\('; then
    echo "allocation goes through core/mem.h"; bad=1
fi
[ "$bad" -eq 0 ] && echo "includes: ok"
exit "$bad"
