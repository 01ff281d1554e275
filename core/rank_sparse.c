/* rank_sparse.c - the lists of sparse leaves: the records whose vector under a key of their metadata is nearest.
 *
 * The distance is 1 - dot; a row that shares no index with the query is not in the list. A fragment answers from its
 * inverted lists (index/sparse_lists.h). Of tails, and of fragments whose lists are damaged or were never written, the metadata
 * of every selected row are passed over, once for all sparse leaves of the expression. Both are exact whatever the
 * signs of the weights, and add up products in the order of the indices, so they agree bit by bit.
 *
 * HAPPY PATH  weights (times the inverse document frequency, counted over all visible rows in a pass of its own, where a
 *             leaf wants it); then segment by segment, tails first, since they give the fragments' searches a bound to
 *             begin with. In a pass, row by row: find the key, walk both ascending lists with galloping steps, offer.
 * FAILURE     memory; rows or lists that cannot be read.
 */
#include "core/rank_internal.h"

struct sparse_leaf {
    const struct rank_leaf *leaf;
    const uint8_t *indices; /* of the query, little-endian as in metadata */
    float *weights;
    uint32_t *n_rows_with; /* of each index: rows that have it; where the leaf weighs by frequency */
    struct topk *top;
};

struct sparse_leaves {
    struct sparse_leaf *at;
    uint32_t n;
    uint64_t n_rows; /* of the collection; counted when some leaf weighs by frequency */
};

/* --- shared indices ---------------------------------------------------------------------------------------------- */

/* The first place at or behind `from` whose index is not below `index`: steps that double, then a binary search. */
static uint32_t gallop(const uint8_t *indices, uint32_t n, uint32_t from, uint32_t index)
{
    uint64_t step = 1, lo = from, hi = from;
    while (hi < n && le32_get(indices + hi * 4) < index) {
        lo = hi + 1;
        hi += step;
        step *= 2;
    }
    if (hi > n) hi = n;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (le32_get(indices + mid * 4) < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return (uint32_t)lo;
}

/* Stands on the first index that both have, at or behind (i, k); false: there is none. */
static bool find_shared(const struct sparse_leaf *leaf, const struct sparse_view *v, uint32_t *i, uint32_t *k)
{
    uint32_t n = leaf->leaf->sparse.n;
    while (*i < n && *k < v->n) {
        uint32_t ours = le32_get(leaf->indices + (size_t)*i * 4), theirs = le32_get(v->indices + (size_t)*k * 4);
        if (ours == theirs) return true;
        if (ours < theirs)
            *i = gallop(leaf->indices, n, *i, theirs);
        else
            *k = gallop(v->indices, v->n, *k, ours);
    }
    return false;
}

static float weight_at(const struct sparse_view *v, uint32_t k)
{
    float f;
    memcpy(&f, v->values + (size_t)k * sizeof f, sizeof f);
    return f;
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

typedef void (*row_visitor)(const struct sparse_leaf *leaf, const struct sparse_view *v, uint64_t ordinal,
                            uint32_t row);

static void count_indices(const struct sparse_leaf *leaf, const struct sparse_view *v, uint64_t ordinal, uint32_t row)
{
    (void)ordinal, (void)row;
    if (!leaf->leaf->weighs_by_frequency) return;
    for (uint32_t i = 0, k = 0; find_shared(leaf, v, &i, &k); i++, k++) leaf->n_rows_with[i]++;
}

static void offer(const struct sparse_leaf *leaf, const struct sparse_view *v, uint64_t ordinal, uint32_t row)
{
    uint32_t i = 0, k = 0;
    float dot = 0;
    if (!find_shared(leaf, v, &i, &k)) return;
    do {
        dot += leaf->weights[i++] * weight_at(v, k++);
    } while (find_shared(leaf, v, &i, &k));
    topk_offer(leaf->top, 1 - dot, ordinal, row);
}

/* Shows every vector of the visible rows (of `mask`; NULL: all) of one segment to every leaf of its key. */
static enum err visit_segment(const struct snapshot *s, uint32_t at, const struct bitset *mask,
                              struct sparse_leaves *leaves, row_visitor visit, struct errmsg *em)
{
    const struct segment *segment = s->segments[at].segment;
    uint32_t n_rows = s->segments[at].n_rows;
    for (uint32_t row = mask != NULL ? bitset_next(mask, 0) : 0; row < n_rows;
         row = mask != NULL ? bitset_next(mask, row + 1) : row + 1) {
        struct row parts = {0};
        struct arena none = {0}; /* metadata are views: nothing is put into it */
        struct meta_entry entry;
        struct sparse_view v;
        if (!segment_is_visible(segment, row, s->lsn)) continue;
        leaves->n_rows++;
        enum err e = segment->ops->row(segment, row, ROW_META, &none, &parts, em);
        arena_free(&none);
        if (e != ERR_OK) return e;
        for (uint32_t i = 0; i < leaves->n && parts.meta.n > 0; i++) {
            const struct sparse_leaf *leaf = &leaves->at[i];
            if (leaf->leaf->sparse.n == 0 || !meta_find(parts.meta, leaf->leaf->key, &entry)) continue;
            if (meta_sparse(&entry, &v)) visit(leaf, &v, segment->ops->ordinal(segment, row), row);
        }
    }
    return ERR_OK;
}

/* --- lists ------------------------------------------------------------------------------------------------------- */

static enum err open_leaf(struct sparse_leaf *leaf, struct arena *a)
{
    const struct sparse *q = &leaf->leaf->sparse;
    leaf->indices = (const uint8_t *)q->indices;
    leaf->weights = arena_array(a, q->n, sizeof *leaf->weights);
    leaf->n_rows_with = arena_array(a, leaf->leaf->weighs_by_frequency ? q->n : 0, sizeof *leaf->n_rows_with);
    if (leaf->weights == NULL || leaf->n_rows_with == NULL) return ERR_NOMEM;
    if (q->n > 0) memcpy(leaf->weights, q->values, q->n * sizeof *q->values);
    return ERR_OK;
}

static struct sparse_query query_of(const struct sparse_leaf *leaf)
{
    const struct sparse *q = &leaf->leaf->sparse;
    return (struct sparse_query){leaf->leaf->key, q->indices, leaf->weights, q->n};
}

/* Counts the visible rows of one segment, and for each leaf that wants it those that have its indices. */
static enum err count_segment(const struct snapshot *s, uint32_t at, struct sparse_leaves *leaves, struct errmsg *em)
{
    const struct segment *segment = s->segments[at].segment;
    uint32_t n_rows = s->segments[at].n_rows;
    if (segment->ops->sparse_count == NULL) return visit_segment(s, at, NULL, leaves, count_indices, em);
    leaves->n_rows += n_rows - deaths_total(&segment->deaths, s->lsn); /* a fragment, which is seen whole */
    for (uint32_t i = 0; i < leaves->n; i++) {
        if (!leaves->at[i].leaf->weighs_by_frequency) continue;
        struct sparse_query q = query_of(&leaves->at[i]);
        enum err e = segment->ops->sparse_count(segment, &q, s->lsn, leaves->at[i].n_rows_with, em);
        if (e == ERR_UNSUPPORTED) {
            struct sparse_leaves others = {.at = leaves->at + i, .n = leaves->n - i};
            return visit_segment(s, at, NULL, &others, count_indices, em);
        }
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

/* Offers the selected rows of one segment to every leaf. */
static enum err search_segment(const struct snapshot *s, uint32_t at, const struct segment_rows *rows,
                               struct sparse_leaves *leaves, struct arena *a, struct errmsg *em)
{
    const struct segment *segment = s->segments[at].segment;
    const struct bitset *mask = rows->mask.words != NULL ? &rows->mask : NULL;
    for (uint32_t i = 0; i < leaves->n; i++) leaves->at[i].top->segment = at;
    if (segment->ops->sparse_nearest == NULL) return visit_segment(s, at, mask, leaves, offer, em);
    for (uint32_t i = 0; i < leaves->n; i++) {
        struct sparse_query q = query_of(&leaves->at[i]);
        enum err e = segment->ops->sparse_nearest(segment, &q, mask, s->lsn, leaves->at[i].top, a, em);
        if (e == ERR_UNSUPPORTED) {
            struct sparse_leaves others = {.at = leaves->at + i, .n = leaves->n - i};
            return visit_segment(s, at, mask, &others, offer, em);
        }
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static enum err weigh_by_frequency(const struct snapshot *s, struct sparse_leaves *leaves, struct errmsg *em)
{
    leaves->n_rows = 0;
    for (uint32_t i = 0; i < s->n_segments; i++) {
        enum err e = count_segment(s, i, leaves, em);
        if (e != ERR_OK) return e;
    }
    for (uint32_t i = 0; i < leaves->n; i++) {
        const struct sparse_leaf *leaf = &leaves->at[i];
        if (!leaf->leaf->weighs_by_frequency) continue;
        for (uint32_t k = 0; k < leaf->leaf->sparse.n; k++) {
            double with = leaf->n_rows_with[k], all = (double)leaves->n_rows;
            leaf->weights[k] *= log1pf((float)((all - with + 0.5) / (with + 0.5)));
        }
    }
    return ERR_OK;
}

enum err rank_sparse_lists(const struct snapshot *s, const struct segment_rows *rows, const struct rank_leaves *all,
                           struct arena *a, struct errmsg *em)
{
    struct sparse_leaves leaves = {.at = arena_array(a, all->n, sizeof *leaves.at)};
    uint64_t n_candidates = 0;
    bool weighs = false;
    if (leaves.at == NULL) return errmsg_set(em, ERR_NOMEM, "%u lists", all->n);
    for (uint32_t i = 0; i < s->n_segments; i++) n_candidates += rows[i].n;
    for (uint32_t i = 0; i < all->n; i++) {
        if (!all->is_sparse[i]) continue;
        struct sparse_leaf *leaf = &leaves.at[leaves.n++];
        *leaf = (struct sparse_leaf){.leaf = all->at[i], .top = &all->lists[i]};
        uint32_t k = leaf->leaf->limit < n_candidates ? leaf->leaf->limit : (uint32_t)n_candidates;
        if (open_leaf(leaf, a) != ERR_OK || !topk_init(leaf->top, a, k))
            return errmsg_set(em, ERR_NOMEM, "a list of %u rows", k);
        weighs = weighs || leaf->leaf->weighs_by_frequency;
    }
    if (leaves.n == 0) return ERR_OK;
    enum err e = weighs ? weigh_by_frequency(s, &leaves, em) : ERR_OK;
    for (uint32_t i = s->n_segments; i-- > 0 && e == ERR_OK;)
        if (rows[i].n > 0) e = search_segment(s, i, &rows[i], &leaves, a, em);
    for (uint32_t k = 0; k < leaves.n && e == ERR_OK; k++) topk_sort(leaves.at[k].top);
    return e;
}
