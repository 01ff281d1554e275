/* rank_group.c - of each group of rows the first k: see struct rank_group.
 *
 * HAPPY PATH  the values under all keys are decoded once a row; row numbers are sorted by (group, order within the group,
 *             rank), so that groups are runs; the first k of each run are marked; the marked rows close up.
 * FAILURE     memory; rows that cannot be read.
 * INVARIANT   the order of values is total, and two values are equal exactly when it says so.
 */
#include <stdlib.h>

#include "core/mem.h"
#include "core/rank_internal.h"

/* --- the order of values ------------------------------------------------------------------------------------------ */

/* Missing first; the types in the order that rank.h states. */
static unsigned type_rank(enum value_type t)
{
    static const unsigned ranks[] = {
        [VALUE_NULL] = 0,   [VALUE_BOOL] = 1,  [VALUE_INT] = 2,  [VALUE_FLOAT] = 3,  [VALUE_STR] = 4,
        [VALUE_SPARSE] = 5, [VALUE_BOOLS] = 6, [VALUE_INTS] = 7, [VALUE_FLOATS] = 8, [VALUE_STRS] = 9,
    };
    return ranks[t];
}

/* Total order, -0.0 below 0.0, NaN above all. */
static int compare_doubles(double a, double b)
{
    if (isnan(a) || isnan(b)) return isnan(a) ? !isnan(b) : -1;
    if (a < b || a > b) return a < b ? -1 : 1;
    return (signbit(b) != 0) - (signbit(a) != 0);
}

static int compare_scalars(const struct value *a, const struct value *b)
{
    switch (a->type) {
    case VALUE_BOOL:
        return (int)a->b - (int)b->b;
    case VALUE_INT:
        return a->i < b->i ? -1 : a->i > b->i;
    case VALUE_FLOAT:
        return compare_doubles(a->f, b->f);
    case VALUE_STR:
        return str_cmp(a->s, b->s);
    default:
        return 0;
    }
}

static int compare_counts(uint32_t a, uint32_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_sparse(const struct sparse *a, const struct sparse *b)
{
    uint32_t n = a->n < b->n ? a->n : b->n;
    for (uint32_t i = 0; i < n; i++)
        if (a->indices[i] != b->indices[i]) return a->indices[i] < b->indices[i] ? -1 : 1;
    if (a->n != b->n) return compare_counts(a->n, b->n);
    for (uint32_t i = 0; i < n; i++) {
        int c = compare_doubles((double)a->values[i], (double)b->values[i]);
        if (c != 0) return c;
    }
    return 0;
}

static int compare_values(const struct value *a, const struct value *b)
{
    if (a->type != b->type) return type_rank(a->type) < type_rank(b->type) ? -1 : 1;
    if (a->type == VALUE_SPARSE) return compare_sparse(&a->sparse, &b->sparse);
    if (a->type < VALUE_BOOLS) return compare_scalars(a, b);
    uint32_t n = a->list.n < b->list.n ? a->list.n : b->list.n;
    for (uint32_t i = 0; i < n; i++) {
        int c = compare_scalars(&a->list.items[i], &b->list.items[i]);
        if (c != 0) return c;
    }
    return compare_counts(a->list.n, b->list.n);
}

/* --- groups ------------------------------------------------------------------------------------------------------- */

struct grouping {
    const struct rank_group *group;
    struct value *values; /* a row: n_keys of the group, then n_by */
    uint32_t n_columns;
};

static const struct value *values_of(const struct grouping *g, size_t row)
{
    return g->values + row * g->n_columns;
}

static int compare_columns(const struct value *a, const struct value *b, uint32_t n)
{
    int c = 0;
    for (uint32_t i = 0; i < n && c == 0; i++) c = compare_values(&a[i], &b[i]);
    return c;
}

static int by_group(const void *a, const void *b, void *ctx)
{
    const struct grouping *g = ctx;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const struct value *vx = values_of(g, x), *vy = values_of(g, y);
    uint32_t n_keys = g->group->n_keys;
    int c = compare_columns(vx, vy, n_keys);
    if (c != 0) return c;
    c = compare_columns(vx + n_keys, vy + n_keys, g->group->n_by);
    if (c != 0) return g->group->is_descending ? -c : c;
    return x < y ? -1 : x > y;
}

static enum err read_values(const struct snapshot *s, const struct rank_group *g, const struct scored *row,
                            struct arena *a, struct value *values, struct errmsg *em)
{
    struct row parts = {0};
    enum err e = exec_row(s, row->ref, ROW_META, a, &parts, em);
    if (e != ERR_OK) return e;
    for (uint32_t i = 0; i < g->n_keys + g->n_by; i++) {
        struct str key = i < g->n_keys ? g->keys[i] : g->by[i - g->n_keys];
        struct meta_entry entry;
        if (key.p == NULL) {
            values[i] = (struct value){.type = VALUE_FLOAT, .f = (double)row->score};
        } else if (!meta_find(parts.meta, key, &entry)) {
            values[i] = (struct value){.type = VALUE_NULL};
        } else if (!meta_value(&entry, a, &values[i])) {
            return errmsg_set(em, ERR_NOMEM, "decode metadata");
        }
    }
    return ERR_OK;
}

enum err rank_keep_groups(const struct snapshot *s, const struct rank_group *group, struct scored *rows, size_t *n,
                          struct arena *a, struct errmsg *em)
{
    struct grouping g = {.group = group, .n_columns = group->n_keys + group->n_by};
    size_t n_values, n_kept = 0;
    if (!ck_mul(*n, g.n_columns, &n_values)) return errmsg_set(em, ERR_NOMEM, "group %zu rows", *n);
    g.values = arena_array(a, n_values, sizeof *g.values);
    size_t *order = arena_array(a, *n, sizeof *order);
    bool *is_kept = arena_array(a, *n, sizeof *is_kept);
    if (g.values == NULL || order == NULL || is_kept == NULL) return errmsg_set(em, ERR_NOMEM, "group %zu rows", *n);
    for (size_t i = 0; i < *n; i++) {
        order[i] = i;
        enum err e = read_values(s, group, &rows[i], a, g.values + i * g.n_columns, em);
        if (e != ERR_OK) return e;
    }
    if (*n > 1) qsort_r(order, *n, sizeof *order, by_group, &g);
    uint32_t n_of_group = 0;
    for (size_t i = 0; i < *n; i++) {
        bool is_same =
            i > 0 && compare_columns(values_of(&g, order[i - 1]), values_of(&g, order[i]), group->n_keys) == 0;
        n_of_group = is_same ? n_of_group : 0;
        if (n_of_group >= group->k) continue;
        is_kept[order[i]] = true;
        n_of_group++;
    }
    for (size_t i = 0; i < *n; i++)
        if (is_kept[i]) rows[n_kept++] = rows[i];
    *n = n_kept;
    return ERR_OK;
}
