/* explain.c - the explanation of a read as a header. See explain.h.
 *
 * HAPPY PATH  the handler notes when a stage ends, the executor what it did (core/executor.h); explain_answer writes
 *             both as JSON into the request's arena and adds the line to the answer's other headers.
 * FAILURE     without memory there is no explanation; the answer is the same.
 * INVARIANT   the text holds digits, fixed names and JSON's punctuation only: nothing that could end a header's line.
 */
#include "api/explain.h"

#include <inttypes.h>

#include "core/clock.h"

void explain_begin(struct api_request *r)
{
    if (!r->wants_explanation) return;
    r->explain = arena_zalloc(&r->arena, sizeof *r->explain);
    if (r->explain != NULL) r->explain->began_ns = clock_monotonic_ns();
}

void explain_end_stage(struct api_request *r, enum explain_stage stage)
{
    if (r->explain != NULL) r->explain->ended_ns[stage] = clock_monotonic_ns();
}

static void put_times(struct buf *b, const struct explain *x)
{
    uint64_t parse_ns = x->ended_ns[EXPLAIN_PARSE] - x->began_ns;
    uint64_t run_ns = x->ended_ns[EXPLAIN_RUN] - x->ended_ns[EXPLAIN_PARSE];
    uint64_t serialise_ns = x->ended_ns[EXPLAIN_SERIALISE] - x->ended_ns[EXPLAIN_RUN];
    CHECK(x->did.select_ns <= run_ns && "selecting is a part of running");
    buf_printf(b, "{\"us\":{\"parse\":%" PRIu64 ",\"plan\":%" PRIu64 ",\"run\":%" PRIu64 ",\"serialise\":%" PRIu64 "}",
               parse_ns / 1000, x->did.select_ns / 1000, (run_ns - x->did.select_ns) / 1000, serialise_ns / 1000);
}

static void put_query(struct buf *b, const struct exec_explain_query *q)
{
    static const char *const plans[EXEC_PLANS] = {
        [EXEC_EXACT] = "exact", [EXEC_MASKED] = "masked_scan", [EXEC_FULL] = "full_scan", [EXEC_SPARSE] = "sparse"};
    buf_printf(b, "{\"plan\":\"%s\",\"selected\":%" PRIu64 ",\"candidates\":%" PRIu64, plans[q->plan], q->n_selected,
               q->n_candidates);
    if (q->plan != EXEC_SPARSE) buf_printf(b, ",\"measured\":%" PRIu64, q->n_measured);
    buf_char(b, '}');
}

static void put_explanation(struct buf *b, const struct explain *x, const struct api_request *r)
{
    uint32_t n = x->did.n_queries < EXEC_EXPLAIN_QUERIES ? x->did.n_queries : EXEC_EXPLAIN_QUERIES;
    put_times(b, x);
    buf_printf(b,
               ",\"segments\":%" PRIu32 ",\"rows\":%" PRIu64 ",\"selected\":%" PRIu64 ",\"documents\":%" PRIu64
               ",\"records\":%" PRIu64 ",\"queries\":[",
               x->did.n_segments, x->did.n_rows, x->did.n_selected, r->did.n_documents, r->n_records);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) buf_char(b, ',');
        put_query(b, &x->did.queries[i]);
    }
    buf_char(b, ']');
    if (x->did.n_queries > n) buf_printf(b, ",\"more_queries\":%" PRIu32, x->did.n_queries - n);
    buf_char(b, '}');
}

void explain_answer(struct api_request *r)
{
    struct buf b = {.max = EXPLAIN_MAX_BYTES};
    if (r->explain == NULL) return;
    explain_end_stage(r, EXPLAIN_SERIALISE);
    put_explanation(&b, r->explain, r);
    if (b.err == ERR_OK) {
        struct str lines =
            arena_printf(&r->arena, "%.*sx-chroma-explain: %.*s\r\n", STR_ARG(r->extra_headers), STR_ARG(buf_view(&b)));
        if (lines.p != NULL) r->extra_headers = lines;
    }
    buf_free(&b);
}
