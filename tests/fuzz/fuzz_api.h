/* fuzz_api.h - requests to the whole API without a socket, and what must hold for every answer. */
#ifndef TESTS_FUZZ_API_H
#define TESTS_FUZZ_API_H

#include <pthread.h>
#include <stdio.h>

#include "api/api.h"
#include "api/json.h"
#include "core/logger.h"
#include "core/mem.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_DATABASE    "/api/v2/tenants/default_tenant/databases/default_database"
#define FUZZ_COLLECTIONS FUZZ_DATABASE "/collections"

struct exchange {
    struct api_request r; /* first */
    pthread_mutex_t mu;
    pthread_cond_t cv;
    bool is_done;
};

/* What a client sends. */
struct sent {
    struct str method, target, content_type, authorization, body;
    bool wants_explanation;
};

static inline void exchange_done(struct api_request *r)
{
    struct exchange *x = r->server;
    (void)pthread_mutex_lock(&x->mu);
    x->is_done = true;
    (void)pthread_cond_signal(&x->cv);
    (void)pthread_mutex_unlock(&x->mu);
}

static inline void check_exchange(const struct api_request *r)
{
    struct str text = buf_view(&r->answer);
    must_msg(r->status >= 200 && r->status < 600, "status %u", r->status);
    must_msg(r->status != 500, "an internal error: %.*s", STR_ARG(text));
    if (!str_starts(r->answer_type, STR("application/json")) || text.n == 0) return;
    struct arena a = {0};
    struct json_reader j;
    json_reader_init(&j, text, &a);
    /* What records hold may lie as deep as it came; the answer puts it a little deeper. */
    bool is_json = json_skip(&j) && json_finish(&j);
    must_msg(is_json || (j.depth >= JSON_DEPTH_MAX - 8), "no JSON: %.*s", STR_ARG(text));
    arena_free(&a);
}

/* Sends it; the answer is in x->r until exchange_end. */
static inline void exchange(struct api *api, const struct sent *s, struct exchange *x)
{
    *x = (struct exchange){.mu = PTHREAD_MUTEX_INITIALIZER, .cv = PTHREAD_COND_INITIALIZER};
    struct api_request *r = &x->r;
    const char *query = s->target.n > 0 ? memchr(s->target.p, '?', s->target.n) : NULL;
    size_t n_path = query != NULL ? (size_t)(query - s->target.p) : s->target.n;
    r->method = s->method;
    r->path = str_of(s->target.p, n_path);
    r->query = query != NULL ? str_of(query + 1, s->target.n - n_path - 1) : STR("");
    r->content_type = s->content_type;
    r->authorization = s->authorization;
    r->wants_explanation = s->wants_explanation;
    r->has_length = true;
    r->content_length = s->body.n;
    r->done = exchange_done;
    r->server = x;
    if (api_begin(api, r) != API_ANSWERED) {
        r->body = s->body;
        if (!r->ignores_body && s->body.n > r->body_max) {
            api_refuse_body(r);
        } else if (api_ready(r)) {
            api_run(r);
            (void)pthread_mutex_lock(&x->mu);
            while (!x->is_done) (void)pthread_cond_wait(&x->cv, &x->mu);
            (void)pthread_mutex_unlock(&x->mu);
        }
    }
    check_exchange(r);
}

static inline void exchange_end(struct exchange *x)
{
    api_end(&x->r);
    (void)pthread_mutex_destroy(&x->mu);
    (void)pthread_cond_destroy(&x->cv);
}

/* A request of the target's own making, which must be answered with 2xx. The id in the answer, if it begins with one. */
static inline void exchange_must(struct api *api, const char *method, const char *target, struct str body, char id[37])
{
    struct exchange x;
    const struct sent s = {.method = str_from_c(method),
                           .target = str_from_c(target),
                           .content_type = STR("application/json"),
                           .body = body};
    exchange(api, &s, &x);
    struct str text = buf_view(&x.r.answer);
    must_msg(x.r.status < 300, "%s %s: %u %.*s", method, target, x.r.status, STR_ARG(text));
    if (id != NULL) {
        must(text.n > 43);
        memcpy(id, text.p + strlen("{\"id\":\""), 36);
        id[36] = '\0';
    }
    exchange_end(&x);
}

#endif
