/* hash.c - see hash.h. */
#include "core/hash.h"

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/err.h"

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, n, seed);
}

void random_bytes(void *p, size_t n)
{
    unsigned char *to = p;
    while (n > 0) {
        ssize_t got = getrandom(to, n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) panic("getrandom: errno %d", errno);
        to += got;
        n -= (size_t)got;
    }
}

static uint64_t process_seed; /* written once, under the once guard */

static void draw_seed(void)
{
    random_bytes(&process_seed, sizeof process_seed);
}

uint64_t hash_process_seed(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, draw_seed);
    return process_seed;
}
