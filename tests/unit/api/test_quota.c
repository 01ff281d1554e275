/* test_quota.c - every quota just below, at and above its limit, that a refused request changes nothing, and that numbers of
 * databases, collections and records are never overshot by requests at the same time. */
#include "tests/unit/api/call.h"

#include "api/handler.h"
#include "api/limits_internal.h"

enum { LIMIT = 5 };

static struct tenant_override own;
static struct limits_options limits;

static void open_limited(struct caller *c, enum quota q, uint64_t max)
{
    struct errmsg em = {{0}};
    const struct store_options so = {.flush_rows = 100};
    const struct api_options ao = {.limits = &limits};
    logger_set_level(LOG_ERROR);
    limits = (struct limits_options){0};
    limits.defaults.quotas[q] = max;
    memset(c, 0, sizeof *c);
    ck_ok(store_open(&c->store, &so, &em));
    ck_ok(api_new(&c->api, c->store, &ao, &em));
}

static unsigned ask(struct caller *c, const char *method, const char *path, const char *body)
{
    return call_with(c, method, path, str_from_c(body), NULL, NULL, NULL);
}

/* --- the table: a body that uses `n` of something -------------------------------------------------------------------- */

/* `#` in the item stands for its number. */
static void put_times(struct buf *b, const char *open, const char *item, const char *close, int n)
{
    buf_str(b, str_from_c(open));
    for (int i = 0; i < n; i++) {
        if (i > 0 && close[0] == ']') buf_char(b, ',');
        for (const char *p = item; *p != '\0'; p++) {
            if (*p == '#')
                json_put_int(b, i);
            else
                buf_char(b, *p);
        }
    }
    buf_str(b, str_from_c(close));
}

/* %s in the pattern is replaced by a list or a text of n items. */
enum fill {
    FILL_LETTERS, /* "xxx" */
    FILL_NUMBERS, /* [1,1,1] */
    FILL_IDS,     /* ["i0","i1"] */
    FILL_VECTORS, /* [[1,2],[1,2]] */
    FILL_MEMBERS, /* {"k0":1,"k1":1} */
    FILL_CLAUSES, /* [{"a":0},{"a":1}] */
    FILL_DOCUMENT_CLAUSES,
    FILL_PAYLOADS, /* [{},{}] */
    FILL_KNNS,
    FILL_COUNT, /* n */
    FILL_BASIS, /* [0,1,2]: indices */
};

static void put_fill(struct buf *b, enum fill fill, int n)
{
    switch (fill) {
    case FILL_LETTERS:
        put_times(b, "\"", "x", "\"", n);
        break;
    case FILL_NUMBERS:
        put_times(b, "[", "1", "]", n);
        break;
    case FILL_BASIS:
        put_times(b, "[", "#", "]", n);
        break;
    case FILL_IDS:
        put_times(b, "[", "\"i#\"", "]", n);
        break;
    case FILL_VECTORS:
        put_times(b, "[", "[1,2]", "]", n);
        break;
    case FILL_MEMBERS:
        buf_char(b, '{');
        for (int i = 0; i < n; i++) buf_printf(b, "%s\"k%d\":1", i > 0 ? "," : "", i);
        buf_char(b, '}');
        break;
    case FILL_CLAUSES:
        put_times(b, "[", "{\"a\":#}", "]", n);
        break;
    case FILL_DOCUMENT_CLAUSES:
        put_times(b, "[", "{\"$contains\":\"a#\"}", "]", n);
        break;
    case FILL_PAYLOADS:
        put_times(b, "[", "{}", "]", n);
        break;
    case FILL_KNNS:
        put_times(b, "[", "{\"$knn\":{\"query\":[1,2],\"limit\":3}}", "]", n);
        break;
    case FILL_COUNT:
        json_put_int(b, n);
        break;
    }
}

/* %1 stands for the fill, %2 for a second one beside it. */
struct quota_case {
    enum quota quota;
    const char *route; /* of the collection; starts with '/': below the database; "PUT": the collection itself */
    const char *action, *name;
    const char *body;
    enum fill one, two;
};

#define ADD(rest)    "{\"ids\":[\"a\"],\"embeddings\":[[1,2]]," rest "}"
#define UPDATE(rest) "{\"ids\":[\"a\"]," rest "}"
#define QUERY(rest)  "{\"query_embeddings\":[[1,2]]," rest "}"
#define KEY_SIZE     "Size of metadata dictionary key (bytes)"
#define VALUE_SIZE   "Size of metadata dictionary value (bytes)"
#define N_KEYS       "Number of metadata dictionary keys"
#define N_WHERE      "Number of where clause predicates"
#define N_DOCUMENT   "Number of where document predicates"

static const struct quota_case cases[] = {
    {QUOTA_RECORDS, "add", "Add", "Number of records", "{\"ids\":%1,\"embeddings\":%2}", FILL_IDS, FILL_VECTORS},
    {QUOTA_RECORDS, "upsert", "Upsert", "Number of records", "{\"ids\":%1,\"embeddings\":%2}", FILL_IDS, FILL_VECTORS},
    {QUOTA_RECORDS, "update", "Update", "Number of records", "{\"ids\":%1}", FILL_IDS, 0},
    {QUOTA_RECORDS, "delete", "Delete", "Number of records", "{\"ids\":%1}", FILL_IDS, 0},
    {QUOTA_DIMENSIONS, "add", "Add", "Embedding dimension", "{\"ids\":[\"a\"],\"embeddings\":[%1]}", FILL_NUMBERS, 0},
    {QUOTA_DIMENSIONS, "query", "Query", "Embedding dimension", "{\"query_embeddings\":[%1]}", FILL_NUMBERS, 0},
    {QUOTA_DIMENSIONS, "search", "Search", "Embedding dimension",
     "{\"searches\":[{\"rank\":{\"$knn\":{\"query\":%1}}}]}", FILL_NUMBERS, 0},
    {QUOTA_SPARSE_DIMENSIONS, "add", "Add", "Sparse vector populated dimension",
     ADD("\"metadatas\":[{\"s\":{\"#type\":\"sparse_vector\",\"indices\":%1,\"values\":%2}}]"), FILL_BASIS,
     FILL_NUMBERS},
    {QUOTA_DOCUMENT_BYTES, "add", "Add", "Document size (bytes)", ADD("\"documents\":[%1]"), FILL_LETTERS, 0},
    {QUOTA_DOCUMENT_BYTES, "update", "Update", "Document size (bytes)", UPDATE("\"documents\":[%1]"), FILL_LETTERS, 0},
    {QUOTA_DOCUMENT_BYTES, "upsert", "Upsert", "Document size (bytes)", ADD("\"metadatas\":[{\"chroma:document\":%1}]"),
     FILL_LETTERS, 0},
    {QUOTA_URI_BYTES, "add", "Add", "URI size (bytes)", ADD("\"uris\":[%1]"), FILL_LETTERS, 0},
    {QUOTA_URI_BYTES, "add", "Add", "URI size (bytes)", ADD("\"metadatas\":[{\"chroma:uri\":%1}]"), FILL_LETTERS, 0},
    {QUOTA_ID_BYTES, "add", "Add", "ID size (bytes)", "{\"ids\":[\"a\",%1],\"embeddings\":[[1,2],[1,2]]}", FILL_LETTERS,
     0},
    {QUOTA_NAME_BYTES, "/collections", "Create Collection", "Name size (bytes)", "{\"name\":%1}", FILL_LETTERS, 0},
    {QUOTA_NAME_BYTES, "PUT", "Update Collection", "Name size (bytes)", "{\"new_name\":%1}", FILL_LETTERS, 0},
    {QUOTA_METADATA_KEYS, "add", "Add", N_KEYS, ADD("\"metadatas\":[%1]"), FILL_MEMBERS, 0},
    {QUOTA_METADATA_KEYS, "update", "Update", N_KEYS, UPDATE("\"metadatas\":[%1]"), FILL_MEMBERS, 0},
    {QUOTA_METADATA_KEY_BYTES, "add", "Add", KEY_SIZE, ADD("\"metadatas\":[{%1:1}]"), FILL_LETTERS, 0},
    {QUOTA_METADATA_KEY_BYTES, "PUT", "Update Collection", KEY_SIZE, "{\"new_metadata\":{%1:1}}", FILL_LETTERS, 0},
    {QUOTA_METADATA_VALUE_BYTES, "add", "Add", VALUE_SIZE, ADD("\"metadatas\":[{\"k\":%1}]"), FILL_LETTERS, 0},
    {QUOTA_COLLECTION_METADATA_KEYS, "/collections", "Create Collection", N_KEYS, "{\"name\":\"ddd\",\"metadata\":%1}",
     FILL_MEMBERS, 0},
    {QUOTA_COLLECTION_METADATA_VALUE_BYTES, "PUT", "Update Collection", VALUE_SIZE, "{\"new_metadata\":{\"k\":%1}}",
     FILL_LETTERS, 0},
    {QUOTA_WHERE_PREDICATES, "get", "Get", N_WHERE, "{\"where\":{\"$or\":%1}}", FILL_CLAUSES, 0},
    {QUOTA_WHERE_PREDICATES, "query", "Query", N_WHERE, QUERY("\"where\":{\"$and\":%1}"), FILL_CLAUSES, 0},
    {QUOTA_WHERE_PREDICATES, "delete", "Delete", N_WHERE, "{\"where\":{\"$or\":%1}}", FILL_CLAUSES, 0},
    {QUOTA_WHERE_PREDICATES, "search", "Search", N_WHERE, "{\"searches\":[{\"filter\":{\"$or\":%1}}]}", FILL_CLAUSES,
     0},
    {QUOTA_WHERE_VALUE_BYTES, "get", "Get", "Size of where clause value (bytes)", "{\"where\":{\"a\":%1}}",
     FILL_LETTERS, 0},
    {QUOTA_WHERE_VALUE_BYTES, "get", "Get", "Size of where clause value (bytes)",
     "{\"where\":{\"a\":{\"$in\":[\"b\",%1]}}}", FILL_LETTERS, 0},
    {QUOTA_DOCUMENT_PREDICATES, "get", "Get", N_DOCUMENT, "{\"where_document\":{\"$or\":%1}}", FILL_DOCUMENT_CLAUSES,
     0},
    {QUOTA_DOCUMENT_VALUE_BYTES, "get", "Get", "Length of where document value",
     "{\"where_document\":{\"$contains\":%1}}", FILL_LETTERS, 0},
    {QUOTA_REGEX_BYTES, "query", "Query", "Length of regex pattern", QUERY("\"where_document\":{\"$regex\":%1}"),
     FILL_LETTERS, 0},
    {QUOTA_LIMIT, "get", "Get", "Limit value", "{\"limit\":%1}", FILL_COUNT, 0},
    {QUOTA_LIMIT, "search", "Search", "Limit value", "{\"searches\":[{\"limit\":{\"limit\":%1}}]}", FILL_COUNT, 0},
    {QUOTA_RESULTS, "query", "Query", "Number of results", QUERY("\"n_results\":%1"), FILL_COUNT, 0},
    {QUOTA_QUERY_EMBEDDINGS, "query", "Query", "Number of query embeddings", "{\"query_embeddings\":%1}", FILL_VECTORS,
     0},
    {QUOTA_QUERY_IDS, "get", "Get", "Number of IDs to filter by in a query", "{\"ids\":%1}", FILL_IDS, 0},
    {QUOTA_SEARCH_PAYLOADS, "search", "Search", "Number of search payloads in a search", "{\"searches\":%1}",
     FILL_PAYLOADS, 0},
    {QUOTA_RANK_KNN, "search", "Search", "Number of knn searches in a rank expression",
     "{\"searches\":[{\"rank\":{\"$sum\":%1}}]}", FILL_KNNS, 0},
    {QUOTA_RANK_KNN_LIMIT, "search", "Search", "Limit value in rank expression",
     "{\"searches\":[{\"rank\":{\"$knn\":{\"query\":[1,2],\"limit\":%1}}}]}", FILL_COUNT, 0},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static unsigned run_case(struct caller *c, const struct quota_case *q, int n)
{
    struct buf body = {0};
    for (const char *p = q->body; *p != '\0'; p++) {
        if (*p == '%')
            put_fill(&body, *++p == '1' ? q->one : q->two, n);
        else
            buf_char(&body, *p);
    }
    buf_char(&body, '\0');
    ck_assert_int_eq(body.err, ERR_OK);
    if (strcmp(q->route, "PUT") == 0)
        (void)ask(c, "PUT", c->collection, body.p);
    else if (q->route[0] == '/')
        (void)ask(c, "POST", CALL_COLLECTIONS, body.p);
    else
        (void)post(c, q->route, body.p);
    buf_free(&body);
    return c->status;
}

static void check_case(const struct quota_case *q, int n)
{
    struct caller c;
    char want[512];
    open_limited(&c, q->quota, LIMIT);
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    unsigned status = run_case(&c, q, n);
    if (n <= LIMIT) {
        ck_assert_msg(status / 100 == 2, "%s %d: %u %s", q->name, n, status, c.answer);
    } else {
        (void)snprintf(want, sizeof want,
                       "{\"error\":\"ChromaError\",\"message\":\"Quota exceeded: '%s' exceeded quota limit for action "
                       "'%s': current usage of %d exceeds limit of %d\"}",
                       q->name, q->action, n, LIMIT);
        ck_assert_str_eq(c.answer, want);
        ck_assert_uint_eq(status, 422);
        ck_assert_uint_eq(get(&c, "count"), 200);
        ck_assert_str_eq(c.answer, "0"); /* nothing of it was done */
        ck_assert_uint_eq(usage_get(limits_tenant(c.api->limits, STR("default_tenant")), USAGE_REFUSED_QUOTA), 1);
    }
    caller_close(&c);
}

START_TEST(up_to_the_limit_and_no_further)
{
    for (int i = 0; i < N_CASES; i++)
        for (int n = LIMIT - 1; n <= LIMIT + 1; n++) check_case(&cases[i], n);
}
END_TEST

START_TEST(every_quota_is_in_the_table_or_below)
{
    static const enum quota below[] = {QUOTA_DATABASES, QUOTA_COLLECTIONS, QUOTA_FORKS, QUOTA_COLLECTION_RECORDS};
    for (int q = 0; q < QUOTA_COUNT_; q++) {
        bool is_tested = false;
        for (int i = 0; i < N_CASES; i++) is_tested = is_tested || (int)cases[i].quota == q;
        for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) is_tested = is_tested || (int)below[i] == q;
        ck_assert_msg(is_tested, "quota %d", q);
    }
}
END_TEST

START_TEST(a_limit_that_is_not_given_is_the_quota)
{
    struct caller c;
    open_limited(&c, QUOTA_LIMIT, 2);
    c.api->limits->options.defaults.quotas[QUOTA_RESULTS] = 3;
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    use_new_collection(&c, "{\"name\":\"ddd\"}");
    use_new_collection(&c, "{\"name\":\"eee\"}");
    ck_assert_uint_eq(post(&c, "add", "{\"ids\":[\"a\",\"b\",\"c\",\"d\"],\"embeddings\":[[1,2],[1,3],[1,4],[1,5]]}"),
                      201);
    ck_assert_uint_eq(post(&c, "get", "{\"include\":[]}"), 200);
    ck_assert_msg(strstr(c.answer, "\"ids\":[\"a\",\"b\"]") != NULL, "%s", c.answer);
    ck_assert_uint_eq(post(&c, "search", "{\"searches\":[{}]}"), 200);
    ck_assert_msg(strstr(c.answer, "\"ids\":[[\"a\",\"b\"]]") != NULL, "%s", c.answer);
    ck_assert_uint_eq(post(&c, "query", "{\"query_embeddings\":[[1,2]],\"include\":[]}"), 200);
    ck_assert_msg(strstr(c.answer, "\"ids\":[[\"a\",\"b\",\"c\"]]") != NULL, "%s", c.answer);
    ck_assert_uint_eq(ask(&c, "GET", CALL_COLLECTIONS "?limit=3", ""), 422);
    ck_assert_ptr_nonnull(strstr(c.answer, "'Limit value' exceeded quota limit for action 'List Collections'"));
    ck_assert_uint_eq(ask(&c, "GET", CALL_COLLECTIONS, ""), 200);
    int n = 0;
    for (const char *p = c.answer; (p = strstr(p, "\"id\":")) != NULL; p++) n++;
    ck_assert_int_eq(n, 2);
    caller_close(&c);
}
END_TEST

START_TEST(a_value_of_every_type_has_its_size)
{
    static const struct {
        const char *value;
        int bytes;
    } sizes[] = {{"true", 1},       {"1", 8},
                 {"1.5", 8},        {"\"abcd\"", 4},
                 {"[1,2,3]", 24},   {"[true,false]", 2},
                 {"[0.5]", 8},      {"[\"ab\",\"cde\"]", 5},
                 {"\"\\u00e4\"", 2}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int slack = 0; slack < 2 && sizes[i].bytes > 1; slack++) {
            struct caller c;
            char body[160];
            open_limited(&c, QUOTA_METADATA_VALUE_BYTES, (uint64_t)(sizes[i].bytes - slack));
            use_new_collection(&c, "{\"name\":\"ccc\"}");
            (void)snprintf(body, sizeof body, ADD("\"metadatas\":[{\"k\":%s}]"), sizes[i].value);
            ck_assert_msg(post(&c, "add", body) == (slack == 0 ? 201u : 422u), "%s: %s", sizes[i].value, c.answer);
            caller_close(&c);
        }
    }
}
END_TEST

START_TEST(a_key_that_is_taken_away_is_none)
{
    struct caller c;
    open_limited(&c, QUOTA_METADATA_KEYS, 1);
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    ck_assert_uint_eq(post(&c, "upsert", ADD("\"metadatas\":[{\"a\":1}]")), 200);
    ck_assert_uint_eq(post(&c, "update", UPDATE("\"metadatas\":[{\"a\":null,\"b\":2}]")), 200);
    ck_assert_uint_eq(post(&c, "update", UPDATE("\"metadatas\":[{\"c\":1,\"b\":2}]")), 422);
    caller_close(&c);
}
END_TEST

/* --- what a tenant has --------------------------------------------------------------------------------------------- */

#define DATABASES "/api/v2/tenants/acme/databases"

START_TEST(databases_of_a_tenant)
{
    struct caller c;
    open_limited(&c, QUOTA_DATABASES, 2);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"db-1\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"db-2\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"db-2\"}"), 409); /* taken, whatever the quota */
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"db-3\"}"), 422);
    check_refused(
        &c, 422, "ChromaError",
        "Quota exceeded: 'Number of databases' exceeded quota limit for action 'Create Database': current usage "
        "of 3 exceeds limit of 2");
    ck_assert_uint_eq(ask(&c, "POST", "/api/v2/tenants/default_tenant/databases", "{\"name\":\"db-3\"}"), 200);
    ck_assert_uint_eq(ask(&c, "DELETE", DATABASES "/db-1", ""), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"db-3\"}"), 200);
    caller_close(&c);
}
END_TEST

START_TEST(collections_of_a_tenant)
{
    struct caller c;
    open_limited(&c, QUOTA_COLLECTIONS, 3);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"db-1\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"db-2\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-1/collections", "{\"name\":\"aaa\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-1/collections", "{\"name\":\"bbb\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-2/collections", "{\"name\":\"aaa\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-2/collections", "{\"name\":\"bbb\"}"), 422);
    check_refused(
        &c, 422, "ChromaError",
        "Quota exceeded: 'Number of collections' exceeded quota limit for action 'Create Collection': current "
        "usage of 4 exceeds limit of 3");
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-2/collections", "{\"name\":\"aaa\"}"), 409);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-2/collections", "{\"name\":\"aaa\",\"get_or_create\":true}"), 200);
    use_new_collection(&c, "{\"name\":\"bbb\"}"); /* another tenant's */
    ck_assert_uint_eq(ask(&c, "DELETE", DATABASES "/db-1/collections/aaa", ""), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-2/collections", "{\"name\":\"bbb\"}"), 200);
    ck_assert_uint_eq(ask(&c, "DELETE", DATABASES "/db-2", ""), 200); /* takes two with it */
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-1/collections", "{\"name\":\"ccc\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-1/collections", "{\"name\":\"ddd\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", DATABASES "/db-1/collections", "{\"name\":\"eee\"}"), 422);
    caller_close(&c);
}
END_TEST

START_TEST(forks_of_a_tree)
{
    struct caller c;
    open_limited(&c, QUOTA_FORKS, 2);
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    ck_assert_uint_eq(post(&c, "fork", "{\"new_name\":\"f-1\"}"), 200);
    ck_assert_uint_eq(post(&c, "fork", "{\"new_name\":\"f-1\"}"), 409);
    ck_assert_uint_eq(post(&c, "fork", "{\"new_name\":\"f-2\"}"), 200);
    ck_assert_uint_eq(post(&c, "fork", "{\"new_name\":\"f-3\"}"), 422);
    check_refused(
        &c, 422, "ChromaError",
        "Quota exceeded: 'Number of forks' exceeded quota limit for action 'Fork Collection': current usage of 3 "
        "exceeds limit of 2");
    ck_assert_uint_eq(get(&c, "fork_count"), 200);
    ck_assert_str_eq(c.answer, "{\"count\":2}");
    use_new_collection(&c, "{\"name\":\"ddd\"}");
    ck_assert_uint_eq(post(&c, "fork", "{\"new_name\":\"f-3\"}"), 200); /* another tree */
    caller_close(&c);

    open_limited(&c, QUOTA_COLLECTIONS, 2);
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    ck_assert_uint_eq(post(&c, "fork", "{\"new_name\":\"f-1\"}"), 200);
    ck_assert_uint_eq(post(&c, "fork", "{\"new_name\":\"f-2\"}"), 422);
    ck_assert_ptr_nonnull(strstr(c.answer, "'Number of collections' exceeded quota limit for action 'Fork Collection': "
                                           "current usage of 3 exceeds limit of 2"));
    caller_close(&c);
}
END_TEST

START_TEST(a_tenant_of_its_own_rules)
{
    struct caller c;
    own = (struct tenant_override){STR("acme"), {.quotas[QUOTA_DATABASES] = 1}};
    open_limited(&c, QUOTA_NAME_BYTES, 4);
    api_free(c.api);
    limits.overrides = &own;
    limits.n_overrides = 1;
    ck_ok(api_new(&c.api, c.store, &(struct api_options){.limits = &limits}, NULL));
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"long-name\"}"), 200); /* acme has no quota of names */
    ck_assert_uint_eq(ask(&c, "POST", DATABASES, "{\"name\":\"db-2\"}"), 422);
    ck_assert_uint_eq(ask(&c, "POST", "/api/v2/tenants/other/databases", "{\"name\":\"long-name\"}"), 422);
    ck_assert_uint_eq(ask(&c, "POST", "/api/v2/tenants/other/databases", "{\"name\":\"db-1\"}"), 200);
    ck_assert_uint_eq(ask(&c, "POST", "/api/v2/tenants/other/databases", "{\"name\":\"db-2\"}"), 200);
    caller_close(&c);
}
END_TEST

static void check_count(struct caller *c, const char *want)
{
    ck_assert_uint_eq(get(c, "count"), 200);
    ck_assert_str_eq(c->answer, want);
}

/* What is there and what is reserved, together. */
static uint64_t places_taken(struct caller *c)
{
    struct uuid id;
    uint64_t total = 0;
    ck_assert(uuid_parse(str_of(c->collection + strlen(CALL_COLLECTIONS "/"), UUID_TEXT), &id));
    const struct catalog_collection *col =
        catalog_collection_by_id(store_catalog(c->store), STR("default_tenant"), STR("default_database"), &id);
    ck_assert_ptr_nonnull(col);
    ck_assert(store_reserve_rows(col, 0, UINT64_MAX, &total));
    catalog_collection_unref(col);
    return total;
}

START_TEST(records_of_a_collection)
{
    struct caller c;
    open_limited(&c, QUOTA_COLLECTION_RECORDS, 3);
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    ck_assert_uint_eq(post(&c, "add", "{\"ids\":[\"a\",\"b\"],\"embeddings\":[[1,2],[1,2]]}"), 201);
    ck_assert_uint_eq(post(&c, "add", "{\"ids\":[\"c\",\"d\"],\"embeddings\":[[1,2],[1,2]]}"), 422);
    check_refused(
        &c, 422, "ChromaError",
        "Quota exceeded: 'Collection size (records)' exceeded quota limit for action 'Add': current usage of 4 "
        "exceeds limit of 3");
    check_count(&c, "2");
    ck_assert_uint_eq(post(&c, "upsert", "{\"ids\":[\"a\",\"c\"],\"embeddings\":[[1,2],[1,2]]}"), 200); /* one is new */
    check_count(&c, "3");
    ck_assert_uint_eq(post(&c, "upsert", "{\"ids\":[\"a\",\"b\",\"c\"],\"embeddings\":[[1,2],[1,2],[1,2]]}"), 200);
    ck_assert_uint_eq(post(&c, "add", "{\"ids\":[\"a\",\"b\"],\"embeddings\":[[1,2],[1,2]]}"), 201); /* does nothing */
    ck_assert_uint_eq(post(&c, "update", "{\"ids\":[\"x\",\"y\",\"z\",\"w\"]}"), 200);
    ck_assert_uint_eq(post(&c, "upsert", "{\"ids\":[\"d\"],\"embeddings\":[[1,2]]}"), 422);
    ck_assert_uint_eq(post(&c, "delete", "{\"ids\":[\"a\"]}"), 200);
    ck_assert_uint_eq(post(&c, "add", "{\"ids\":[\"d\",\"d\"],\"embeddings\":[[1,2],[1,2]]}"), 201); /* one id, twice */
    check_count(&c, "3");
    ck_assert_uint_eq(post(&c, "add", "{\"ids\":[\"e\"],\"embeddings\":[[1,2,3]]}"),
                      400); /* nothing stays reserved ... */
    ck_assert_uint_eq(post(&c, "delete", "{\"ids\":[\"d\"]}"), 200);
    ck_assert_uint_eq(post(&c, "add", "{\"ids\":[\"e\"],\"embeddings\":[[1,2]]}"), 201); /* ... of what was refused */
    check_count(&c, "3");
    ck_assert_uint_eq(places_taken(&c), 3);
    caller_close(&c);
}
END_TEST

/* --- at the same time ---------------------------------------------------------------------------------------------- */

enum { WORKERS = 4, TRIES = 60 };

struct worker {
    struct caller c;
    int number;
    unsigned n_done;
    void (*work)(struct worker *w, int i, char *body, size_t cap);
};

static void *work_many(void *arg)
{
    struct worker *w = arg;
    char body[160];
    for (int i = 0; i < TRIES; i++) {
        w->work(w, i, body, sizeof body);
        ck_assert_msg(w->c.status / 100 == 2 || w->c.status == 422, "%s", w->c.answer);
        w->n_done += w->c.status / 100 == 2;
    }
    return NULL;
}

static unsigned run_workers(struct caller *c, void (*work)(struct worker *w, int i, char *body, size_t cap))
{
    static struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    unsigned n = 0;
    for (int k = 0; k < WORKERS; k++) {
        workers[k] = (struct worker){.c = *c, .number = k, .work = work};
        ck_assert_int_eq(pthread_create(&threads[k], NULL, work_many, &workers[k]), 0);
    }
    for (int k = 0; k < WORKERS; k++) {
        ck_assert_int_eq(pthread_join(threads[k], NULL), 0);
        n += workers[k].n_done;
    }
    return n;
}

static void make_database(struct worker *w, int i, char *body, size_t cap)
{
    (void)snprintf(body, cap, "{\"name\":\"db-%d-%d\"}", w->number, i);
    (void)ask(&w->c, "POST", DATABASES, body);
}

static void make_collection(struct worker *w, int i, char *body, size_t cap)
{
    (void)snprintf(body, cap, "{\"name\":\"col-%d-%d\"}", w->number, i);
    (void)ask(&w->c, "POST", CALL_COLLECTIONS, body);
}

static void make_records(struct worker *w, int i, char *body, size_t cap)
{
    (void)snprintf(body, cap, "{\"ids\":[\"%d-%d\",\"%d-%d-\"],\"embeddings\":[[1,2],[3,4]]}", w->number, i, w->number,
                   i);
    (void)post(&w->c, "add", body);
}

START_TEST(nothing_is_overshot_at_the_same_time)
{
    struct caller c;
    open_limited(&c, QUOTA_DATABASES, 100);
    ck_assert_uint_eq(run_workers(&c, make_database), 100);
    ck_assert_uint_eq(catalog_count_tenant(store_catalog(c.store), STR("acme")).n_databases, 100);
    caller_close(&c);

    open_limited(&c, QUOTA_COLLECTIONS, 50);
    ck_assert_uint_eq(run_workers(&c, make_collection), 50);
    caller_close(&c);

    open_limited(&c, QUOTA_COLLECTION_RECORDS, 301);
    use_new_collection(&c, "{\"name\":\"ccc\"}");
    unsigned n = run_workers(&c, make_records);
    ck_assert_uint_le(n, 150);
    ck_assert_uint_ge(n, 150 - WORKERS); /* refused beside others, though it would have fit */
    ck_assert_uint_eq(get(&c, "count"), 200);
    ck_assert_uint_eq((unsigned)atoi(c.answer), 2 * n);
    ck_assert_uint_eq(places_taken(&c), 2 * n);
    caller_close(&c);
}
END_TEST

TESTS(quota, every_quota_is_in_the_table_or_below, up_to_the_limit_and_no_further,
      a_limit_that_is_not_given_is_the_quota, a_value_of_every_type_has_its_size, a_key_that_is_taken_away_is_none,
      databases_of_a_tenant, collections_of_a_tenant, forks_of_a_tree, a_tenant_of_its_own_rules,
      records_of_a_collection, nothing_is_overshot_at_the_same_time)
