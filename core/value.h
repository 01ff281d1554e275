/* value.h - metadata: typed values, and the packed form in which a row's metadata lie in the log, the tail and the
 * fragments.
 *
 * PACKED FORM (docs/formats.md#metadata), all integers little-endian, varint = LEB128:
 *   meta    := entry*                      entries in ascending byte order of their keys, no key twice
 *   entry   := varint key_n, key, u8 type, payload
 *   payload := NULL nothing | BOOL u8 0/1 | INT i64 | FLOAT f64 | STR varint n, bytes
 *            | BOOLS varint n, u8* | INTS varint n, i64* | FLOATS varint n, f64* | STRS varint n, (varint n, bytes)*
 *            | SPARSE varint n, u32 index*, f32 value*, varint n_tokens + 1 (0 = no tokens), (varint n, bytes)*
 * Empty metadata are zero bytes. NULL appears only in patches (update, upsert), where it removes the key.
 * The packed form is trusted inside the process; bytes from a file go through meta_validate first.
 */
#ifndef CORE_VALUE_H
#define CORE_VALUE_H

#include "core/arena.h"
#include "core/buf.h"

enum value_type { /* numbers are part of the file format */
                  VALUE_NULL = 0,
                  VALUE_BOOL = 1,
                  VALUE_INT = 2,
                  VALUE_FLOAT = 3,
                  VALUE_STR = 4,
                  VALUE_BOOLS = 5,
                  VALUE_INTS = 6,
                  VALUE_FLOATS = 7,
                  VALUE_STRS = 8,
                  VALUE_SPARSE = 9,
};

struct value;

struct sparse { /* indices ascending, one value each; tokens optional */
    uint32_t n;
    uint32_t *indices;
    float *values;
    struct str *tokens; /* n of them, or NULL */
};

struct value {
    enum value_type type;
    union {
        bool b;
        int64_t i;
        double f;
        struct str s;
        struct { /* BOOLS, INTS, FLOATS, STRS: n scalar values of the one type */
            uint32_t n;
            struct value *items;
        } list;
        struct sparse sparse;
    };
};

static inline bool value_is_number(const struct value *v)
{
    return v->type == VALUE_INT || v->type == VALUE_FLOAT;
}

/* Exact order of two numbers (INT or FLOAT each, no NaN): 2^53 + 1 is above 2^53 as a double. */
int value_compare_numbers(const struct value *a, const struct value *b);

/* Scalars only. Numbers compare by value over both types; other types only with themselves. */
bool value_equal(const struct value *a, const struct value *b);

/* --- packed metadata ------------------------------------------------------------------------------------------- */

struct meta_entry {
    struct str key; /* views into the packed bytes */
    enum value_type type;
    struct bytes payload;
};

/* for (struct meta_iter it = meta_iter(m); meta_next(&it, &e);) */
struct meta_iter {
    const uint8_t *at, *end;
};

struct meta_iter meta_iter(struct bytes meta);
bool meta_next(struct meta_iter *it, struct meta_entry *e);

bool meta_find(struct bytes meta, struct str key, struct meta_entry *e);

/* Decodes a payload. Strings are views into the payload; lists are made in the arena. False when memory is short. */
bool meta_value(const struct meta_entry *e, struct arena *a, struct value *v);

/* A sparse vector where it lies, without its tokens: n little-endian u32 and n float32, not aligned. */
struct sparse_view {
    const uint8_t *indices, *values;
    uint32_t n;
};
bool meta_sparse(const struct meta_entry *e, struct sparse_view *v); /* false: it is of another type */

/* Appends one entry. The caller appends in ascending key order. */
void meta_put(struct buf *out, struct str key, const struct value *v);
void meta_put_raw(struct buf *out, const struct meta_entry *e);

/* old with patch applied key by key (NULL removes, other values replace), appended to out, free of NULLs. */
void meta_merge(struct bytes old, struct bytes patch, struct buf *out);

/* True when the bytes are a well-formed packed form with ascending keys and no NaN: safe for everything above. */
bool meta_validate(struct bytes meta, bool allow_null);

#endif
