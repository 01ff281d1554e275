/* buf.c - see buf.h. */
#include "core/buf.h"

#include <stdio.h>

#include "core/mem.h"

static bool resize(struct buf *b, size_t cap)
{
    if (!budget_grow(b->budget, b->cap, cap)) return false;
    char *p = mem_resize(b->p, cap);
    if (p == NULL) {
        budget_shrink(b->budget, cap, b->cap);
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

char *buf_room(struct buf *b, size_t n)
{
    size_t need;
    if (b->err != ERR_OK) return NULL;
    if (!ck_add(b->n, n, &need) || (b->max != 0 && need > b->max)) {
        b->err = ERR_TOO_LARGE;
        return NULL;
    }
    if (need > b->cap) {
        size_t cap = b->cap + b->cap / 2; /* may wrap only after need does not fit in memory anyway */
        if (cap < need) cap = need;
        if (cap < 64) cap = 64;
        if (b->max != 0 && cap > b->max) cap = b->max;
        if (!resize(b, cap)) {
            b->err = ERR_NOMEM;
            return NULL;
        }
    }
    return b->p + b->n;
}

void buf_expect(struct buf *b, size_t n)
{
    size_t need;
    if (b->err != ERR_OK || !ck_add(b->n, n, &need) || need <= b->cap || (b->max != 0 && need > b->max)) return;
    (void)resize(b, need);
}

void buf_append(struct buf *b, const void *p, size_t n)
{
    if (n == 0) return;
    char *to = buf_room(b, n);
    if (to == NULL) return;
    memcpy(to, p, n);
    b->n += n;
}

void buf_zero(struct buf *b, size_t n)
{
    if (n == 0) return;
    char *to = buf_room(b, n);
    if (to == NULL) return;
    memset(to, 0, n);
    b->n += n;
}

void buf_align(struct buf *b, size_t align)
{
    size_t over = b->n % align;
    if (over != 0) buf_zero(b, align - over);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n <= 0) return;
    char *to = buf_room(b, (size_t)n + 1);
    if (to == NULL) return;
    va_start(ap, fmt);
    (void)vsnprintf(to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void buf_varint(struct buf *b, uint64_t v)
{
    char out[10];
    size_t n = 0;
    while (v >= 0x80) {
        out[n++] = (char)(v | 0x80);
        v >>= 7;
    }
    out[n++] = (char)v;
    buf_add(b, out, n);
}

char *buf_take(struct buf *b, size_t *n)
{
    char *p = b->p;
    *n = b->n;
    *b = (struct buf){.max = b->max, .budget = b->budget};
    return p;
}

void buf_free(struct buf *b)
{
    budget_shrink(b->budget, b->cap, 0);
    mem_free(b->p);
    *b = (struct buf){0};
}
