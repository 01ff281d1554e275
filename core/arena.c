/* arena.c - see arena.h. */
#include "core/arena.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/mem.h"

enum { ARENA_CHUNK_BYTES = 8 << 10, ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, cap; /* bytes of `data` */
    _Alignas(ARENA_ALIGN) char data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
    size_t need;
    if (!ck_add(size, ARENA_ALIGN - 1, &need)) return NULL;
    need -= need % ARENA_ALIGN;
    if (need == 0) need = ARENA_ALIGN;
    if (a->max_bytes != 0 && (need > a->max_bytes || a->used_bytes > a->max_bytes - need)) return NULL;
    struct arena_chunk *c = a->chunks;
    if (c == NULL || c->cap - c->used < need) {
        bool is_big = need > ARENA_CHUNK_BYTES / 2;
        size_t cap = is_big ? need : ARENA_CHUNK_BYTES, total;
        if (!ck_add(cap, sizeof *c, &total)) return NULL;
        if (!budget_grow(a->budget, a->held_bytes, a->held_bytes + total)) return NULL;
        struct arena_chunk *fresh = mem_alloc(total);
        if (fresh == NULL) {
            budget_shrink(a->budget, a->held_bytes + total, a->held_bytes);
            return NULL;
        }
        a->held_bytes += total;
        fresh->used = 0;
        fresh->cap = cap;
        if (is_big && c != NULL) { /* keep filling the chunk in front */
            fresh->next = c->next;
            c->next = fresh;
        } else {
            fresh->next = c;
            a->chunks = fresh;
        }
        c = fresh;
    }
    void *p = c->data + c->used;
    c->used += need;
    a->used_bytes += need;
    return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
    void *p = arena_alloc(a, size);
    if (p != NULL) memset(p, 0, size);
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t total;
    return ck_mul(n, size, &total) ? arena_zalloc(a, total) : NULL;
}

char *arena_cstr(struct arena *a, struct str s)
{
    size_t size;
    if (!ck_add(s.n, 1, &size)) return NULL;
    char *p = arena_alloc(a, size);
    if (p == NULL) return NULL;
    if (s.n > 0) memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    return (struct str){arena_cstr(a, s), s.n};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) return (struct str){NULL, 0};
    char *p = arena_alloc(a, (size_t)n + 1);
    if (p == NULL) return (struct str){NULL, 0};
    va_start(ap, fmt);
    (void)vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return (struct str){p, (size_t)n};
}

void arena_free(struct arena *a)
{
    struct arena_chunk *c = a->chunks;
    while (c != NULL) {
        struct arena_chunk *next = c->next;
        mem_free(c);
        c = next;
    }
    budget_shrink(a->budget, a->held_bytes, 0);
    *a = (struct arena){.max_bytes = a->max_bytes, .budget = a->budget};
}
