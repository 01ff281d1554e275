/* fuzz_search.c - bodies of search, query and get, each sent to two stores with the same records: one has them in a
 * fragment, the other in a tail. Both must answer the same.
 *
 * INPUT  one character (s: search, q: query, else get), then the body.
 */
#include "tests/fuzz/fuzz_api.h"

enum { N_RECORDS = 40 };

static struct store *stores[2]; /* these are made with the first input */
static struct api *apis[2];
static char ids[2][37];

static struct str records(struct buf *b)
{
    buf_lit(b, "{\"ids\":[");
    for (int i = 0; i < N_RECORDS; i++) buf_printf(b, "%s\"r%d\"", i > 0 ? "," : "", i);
    buf_lit(b, "],\"embeddings\":[");
    for (int i = 0; i < N_RECORDS; i++)
        buf_printf(b, "%s[%d.5,%d,-%d.25]", i > 0 ? "," : "", i * 7 % 11, i * 3 % 5, i % 13);
    buf_lit(b, "],\"documents\":[");
    for (int i = 0; i < N_RECORDS; i++) {
        if (i > 0) buf_char(b, ',');
        if (i % 7 == 3)
            buf_lit(b, "null");
        else
            buf_printf(b, "\"%s number %d of all\"", i % 2 == 0 ? "apple pie" : "Quick fox", i);
    }
    buf_lit(b, "],\"uris\":[");
    for (int i = 0; i < N_RECORDS; i++) buf_printf(b, i % 4 == 0 ? "%s\"u%d\"" : "%snull", i > 0 ? "," : "", i);
    buf_lit(b, "],\"metadatas\":[");
    for (int i = 0; i < N_RECORDS; i++) {
        if (i > 0) buf_char(b, ',');
        if (i % 9 == 5)
            buf_lit(b, "null");
        else
            buf_printf(b,
                       "{\"n\":%d,\"f\":%d.5,\"b\":%s,\"t\":\"%c\",\"l\":[%d,%d],\"w\":[\"x\",\"y%d\"],"
                       "\"s\":{\"#type\":\"sparse_vector\",\"indices\":[%d,%d],\"values\":[%d.5,0.25]}}",
                       i % 6, i % 5, i % 3 == 0 ? "true" : "false", 'a' + i % 4, i % 3, i, i % 2, i % 8, 10 + i % 3,
                       i % 4);
    }
    buf_lit(b, "]}");
    return buf_view(b);
}

static void make_collections(void)
{
    static const char schema[] =
        "{\"name\":\"ccc\",\"schema\":{\"defaults\":{},\"keys\":{\"s\":{\"sparse_vector\":{\"sparse_vector_index\":"
        "{\"enabled\":true,\"config\":{}}}}}}}";
    const struct api_options ao = {.request_memory_bytes = 64 << 20};
    struct buf body = {0};
    logger_set_level(LOG_NONE);
    struct str rows = records(&body);
    for (int i = 0; i < 2; i++) {
        const struct store_options so = {.wal = {.segment_bytes = 16 << 10}, .no_compactor = i == 1};
        char target[256];
        must_ok(store_open(&stores[i], &so, NULL));
        must_ok(api_new(&apis[i], stores[i], &ao, NULL));
        exchange_must(apis[i], "POST", FUZZ_COLLECTIONS, str_from_c(schema), ids[i]);
        (void)snprintf(target, sizeof target, "%s/%s/add", FUZZ_COLLECTIONS, ids[i]);
        exchange_must(apis[i], "POST", target, rows, NULL);
        if (i == 0) must_ok(store_compact(stores[i], NULL));
    }
    buf_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    struct exchange x[2];
    if (stores[0] == NULL) make_collections();
    char kind = (char)input_u8(&in);
    struct str body = input_text(&in, in.n);
    for (int i = 0; i < 2; i++) {
        char target[256];
        (void)snprintf(target, sizeof target, "%s/%s/%s", FUZZ_COLLECTIONS, ids[i],
                       kind == 's'   ? "search"
                       : kind == 'q' ? "query"
                                     : "get");
        const struct sent s = {
            .method = STR("POST"), .target = str_from_c(target), .content_type = STR("application/json"), .body = body};
        exchange(apis[i], &s, &x[i]);
    }
    must(x[0].r.status == x[1].r.status);
    must_msg(str_eq(buf_view(&x[0].r.answer), buf_view(&x[1].r.answer)), "from fragments %.*s, from tails %.*s",
             STR_ARG(buf_view(&x[0].r.answer)), STR_ARG(buf_view(&x[1].r.answer)));
    exchange_end(&x[0]);
    exchange_end(&x[1]);
    return 0;
}
