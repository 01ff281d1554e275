/* regex_set.c - sets of code points: ranges where they are known, expressions over Unicode properties where not.
 *
 * HAPPY PATH  the parser builds a set from its leaves; an operation whose operands are all ranges is carried out at
 *             once, so that only what depends on a property stays an expression. rx_set_has answers for one character.
 * FAILURE     NULL when memory is short; NULL operands give NULL.
 * INVARIANTS  ranges are canonical (sorted, not touching); expressions are at most 3 * RX_NEST_MAX deep.
 * Surrogates are members like others: no text has them.
 */
#include "core/regex_internal.h"

#include "core/utf8.h"

#include <stdlib.h>

static int range_cmp(const void *a, const void *b)
{
    const struct rx_range *x = a, *y = b;
    if (x->lo != y->lo) return x->lo < y->lo ? -1 : 1;
    return x->hi < y->hi ? -1 : x->hi > y->hi;
}

struct rx_ranges rx_ranges_build(struct rx_range *r, size_t n)
{
    if (n == 0) return (struct rx_ranges){r, 0};
    qsort(r, n, sizeof *r, range_cmp);
    uint32_t last = 0;
    for (size_t i = 1; i < n; i++) {
        if (r[i].lo <= r[last].hi || r[i].lo == r[last].hi + 1) {
            if (r[i].hi > r[last].hi) r[last].hi = r[i].hi;
        } else {
            r[++last] = r[i];
        }
    }
    return (struct rx_ranges){r, last + 1};
}

static struct rx_set *set_new(struct arena *a, enum rx_set_kind kind)
{
    struct rx_set *s = arena_zalloc(a, sizeof *s);
    if (s != NULL) s->kind = kind;
    return s;
}

const struct rx_set *rx_set_ranges(struct arena *a, struct rx_ranges r)
{
    struct rx_set *s = set_new(a, RX_SET_RANGES);
    if (s != NULL) s->ranges = r;
    return s;
}

const struct rx_set *rx_set_range(struct arena *a, uint32_t lo, uint32_t hi)
{
    struct rx_range *r = arena_alloc(a, sizeof *r);
    if (r == NULL) return NULL;
    *r = (struct rx_range){lo, hi};
    return rx_set_ranges(a, (struct rx_ranges){r, 1});
}

const struct rx_set *rx_set_prop(struct arena *a, const struct rx_prop *p)
{
    struct rx_set *s = set_new(a, RX_SET_PROP);
    if (s != NULL) s->prop = p;
    return s;
}

static const struct rx_set *ranges_not(struct arena *a, struct rx_ranges in)
{
    struct rx_range *out = arena_array(a, (size_t)in.n + 1, sizeof *out);
    if (out == NULL) return NULL;
    uint32_t n = 0, from = 0;
    for (uint32_t i = 0; i < in.n; i++) {
        if (in.r[i].lo > from) out[n++] = (struct rx_range){from, in.r[i].lo - 1};
        from = in.r[i].hi + 1;
    }
    if (from <= UTF8_CP_MAX) out[n++] = (struct rx_range){from, UTF8_CP_MAX};
    return rx_set_ranges(a, (struct rx_ranges){out, n});
}

/* Each overlap ends with one of the operands' ranges, so there are fewer than n + m. */
static const struct rx_set *ranges_and(struct arena *a, struct rx_ranges x, struct rx_ranges y)
{
    struct rx_range *out = arena_array(a, (size_t)x.n + y.n, sizeof *out);
    if (out == NULL) return NULL;
    uint32_t n = 0;
    for (uint32_t i = 0, j = 0; i < x.n && j < y.n;) {
        uint32_t lo = x.r[i].lo > y.r[j].lo ? x.r[i].lo : y.r[j].lo;
        uint32_t hi = x.r[i].hi < y.r[j].hi ? x.r[i].hi : y.r[j].hi;
        if (lo <= hi) out[n++] = (struct rx_range){lo, hi};
        if (x.r[i].hi < y.r[j].hi)
            i++;
        else
            j++;
    }
    return rx_set_ranges(a, (struct rx_ranges){out, n});
}

static const struct rx_set *ranges_or(struct arena *a, struct rx_ranges x, struct rx_ranges y)
{
    size_t n = (size_t)x.n + y.n;
    struct rx_range *out = arena_array(a, n, sizeof *out);
    if (out == NULL) return NULL;
    if (x.n > 0) memcpy(out, x.r, x.n * sizeof *out);
    if (y.n > 0) memcpy(out + x.n, y.r, y.n * sizeof *out);
    return rx_set_ranges(a, rx_ranges_build(out, n));
}

const struct rx_set *rx_set_not(struct arena *a, const struct rx_set *s)
{
    if (s == NULL) return NULL;
    if (s->kind == RX_SET_RANGES) return ranges_not(a, s->ranges);
    if (s->kind == RX_SET_NOT) return s->kids[0];
    struct rx_set *result = set_new(a, RX_SET_NOT);
    const struct rx_set **kids = arena_array(a, 1, sizeof *kids);
    if (result == NULL || kids == NULL) return NULL;
    kids[0] = s;
    result->kids = kids;
    result->n_kids = 1;
    return result;
}

const struct rx_set *rx_set_or(struct arena *a, const struct rx_set *const *kids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (kids[i] == NULL) return NULL;
    }
    if (n == 1) return kids[0];
    if (n == 0) return rx_set_ranges(a, (struct rx_ranges){NULL, 0});
    struct rx_set *s = set_new(a, RX_SET_OR);
    if (s == NULL) return NULL;
    s->kids = kids;
    s->n_kids = n;
    return s;
}

const struct rx_set *rx_set_op(struct arena *a, enum rx_set_kind op, const struct rx_set *l, const struct rx_set *r)
{
    CHECK(op == RX_SET_AND || op == RX_SET_SUB || op == RX_SET_XOR);
    if (l == NULL || r == NULL) return NULL;
    if (l->kind == RX_SET_RANGES && r->kind == RX_SET_RANGES) {
        if (op == RX_SET_AND) return ranges_and(a, l->ranges, r->ranges);
        const struct rx_set *not_r = ranges_not(a, r->ranges);
        if (not_r == NULL) return NULL;
        const struct rx_set *l_only = ranges_and(a, l->ranges, not_r->ranges);
        if (op == RX_SET_SUB || l_only == NULL) return l_only;
        const struct rx_set *not_l = ranges_not(a, l->ranges);
        if (not_l == NULL) return NULL;
        const struct rx_set *r_only = ranges_and(a, r->ranges, not_l->ranges);
        return r_only == NULL ? NULL : ranges_or(a, l_only->ranges, r_only->ranges);
    }
    struct rx_set *s = set_new(a, op);
    const struct rx_set **kids = arena_array(a, 2, sizeof *kids);
    if (s == NULL || kids == NULL) return NULL;
    kids[0] = l;
    kids[1] = r;
    s->kids = kids;
    s->n_kids = 2;
    return s;
}

const struct rx_set *rx_set_fold(struct arena *a, const struct rx_set *s)
{
    if (s == NULL) return NULL;
    CHECK(s->kind == RX_SET_RANGES);
    size_t n_equals = 0;
    for (uint32_t i = 0; i < s->ranges.n; i++) {
        for (uint32_t c = rx_fold_first_from(s->ranges.r[i].lo); c <= s->ranges.r[i].hi;
             c = rx_fold_first_from(c + 1)) {
            for (uint32_t e = rx_fold_next(c); e != c; e = rx_fold_next(e)) n_equals++;
        }
    }
    if (n_equals == 0) return s;
    struct rx_range *out = arena_array(a, s->ranges.n + n_equals, sizeof *out);
    if (out == NULL) return NULL;
    size_t n = s->ranges.n;
    memcpy(out, s->ranges.r, n * sizeof *out);
    for (uint32_t i = 0; i < s->ranges.n; i++) {
        for (uint32_t c = rx_fold_first_from(s->ranges.r[i].lo); c <= s->ranges.r[i].hi;
             c = rx_fold_first_from(c + 1)) {
            for (uint32_t e = rx_fold_next(c); e != c; e = rx_fold_next(e)) out[n++] = (struct rx_range){e, e};
        }
    }
    return rx_set_ranges(a, rx_ranges_build(out, n));
}

static bool ranges_has(struct rx_ranges s, uint32_t cp)
{
    uint32_t lo = 0, hi = s.n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s.r[mid].hi < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s.n && s.r[lo].lo <= cp;
}

bool rx_set_has(const struct rx_set *s, uint32_t cp, struct rx_probe *pb)
{
    switch (s->kind) {
    case RX_SET_RANGES:
        return ranges_has(s->ranges, cp);
    case RX_SET_PROP:
        return rx_prop_has(s->prop, cp, pb);
    case RX_SET_NOT:
        return !rx_set_has(s->kids[0], cp, pb);
    case RX_SET_AND:
        return rx_set_has(s->kids[0], cp, pb) && rx_set_has(s->kids[1], cp, pb);
    case RX_SET_SUB:
        return rx_set_has(s->kids[0], cp, pb) && !rx_set_has(s->kids[1], cp, pb);
    case RX_SET_XOR:
        return rx_set_has(s->kids[0], cp, pb) != rx_set_has(s->kids[1], cp, pb);
    case RX_SET_OR:
        for (uint32_t i = 0; i < s->n_kids; i++) {
            if (rx_set_has(s->kids[i], cp, pb)) return true;
        }
        return false;
    }
    panic("set of unknown kind %d", (int)s->kind);
}
