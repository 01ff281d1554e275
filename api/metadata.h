/* metadata.h - metadata of collections as read from a request. (Of records: handler.h.) Internal to api/. */
#ifndef API_METADATA_H
#define API_METADATA_H

#include "api/json.h"
#include "core/value.h"

struct collection_metadata {
    bool is_given;       /* an object, not null */
    bool is_empty;       /* {} */
    struct bytes packed; /* in the arena; nulls (of updates) are left out */
    struct str fault;    /* what is wrong with keys or values, .p == NULL: nothing. Said later, in its turn. */
};

/* Reads null or an object. Type faults fail the reader (422); a list or a sparse vector, which only records can have,
 * is a fault in *m. */
bool parse_collection_metadata(struct json_reader *j, bool allow_null, struct collection_metadata *m);

#endif
