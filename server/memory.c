/* memory.c - see memory.h.
 *
 * WHY ANY OF THIS  glibc gives each thread its own heap and keeps what is freed in it. A request is parsed on one thread and
 * freed on another, so after a large import hundreds of megabytes stay with the process though nothing uses them. Fewer heaps,
 * the biggest blocks straight from the system (large bodies, the buffers of a build), and a trim after merges and when the
 * server has become quiet bring the process back to what it holds.
 */
#include "server/memory.h"

#include <stdlib.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "server/control_group.h"

enum {
    HEAPS = 2,
    KEEP_FREE_BYTES =
        16 << 20, /* at the end of a heap, until the next trim: less would come and go with each request */
};

void memory_init(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_ARENA_MAX, HEAPS);
    /* Fixed: the default grows with what is freed, up to 32 MiB. Below it lie most answers and bodies: a block from the
     * system costs a page fault every 4 KiB, half as much again as writing numbers into it. */
    (void)mallopt(M_MMAP_THRESHOLD, MEMORY_MAP_FROM_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, KEEP_FREE_BYTES);
#endif
}

void memory_give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

/* The number in a file of the control group; UINT64_MAX: there is none, or the group has no limit ("max"). */
static uint64_t read_limit(const char *path)
{
    char text[32];
    size_t n = control_group_read(path, text, sizeof text);
    return n > 0 && text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

uint64_t memory_default_budget(void)
{
    static const char *const limits[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        uint64_t limit = read_limit(limits[i]);
        if (limit < memory) memory = limit;
    }
    return memory != UINT64_MAX ? memory / 2 : 0;
}
