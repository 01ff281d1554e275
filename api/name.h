/* name.h - the rules for names of databases and collections. Internal to api/. Any thread. */
#ifndef API_NAME_H
#define API_NAME_H

#include "core/arena.h"

/* The rules of the contract (catalog.md 4.1). True: a good name. Otherwise *message says what is wrong, in the arena
 * (.p == NULL when memory is short). */
bool name_check(struct str name, struct arena *a, struct str *message);

/* Code points of UTF-8 text. */
size_t name_length(struct str name);

#endif
