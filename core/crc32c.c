/* crc32c.c - see crc32c.h. Tables: "slicing by 8" (Kounavis and Berry, 2005). */
#include "core/crc32c.h"

#include <pthread.h>
#include <string.h>

#include "core/bytes.h"

static uint32_t crc_table[8][256]; /* written once, under the once guard */

static void fill_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = (c >> 1) ^ (0x82F63B78u & (0u - (c & 1u)));
        crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++) {
            uint32_t before = crc_table[t - 1][i];
            crc_table[t][i] = (before >> 8) ^ crc_table[0][before & 255];
        }
}

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, fill_tables);
    const unsigned char *b = p;
    uint32_t c = ~crc;
    for (; n >= 8; n -= 8, b += 8) {
        uint32_t lo = le32_get(b) ^ c, hi = le32_get(b + 4);
        c = crc_table[7][lo & 255] ^ crc_table[6][(lo >> 8) & 255] ^ crc_table[5][(lo >> 16) & 255] ^
            crc_table[4][lo >> 24] ^ crc_table[3][hi & 255] ^ crc_table[2][(hi >> 8) & 255] ^
            crc_table[1][(hi >> 16) & 255] ^ crc_table[0][hi >> 24];
    }
    for (; n > 0; n--, b++) c = (c >> 8) ^ crc_table[0][(c ^ *b) & 255];
    return ~c;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *b = p;
    uint64_t c = (uint32_t)~crc;
    for (; n >= 8; n -= 8, b += 8) c = _mm_crc32_u64(c, le64_get(b));
    uint32_t r = (uint32_t)c;
    for (; n > 0; n--, b++) r = _mm_crc32_u8(r, *b);
    return ~r;
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(crc, p, n) : crc32c_portable(crc, p, n);
}
#else
uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    return crc32c_portable(crc, p, n);
}
#endif
