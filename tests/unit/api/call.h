/* call.h - the whole API without a socket, for tests: a store, and requests answered one after the other.
 */
#ifndef TESTS_UNIT_API_CALL_H
#define TESTS_UNIT_API_CALL_H

#include <pthread.h>
#include <stdio.h>

#include "api/api.h"
#include "core/logger.h"
#include "core/mem.h"
#include "tests/lib/suite.h"

struct caller {
    struct store *store;
    struct api *api;
    char collection[128]; /* path of the collection in use */
    char answer[1 << 13]; /* of the last call, cut, NUL-terminated */
    unsigned status;
};

/* A request with the means to wait for it. */
struct call {
    struct api_request r;
    pthread_mutex_t mu;
    pthread_cond_t cv;
    bool is_done;
};

static inline void call_done(struct api_request *r)
{
    struct call *c = r->server;
    (void)pthread_mutex_lock(&c->mu);
    c->is_done = true;
    (void)pthread_cond_signal(&c->cv);
    (void)pthread_mutex_unlock(&c->mu);
}

/* Status of the answer; its text is in c->answer. `before` and `after` surround api_run (fault injection); may be
 * NULL. */
static inline unsigned call_with(struct caller *c, const char *method, const char *path, struct str body,
                                 void (*before)(void *), void (*after)(void *), void *ctx)
{
    struct call call = {.mu = PTHREAD_MUTEX_INITIALIZER, .cv = PTHREAD_COND_INITIALIZER};
    struct api_request *r = &call.r;
    const char *query = strchr(path, '?');
    r->method = str_from_c(method);
    r->path = query != NULL ? str_of(path, (size_t)(query - path)) : str_from_c(path);
    r->query = query != NULL ? str_from_c(query + 1) : STR("");
    r->has_length = true;
    r->content_length = body.n;
    r->done = call_done;
    r->server = &call;
    if (api_begin(c->api, r) != API_ANSWERED) {
        r->body = body;
        if (before != NULL) before(ctx);
        api_run(r);
        if (after != NULL) after(ctx);
        (void)pthread_mutex_lock(&call.mu);
        while (!call.is_done) (void)pthread_cond_wait(&call.cv, &call.mu);
        (void)pthread_mutex_unlock(&call.mu);
    }
    struct str text = buf_view(&r->answer);
    (void)snprintf(c->answer, sizeof c->answer, "%.*s", STR_ARG(text));
    c->status = r->status;
    api_end(r);
    return c->status;
}

/* POST to a route of the collection in use. */
static inline unsigned post(struct caller *c, const char *route, const char *body)
{
    char path[192];
    (void)snprintf(path, sizeof path, "%s/%s", c->collection, route);
    return call_with(c, "POST", path, str_from_c(body), NULL, NULL, NULL);
}

static inline unsigned get(struct caller *c, const char *route)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", c->collection, route);
    return call_with(c, "GET", path, STR(""), NULL, NULL, NULL);
}

#define CALL_COLLECTIONS "/api/v2/tenants/default_tenant/databases/default_database/collections"

/* Creates a collection (`body` as for the route) and uses it. */
static inline void use_new_collection(struct caller *c, const char *body)
{
    unsigned status = call_with(c, "POST", CALL_COLLECTIONS, str_from_c(body), NULL, NULL, NULL);
    ck_assert_msg(status == 200, "%s", c->answer);
    (void)snprintf(c->collection, sizeof c->collection, "%s/%.36s", CALL_COLLECTIONS, c->answer + strlen("{\"id\":\""));
}

/* Everything in memory; a collection "c" is in use. */
static inline void caller_open(struct caller *c, uint64_t request_memory_bytes)
{
    struct errmsg em = {{0}};
    const struct store_options so = {.flush_rows = 100};
    const struct api_options ao = {.request_memory_bytes = request_memory_bytes};
    logger_set_level(LOG_ERROR);
    memset(c, 0, sizeof *c);
    ck_assert_msg(store_open(&c->store, &so, &em) == ERR_OK, "%s", em.text);
    ck_ok(api_new(&c->api, c->store, &ao, NULL));
    use_new_collection(c, "{\"name\":\"ccc\"}");
}

static inline void caller_close(struct caller *c)
{
    api_free(c->api);
    store_close(c->store);
}

#define check_answer(c, wanted_status, wanted)                                                                         \
    do {                                                                                                               \
        ck_assert_msg((c)->status == (wanted_status), "status %u: %s", (c)->status, (c)->answer);                      \
        ck_assert_str_eq((c)->answer, wanted);                                                                         \
    } while (0)

/* `text` is that of a message as it stands in JSON. */
#define check_refused(c, wanted_status, name, text)                                                                    \
    check_answer(c, wanted_status, "{\"error\":\"" name "\",\"message\":\"" text "\"}")

#endif
