/* rank.c - a ranked search from its filter to its page. See rank.h.
 *
 * HAPPY PATH  the filter becomes a bitmap a segment, once; every leaf makes its list under it; the lists are joined and
 *             scored (rank_score.c), sorted, thinned by groups (rank_group.c) and cut.
 * FAILURE     memory; whatever the segments meet.
 * INVARIANT   nothing that is made on the way outlives the call: it lies in an arena of the call's own, under the
 *             ceiling of the caller's.
 */
#include <stdlib.h>

#include "core/rank_internal.h"

/* --- leaves -------------------------------------------------------------------------------------------------------- */

static bool is_leaf(const struct rank *r)
{
    return r->kind == RANK_DENSE || r->kind == RANK_SPARSE;
}

static uint32_t count_leaves(const struct rank *r)
{
    uint32_t n = is_leaf(r) ? 1 : 0;
    for (uint32_t i = 0; i < r->n_operands; i++) n += count_leaves(r->operands[i]);
    return n;
}

static void list_leaves(const struct rank *r, struct rank_leaves *leaves)
{
    if (is_leaf(r)) {
        leaves->is_sparse[leaves->n] = r->kind == RANK_SPARSE;
        leaves->at[leaves->n++] = &r->leaf;
    }
    for (uint32_t i = 0; i < r->n_operands; i++) list_leaves(r->operands[i], leaves);
}

static enum err dense_lists(const struct snapshot *s, struct segment_rows *rows, const struct rank_leaves *leaves,
                            struct arena *a, struct errmsg *em)
{
    for (uint32_t i = 0; i < leaves->n; i++) {
        const struct rank_leaf *leaf = leaves->at[i];
        if (leaves->is_sparse[i] || s->dim == 0) continue; /* no vectors yet: an empty list */
        CHECK(leaf->n_dense == s->dim && "a query of the collection's dimension");
        enum err e = exec_nearest(s, rows, leaf->dense, leaf->limit, a, &leaves->lists[i], em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static void note_sparse(const struct snapshot *s, const struct segment_rows *rows, const struct rank_leaves *leaves)
{
    struct exec_explain_query note = {.plan = EXEC_SPARSE};
    for (uint32_t i = 0; i < s->n_segments; i++) note.n_selected += rows[i].n;
    note.n_candidates = note.n_selected;
    for (uint32_t i = 0; i < leaves->n; i++)
        if (leaves->is_sparse[i]) exec_note_query(s, &note);
}

/* --- the whole ----------------------------------------------------------------------------------------------------- */

static int by_rank(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    uint32_t kx = rank_score_key(x->score), ky = rank_score_key(y->score);
    if (kx != ky) return kx < ky ? -1 : 1;
    return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

/* All results in the order of rank; in the arena. */
static enum err ranked_rows(const struct snapshot *s, const struct rank_search *search, struct arena *a,
                            struct scored **out, size_t *n, struct errmsg *em)
{
    struct segment_rows *rows = NULL;
    struct scored *scored = NULL;
    uint32_t n_leaves = count_leaves(search->rank);
    struct rank_leaves leaves = {
        .at = arena_array(a, n_leaves, sizeof *leaves.at),
        .lists = arena_array(a, n_leaves, sizeof *leaves.lists),
        .is_sparse = arena_array(a, n_leaves, sizeof *leaves.is_sparse),
    };
    if (leaves.at == NULL || leaves.lists == NULL || leaves.is_sparse == NULL)
        return errmsg_set(em, ERR_NOMEM, "rank by %u lists", n_leaves);
    list_leaves(search->rank, &leaves);
    enum err e = exec_select(s, &search->selection, false, a, &rows, em);
    if (e == ERR_OK) e = dense_lists(s, rows, &leaves, a, em);
    if (e == ERR_OK) e = rank_sparse_lists(s, rows, &leaves, a, em);
    if (e == ERR_OK) note_sparse(s, rows, &leaves);
    if (e == ERR_OK) e = rank_score(search->rank, &leaves, a, &scored, n, em);
    if (e != ERR_OK) return e;
    exec_note_documents(s, rows);
    if (*n > 1) qsort(scored, *n, sizeof *scored, by_rank);
    *out = scored;
    return search->group == NULL ? ERR_OK : rank_keep_groups(s, search->group, scored, n, a, em);
}

static enum err search_ranked(const struct snapshot *s, const struct rank_search *search, struct arena *scratch,
                              struct arena *a, struct rank_row **out, uint32_t *n_out, struct errmsg *em)
{
    struct scored *rows = NULL;
    size_t n = 0;
    enum err e = ranked_rows(s, search, scratch, &rows, &n, em);
    if (e != ERR_OK) return e;
    size_t first = search->offset < n ? search->offset : n;
    size_t n_page = n - first < search->limit ? n - first : search->limit;
    struct rank_row *page = arena_array(a, n_page, sizeof *page);
    if (page == NULL) return errmsg_set(em, ERR_NOMEM, "a page of %zu rows", n_page);
    for (size_t i = 0; i < n_page; i++) page[i] = (struct rank_row){rows[first + i].ref, rows[first + i].score};
    *out = page;
    *n_out = (uint32_t)n_page;
    return ERR_OK;
}

static enum err search_unranked(const struct snapshot *s, const struct rank_search *search, struct arena *scratch,
                                struct arena *a, struct rank_row **out, uint32_t *n_out, struct errmsg *em)
{
    struct row_ref *refs = NULL;
    uint32_t n = 0;
    enum err e = exec_get(s, &search->selection, search->limit, search->offset, scratch, &refs, &n, em);
    if (e != ERR_OK) return e;
    struct rank_row *page = arena_array(a, n, sizeof *page);
    if (page == NULL) return errmsg_set(em, ERR_NOMEM, "a page of %u rows", n);
    for (uint32_t i = 0; i < n; i++) page[i] = (struct rank_row){refs[i], (float)i};
    *out = page;
    *n_out = n;
    return ERR_OK;
}

enum err rank_search(const struct snapshot *s, const struct rank_search *search, struct arena *a,
                     struct rank_row **rows, uint32_t *n, struct errmsg *em)
{
    struct arena scratch = {.max_bytes = a->max_bytes};
    CHECK((search->rank != NULL || search->group == NULL) && "groups are of ranked rows");
    enum err e = search->rank != NULL ? search_ranked(s, search, &scratch, a, rows, n, em)
                                      : search_unranked(s, search, &scratch, a, rows, n, em);
    arena_free(&scratch);
    return e;
}
