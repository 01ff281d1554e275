/* collections.h - the collection object of answers. Internal to api/. */
#ifndef API_COLLECTIONS_H
#define API_COLLECTIONS_H

#include "api/handler.h"

/* Appends the object, fields in the contract's order. `live` is the collection behind it, which the caller holds by an epoch
 * entered before the look-up; NULL: it is gone, and no dimension is shown. */
void put_collection(struct buf *b, const struct catalog_collection *col, const struct collection *live,
                    struct arena *a);

/* 200 with the collection that was just made or found, whose reference it gives back. Outside an epoch. */
enum api_outcome answer_new_collection(struct api_request *r, const struct catalog_collection *col);

/* Adds the metadata keys of a block that is about to be written to the schema of its collection, where they are new. The
 * caller holds `col`; what goes wrong is logged and of no consequence. May commit to the catalog: not on the loop. */
void schema_learn(struct api_request *r, const struct catalog_collection *col, struct bytes block);
/* The same without a request. update_mutex NULL: nobody else changes the collection's documents. */
void schema_learn_block(struct catalog *catalog, pthread_mutex_t *update_mutex, struct arena *a,
                        const struct catalog_collection *col, struct bytes block);

#endif
