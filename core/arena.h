/* arena.h - memory that is freed together: everything made for one request.
 *
 * Blocks come from a list of chunks, 16-byte aligned; big ones get a chunk of their own. A ceiling bounds what one
 * request may use. Pointers never enter long-lived structures.
 * THREADS  one owner at a time (a request moves between threads, its arena with it).
 */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include "core/budget.h"
#include "core/bytes.h"

struct arena_chunk;

/* All-zero is a valid empty arena without a ceiling. */
struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used_bytes;          /* handed out, with rounding */
    size_t max_bytes;           /* 0 = no ceiling */
    struct budget *budget;      /* shared by many; outlives the arena. NULL: none */
    size_t held_bytes;          /* allocated for chunks, which is what the budget is charged with */
};

void *arena_alloc(struct arena *a, size_t size); /* uninitialised; NULL when memory is short or spent */
void *arena_zalloc(struct arena *a, size_t size);
void *arena_array(struct arena *a, size_t n, size_t size); /* zeroed; NULL if n * size overflows */
struct str arena_str(struct arena *a, struct str s);       /* a copy, NUL-terminated; .p is NULL when memory is short */
char *arena_cstr(struct arena *a, struct str s);           /* the same as a C string */
struct str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *a); /* back to all-zero, ceiling and budget kept */

#endif
