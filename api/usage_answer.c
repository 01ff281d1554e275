/* usage_answer.c - what a tenant has used and has stored, as JSON; of one tenant, or of all.
 *
 * Counters come from memory. What is stored is looked up when it is asked for: collections of the catalog, their records, the
 * bytes of their index files and of what is in memory only. So it costs a walk over the tenant's collections.
 */
#include "api/answer.h"
#include "api/auth_gate.h"
#include "api/limits_gate.h"
#include "core/epoch.h"
#include "core/mem.h"
#include "index/index.h"

struct stored {
    uint64_t records, bytes;
};

/* Inside an epoch. */
static void add_collection(const struct catalog_collection *col, struct stored *sum)
{
    const struct collection *live = store_collection(col);
    struct collection_pressure p;
    collection_pressure(live, &p);
    sum->bytes += store_file_bytes(col) + p.tail_bytes;
    sum->records += collection_count(live);
}

static enum err add_database(struct catalog *c, struct str tenant, struct str database, struct arena *a,
                             struct stored *sum)
{
    const struct catalog_collection **list = NULL;
    size_t n = 0;
    epoch_enter();
    enum err e = catalog_list_collections(c, tenant, database, UINT32_MAX, 0, a, &list, &n);
    for (size_t i = 0; i < n; i++) {
        add_collection(list[i], sum);
        catalog_collection_unref(list[i]);
    }
    epoch_leave();
    return e;
}

static enum err put_usage(struct api_request *r, const struct tenant *t)
{
    struct catalog *c = store_catalog(r->api->store);
    struct buf *b = &r->answer;
    struct str name = str_of(t->name, t->n);
    struct arena a = {0};
    struct catalog_database *databases = NULL;
    struct stored sum = {0, 0};
    size_t n = 0;
    struct catalog_counts counts = catalog_count_tenant(c, name);
    enum err e = catalog_list_databases(c, name, UINT32_MAX, 0, &a, &databases, &n);
    for (size_t i = 0; i < n && e == ERR_OK; i++) e = add_database(c, name, databases[i].name, &a, &sum);
    arena_free(&a);
    if (e != ERR_OK) return e;
    buf_lit(b, "{\"tenant\":");
    json_put_string(b, name);
    for (int i = 0; i < USAGE_COUNT_; i++) {
        buf_printf(b, ",\"%s\":", usage_name((enum usage)i));
        json_put_uint(b, usage_get(t, (enum usage)i));
    }
    buf_lit(b, ",\"databases\":");
    json_put_uint(b, counts.n_databases);
    buf_lit(b, ",\"collections\":");
    json_put_uint(b, counts.n_collections);
    buf_lit(b, ",\"records_stored\":");
    json_put_uint(b, sum.records);
    buf_lit(b, ",\"bytes_stored\":");
    json_put_uint(b, sum.bytes);
    buf_char(b, '}');
    return ERR_OK;
}

static enum api_outcome fail(struct api_request *r, enum err e)
{
    return api_fail(r, e, "The usage could not be read: %s", err_text(e));
}

enum api_outcome handle_tenant_usage(struct api_request *r)
{
    /* Numbers of all databases: who sees only some of them is not told. */
    if (!auth_gate_covers_all_databases(r)) return auth_gate_forbid(r);
    if (!catalog_knows_tenant(store_catalog(r->api->store), r->params[0]))
        return answer_about(r, ERR_NOT_FOUND, "Tenant [", r->params[0], "] not found");
    if (r->tenant == r->api->limits->anonymous)
        return fail(r, ERR_NOMEM); /* known, but there was no room to count it */
    enum err e = put_usage(r, r->tenant);
    return e == ERR_OK ? api_ok(r, 200) : fail(r, e);
}

static void gather(void *ctx, struct tenant *t)
{
    buf_add(ctx, &t, sizeof t);
}

enum api_outcome handle_usage(struct api_request *r)
{
    struct buf list = {0};
    limits_each_tenant(r->api->limits, gather, &list);
    enum err e = list.err;
    size_t n = list.n / sizeof(struct tenant *);
    buf_lit(&r->answer, "{\"tenants\":[");
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        if (i > 0) buf_char(&r->answer, ',');
        e = put_usage(r, ((struct tenant *const *)(const void *)list.p)[i]);
    }
    buf_lit(&r->answer, "]}");
    buf_free(&list);
    return e == ERR_OK ? api_ok(r, 200) : fail(r, e);
}

/* --- for the metrics ------------------------------------------------------------------------------------------------- */

struct visitor {
    void (*visit)(void *ctx, const struct tenant_usage *u);
    void *ctx;
};

static void pass_on(void *ctx, struct tenant *t)
{
    const struct visitor *v = ctx;
    struct tenant_usage u = {.tenant = str_of(t->name, t->n)};
    for (int i = 0; i < USAGE_COUNT_; i++) u.counters[i] = usage_get(t, (enum usage)i);
    v->visit(v->ctx, &u);
}

void usage_each(struct api *a, void (*visit)(void *ctx, const struct tenant_usage *u), void *ctx)
{
    limits_each_tenant(a->limits, pass_on, &(struct visitor){visit, ctx});
}
