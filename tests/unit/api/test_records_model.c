/* test_records_model.c - the record routes against a trivial model, from several threads at once, and with memory
 * that ends at every possible moment.
 */
#include "tests/unit/api/call.h"

/* --- a model ------------------------------------------------------------------------------------------------------ */

enum { N_IDS = 40 };

struct record {
    bool is_live;
    uint64_t order;
    int x, y;     /* the vector */
    int document; /* -1: none */
    int n, flag;  /* metadata; -1: absent */
};

struct model {
    struct record records[N_IDS];
    uint64_t next_order;
    struct rng rng;
};

/* One row of a write as it is sent. */
struct sent {
    uint32_t id;
    bool has_vector;
    int x, y, document; /* document -1: null */
    int n, flag;        /* -1: not mentioned, -2: null (removes) */
};

static int maybe(struct rng *rng, uint32_t limit)
{
    return rng_below(rng, 3) == 0 ? -1 : (int)rng_below(rng, limit);
}

static struct sent random_row(struct rng *rng, bool is_update)
{
    struct sent s = {
        .id = rng_below(rng, N_IDS),
        .has_vector = !is_update || rng_below(rng, 2) == 0,
        .x = (int)rng_below(rng, 9),
        .y = (int)rng_below(rng, 9),
        .document = maybe(rng, 50),
        .n = maybe(rng, 5),
        .flag = maybe(rng, 2),
    };
    if (is_update && rng_below(rng, 5) == 0) s.n = -2;
    return s;
}

static void put_write(struct buf *b, const struct sent *rows, uint32_t n)
{
    buf_lit(b, "{\"documents\":[");
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) buf_char(b, ',');
        if (rows[i].document < 0)
            buf_lit(b, "null");
        else
            buf_printf(b, "\"d %d\"", rows[i].document);
    }
    buf_lit(b, "],\"ids\":[");
    for (uint32_t i = 0; i < n; i++) buf_printf(b, "%s\"id%u\"", i > 0 ? "," : "", rows[i].id);
    buf_lit(b, "],\"metadatas\":[");
    for (uint32_t i = 0; i < n; i++) {
        buf_printf(b, "%s{", i > 0 ? "," : "");
        if (rows[i].n >= 0)
            buf_printf(b, "\"n\":%d", rows[i].n);
        else if (rows[i].n == -2)
            buf_lit(b, "\"n\":null");
        if (rows[i].flag >= 0) {
            buf_printf(b, "%s\"flag\":%s", rows[i].n != -1 ? "," : "", rows[i].flag != 0 ? "true" : "false");
        }
        buf_char(b, '}');
    }
    buf_lit(b, "],\"embeddings\":[");
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) buf_char(b, ',');
        if (rows[i].has_vector)
            buf_printf(b, "[%d,%d]", rows[i].x, rows[i].y);
        else
            buf_lit(b, "null");
    }
    buf_lit(b, "]}");
}

static void apply(struct model *m, const char *route, const struct sent *s)
{
    struct record *r = &m->records[s->id];
    if (r->is_live && strcmp(route, "add") == 0) return;
    if (!r->is_live && strcmp(route, "update") == 0) return;
    if (!r->is_live)
        *r = (struct record){.is_live = true, .order = m->next_order++, .document = -1, .n = -1, .flag = -1};
    if (s->has_vector) {
        r->x = s->x;
        r->y = s->y;
    }
    if (s->document >= 0) r->document = s->document;
    if (s->n != -1) r->n = s->n == -2 ? -1 : s->n;
    if (s->flag != -1) r->flag = s->flag;
}

/* Live records in the order of their creation; with n == `n` only, unless it is -1. */
static uint32_t in_order(const struct model *m, int n, const struct record **out)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < N_IDS; i++) {
        const struct record *r = &m->records[i];
        if (!r->is_live || (n >= 0 && r->n != n)) continue;
        uint32_t at = k++;
        for (; at > 0 && out[at - 1]->order > r->order; at--) out[at] = out[at - 1];
        out[at] = r;
    }
    return k;
}

static void put_expected(struct buf *b, const struct model *m, int n)
{
    const struct record *rows[N_IDS];
    uint32_t k = in_order(m, n, rows);
    buf_lit(b, "{\"ids\":[");
    for (uint32_t i = 0; i < k; i++) buf_printf(b, "%s\"id%d\"", i > 0 ? "," : "", (int)(rows[i] - m->records));
    buf_lit(b, "],\"embeddings\":[");
    for (uint32_t i = 0; i < k; i++) buf_printf(b, "%s[%d.0,%d.0]", i > 0 ? "," : "", rows[i]->x, rows[i]->y);
    buf_lit(b, "],\"documents\":[");
    for (uint32_t i = 0; i < k; i++) {
        if (i > 0) buf_char(b, ',');
        if (rows[i]->document < 0)
            buf_lit(b, "null");
        else
            buf_printf(b, "\"d %d\"", rows[i]->document);
    }
    buf_lit(b, "],\"uris\":null,\"metadatas\":[");
    for (uint32_t i = 0; i < k; i++) {
        const struct record *r = rows[i];
        if (i > 0) buf_char(b, ',');
        if (r->flag < 0 && r->n < 0) {
            buf_lit(b, "null");
            continue;
        }
        buf_char(b, '{');
        if (r->flag >= 0) buf_printf(b, "\"flag\":%s", r->flag != 0 ? "true" : "false");
        if (r->n >= 0) buf_printf(b, "%s\"n\":%d", r->flag >= 0 ? "," : "", r->n);
        buf_char(b, '}');
    }
    buf_lit(b, "],\"include\":[\"embeddings\",\"documents\",\"metadatas\"]}");
    buf_char(b, '\0');
}

static void compare(struct caller *c, const struct model *m, int n)
{
    struct buf wanted = {0};
    char body[128];
    const char *where = "null";
    char clause[32];
    if (n >= 0) {
        (void)snprintf(clause, sizeof clause, "{\"n\":%d}", n);
        where = clause;
    }
    (void)snprintf(body, sizeof body, "{\"include\":[\"embeddings\",\"documents\",\"metadatas\"],\"where\":%s}", where);
    put_expected(&wanted, m, n);
    post(c, "get", body);
    check_answer(c, 200, wanted.p);
    buf_free(&wanted);
}

static void write_random(struct caller *c, struct model *m)
{
    static const char *const routes[] = {"add", "update", "upsert"};
    struct sent rows[8];
    struct buf body = {0};
    const char *route = routes[rng_below(&m->rng, 3)];
    uint32_t n = rng_below(&m->rng, 8);
    for (uint32_t i = 0; i < n; i++) rows[i] = random_row(&m->rng, strcmp(route, "update") == 0);
    put_write(&body, rows, n);
    buf_char(&body, '\0');
    post(c, route, body.p);
    ck_assert_msg(c->status == (strcmp(route, "add") == 0 ? 201 : 200), "%s %s: %s", route, body.p, c->answer);
    for (uint32_t i = 0; i < n; i++) {
        bool is_null_in_add = strcmp(route, "add") == 0 && rows[i].n == -2;
        ck_assert(!is_null_in_add);
        apply(m, route, &rows[i]);
    }
    buf_free(&body);
}

static void delete_random(struct caller *c, struct model *m)
{
    char body[96], wanted[32];
    uint32_t n_deleted = 0;
    if (rng_below(&m->rng, 2) == 0) {
        uint32_t a = rng_below(&m->rng, N_IDS), b = rng_below(&m->rng, N_IDS);
        (void)snprintf(body, sizeof body, "{\"ids\":[\"id%u\",\"id%u\"]}", a, b);
        m->records[a].is_live = m->records[b].is_live = false;
        n_deleted = 2; /* those that were named */
    } else {
        int n = (int)rng_below(&m->rng, 5);
        uint32_t limit = rng_below(&m->rng, 4);
        const struct record *rows[N_IDS];
        n_deleted = in_order(m, n, rows);
        if (n_deleted > limit) n_deleted = limit;
        for (uint32_t i = 0; i < n_deleted; i++) m->records[rows[i] - m->records].is_live = false;
        (void)snprintf(body, sizeof body, "{\"where\":{\"n\":{\"$eq\":%d}},\"limit\":%u}", n, limit);
    }
    post(c, "delete", body);
    (void)snprintf(wanted, sizeof wanted, "{\"deleted\":%u}", n_deleted);
    check_answer(c, 200, wanted);
}

START_TEST(random_requests_against_a_model)
{
    struct caller c;
    struct model m = {.rng = {0xc0117ec7}};
    char count[16];
    caller_open(&c, 0);
    for (int round = 0; round < 600;
         round++) { /* the store flushes every hundred rows: fragments and tails take part */
        if (rng_below(&m.rng, 4) == 0)
            delete_random(&c, &m);
        else
            write_random(&c, &m);
        compare(&c, &m, -1);
        if (round % 4 == 0) compare(&c, &m, (int)rng_below(&m.rng, 5));
        const struct record *rows[N_IDS];
        (void)snprintf(count, sizeof count, "%u", in_order(&m, -1, rows));
        get(&c, "count");
        check_answer(&c, 200, count);
    }
    caller_close(&c);
}
END_TEST

/* --- threads ------------------------------------------------------------------------------------------------------ */

enum { N_THREADS = 4, ROUNDS = 60 };

struct worker {
    struct caller c; /* its own answers; store and api are shared */
    pthread_t thread;
    unsigned number, n_faults;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    char body[256];
    for (unsigned i = 0; i < ROUNDS; i++) {
        (void)snprintf(body, sizeof body,
                       "{\"ids\":[\"%u-%u\",\"%u-x\"],\"embeddings\":[[%u,1],[2,3]],\"metadatas\":[{\"w\":%u},null]}",
                       w->number, i, w->number, i, w->number);
        w->n_faults += post(&w->c, "upsert", body) != 200;
        /* what was acknowledged is there */
        (void)snprintf(body, sizeof body, "{\"ids\":[\"%u-%u\"],\"include\":[]}", w->number, i);
        w->n_faults += post(&w->c, "get", body) != 200 || strncmp(w->c.answer, "{\"ids\":[\"", 9) != 0;
        w->n_faults += post(&w->c, "query", "{\"query_embeddings\":[[1,1],[3,0]],\"where\":{\"w\":1}}") != 200;
        if (i % 3 == 2) { /* the two before the last */
            (void)snprintf(body, sizeof body, "{\"ids\":[\"%u-%u\",\"%u-%u\"],\"where\":{\"w\":%u}}", w->number, i - 1,
                           w->number, i - 2, w->number);
            w->n_faults += post(&w->c, "delete", body) != 200 || strcmp(w->c.answer, "{\"deleted\":2}") != 0;
        }
    }
    return NULL;
}

START_TEST(threads_see_what_was_acknowledged_to_them)
{
    static struct worker workers[N_THREADS];
    struct caller c;
    char count[16];
    caller_open(&c, 0);
    for (unsigned i = 0; i < N_THREADS; i++) {
        workers[i] = (struct worker){.c = c, .number = i};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        ck_assert_msg(workers[i].n_faults == 0, "worker %u: %u, last answer %s", i, workers[i].n_faults,
                      workers[i].c.answer);
    }
    (void)snprintf(count, sizeof count, "%u", N_THREADS * (ROUNDS / 3 + 1));
    get(&c, "count");
    check_answer(&c, 200, count);
    caller_close(&c);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* Only the thread that runs the request is cut off: the log's own shortage is the log's test. */
static _Thread_local unsigned n_left;
static _Thread_local bool is_armed;

static bool allow(void *ctx, size_t size)
{
    (void)ctx;
    (void)size;
    if (!is_armed) return true;
    if (n_left == 0) return false;
    n_left--;
    return true;
}

static void arm(void *ctx)
{
    n_left = *(unsigned *)ctx;
    is_armed = true;
}

static void disarm(void *ctx)
{
    (void)ctx;
    is_armed = false;
}

START_TEST(memory_may_end_at_any_moment)
{
    static const char *const requests[][2] = {
        {"add", "{\"ids\":[\"n1\",\"n2\"],\"embeddings\":[[1,2],[3,4]],\"documents\":[\"a\\u0041\",null],"
                "\"metadatas\":[{\"chroma:document\":\"d\",\"k\":[1,2]},{\"chroma:uri\":\"u\"}]}"},
        {"upsert", "{\"ids\":[\"n1\"],\"embeddings\":[\"AACAPwAAAEA=\"],\"uris\":[\"u\"]}"},
        {"update", "{\"ids\":[\"n1\"],\"embeddings\":[null],\"metadatas\":[{\"k\":null}]}"},
        {"add", "{\"ids\":[\"x\"],\"embeddings\":[[1,2,3]],\"metadatas\":[{\"#\":1}]}"},
        {"get", "{\"include\":[\"documents\",\"embeddings\",\"metadatas\",\"uris\"],\"where\":{\"$or\":[{\"k\":{\"$"
                "in\":[1,2]}},"
                "{\"#document\":{\"$regex\":\"a+\"}},{\"$and\":[]}]},\"where_document\":{\"$not_contains\":\"zz\"}}"},
        {"query", "{\"query_embeddings\":[[1,2],[2,1]],\"n_results\":3,\"ids\":[\"n1\",\"n2\"]}"},
        {"get", "{\"where\":{\"#document\":\"x\"}}"},
        {"search",
         "{\"searches\":[{},{\"filter\":{\"#document\":{\"$regex\":\"a+\"}},\"rank\":{\"$knn\":{\"query\":[1,2]}}}]}"},
        {"delete", "{\"where\":{\"k\":{\"$ne\":\"none\"}}}"},
        {"delete", "{\"ids\":[\"n1\"]}"},
    };
    struct caller c;
    mem_set_hook(allow, NULL);
    caller_open(&c, 0);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        char path[192];
        unsigned n_short = 0, status = 503;
        (void)snprintf(path, sizeof path, "%s/%s", c.collection, requests[i][0]);
        for (unsigned n = 0; status == 503 && n < 500; n++) {
            status = call_with(&c, "POST", path, str_from_c(requests[i][1]), arm, disarm, &n);
            n_short += status == 503;
            bool is_expected = status == 503 || status == 400 || status == 200 || status == 201;
            ck_assert_msg(is_expected, "%s after %u allocations: %u %s", requests[i][0], n, status, c.answer);
        }
        ck_assert_msg(status != 503 && n_short > 0, "%s: %u after %u", requests[i][0], status, n_short);
    }
    get(&c, "count");
    check_answer(&c, 200, "0");
    caller_close(&c);
    mem_set_hook(NULL, NULL);
}
END_TEST

/* A request's arena has a ceiling; what goes beyond it is refused, and the next request is served. */
START_TEST(one_request_cannot_take_all_memory)
{
    struct caller c;
    struct buf body = {0};
    caller_open(&c, 64 << 10);
    buf_lit(&body, "{\"where\":{\"$and\":[{\"a\":1}");
    for (int i = 0; i < 4000; i++) buf_lit(&body, ",{\"a\":1}");
    buf_lit(&body, "]}}");
    buf_char(&body, '\0');
    post(&c, "get", body.p);
    ck_assert_uint_eq(c.status, 503);
    post(&c, "get", "{\"include\":[]}");
    ck_assert_uint_eq(c.status, 200);
    buf_free(&body);
    caller_close(&c);
}
END_TEST

TESTS(records_model, random_requests_against_a_model, threads_see_what_was_acknowledged_to_them,
      memory_may_end_at_any_moment, one_request_cannot_take_all_memory)
