/* mem.c - see mem.h. The only file that names malloc and its relatives. */
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

static struct {
    mem_hook hook; /* set before threads start, read by all */
    void *ctx;
} mem_fault;

void mem_set_hook(mem_hook hook, void *ctx)
{
    mem_fault.ctx = ctx;
    mem_fault.hook = hook;
}

static bool mem_allowed(size_t size)
{
    return mem_fault.hook == NULL || mem_fault.hook(mem_fault.ctx, size);
}

void *mem_alloc(size_t size)
{
    return mem_allowed(size) ? malloc(size > 0 ? size : 1) : NULL;
}

void *mem_zalloc(size_t size)
{
    return mem_allowed(size) ? calloc(1, size > 0 ? size : 1) : NULL;
}

void *mem_array(size_t n, size_t size)
{
    size_t total;
    return ck_mul(n, size, &total) ? mem_zalloc(total) : NULL;
}

void *mem_resize(void *p, size_t size)
{
    return mem_allowed(size) ? realloc(p, size > 0 ? size : 1) : NULL;
}

void *mem_aligned(size_t align, size_t size)
{
    size_t rounded;
    if (!ck_add(size, align - 1, &rounded)) return NULL;
    rounded = rounded / align * align;
    return mem_allowed(size) ? aligned_alloc(align, rounded > 0 ? rounded : align) : NULL;
}

void *mem_dup(const void *p, size_t size)
{
    void *copy = mem_alloc(size);
    if (copy != NULL && size > 0) memcpy(copy, p, size);
    return copy;
}

void mem_free(void *p)
{
    free(p);
}
