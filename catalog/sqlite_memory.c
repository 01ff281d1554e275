/* sqlite_memory.c - see sqlite_memory.h.
 *
 * SQLite asks a block for its size, core/mem.h does not keep it: every block has it in front, in as many bytes as keep the
 * alignment. SQLite never asks for more than fits into an int.
 */
#include "catalog/sqlite_memory.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>

#include "core/err.h"
#include "core/mem.h"

struct block {
    size_t size; /* of what follows */
    _Alignas(max_align_t) char bytes[];
};

static struct block *block_of(void *p)
{
    return (struct block *)(void *)((char *)p - offsetof(struct block, bytes));
}

static void *block_alloc(int n)
{
    struct block *b = mem_alloc(sizeof *b + (size_t)n);
    if (b == NULL) return NULL;
    b->size = (size_t)n;
    return b->bytes;
}

static void block_free(void *p)
{
    if (p != NULL) mem_free(block_of(p));
}

static void *block_resize(void *p, int n)
{
    struct block *b = mem_resize(block_of(p), sizeof *b + (size_t)n);
    if (b == NULL) return NULL;
    b->size = (size_t)n;
    return b->bytes;
}

static int block_size(void *p)
{
    return p != NULL ? (int)block_of(p)->size : 0;
}

static int block_roundup(int n)
{
    return (n + 7) / 8 * 8;
}

static int block_init(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void block_shutdown(void *ctx)
{
    (void)ctx;
}

static void use(void)
{
    static const sqlite3_mem_methods methods = {
        .xMalloc = block_alloc,
        .xFree = block_free,
        .xRealloc = block_resize,
        .xSize = block_size,
        .xRoundup = block_roundup,
        .xInit = block_init,
        .xShutdown = block_shutdown,
    };
    int rc = sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    CHECK((rc == SQLITE_OK || rc == SQLITE_MISUSE) && "SQLite takes the allocator, or is in use already");
}

void sqlite_memory_use(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* what it guards is SQLite's, and global there */
    (void)pthread_once(&once, use);
}
