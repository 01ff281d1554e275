/* api.h - the REST interface as a function from a request to an answer. Knows no socket and no HTTP library.
 *
 * LIFE OF A REQUEST
 *   api_begin   loop thread, headers known, body not: finds the route, refuses what can be refused, says where to run
 *   (the server collects the body, up to the limit that api_begin left in body_max)
 *   api_ready   loop thread, all is there and the pool is next: the last chance to refuse before a thread is spent
 *   api_run     on the loop (API_RUN_HERE) or an executor thread (API_RUN_POOL): parses, works, answers
 *   done        called exactly once when the answer is complete: by api_run itself, or later on the log's thread
 *   api_end     frees what belongs to the request
 *
 * THREADS  one thread at a time owns a request; handing it over is a move.
 */
#ifndef API_API_H
#define API_API_H

#include "api/limits.h"
#include "api/metrics.h"
#include "api/store.h"
#include "core/buf.h"

struct api;
struct auth;      /* auth.h */
struct auth_user; /* auth_internal.h */
struct explain;   /* explain.h */
struct pool;      /* core/pool.h */
struct tenant;    /* limits_internal.h */

struct api_options { /* zero = default */
    bool allow_reset;
    uint64_t max_payload_bytes;     /* 40 MiB */
    const struct str *cors_origins; /* n_cors of them, kept by the caller; "*" alone: any */
    uint32_t n_cors;
    uint64_t request_memory_bytes;       /* 1 GiB: what all requests and answers may use together (core/budget.h) */
    struct auth *auth;                   /* kept by the caller; NULL: everybody may do everything */
    const struct limits_options *limits; /* what it points to is kept by the caller; NULL: no limits */
    struct metrics *metrics;             /* kept by the caller; NULL: GET /metrics is answered with 404 */
    struct pool *pool;                   /* kept by the caller: what metrics say about it; NULL: nothing */
    const char *version;                 /* of the program, for metrics; NULL: "" */
};

enum err api_new(struct api **a, struct store *store, const struct api_options *o, struct errmsg *em);
void api_free(struct api *a);

enum api_place {
    API_ANSWERED, /* the answer is complete; any body is to be discarded */
    API_RUN_HERE, /* never blocks: run on the loop when the request is complete */
    API_RUN_POOL,
};

struct api_route; /* routes.c */

enum { API_PARAMS_MAX = 6 };

struct api_request {
    /* set by the server before api_begin; views hold until api_end */
    struct str method;
    struct str path;          /* as sent, before '?', not decoded */
    struct str query;         /* after '?', not decoded; may be empty */
    struct str content_type;  /* .p == NULL: no such header */
    struct str origin;        /* likewise */
    struct str authorization; /* likewise; empty when the header is there more than once */
    struct str chroma_token;  /* x-chroma-token; likewise */
    bool has_length;
    uint64_t content_length;
    bool wants_explanation;              /* x-chroma-explain: true */
    void (*done)(struct api_request *r); /* any thread */
    void *server;                        /* the server's own */
    char trace_id[33];                   /* of this request; empty: one is drawn for an answer that needs it */

    /* set by the server before api_run */
    struct str body; /* all of it; the memory is the server's until api_end */

    /* set by api_begin */
    uint64_t body_max; /* a body that grows beyond it: api_refuse_body, then answer */
    bool ignores_body; /* the route reads none: whatever is sent is thrown away, and body_max does not matter */

    /* the answer, valid when done is called (or API_ANSWERED) */
    unsigned status;
    struct buf answer;        /* body; the server may buf_take it, and then gives back its charge when it was sent */
    struct str answer_type;   /* content type; .n == 0: none */
    struct str allow;         /* header of 405; .n == 0: none */
    struct str location;      /* header of redirects; .n == 0: none */
    struct str extra_headers; /* "name: value\r\n" lines (CORS ...); .n == 0: none */
    bool has_trace_id;        /* status >= 400 from the router: send chroma-trace-id */
    bool close_connection;
    bool is_head; /* send headers and length, no body */

    /* for logs and metrics; views hold until api_end */
    unsigned operation;         /* set by api_begin: see metrics.h */
    enum metrics_group group;   /* likewise */
    const char *operation_name; /* likewise; literal, NULL: no route */
    unsigned n_scope;           /* so many of params are, in this order, tenant, database, collection */
    struct str user_name;       /* of a caller who is known; .p == NULL: none */
    const char *error_name;     /* the member "error" of the answer; literal, NULL: none */
    uint64_t n_records;         /* taken in, or given out */
    struct exec_stats did;

    /* the api's own */
    const struct api_route *route;
    const struct auth_user *user; /* the caller; NULL: no authentication, or a public route */
    bool is_unverified;           /* the password is to be verified by api_run */
    bool is_pending;              /* counted among those that wait for it */
    bool is_admitted;             /* limits_gate.h has seen it */
    struct explain *explain;      /* NULL: none is wanted */
    struct tenant *tenant;        /* whose request it is; NULL: nobody's, or not settled yet */
    struct scorecard_ticket ticket;
    struct api *api;
    struct str params[API_PARAMS_MAX]; /* decoded path parameters in order */
    struct arena arena;
    struct store_write write;
    void *state; /* of the handler between api_run and done */
};

enum api_place api_begin(struct api *a, struct api_request *r);
void api_refuse_body(struct api_request *r); /* fills the 413 of the route */
bool api_ready(struct api_request *r);       /* false: answered */
void api_run(struct api_request *r);
void api_end(struct api_request *r); /* frees arena and answer; the struct itself is the server's */

/* "METHOD PATTERN ACTION\n" for every route: what the server answers to, and what a caller must be allowed to do.
 * ACTION is "public", "identity" (any valid credentials), or one of Chroma's names. */
void api_write_routes(struct buf *out);

#endif
