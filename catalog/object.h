/* object.h - one state of one collection: immutable, reference-counted, in one block of memory.
 *
 * The public half is struct catalog_collection; references are taken and given back with catalog_collection_ref and
 * catalog_collection_unref, from any thread, also after the catalog was closed.
 */
#ifndef CATALOG_OBJECT_H
#define CATALOG_OBJECT_H

#include "catalog/catalog.h"

/* Copies everything `from` points to, `runtime` excepted (it starts NULL). One reference, the caller's. NULL when
 * memory is short. `number` may be written while nobody else has the object. */
struct catalog_collection *object_new(const struct catalog_collection *from);

/* Gives the state its live object, which counts it; NULL is fine. While nobody else has the state, or with the view's
 * write lock. */
void object_attach(struct catalog_collection *state, struct catalog_runtime *runtime);

#endif
