/* handler.h - what the files of handlers share: the route table's row, and how to answer.
 * Internal to api/. THREADS the one that runs the request.
 */
#ifndef API_HANDLER_H
#define API_HANDLER_H

#include <pthread.h>

#include "api/api.h"
#include "api/json.h"

struct limits; /* limits_internal.h */

struct api {
    struct store *store;
    struct api_options options;   /* immutable */
    struct limits *limits;        /* never NULL */
    struct budget memory;         /* of all requests and answers */
    pthread_mutex_t update_mutex; /* one at a time changes a collection's documents; held over the catalog's commit */
};

enum api_outcome {
    API_DONE,    /* the answer is complete */
    API_PENDING, /* the handler arranged that r->done is called later; it must not touch r any more */
};
typedef enum api_outcome (*api_handler)(struct api_request *r);

/* The handlers, by file. Parameters: r->params in the order of the route's {...}. */
enum api_outcome handle_heartbeat(struct api_request *r); /* system.c */
enum api_outcome handle_healthcheck(struct api_request *r);
enum api_outcome handle_version(struct api_request *r);
enum api_outcome handle_pre_flight(struct api_request *r);
enum api_outcome handle_identity(struct api_request *r);
enum api_outcome handle_reset(struct api_request *r);
enum api_outcome handle_docs(struct api_request *r);
enum api_outcome handle_docs_redirect(struct api_request *r);
enum api_outcome handle_docs_asset(struct api_request *r);
enum api_outcome handle_openapi(struct api_request *r);
enum api_outcome handle_v1(struct api_request *r);
enum api_outcome handle_metrics(struct api_request *r);       /* metrics_page.c */
enum api_outcome handle_create_tenant(struct api_request *r); /* tenants.c */
enum api_outcome handle_get_tenant(struct api_request *r);
enum api_outcome handle_update_tenant(struct api_request *r);
enum api_outcome handle_tenant_usage(struct api_request *r); /* usage_answer.c */
enum api_outcome handle_usage(struct api_request *r);
enum api_outcome handle_list_databases(struct api_request *r);
enum api_outcome handle_create_database(struct api_request *r);
enum api_outcome handle_get_database(struct api_request *r);
enum api_outcome handle_delete_database(struct api_request *r);
enum api_outcome handle_create_collection(struct api_request *r); /* collections.c */
enum api_outcome handle_list_collections(struct api_request *r);
enum api_outcome handle_count_collections(struct api_request *r);
enum api_outcome handle_get_collection(struct api_request *r);
enum api_outcome handle_get_collection_by_id(struct api_request *r);
enum api_outcome handle_get_collection_by_crn(struct api_request *r);
enum api_outcome handle_update_collection(struct api_request *r);
enum api_outcome handle_delete_collection(struct api_request *r);
enum api_outcome handle_fork(struct api_request *r);
enum api_outcome handle_fork_count(struct api_request *r);
enum api_outcome handle_indexing_status(struct api_request *r);
enum api_outcome handle_attach_function(struct api_request *r);
enum api_outcome handle_get_function(struct api_request *r);
enum api_outcome handle_detach_function(struct api_request *r);
enum api_outcome handle_add(struct api_request *r); /* records_write.c; params: tenant, database, id */
enum api_outcome handle_update(struct api_request *r);
enum api_outcome handle_upsert(struct api_request *r);
enum api_outcome handle_delete(struct api_request *r);
enum api_outcome handle_get(struct api_request *r); /* records_read.c */
enum api_outcome handle_query(struct api_request *r);
enum api_outcome handle_count(struct api_request *r);
enum api_outcome handle_search(struct api_request *r);

/* The answer of a handler that returned API_PENDING is complete: counts it and calls r->done, after which r is gone. */
void api_complete(struct api_request *r);

/* Answers with the error shape {"error":...,"message":...}; returns API_DONE. The message is not limited in length. */
enum api_outcome api_fail(struct api_request *r, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
enum api_outcome api_fail_str(struct api_request *r, enum err e, struct str message);

/* What a failed reader says: 400 "Failed to parse the request body as JSON: ...", 422 "Failed to deserialize ...". */
enum api_outcome api_fail_json(struct api_request *r, const struct json_reader *j);

/* 200 with what is in r->answer (a handler appends to it), or the error of a buffer that failed. */
enum api_outcome api_ok(struct api_request *r, unsigned status);

/* limit= and offset= of the query string; false: answered with 400. Absent: UINT32_MAX and 0. */
bool api_limit_offset(struct api_request *r, uint32_t *limit, uint32_t *offset);

/* Database names in paths must have three bytes; false: answered. */
bool api_check_database_name(struct api_request *r, struct str name);

/* The collection of a record route (params tenant, database, id) as a reference, or NULL: answered with 400 or 404
 * ("Collection ID is not a valid UUIDv4", "Collection [id] does not exist."). */
const struct catalog_collection *api_find_collection(struct api_request *r);
enum api_outcome api_no_collection(struct api_request *r, const struct uuid *id); /* that 404 */

/* where / where_document as parsed from JSON into the request's arena (where.c). */
struct filter;
/* The reader stands before the value. A value that is no valid clause is not an error of the reader: the clause is
 * read to its end and *is_valid is false ("Invalid where clause", "Invalid where document clause" are said later, in
 * their turn). null gives a NULL filter. */
bool parse_where(struct json_reader *j, struct filter **f, bool *is_valid);
bool parse_where_document(struct json_reader *j, struct filter **f, bool *is_valid);
/* Compiles the regular expressions of a tree; they are freed with where_free. ERR_INVALID with the message to show. */
enum err where_compile(struct filter *f, struct errmsg *em);
void where_free(struct filter *f);

/* metadata values as the contract wants them (metadata.c): one object, appended packed to `out`. allow_null: patches.
 * Type faults fail the reader (422); *bad_key: the object has a key that is empty or begins with # or $.
 * Reserved keys ("chroma:...") are packed like others: records_write.c and records_answer.c know what they mean.
 * A null instead of an object appends nothing. */
bool parse_record_metadata(struct json_reader *j, bool allow_null, struct buf *out, bool *bad_key);

#endif
