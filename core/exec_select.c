/* exec_select.c - turns ids and a filter into one bitmap a segment, so that the number of candidates is known before a
 * plan is chosen.
 *
 * A filter is evaluated by each segment through its own indexes; ids are looked up one by one. When both are given, the
 * ids come first: they are few, so the filter is then tested on those rows only. Where the caller allows it, rows that
 * only their documents can decide stay open (struct filter_rest), to be decided when it turns out that they matter.
 */
#include "core/clock.h"
#include "core/executor_internal.h"

enum { SCRATCH_KEEP_BYTES = 1 << 16 };

/* Drops from the masks the rows that do not match, looking at each row itself. */
static enum err test_rows(const struct snapshot *s, const struct filter *f, struct segment_rows *rows,
                          struct errmsg *em)
{
    struct arena scratch = {0};
    unsigned parts = filter_parts(f);
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < s->n_segments && e == ERR_OK; i++) {
        struct segment_rows *r = &rows[i];
        const struct segment *segment = s->segments[i].segment;
        for (uint32_t row = bitset_next(&r->mask, 0); row < r->mask.n_bits && e == ERR_OK;
             row = bitset_next(&r->mask, row + 1)) {
            struct row parts_of_row = {0};
            bool matches = false;
            e = segment->ops->row(segment, row, parts, &scratch, &parts_of_row, em);
            if ((parts & ROW_DOCUMENT) != 0) r->rest.n_documents++;
            if (e == ERR_OK) e = filter_matches(f, &parts_of_row, &scratch, &matches, em);
            if (e == ERR_OK && !matches) {
                bitset_remove(&r->mask, row);
                r->n--;
            }
            if (scratch.used_bytes > SCRATCH_KEEP_BYTES) arena_free(&scratch);
        }
    }
    arena_free(&scratch);
    return e;
}

static enum err select_ids(const struct snapshot *s, const struct selection *sel, struct arena *a,
                           struct segment_rows *rows, struct errmsg *em)
{
    for (uint32_t i = 0; i < s->n_segments; i++)
        if (!bitset_init(&rows[i].mask, a, s->segments[i].n_rows)) return errmsg_set(em, ERR_NOMEM, "select by id");
    for (uint32_t k = 0; k < sel->n_ids; k++) {
        for (uint32_t i = s->n_segments; i-- > 0;) { /* newest first: most likely there */
            const struct segment *segment = s->segments[i].segment;
            uint32_t row = segment->ops->find(segment, sel->ids[k], s->lsn);
            if (row == ROW_UNKNOWN) return segment_unreadable(segment, em);
            if (row == ROW_NONE || row >= s->segments[i].n_rows) continue;
            if (!bitset_get(&rows[i].mask, row)) {
                bitset_add(&rows[i].mask, row);
                rows[i].n++;
            }
            break; /* an id is visible once */
        }
    }
    return sel->filter != NULL ? test_rows(s, sel->filter, rows, em) : ERR_OK;
}

static enum err select_matching(const struct snapshot *s, const struct filter *f, bool may_defer, struct arena *a,
                                struct segment_rows *rows, struct errmsg *em)
{
    for (uint32_t i = 0; i < s->n_segments; i++) {
        const struct segment *segment = s->segments[i].segment;
        rows[i].rest.decides_all = !may_defer;
        enum err e = segment->ops->filter(segment, s->segments[i].n_rows, f, a, &rows[i].mask, &rows[i].rest, em);
        if (e != ERR_OK) return e;
        rows[i].n = bitset_count(&rows[i].mask);
    }
    return ERR_OK;
}

/* What cannot be read has rows that may belong into any answer. */
static enum err refuse_unreadable(const struct snapshot *s, struct errmsg *em)
{
    for (uint32_t i = 0; i < s->n_segments; i++)
        if (segment_is_unreadable(s->segments[i].segment)) return segment_unreadable(s->segments[i].segment, em);
    return ERR_OK;
}

enum err exec_select(const struct snapshot *s, const struct selection *sel, bool may_defer, struct arena *a,
                     struct segment_rows **out, struct errmsg *em)
{
    struct segment_rows *rows = arena_array(a, s->n_segments, sizeof *rows);
    uint64_t began_ns = s->explain != NULL ? clock_monotonic_ns() : 0;
    if (rows == NULL) return errmsg_set(em, ERR_NOMEM, "select rows");
    enum err e = refuse_unreadable(s, em);
    if (e != ERR_OK) return e;
    if (sel->ids != NULL) {
        e = select_ids(s, sel, a, rows, em);
    } else if (sel->filter != NULL) {
        e = select_matching(s, sel->filter, may_defer, a, rows, em);
    } else {
        for (uint32_t i = 0; i < s->n_segments; i++) rows[i].n = s->segments[i].n_rows;
    }
    if (e != ERR_OK) return e;
    exec_explain_selection(s, rows, began_ns);
    *out = rows;
    return ERR_OK;
}

enum err exec_row(const struct snapshot *s, struct row_ref ref, unsigned parts, struct arena *a, struct row *out,
                  struct errmsg *em)
{
    CHECK(ref.segment < s->n_segments && ref.row < s->segments[ref.segment].n_rows && "row of this snapshot");
    const struct segment *segment = s->segments[ref.segment].segment;
    return segment->ops->row(segment, ref.row, parts, a, out, em);
}
