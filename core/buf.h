/* buf.h - a growable byte buffer with a ceiling. All-zero is a valid empty buffer without a ceiling.
 *
 * Appending never reports by itself: a failure (memory, ceiling) is sticky in `err`, later appends do nothing, and the
 * caller asks once at the end. So a writer of JSON or of a file section reads as a list of appends.
 * THREADS  one owner at a time.
 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include "core/budget.h"
#include "core/bytes.h"
#include "core/err.h"

struct buf {
    char *p;
    size_t n, cap;
    size_t max; /* 0 = no ceiling */
    struct budget
        *budget;  /* charged with `cap`; outlives the buffer. NULL: none. To be set while the buffer is empty */
    enum err err; /* ERR_OK, ERR_NOMEM or ERR_TOO_LARGE; sticky */
};

/* Makes room for `n` more bytes and returns where they go, or NULL (err is set). Does not change b->n. */
char *buf_room(struct buf *b, size_t n);

/* The same as a wish: about `n` bytes will come, so let growing not copy what is there again and again. Nothing happens if they
 * do not fit under the ceiling or into memory. */
void buf_expect(struct buf *b, size_t n);

void buf_append(struct buf *b, const void *p, size_t n); /* the same as buf_add, which has it for the rarer case */
void buf_zero(struct buf *b, size_t n);                  /* appends n zero bytes */
void buf_align(struct buf *b, size_t align);             /* zero bytes up to a multiple of align */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_free(struct buf *b); /* back to all-zero, what was charged is given back */

/* Hands the bytes to the caller (mem_free them), leaving the buffer empty. With a budget the caller also takes over what they
 * are charged with: budget_shrink(budget, cap, 0) of the cap that the buffer had before. */
char *buf_take(struct buf *b, size_t *n);

static inline void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n > 0 && n <= b->cap - b->n && b->err == ERR_OK) {
        memcpy(b->p + b->n, p, n);
        b->n += n;
    } else {
        buf_append(b, p, n);
    }
}

static inline void buf_str(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}

#define buf_lit(b, literal) buf_add((b), (literal), sizeof(literal) - 1)

static inline void buf_char(struct buf *b, char c)
{
    if (b->n < b->cap && b->err == ERR_OK)
        b->p[b->n++] = c;
    else
        buf_add(b, &c, 1);
}

static inline void buf_u8(struct buf *b, uint8_t v)
{
    buf_char(b, (char)v);
}

static inline void buf_u32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, sizeof v);
}

static inline void buf_u64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, sizeof v);
}

/* LEB128: seven bits a byte, low first. */
void buf_varint(struct buf *b, uint64_t v);

static inline struct str buf_view(const struct buf *b)
{
    return (struct str){b->p != NULL ? b->p : "", b->n};
}

#endif
