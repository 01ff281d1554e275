/* executor_internal.h - what exec_*.c share. See executor.h. */
#ifndef CORE_EXECUTOR_INTERNAL_H
#define CORE_EXECUTOR_INTERNAL_H

#include "core/executor.h"
#include "core/tail.h"

/* Which rows of each segment a selection leaves; all rows where words == NULL. Rows that are not visible may be in it. */
struct segment_rows {
    struct bitset mask;
    uint32_t n; /* bits in the mask, or rows of the segment; an upper limit while rows are open */
    struct filter_rest rest;
};

/* One entry a segment of the snapshot, in the arena. With `may_defer` rows may be left open. */
enum err exec_select(const struct snapshot *s, const struct selection *sel, bool may_defer, struct arena *a,
                     struct segment_rows **rows, struct errmsg *em);

/* Tells s->explain about a selection that began at began_ns; nothing when it is not wanted. */
void exec_explain_selection(const struct snapshot *s, const struct segment_rows *rows, uint64_t began_ns);

/* Tells s->stats and s->explain about one query; stats count it as one, however many rounds it took. */
void exec_note_query(const struct snapshot *s, const struct exec_explain_query *q);

/* Adds the documents that were read under these selections to s->stats. */
void exec_note_documents(const struct snapshot *s, const struct segment_rows *rows);

/* The k nearest to `v` (s->dim floats) among the selected rows, sorted, in the arena. Open rows among them are decided
 * on the way, and what was found out stays in `rows`. */
enum err exec_nearest(const struct snapshot *s, struct segment_rows *rows, const float *v, uint32_t k, struct arena *a,
                      struct topk *top, struct errmsg *em);

#endif
