/* fragment_agree.c - samples whether the indexes of a fragment say what its rows say.
 *
 * HAPPY PATH  a row is drawn. Its id is looked up; for each of its metadata a filter is made that it matches, and for its
 *             document one for a piece of it; each filter is evaluated through the indexes and by reading every row, and the
 *             two bitmaps must be the same, so rows are missed in neither direction. Of a sparse vector it is counted how many rows
 *             have its indices; a norm is measured. Vector codes are estimates: core/exec_recall.c says how good they are.
 * FAILURE     rows that cannot be read: ERR_CORRUPT. Disagreement is no failure; it is counted and the first one told.
 */
#include <stdio.h>

#include "core/hash.h"
#include "core/value.h"
#include "index/fragment_internal.h"

enum {
    PIECE_MIN = 3, /* bytes of a document: the index knows no shorter ones */
    PIECE_MAX = 12,
    SPARSE_PROBES = 4, /* indices of one vector */
};

struct agree {
    const struct fragment *f;
    struct fragment_agreement *out;
    uint64_t state; /* of the random numbers */
    struct arena arena;
    struct errmsg *em;
};

static uint32_t draw(struct agree *g, uint32_t n)
{
    return (uint32_t)(splitmix64(&g->state) % n);
}

static void note(struct agree *g, bool is_right, uint32_t row, const char *what)
{
    g->out->n_probes++;
    if (is_right) return;
    if (g->out->n_wrong++ == 0)
        (void)snprintf(g->out->first, sizeof g->out->first, "fragment %llu, row %u: %s",
                       (unsigned long long)g->f->header->fragment_id, row, what);
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

/* Evaluated both ways; `row` is among the matches. */
static enum err probe_filter(struct agree *g, const struct filter *f, uint32_t row, const char *what)
{
    const struct segment *s = &g->f->segment;
    struct bitset by_index, by_rows;
    enum err e = s->ops->filter(s, g->f->n_rows, f, &g->arena, &by_index, NULL, g->em);
    if (e == ERR_OK) e = fragment_filter_rows(s, f, &g->arena, &by_rows, g->em);
    if (e != ERR_OK) return e;
    size_t bytes = bitset_words(g->f->n_rows) * sizeof *by_rows.words;
    note(g, memcmp(by_index.words, by_rows.words, bytes) == 0 && bitset_get(&by_rows, row), row, what);
    return ERR_OK;
}

static enum err probe_document(struct agree *g, uint32_t row, struct str document)
{
    if (document.n < PIECE_MIN) return ERR_OK;
    size_t most = document.n < PIECE_MAX ? document.n : PIECE_MAX;
    size_t n = PIECE_MIN + draw(g, (uint32_t)(most - PIECE_MIN + 1));
    uint64_t places = document.n - n + 1;
    size_t at = draw(g, places < UINT32_MAX ? (uint32_t)places : UINT32_MAX);
    const struct filter f = {.kind = FILTER_DOC_CONTAINS, .text = str_of(document.p + at, n)};
    return probe_filter(g, &f, row, "its document is not found by a piece of it, or another one is");
}

/* What rows say of the indices: how many have each. */
static enum err count_by_rows(struct agree *g, const struct sparse_query *q, uint32_t *counts)
{
    for (uint32_t row = 0; row < g->f->n_rows; row++) {
        struct bytes meta;
        struct meta_entry entry;
        struct sparse_view v;
        enum err e = column_get(&g->f->meta, row, &meta, g->em);
        if (e != ERR_OK) return e;
        if (!meta_find(meta, q->key, &entry) || !meta_sparse(&entry, &v)) continue;
        if (deaths_at(&g->f->segment.deaths, row) != 0) continue; /* sparse_count leaves dead rows out */
        for (uint32_t i = 0, k = 0; i < q->n && k < v.n;) {
            uint32_t has = le32_get(v.indices + (size_t)k * 4);
            counts[i] += has == q->indices[i];
            if (has >= q->indices[i])
                i++;
            else
                k++;
        }
    }
    return ERR_OK;
}

static enum err probe_sparse(struct agree *g, uint32_t row, struct str key, const struct sparse_view *v)
{
    const struct segment *s = &g->f->segment;
    uint32_t indices[SPARSE_PROBES], n = v->n < SPARSE_PROBES ? v->n : SPARSE_PROBES;
    uint32_t by_index[SPARSE_PROBES] = {0}, by_rows[SPARSE_PROBES] = {0};
    float weights[SPARSE_PROBES] = {1, 1, 1, 1};
    if (s->ops->sparse_count == NULL || n == 0) return ERR_OK;
    for (uint32_t i = 0; i < n; i++) indices[i] = le32_get(v->indices + (size_t)i * (v->n / n) * 4);
    const struct sparse_query q = {key, indices, weights, n};
    enum err e = s->ops->sparse_count(s, &q, UINT64_MAX, by_index, g->em);
    if (e == ERR_UNSUPPORTED) return ERR_OK; /* damaged: not asked */
    if (e == ERR_CORRUPT && !section_is_good(g->f, SECTION_SPARSE_LISTS)) {
        note(g, false, row, "the lists of sparse vectors contradict themselves");
        return ERR_OK;
    }
    if (e == ERR_OK) e = count_by_rows(g, &q, by_rows);
    if (e != ERR_OK) return e;
    note(g, memcmp(by_index, by_rows, sizeof by_rows) == 0, row,
         "its sparse vector is not in the lists as in its metadata");
    return ERR_OK;
}

static enum err probe_entry(struct agree *g, uint32_t row, const struct meta_entry *entry)
{
    struct value v;
    struct sparse_view sparse;
    struct filter f = {.kind = FILTER_EQ, .key = entry->key, .values = &v, .n_values = 1};
    if (meta_sparse(entry, &sparse)) return probe_sparse(g, row, entry->key, &sparse);
    if (!meta_value(entry, &g->arena, &v)) return errmsg_set(g->em, ERR_NOMEM, "decode metadata");
    if (v.type >= VALUE_BOOLS && v.type <= VALUE_STRS) {
        if (v.list.n == 0) return ERR_OK;
        struct value item = v.list.items[draw(g, v.list.n)];
        v = item;
        f.kind = FILTER_CONTAINS;
    }
    return probe_filter(g, &f, row, "it is not found by its metadata, or another one is");
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static enum err probe_row(struct agree *g, uint32_t at)
{
    const struct segment *s = &g->f->segment;
    struct row row = {0};
    enum err e = s->ops->row(s, at, ROW_ALL, &g->arena, &row, g->em);
    if (e != ERR_OK) return e;
    note(g, id_hash_find(g->f, row.id) == at, at, "it is not found by its id");
    if (g->f->dim > 0 && section_is_good(g->f, SECTION_NORMS))
        note(g, fragment_norm_is_right(g->f, at), at, "its norm is not that of its vector");
    struct meta_entry entry;
    for (struct meta_iter it = meta_iter(row.meta); e == ERR_OK && meta_next(&it, &entry);)
        e = probe_entry(g, at, &entry);
    if (e == ERR_OK && row.document.p != NULL) e = probe_document(g, at, row.document);
    return e;
}

enum err fragment_agree(const struct segment *s, uint32_t n, uint64_t seed, struct fragment_agreement *out,
                        struct errmsg *em)
{
    struct agree g = {.f = fragment_of(s), .out = out, .state = seed, .em = em};
    enum err e = segment_is_unreadable(s) ? segment_unreadable(s, em) : ERR_OK;
    for (uint32_t i = 0; i < n && g.f->n_rows > 0 && e == ERR_OK; i++) {
        e = probe_row(&g, draw(&g, g.f->n_rows));
        arena_free(&g.arena);
    }
    return e;
}
