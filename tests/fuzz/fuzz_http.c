/* fuzz_http.c - requests one after the other to a store that is reset after each input, so that state builds up
 * within one.
 *
 * INPUT  one character for the options of the api (below), then requests, each up to a NUL: a first line, and the
 *        body behind it. The first line is METHOD TARGET [AUTHORIZATION]; $D in a target stands for the default
 *        database, $0 to $9 for the collections that this input has made, in their order. A method in front of which
 *        a "-" stands is sent without a content type; "+" asks for an explanation. COMPACT is a POST, of which the
 *        answer must be the same before and after everything was written to fragments.
 * HOLDS  no answer is a 500, and what is called JSON is JSON (fuzz_api.h); reads answer the same from tails and
 *        fragments.
 */
#include "tests/fuzz/fuzz_api.h"
/* the check above goes first: see fuzz.h */
#include <stdatomic.h>

#include "api/auth.h"

enum { COLLECTIONS_MAX = 10, REQUESTS_MAX = 24, TARGET_MAX = 512, N_SESSIONS = 4, INPUTS_OF_SESSION = 500 };

struct session {
    struct store *store;
    struct api *api;
    struct auth *auth;
    char ids[COLLECTIONS_MAX][37];
    uint32_t n_ids, n_inputs;
};

static struct session sessions[N_SESSIONS]; /* made when first used, and anew after so many inputs */

static const char users[] =
    "users:\n"
    "  - {id: root, tokens: [r], role: admin}\n"
    "  - {id: reader, tokens: [g], tenant: default_tenant, databases: [default_database], role: r}\n"
    "roles_mapping:\n"
    "  admin: {actions: ['system:reset', 'tenant:create_tenant', 'db:create_database']}\n"
    "  r: {actions: ['collection:get', 'collection:query', 'db:list_collections']}\n";

/* A millisecond a look. */
static uint64_t clock_ns(void)
{
    static _Atomic uint64_t now = 1;
    return atomic_fetch_add(&now, 1000000);
}

static const struct limits_options limited = {.now_ns = clock_ns,
                                              .defaults = {.reads = {1000, 20},
                                                           .writes = {1000, 20},
                                                           .quotas = {[QUOTA_DATABASES] = 2,
                                                                      [QUOTA_COLLECTIONS] = 3,
                                                                      [QUOTA_FORKS] = 2,
                                                                      [QUOTA_COLLECTION_RECORDS] = 5,
                                                                      [QUOTA_RECORDS] = 4,
                                                                      [QUOTA_DIMENSIONS] = 3,
                                                                      [QUOTA_SPARSE_DIMENSIONS] = 2,
                                                                      [QUOTA_DOCUMENT_BYTES] = 8,
                                                                      [QUOTA_ID_BYTES] = 8,
                                                                      [QUOTA_METADATA_KEYS] = 2,
                                                                      [QUOTA_WHERE_PREDICATES] = 2,
                                                                      [QUOTA_DOCUMENT_PREDICATES] = 2,
                                                                      [QUOTA_REGEX_BYTES] = 4,
                                                                      [QUOTA_LIMIT] = 5,
                                                                      [QUOTA_RESULTS] = 3,
                                                                      [QUOTA_QUERY_EMBEDDINGS] = 2,
                                                                      [QUOTA_SEARCH_PAYLOADS] = 2,
                                                                      [QUOTA_RANK_KNN] = 2,
                                                                      [QUOTA_RANK_KNN_LIMIT] = 9}}};

static void session_begin(struct session *s, uint32_t how)
{
    const struct store_options so = {.wal = {.segment_bytes = 16 << 10}};
    struct api_options ao = {.request_memory_bytes = 64 << 20, .allow_reset = how != 3, .max_payload_bytes = 1 << 16};
    *s = (struct session){0};
    logger_set_level(LOG_NONE);
    must_ok(store_open(&s->store, &so, NULL));
    if (how == 1) ao.limits = &limited;
    if (how == 2) {
        const struct auth_options o = {.provider = AUTH_TOKEN, .users = {str_from_c(users), "users"}};
        struct errmsg em = {{0}};
        must_msg(auth_new(&s->auth, &o, &em) == ERR_OK, "%s", em.text);
        ao.auth = s->auth;
    }
    must_ok(api_new(&s->api, s->store, &ao, NULL));
}

static void session_end(struct session *s)
{
    api_free(s->api);
    store_close(s->store);
    auth_free(s->auth);
}

/* The target as it is sent, in `out`. */
static struct str expand(const struct session *s, struct str target, char out[TARGET_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < target.n; i++) {
        struct str part = str_of(target.p + i, 1);
        char c = i + 1 < target.n ? target.p[i + 1] : '\0';
        if (target.p[i] == '$' && c == 'D') {
            part = STR(FUZZ_DATABASE);
            i++;
        } else if (target.p[i] == '$' && c >= '0' && c <= '9' && s->n_ids > 0) {
            char path[128];
            (void)snprintf(path, sizeof path, "%s/%s", FUZZ_COLLECTIONS, s->ids[(uint32_t)(c - '0') % s->n_ids]);
            size_t n_path = strlen(path);
            if (n_path > TARGET_MAX - n) break;
            memcpy(out + n, path, n_path);
            n += n_path;
            i++;
            continue;
        }
        if (part.n > TARGET_MAX - n) break;
        memcpy(out + n, part.p, part.n);
        n += part.n;
    }
    return str_of(out, n);
}

static struct str word(struct str *line)
{
    const char *space = line->n > 0 ? memchr(line->p, ' ', line->n) : NULL;
    size_t n = space != NULL ? (size_t)(space - line->p) : line->n;
    struct str w = str_of(line->p, n);
    n += space != NULL;
    *line = str_of(line->p + n, line->n - n);
    return w;
}

/* Remembers a collection that was made. */
static void note_collection(struct session *s, const struct api_request *r)
{
    struct str text = buf_view(&r->answer);
    if (r->status != 200 || s->n_ids == COLLECTIONS_MAX || !str_eq(r->method, STR("POST"))) return;
    if (text.n < 45 || !str_starts(text, STR("{\"id\":\"")) || !str_contains(text, STR("\"configuration_json\"")))
        return;
    memcpy(s->ids[s->n_ids], text.p + 7, 36);
    s->ids[s->n_ids++][36] = '\0';
}

static void send_twice(struct session *s, struct sent *request)
{
    struct exchange before, after;
    static const char *const reads[] = {"/get", "/query", "/search"};
    bool is_read = false;
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(reads[i]);
        is_read |= request->target.n > n && memcmp(request->target.p + request->target.n - n, reads[i], n) == 0;
    }
    request->method = STR("POST");
    exchange(s->api, request, &before);
    must_ok(store_compact(s->store, NULL));
    exchange(s->api, request, &after);
    if (is_read && before.r.status == 200)
        must_msg(after.r.status == 429 || str_eq(buf_view(&before.r.answer), buf_view(&after.r.answer)),
                 "from tails %.*s, from fragments %u %.*s", STR_ARG(buf_view(&before.r.answer)), after.r.status,
                 STR_ARG(buf_view(&after.r.answer)));
    exchange_end(&before);
    exchange_end(&after);
}

static void send_one(struct session *s, struct input in)
{
    char target[TARGET_MAX];
    struct str line = input_until(&in, '\n');
    struct sent request = {.content_type = STR("application/json"), .body = input_text(&in, in.n)};
    request.method = word(&line);
    request.target = expand(s, word(&line), target);
    if (line.n > 0) request.authorization = line;
    for (; request.method.n > 0 && (request.method.p[0] == '-' || request.method.p[0] == '+');
         request.method = str_of(request.method.p + 1, request.method.n - 1)) {
        if (request.method.p[0] == '+')
            request.wants_explanation = true;
        else
            request.content_type = str_of(NULL, 0);
    }
    if (str_eq(request.method, STR("COMPACT"))) {
        send_twice(s, &request);
        return;
    }
    struct exchange x;
    exchange(s->api, &request, &x);
    note_collection(s, &x.r);
    exchange_end(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    uint32_t how = input_u8(&in) % N_SESSIONS;
    struct session *s = &sessions[how];
    if (s->store == NULL) session_begin(s, how);
    for (int i = 0; i < REQUESTS_MAX && in.n > 0; i++) {
        struct str request = input_until(&in, '\0');
        send_one(s, (struct input){(const uint8_t *)request.p, request.n});
    }
    must_ok(store_reset(s->store, NULL));
    s->n_ids = 0;
    if (++s->n_inputs == INPUTS_OF_SESSION) {
        session_end(s);
        s->store = NULL;
    }
    return 0;
}
