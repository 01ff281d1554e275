/* collections.h - the collection object of answers. Internal to api/. */
#ifndef API_COLLECTIONS_H
#define API_COLLECTIONS_H

#include "api/handler.h"

/* Appends the object, fields in the contract's order. `live` is the collection behind it, which the caller holds by an epoch
 * entered before the look-up; NULL: it is gone, and no dimension is shown. */
void put_collection(struct buf *b, const struct catalog_collection *col, const struct collection *live,
                    struct arena *a);

#endif
