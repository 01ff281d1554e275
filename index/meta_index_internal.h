/* meta_index_internal.h - the layout of the metadata index, and the order of its values. For index/meta_index_*.c.
 *
 * SECTION  the lists' data, each list at a multiple of 8; the keys' bytes; the directory of lists, in ascending order
 *          of (key, class); the trailer, last. All offsets count from the start of the section.
 */
#ifndef INDEX_META_INDEX_INTERNAL_H
#define INDEX_META_INDEX_INTERNAL_H

#include <math.h>

#include "index/meta_index.h"

#define META_INDEX_MAGIC UINT32_C(0x31584d43) /* "CMX1" */

enum meta_class { /* numbers are part of the file format */
                  META_STR = 0,
                  META_WHOLE = 1,    /* integers, and doubles that equal one */
                  META_FRACTION = 2, /* other doubles */
                  META_BOOL = 3,
                  META_STRS = 4, /* arrays, by element type; no value changes its class here */
                  META_INTS = 5,
                  META_FLOATS = 6,
                  META_BOOLS = 7,
};

/* A value of a list is a u64 whose order is that of the values; META_STR and META_STRS have offsets[n_values + 1] into
 * their heap instead. Row numbers of values that are not dense lie one value after the other; firsts[v] tells where
 * those of value v begin (dense ones have none there). */
struct meta_list {
    uint64_t key_at;
    uint32_t key_n;
    uint32_t class;
    uint32_t n_values;
    uint32_t n_dense;
    uint32_t n_rows;     /* row numbers in all */
    uint32_t n_prefixes; /* 0: too few rows, a class without ranges, or written by a former version */
    uint64_t values_at;  /* u64[n_values], or u64[n_values + 1] offsets */
    uint64_t firsts_at;  /* u32[n_values + 1] */
    uint64_t rows_at;    /* u32[n_rows] */
    uint64_t dense_at;   /* struct meta_dense[n_dense], ascending */
    uint64_t heap_at, heap_n;
};
_Static_assert(sizeof(struct meta_list) == 80, "format");

/* Prefixes follow the list's last bitmap: u32 bounds[n_prefixes], strictly ascending, the last one n_values; zeros up to
 * a multiple of 8; for each bound b a bitmap of the rows whose value is one of the first b. So the rows of a range are
 * two bitmaps and the rows between a bound and the range's end, however wide it is. */
enum {
    META_PREFIXES_MAX = 33,
    META_PREFIX_ROWS = 256, /* at least so many rows lie between two bounds */
};

struct meta_dense {
    uint32_t value; /* index in the list */
    uint32_t n_rows;
    uint64_t bitmap_at; /* u64 words, one bit a row of the fragment */
};
_Static_assert(sizeof(struct meta_dense) == 16, "format");

struct meta_trailer {
    uint32_t magic;
    uint32_t n_rows; /* of the fragment */
    uint32_t n_lists;
    uint32_t zero;
    uint64_t lists_at;
    uint64_t zero2;
};
_Static_assert(sizeof(struct meta_trailer) == 32, "format");

static inline bool meta_class_is_text(enum meta_class class)
{
    return class == META_STR || class == META_STRS;
}

static inline uint64_t order_of_int(int64_t i)
{
    return (uint64_t)i ^ UINT64_C(1) << 63;
}

static inline int64_t int_of_order(uint64_t order)
{
    return (int64_t)(order ^ UINT64_C(1) << 63);
}

static inline uint64_t order_of_double(double f)
{
    uint64_t bits;
    if (f == 0) f = 0; /* one zero */
    memcpy(&bits, &f, sizeof bits);
    return bits >> 63 != 0 ? ~bits : bits | UINT64_C(1) << 63;
}

static inline double double_of_order(uint64_t order)
{
    uint64_t bits = order >> 63 != 0 ? order & ~(UINT64_C(1) << 63) : ~order;
    double f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Only these are asked for ranges. A row has one value of one of them under a key. */
static inline bool meta_class_has_order(enum meta_class class)
{
    return class == META_WHOLE || class == META_FRACTION;
}

static inline uint64_t meta_prefixes_at(const struct meta_list *l, uint32_t n_rows)
{
    return l->dense_at + l->n_dense * (sizeof(struct meta_dense) + (uint64_t)bitset_words(n_rows) * 8);
}

/* Class and order of a scalar that is not a string. */
static inline enum meta_class class_of_scalar(const struct value *v, uint64_t *order)
{
    if (v->type == VALUE_BOOL) {
        *order = v->b ? 1 : 0;
        return META_BOOL;
    }
    if (v->type == VALUE_INT) {
        *order = order_of_int(v->i);
        return META_WHOLE;
    }
    if (v->f >= -9223372036854775808.0 && v->f < 9223372036854775808.0 && v->f == floor(v->f)) {
        *order = order_of_int((int64_t)v->f);
        return META_WHOLE;
    }
    *order = order_of_double(v->f);
    return META_FRACTION;
}

/* Sorts n pairs by key, stable; the scratch arrays are as long. (meta_index_sort.c) */
void sort_pairs(uint64_t *keys, uint32_t *rows, size_t n, uint64_t *scratch_keys, uint32_t *scratch_rows);

#endif
