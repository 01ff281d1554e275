/* body_spares.h - blocks of large bodies that are done, kept for the next large body. Internal to server/.
 *
 * WHY      The C library takes a large block from the system and hands it back. Its pages are then made and cleared one by one while the loop
 *          copies the body into them, which takes longer than the copying, and torn down while everybody waits.
 * BOUNDS   SPARES_MAX blocks; the caller says how many bytes are still allowed. What nobody takes for SPARE_IDLE_MS is freed, one block at a
 *          time.
 * THREADS  one; the loop's.
 */
#ifndef SERVER_BODY_SPARES_H
#define SERVER_BODY_SPARES_H

#include <stddef.h>
#include <stdint.h>

#include "server/memory.h"

enum {
    SPARES_MAX = 4,
    SPARE_MIN_BYTES = MEMORY_MAP_FROM_BYTES, /* smaller blocks stay in the C library's heap */
    SPARE_IDLE_MS = 2000,
};

struct body_spares { /* all-zero is empty */
    struct {
        char *p;
        size_t size;
        uint64_t since_ms;
    } blocks[SPARES_MAX]; /* the n first; the longest kept in front */
    unsigned n;
    uint64_t bytes;
};

/* A block of at least `size` bytes, *got of them, of which the contents are of no meaning; the caller's, to be given to
 * mem_free or kept again. NULL: none fits. */
char *body_spares_take(struct body_spares *s, size_t size, size_t *got);

/* p, a block of mem_alloc of `size` bytes, is kept, if it is large, there is a place, and all that is kept stays within room_bytes; freed
 * otherwise. NULL is fine. */
void body_spares_keep(struct body_spares *s, char *p, size_t size, uint64_t room_bytes, uint64_t now_ms);

/* Frees blocks until at most max_bytes are kept. */
void body_spares_shrink(struct body_spares *s, uint64_t max_bytes);

/* Frees the block that was kept longest if nobody wanted it for SPARE_IDLE_MS. */
void body_spares_age(struct body_spares *s, uint64_t now_ms);

#endif
