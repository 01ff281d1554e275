/* records_submit.c - hands a block to the log, and answers when the log is done with it.
 *
 * HAPPY PATH  store_submit takes the block; later write_done, on the log's thread, fills the answer and calls the
 * server.
 * FAILURE  a refused submit leaves block and reference with us. A write that the log took and could not make durable
 * left no trace; the client is told.
 * INVARIANT  the request is not touched after a successful store_submit: it may be answered and freed already.
 */
#include "api/records.h"

#include "api/limits_gate.h"
#include "core/mem.h"

/* In the request's arena, at r->state. */
struct pending {
    struct records_outcome outcome;
    struct uuid collection_id; /* the store lets the collection go before it calls back */
};

static enum api_outcome fail_write(struct api_request *r, enum err e, const struct uuid *collection_id,
                                   const struct errmsg *why)
{
    if (e == ERR_NOT_FOUND) return api_no_collection(r, collection_id); /* deleted while the write was on its way */
    if (e == ERR_CORRUPT && why != NULL && why->text[0] != '\0')
        return api_fail(r, e, "the write failed: %s", why->text);
    return api_fail(r, e, "the write failed: %s", err_text(e));
}

enum api_outcome records_answer_write(struct api_request *r, const struct records_outcome *o, uint32_t n_changed)
{
    r->n_records = n_changed;
    if (o->is_delete) {
        buf_lit(&r->answer, "{\"deleted\":");
        json_put_uint(&r->answer, o->counts_changes ? n_changed : o->n_given);
        buf_char(&r->answer, '}');
    } else {
        buf_lit(&r->answer, "{}");
    }
    return api_ok(r, o->status);
}

static void write_done(struct store_write *w, enum err e)
{
    struct api_request *r = (void *)((char *)w - offsetof(struct api_request, write));
    const struct pending *p = r->state;
    if (e == ERR_OK) {
        limits_count(r, p->outcome.is_delete ? USAGE_RECORDS_DELETED : USAGE_RECORDS_WRITTEN, w->n_changed);
        (void)records_answer_write(r, &p->outcome, w->n_changed);
    } else {
        (void)fail_write(r, e, &p->collection_id, NULL);
    }
    api_complete(r);
}

enum api_outcome records_submit(struct api_request *r, const struct catalog_collection *col, struct bytes block,
                                const struct records_outcome *outcome)
{
    struct pending *p = arena_alloc(&r->arena, sizeof *p);
    struct errmsg why = {{0}};
    enum err e = ERR_NOMEM;
    if (p != NULL) {
        *p = (struct pending){*outcome, col->id};
        r->state = p;
        r->write = (struct store_write){
            .collection = col, .block = block, .n_reserved = outcome->n_reserved, .done = write_done, .why = &why};
        e = store_submit(r->api->store, &r->write);
        if (e == ERR_OK) return API_PENDING;
    }
    if (e == ERR_CORRUPT) errmsg_wrap(&why, "collection '" STR_FMT "'", STR_ARG(col->name));
    (void)fail_write(r, e, &col->id, &why);
    store_release_rows(col, outcome->n_reserved);
    mem_free((void *)(uintptr_t)block.p); /* it was built here: the constness is for its readers */
    catalog_collection_unref(col);
    return API_DONE;
}
