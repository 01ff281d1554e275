/* test_limits.c - buckets and the scorecard against models, the table of tenants, counters and their storing, the door. */
#include "tests/unit/api/call.h"

#include "api/handler.h"
#include "api/limits_internal.h"

/* --- buckets ---------------------------------------------------------------------------------------------------- */

/* The textbook bucket: a level that rises with time. In units of nanoseconds of filling. */
struct model_bucket {
    uint64_t level, at;
};

START_TEST(a_bucket_is_the_textbooks)
{
    struct rng r = {1201};
    for (int round = 0; round < suite_share(200); round++) {
        struct rate_rule rule = {1 + rng_below(&r, round % 2 == 0 ? 20 : RATE_MAX), rng_below(&r, 30)};
        uint64_t token = 1000000000 / rule.per_second, cap = token * (rule.burst > 0 ? rule.burst : rule.per_second);
        uint64_t now = rng_next(&r) >> 20;
        struct rate_bucket b = {0};
        struct model_bucket m = {cap, now};
        for (int i = 0; i < 300; i++) {
            uint64_t wait = 0;
            now += rng_below(&r, 3) == 0 ? 0 : rng_next(&r) % (token * 3);
            m.level = m.level + (now - m.at) < cap ? m.level + (now - m.at) : cap;
            m.at = now;
            bool may = m.level >= token;
            ck_assert_msg(rate_take(&b, &rule, now, &wait) == may, "seed 1201 round %d step %d", round, i);
            if (may) {
                m.level -= token;
            } else {
                ck_assert_uint_eq(wait, token - m.level);
                struct rate_bucket early = {b.full_at_ns}, then = {b.full_at_ns};
                ck_assert(!rate_take(&early, &rule, now + wait - 1, &wait) && wait == 1);
                ck_assert(rate_take(&then, &rule, now + token - m.level, &wait));
            }
        }
    }
}
END_TEST

enum { TAKERS = 4, TAKES = 20000 };

struct takers {
    struct rate_bucket bucket;
    struct rate_rule rule;
    _Atomic uint64_t n_taken;
};

static void *take_many(void *arg)
{
    struct takers *t = arg;
    uint64_t wait;
    for (int i = 0; i < TAKES; i++)
        if (rate_take(&t->bucket, &t->rule, 1000, &wait)) (void)atomic_fetch_add(&t->n_taken, 1);
    return NULL;
}

START_TEST(takers_at_the_same_time_get_the_burst_and_no_more)
{
    struct takers t = {.rule = {10, 777}};
    pthread_t threads[TAKERS];
    for (int i = 0; i < TAKERS; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, take_many, &t), 0);
    for (int i = 0; i < TAKERS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(t.n_taken, 777);
}
END_TEST

/* --- patterns ---------------------------------------------------------------------------------------------------- */

static bool naive_match(const char *p, const char *t)
{
    if (*p == '\0') return *t == '\0';
    if (*p == '*') return naive_match(p + 1, t) || (*t != '\0' && naive_match(p, t + 1));
    return *p == *t && naive_match(p + 1, t + 1);
}

static void random_text(struct rng *r, char *out, uint32_t max, const char *letters)
{
    uint32_t n = rng_below(r, max + 1);
    for (uint32_t i = 0; i < n; i++) out[i] = letters[rng_below(r, (uint32_t)strlen(letters))];
    out[n] = '\0';
}

START_TEST(patterns_match_as_the_naive_matcher_says)
{
    static const char *const fixed[][2] = {
        {"op:write", "op:write"}, {"op:*", "op:write"},      {"*", "op:write"}, {"op:write", "op:wri"},
        {"op:w*z", "op:write"},   {"op:writes", "op:write"}, {"", ""},          {"", "x"},
        {"op:?ead", "op:read"}};
    static const bool matches[] = {true, true, true, false, false, false, true, false, false};
    for (size_t i = 0; i < sizeof matches; i++)
        ck_assert_int_eq(scorecard_matches(str_from_c(fixed[i][0]), str_from_c(fixed[i][1])), matches[i]);
    struct rng r = {1202};
    for (int i = 0; i < suite_share(50000); i++) {
        char p[16], t[16];
        random_text(&r, p, 8, "ab*");
        random_text(&r, t, 10, "ab");
        ck_assert_msg(scorecard_matches(str_from_c(p), str_from_c(t)) == naive_match(p, t), "\"%s\" \"%s\"", p, t);
    }
}
END_TEST

/* --- the scorecard against a naive one ---------------------------------------------------------------------------- */

enum { MODEL_KEYS = 512, MODEL_TICKETS = 40, N_TAG_TEXTS = 6, N_PATTERN_TEXTS = 9 };
static const char *const tag_texts[N_TAG_TEXTS] = {"op:read",  "op:write",     "tenant:a",
                                                   "tenant:b", "collection:1", "collection:2"};
static const char *const pattern_texts[N_PATTERN_TEXTS] = {
    "op:read", "op:*", "tenant:a", "tenant:*", "collection:*", "collection:2", "*", "*:*", "none"};

/* Counts by text: the tags of a combination, sorted, each either once or not at all. */
struct model_card {
    char keys[MODEL_KEYS][64];
    uint64_t counts[MODEL_KEYS];
    size_t n;
};

struct model_ticket {
    size_t keys[16], n;
};

static size_t model_key(struct model_card *m, unsigned set)
{
    char text[64] = "";
    for (unsigned i = 0; i < N_TAG_TEXTS; i++)
        if ((set >> i & 1) != 0) (void)strcat(strcat(text, tag_texts[i]), " ");
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->keys[i], text) == 0) return i;
    ck_assert_uint_lt(m->n, MODEL_KEYS);
    (void)strcpy(m->keys[m->n], text);
    return m->n++;
}

/* Every choice of a tag for each pattern, in turn. */
static void choose(const struct scorecard_rule *rule, uint32_t k, const unsigned *tags, uint32_t n_tags, unsigned set,
                   bool *yields)
{
    if (k == rule->n_patterns) {
        yields[set] = true;
        return;
    }
    for (uint32_t i = 0; i < n_tags; i++)
        if (naive_match(rule->patterns[k].p, tag_texts[tags[i]]))
            choose(rule, k + 1, tags, n_tags, set ^ 1u << tags[i], yields);
}

static bool model_enter(struct model_card *m, const struct scorecard_rule *rules, size_t n_rules, const unsigned *tags,
                        uint32_t n_tags, struct model_ticket *t)
{
    bool seen[1 << N_TAG_TEXTS] = {false};
    t->n = 0;
    for (size_t i = 0; i < n_rules; i++) {
        bool yields[1 << N_TAG_TEXTS] = {false};
        if (rules[i].n_patterns > 0) choose(&rules[i], 0, tags, n_tags, 0, yields);
        for (unsigned set = 0; set < 1 << N_TAG_TEXTS; set++) {
            if (!yields[set] || seen[set]) continue;
            seen[set] = true;
            size_t key = model_key(m, set);
            if (m->counts[key] >= rules[i].score) {
                for (size_t k = 0; k < t->n; k++) m->counts[t->keys[k]]--;
                t->n = 0;
                return false;
            }
            m->counts[key]++;
            t->keys[t->n++] = key;
        }
    }
    return true;
}

START_TEST(the_scorecard_counts_as_the_naive_one)
{
    static struct model_card m;
    struct rng r = {1203};
    for (int round = 0; round < suite_share(300); round++) {
        struct str patterns[4][4];
        struct scorecard_rule rules[4];
        size_t n_rules = rng_below(&r, 5);
        for (size_t i = 0; i < n_rules; i++) {
            rules[i] = (struct scorecard_rule){patterns[i], rng_below(&r, 5), rng_below(&r, 4)};
            for (uint32_t k = 0; k < rules[i].n_patterns; k++)
                patterns[i][k] = str_from_c(pattern_texts[rng_below(&r, N_PATTERN_TEXTS)]);
        }
        struct scorecard *s = NULL;
        memset(&m, 0, sizeof m);
        struct scorecard_ticket tickets[MODEL_TICKETS] = {{0}};
        struct model_ticket model_tickets[MODEL_TICKETS] = {{{0}, 0}};
        bool is_in[MODEL_TICKETS] = {false};
        ck_ok(scorecard_new(&s, rules, n_rules, NULL));
        for (int step = 0; step < 200; step++) {
            uint32_t at = rng_below(&r, MODEL_TICKETS);
            if (is_in[at]) {
                scorecard_leave(s, &tickets[at]);
                for (size_t k = 0; k < model_tickets[at].n; k++) m.counts[model_tickets[at].keys[k]]--;
                is_in[at] = false;
            } else {
                const unsigned of[3] = {rng_below(&r, 2), 2 + rng_below(&r, 2), 4 + rng_below(&r, 2)};
                uint32_t n_tags = 2 + rng_below(&r, 2);
                struct str tags[3];
                for (uint32_t i = 0; i < n_tags; i++) tags[i] = str_from_c(tag_texts[of[i]]);
                bool may = model_enter(&m, rules, n_rules, of, n_tags, &model_tickets[at]);
                enum err e = scorecard_enter(s, tags, n_tags, &tickets[at]);
                ck_assert_msg(e == (may ? ERR_OK : ERR_RATE), "seed 1203 round %d step %d", round, step);
                is_in[at] = may;
            }
            size_t n_counted = 0;
            for (size_t i = 0; i < m.n; i++) n_counted += m.counts[i] > 0;
            ck_assert_uint_eq(scorecard_n_counted(s), n_counted);
        }
        scorecard_free(s);
    }
}
END_TEST

START_TEST(a_long_pattern_is_refused)
{
    char text[65];
    memset(text, 'a', sizeof text);
    struct str pattern = str_of(text, 63);
    struct scorecard_rule rule = {&pattern, 1, 1};
    struct scorecard *s = NULL;
    struct errmsg em = {{0}};
    ck_ok(scorecard_new(&s, &rule, 1, NULL));
    scorecard_free(s);
    pattern.n = 64;
    ck_assert_int_eq(scorecard_new(&s, &rule, 1, &em), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(em.text, "63"));
}
END_TEST

/* --- the api with limits ------------------------------------------------------------------------------------------ */

static uint64_t now_ns;

static uint64_t fake_clock(void)
{
    return now_ns;
}

static void open_with(struct caller *c, const char *path, const struct limits_options *limits)
{
    struct errmsg em = {{0}};
    const struct store_options so = {.flush_rows = 100, .path = path};
    const struct api_options ao = {.limits = limits};
    logger_set_level(LOG_ERROR);
    memset(c, 0, sizeof *c);
    ck_assert_msg(store_open(&c->store, &so, &em) == ERR_OK, "%s", em.text);
    ck_assert_msg(api_new(&c->api, c->store, &ao, &em) == ERR_OK, "%s", em.text);
}

static unsigned ask(struct caller *c, const char *method, const char *path, const char *body)
{
    return call_with(c, method, path, str_from_c(body), NULL, NULL, NULL);
}

static uint64_t used(struct caller *c, const char *tenant, enum usage u)
{
    return usage_get(limits_tenant(c->api->limits, str_from_c(tenant)), u);
}

#define T   "/api/v2/tenants/"
#define E12 "Too many requests; backoff and try again"

START_TEST(a_rate_is_kept_by_tenant_and_by_kind)
{
    struct caller c;
    const struct limits_options limits = {.defaults = {.reads = {2, 3}, .writes = {1, 0}}, .now_ns = fake_clock};
    now_ns = 5000000000;
    open_with(&c, NULL, &limits);
    ck_assert_uint_eq(ask(&c, "POST", "/api/v2/tenants", "{\"name\":\"acme\"}"), 200);
    for (int i = 0; i < 3; i++) ck_assert_uint_eq(ask(&c, "GET", T "acme", ""), 200);
    ck_assert_uint_eq(ask(&c, "GET", T "acme", ""), 429);
    check_refused(&c, 429, "ChromaError", E12);
    ck_assert_uint_eq(ask(&c, "GET", T "default_tenant", ""), 200);                       /* has a bucket of its own */
    ck_assert_uint_eq(ask(&c, "POST", T "acme/databases", "{\"name\":\"db-one\"}"), 200); /* so have writes */
    ck_assert_uint_eq(ask(&c, "POST", T "acme/databases", "{\"name\":\"db-two\"}"), 429);
    for (int i = 0; i < 9; i++) ck_assert_uint_eq(ask(&c, "GET", "/api/v2/version", ""), 200); /* nobody's */
    now_ns += 499999999;
    ck_assert_uint_eq(ask(&c, "GET", T "acme", ""), 429);
    now_ns += 1;
    ck_assert_uint_eq(ask(&c, "GET", T "acme", ""), 200);
    ck_assert_uint_eq(used(&c, "acme", USAGE_REFUSED_RATE), 3);
    ck_assert_uint_eq(used(&c, "acme", USAGE_REQUESTS_OTHER), 8);
    caller_close(&c);
}
END_TEST

START_TEST(waiting_is_told_in_whole_seconds)
{
    static const struct {
        uint64_t per_second, burst, after_ns;
        const char *header;
    } cases[] = {
        {1, 1, 0, "retry-after: 1\r\n"}, {1, 1, 999999999, "retry-after: 1\r\n"}, {1000, 1, 0, "retry-after: 1\r\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct caller c;
        const struct limits_options limits = {.defaults.reads = {cases[i].per_second, cases[i].burst},
                                              .now_ns = fake_clock};
        now_ns = 1000000000;
        open_with(&c, NULL, &limits);
        ck_assert_uint_eq(ask(&c, "GET", T "default_tenant", ""), 200);
        now_ns += cases[i].after_ns;
        struct api_request r = {.method = STR("GET"), .path = STR(T "default_tenant")};
        ck_assert_int_eq(api_begin(c.api, &r), API_ANSWERED);
        ck_assert_uint_eq(r.status, 429);
        ck_assert(str_eq(r.extra_headers, str_from_c(cases[i].header)));
        api_end(&r);
        caller_close(&c);
    }
}
END_TEST

START_TEST(names_of_tenants_cost_no_memory)
{
    struct caller c;
    const struct limits_options limits = {.defaults = {.reads = {1, 1}}, .now_ns = fake_clock};
    char path[64];
    now_ns = 7000000000;
    open_with(&c, NULL, &limits);
    ck_assert_uint_eq(ask(&c, "GET", T "nobody0", ""), 404);
    for (int i = 1; i < 200; i++) {
        (void)snprintf(path, sizeof path, T "nobody%d", i);
        ck_assert_uint_eq(ask(&c, "GET", path, ""), 429); /* they share what one has */
    }
    ck_assert_uint_eq(c.api->limits->n, 0);
    ck_assert_uint_eq(ask(&c, "GET", T "default_tenant", ""), 200);
    ck_assert_uint_eq(c.api->limits->n, 1);
    caller_close(&c);
}
END_TEST

START_TEST(many_tenants_are_found_again)
{
    struct caller c;
    open_with(&c, NULL, NULL);
    struct limits *l = c.api->limits;
    for (int i = 0; i < 5000; i++) {
        char name[16];
        struct tenant *t = NULL, *again = NULL;
        (void)snprintf(name, sizeof name, "t%d", i);
        ck_ok(limits_add_tenant(l, str_from_c(name), &l->options.defaults, &t));
        ck_ok(limits_add_tenant(l, str_from_c(name), &l->options.defaults, &again));
        ck_assert_ptr_eq(t, again);
        usage_add(t, USAGE_QUERIES, (uint64_t)i);
    }
    ck_assert_uint_eq(l->n, 5000);
    for (int i = 0; i < 5000; i += 7) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%d", i);
        ck_assert_uint_eq(used(&c, name, USAGE_QUERIES), (uint64_t)i);
    }
    caller_close(&c);
}
END_TEST

/* --- requests in progress ------------------------------------------------------------------------------------------ */

static void begin(struct caller *c, struct api_request *r, const char *path, uint64_t n, enum api_place place)
{
    *r = (struct api_request){.method = STR("POST"), .path = str_from_c(path), .has_length = true, .content_length = n};
    ck_assert_int_eq(api_begin(c->api, r), place);
}

START_TEST(a_request_is_in_progress_until_it_ends)
{
    struct str patterns[] = {STR("op:write"), STR("tenant:*")};
    const struct scorecard_rule rule = {patterns, 2, 1};
    const struct limits_options limits = {.has_scorecard = true, .scorecard = &rule, .n_scorecard = 1};
    struct caller c;
    struct api_request held, other;
    char path[160];
    open_with(&c, NULL, &limits);
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    (void)snprintf(path, sizeof path, "%s/add", c.collection);
    const char *good = "{\"ids\":[\"a\"],\"embeddings\":[[1,2]]}";

    begin(&c, &held, path, 10, API_RUN_POOL); /* its body never comes: the connection breaks */
    ck_assert_uint_eq(post(&c, "add", good), 429);
    check_refused(&c, 429, "ChromaError", E12);
    ck_assert_uint_eq(post(&c, "get", "{}"), 200);                                 /* another op */
    begin(&c, &other, T "acme/databases/ddd/collections/x/add", 10, API_RUN_POOL); /* another tenant */
    api_end(&other);
    api_end(&held);
    ck_assert_uint_eq(post(&c, "add", good), 201);
    ck_assert_uint_eq(post(&c, "add", good), 201); /* what is done has left */
    ck_assert_uint_eq(post(&c, "add", "{\"ids\""), 400);
    ck_assert_uint_eq(post(&c, "add", good), 201); /* so has what failed */

    begin(&c, &held, path, (uint64_t)1 << 40, API_ANSWERED); /* 413, and the answer is on its way */
    ck_assert_uint_eq(post(&c, "add", good), 429);
    api_end(&held);
    begin(&c, &held, path, 10, API_RUN_POOL);
    api_refuse_body(&held);
    ck_assert_uint_eq(post(&c, "add", good), 429);
    api_end(&held);
    ck_assert_uint_eq(post(&c, "add", good), 201);
    ck_assert_uint_eq(scorecard_n_counted(c.api->limits->scorecard), 0);
    ck_assert_uint_eq(used(&c, "default_tenant", USAGE_REFUSED_RATE), 3);
    caller_close(&c);
}
END_TEST

START_TEST(a_score_of_zero_closes)
{
    struct str patterns[] = {STR("op:create_database")};
    const struct scorecard_rule rule = {patterns, 1, 0};
    const struct limits_options limits = {.has_scorecard = true, .scorecard = &rule, .n_scorecard = 1};
    struct caller c;
    open_with(&c, NULL, &limits);
    ck_assert_uint_eq(ask(&c, "POST", T "default_tenant/databases", "{\"name\":\"abc\"}"), 429);
    ck_assert_uint_eq(ask(&c, "GET", T "default_tenant/databases", ""), 200);
    caller_close(&c);
}
END_TEST

/* --- counters -------------------------------------------------------------------------------------------------------- */

START_TEST(what_was_used_is_counted)
{
    struct caller c;
    open_with(&c, NULL, NULL);
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    const char *add = "{\"ids\":[\"a\",\"b\",\"c\"],\"embeddings\":[[1,2],[3,4],[5,6]]}";
    ck_assert_uint_eq(post(&c, "add", add), 201);
    ck_assert_uint_eq(post(&c, "add", add), 201); /* writes nothing */
    ck_assert_uint_eq(post(&c, "get", "{\"limit\":2}"), 200);
    ck_assert_uint_eq(post(&c, "query", "{\"query_embeddings\":[[1,2],[1,1]],\"n_results\":2}"), 200);
    ck_assert_uint_eq(post(&c, "delete", "{\"ids\":[\"a\",\"zzz\"]}"), 200);
    ck_assert_uint_eq(get(&c, "count"), 200);
    const uint64_t want[USAGE_COUNT_] = {
        [USAGE_REQUESTS_READ] = 2,    [USAGE_REQUESTS_WRITE] = 3,  [USAGE_REQUESTS_SEARCH] = 1,
        [USAGE_REQUESTS_OTHER] = 1,   [USAGE_RECORDS_WRITTEN] = 3, [USAGE_RECORDS_DELETED] = 1,
        [USAGE_RECORDS_READ] = 2 + 4, [USAGE_QUERIES] = 2};
    for (int u = 0; u < USAGE_COUNT_; u++)
        if (u != USAGE_BYTES_IN && u != USAGE_BYTES_OUT)
            ck_assert_msg(used(&c, "default_tenant", (enum usage)u) == want[u], "%s", usage_name((enum usage)u));
    uint64_t in = strlen("{\"name\":\"ccc\"}") + 2 * strlen(add) + strlen("{\"limit\":2}") +
                  strlen("{\"query_embeddings\":[[1,2],[1,1]],\"n_results\":2}") + strlen("{\"ids\":[\"a\",\"zzz\"]}");
    ck_assert_uint_eq(used(&c, "default_tenant", USAGE_BYTES_IN), in);
    uint64_t out = used(&c, "default_tenant", USAGE_BYTES_OUT);
    ck_assert_uint_eq(get(&c, "count"), 200);
    ck_assert_uint_eq(used(&c, "default_tenant", USAGE_BYTES_OUT), out + 1);
    ck_assert_uint_eq(ask(&c, "HEAD", T "default_tenant", ""), 200);
    ck_assert_uint_eq(used(&c, "default_tenant", USAGE_BYTES_OUT), out + 1);

    ck_assert_uint_eq(ask(&c, "GET", T "default_tenant/usage", ""), 200);
    ck_assert_msg(strstr(c.answer, "{\"tenant\":\"default_tenant\",\"requests_read\":3,\"requests_write\":3,") ==
                      c.answer,
                  "%s", c.answer);
    ck_assert_ptr_nonnull(strstr(c.answer, "\"databases\":1,\"collections\":1,\"records_stored\":2,\"bytes_stored\":"));
    ck_assert_uint_eq(ask(&c, "GET", "/api/v2/usage", ""), 200);
    ck_assert(strstr(c.answer, "{\"tenants\":[{\"tenant\":\"default_tenant\",") == c.answer);
    ck_assert_uint_eq(ask(&c, "GET", T "nobody/usage", ""), 404);
    caller_close(&c);
}
END_TEST

enum { COUNTERS = 4, COUNTS = 2000 };

static void *count_many(void *arg)
{
    struct caller c = *(struct caller *)arg; /* answers of its own */
    for (int i = 0; i < COUNTS; i++) ck_assert_uint_eq(ask(&c, "GET", T "default_tenant", ""), 200);
    return NULL;
}

START_TEST(counting_at_the_same_time_loses_nothing)
{
    struct caller c;
    pthread_t threads[COUNTERS];
    const struct limits_options limits = {.store_interval_s = 1};
    open_with(&c, NULL, &limits);
    for (int i = 0; i < COUNTERS; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, count_many, &c), 0);
    for (int i = 0; i < 20; i++) ck_ok(usage_store(c.api->limits, NULL));
    for (int i = 0; i < COUNTERS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(used(&c, "default_tenant", USAGE_REQUESTS_OTHER), COUNTERS * COUNTS);
    caller_close(&c);
}
END_TEST

static void count_tenants(void *ctx, const struct tenant_usage *u)
{
    ck_assert(str_eq(u->tenant, STR("default_tenant")) || str_eq(u->tenant, STR("acme")));
    *(uint64_t *)ctx += u->counters[USAGE_REQUESTS_OTHER];
}

START_TEST(counters_go_on_after_a_restart)
{
    char path[512];
    struct caller c;
    uint64_t sum = 0;
    const struct tenant_override own = {STR("acme"), {.quotas[QUOTA_DATABASES] = 1}};
    const struct limits_options limits = {.store_interval_s = 3600, .overrides = &own, .n_overrides = 1};
    ck_assert(vfs_join(path, sizeof path, tmp_dir(), "usage"));
    for (uint64_t round = 1; round <= 3; round++) {
        open_with(&c, path, &limits);
        for (int i = 0; i < 5; i++) (void)ask(&c, "GET", T "default_tenant", "");
        for (int i = 0; i < 2; i++) (void)ask(&c, "GET", T "acme", "");
        ck_assert_uint_eq(used(&c, "default_tenant", USAGE_REQUESTS_OTHER), 5 * round);
        ck_assert_uint_eq(used(&c, "acme", USAGE_REQUESTS_OTHER), 2 * round);
        ck_assert_ptr_eq(limits_tenant(c.api->limits, STR("acme"))->rules, &own.rules);
        caller_close(&c);
    }
    open_with(&c, path, NULL); /* stores nothing, reads what was stored */
    usage_each(c.api, count_tenants, &sum);
    ck_assert_uint_eq(sum, 3 * 7);
    caller_close(&c);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------------------------ */

struct shortage {
    _Atomic int n_left;
};

static bool allow_some(void *ctx, size_t size)
{
    struct shortage *s = ctx;
    (void)size;
    return atomic_fetch_sub(&s->n_left, 1) > 0;
}

START_TEST(a_start_short_of_memory_leaves_nothing)
{
    struct str patterns[] = {STR("op:*")};
    const struct scorecard_rule rule = {patterns, 1, 1};
    const struct tenant_override own[] = {{STR("acme"), {{0, 0}, {0, 0}, {0}}}, {STR("zeta"), {{0, 0}, {0, 0}, {0}}}};
    const struct limits_options limits = {
        .has_scorecard = true, .scorecard = &rule, .n_scorecard = 1, .overrides = own, .n_overrides = 2};
    struct store *s = NULL;
    struct api *a = NULL;
    ck_ok(store_open(&s, &(struct store_options){.no_compactor = true}, NULL));
    const struct catalog_usage row = {STR("old"), {5}};
    ck_ok(catalog_store_usage(store_catalog(s), &row, 1, NULL));
    for (int n = 0;; n++) {
        struct shortage shortage = {n};
        struct errmsg em = {{0}};
        mem_set_hook(allow_some, &shortage);
        enum err e = api_new(&a, s, &(struct api_options){.limits = &limits}, &em);
        mem_set_hook(NULL, NULL);
        if (e == ERR_OK) break;
        ck_assert_int_eq(e, ERR_NOMEM);
        ck_assert_ptr_null(a);
        ck_assert(em.text[0] != '\0');
    }
    ck_assert_uint_eq(a->limits->n, 3);
    api_free(a);
    store_close(s);
}
END_TEST

START_TEST(a_request_short_of_memory_is_answered_and_leaves)
{
    struct str patterns[] = {STR("op:read")};
    const struct scorecard_rule rule = {patterns, 1, 1};
    const struct limits_options limits = {.has_scorecard = true, .scorecard = &rule, .n_scorecard = 1};
    struct caller c;
    bool is_good = false;
    for (int n = 0; !is_good; n++) {
        struct shortage shortage = {n};
        open_with(&c, NULL, &limits); /* the tenant is new each time */
        struct api_request r = {.method = STR("GET"), .path = STR(CALL_COLLECTIONS "/x/count")};
        mem_set_hook(allow_some, &shortage);
        is_good = api_begin(c.api, &r) != API_ANSWERED;
        mem_set_hook(NULL, NULL);
        ck_assert(is_good || r.status == 503);
        ck_assert_uint_eq(scorecard_n_counted(c.api->limits->scorecard), is_good ? 1 : 0);
        api_end(&r);
        ck_assert_uint_eq(scorecard_n_counted(c.api->limits->scorecard), 0);
        caller_close(&c);
    }
}
END_TEST

TESTS(limits, a_bucket_is_the_textbooks, takers_at_the_same_time_get_the_burst_and_no_more,
      patterns_match_as_the_naive_matcher_says, the_scorecard_counts_as_the_naive_one, a_long_pattern_is_refused,
      a_rate_is_kept_by_tenant_and_by_kind, waiting_is_told_in_whole_seconds, names_of_tenants_cost_no_memory,
      many_tenants_are_found_again, a_request_is_in_progress_until_it_ends, a_score_of_zero_closes,
      what_was_used_is_counted, counting_at_the_same_time_loses_nothing, counters_go_on_after_a_restart,
      a_start_short_of_memory_leaves_nothing, a_request_short_of_memory_is_answered_and_leaves)
