/* mem.h - every allocation of the program goes through here, so that tests can make the n-th one fail and count what
 * is left over.
 *
 * THREADS  any. The hook is set before threads start.
 * All functions return NULL when memory is short; the caller carries ERR_NOMEM up. Sizes that do not fit are short
 * memory too, never a small block.
 */
#ifndef CORE_MEM_H
#define CORE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_array(size_t n, size_t size);       /* zeroed; NULL if n * size overflows */
void *mem_resize(void *p, size_t size);       /* like realloc: on NULL the old block stays */
void *mem_aligned(size_t align, size_t size); /* align: power of two; free with mem_free */
void *mem_dup(const void *p, size_t size);
void mem_free(void *p); /* NULL is fine */

/* Fault injection: called before every allocation; returning false makes that allocation fail. NULL removes it. */
typedef bool (*mem_hook)(void *ctx, size_t size);
void mem_set_hook(mem_hook hook, void *ctx);

/* Checked arithmetic on sizes that come from outside: false when the result does not fit. */
static inline bool ck_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool ck_mul(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* Do n items of `size` bytes at offset `at` lie within `total` bytes? For offsets and counts that were read from a file. */
static inline bool ck_inside(size_t total, uint64_t at, uint64_t n, uint64_t size)
{
    uint64_t bytes;
    return at <= total && !__builtin_mul_overflow(n, size, &bytes) && bytes <= total - at;
}

#endif
