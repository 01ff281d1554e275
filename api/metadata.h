/* metadata.h - metadata of collections, and sparse vectors, as read from a request. (Metadata of records: handler.h.)
 * Internal to api/. */
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

enum sparse_fault {
    SPARSE_FINE,
    SPARSE_LENGTHS,    /* the parts differ in length; nothing but the parts' beginnings is kept */
    SPARSE_ORDER,      /* indices do not ascend */
    SPARSE_NOT_FINITE, /* a value beyond float32 */
};

/* {"#type":"sparse_vector","indices":[...],"values":[...],"tokens":[...]} to its end, into the arena. *fits turns false
 * when the value has another shape; *fault is what is wrong with one that fits. False: the reader has failed. */
bool parse_sparse(struct json_reader *j, struct sparse *s, bool *fits, enum sparse_fault *fault);

#endif
