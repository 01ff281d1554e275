/* upstream_settings.h - how a collection of upstream's is set up, as the two documents that this server keeps.
 * Internal to api/upstream_*.c, api/migrate*.c and their tests. */
#ifndef API_UPSTREAM_SETTINGS_H
#define API_UPSTREAM_SETTINGS_H

#include "api/upstream_db.h"
#include "core/segment.h"

struct upstream_settings {
    enum space space;
    struct buf configuration, schema; /* JSON texts; the caller frees them, also after an error */
    const char *note;                 /* what could not be read and was replaced by the defaults; NULL: nothing */
};

/* From the schema (since 1.3); without one from the configuration, in any of the forms that it had; without that from
 * the `hnsw:*` metadata. ERR_NOMEM. Parts live in the arena for a moment. */
enum err upstream_settings_read(const struct upstream_collection *c, struct bytes metadata, struct arena *a,
                                struct upstream_settings *s, struct errmsg *em);

#endif
