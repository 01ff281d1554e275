/* collections_write.c - creating and updating collections.
 *
 * ORDER OF CHECKS (catalog.md 1.4; the first that fails answers)
 *   create  body - configuration and legacy metadata - database name - name, metadata, schema (together) - schema
 *           against configuration - database exists, name free
 *   update  body - database name - id - collection exists - configuration - name, metadata (together) - name free
 * FAILURE   nothing was changed. All parts of an update are one transaction of the catalog.
 */
#include "api/collections.h"

#include "api/answer.h"
#include "api/metadata.h"
#include "api/name.h"
#include "api/quota.h"
#include "api/settings.h"

static enum api_outcome out_of_memory(struct api_request *r)
{
    return api_fail(r, ERR_NOMEM, "out of memory");
}

/* Faults of several fields in one message: "Validation error: name: ...\nmetadata: ...". */
struct faults {
    struct buf text;
};

static void add_fault(struct faults *f, const char *field, struct str fault)
{
    if (fault.p == NULL) {
        if (f->text.err == ERR_OK) f->text.err = ERR_NOMEM;
        return;
    }
    if (f->text.n == 0)
        buf_lit(&f->text, "Validation error: ");
    else
        buf_char(&f->text, '\n');
    buf_str(&f->text, str_from_c(field));
    buf_lit(&f->text, ": ");
    buf_str(&f->text, fault);
}

/* True: there were faults, and they are answered. */
static bool answer_faults(struct api_request *r, struct faults *f)
{
    bool has_any = f->text.n > 0 || f->text.err != ERR_OK;
    if (f->text.err != ERR_OK)
        (void)out_of_memory(r);
    else if (has_any)
        (void)api_fail_str(r, ERR_INVALID, buf_view(&f->text));
    buf_free(&f->text);
    return has_any;
}

static void check_metadata(struct faults *f, const char *field, const struct collection_metadata *m)
{
    if (m->is_empty)
        add_fault(f, field, STR("Metadata cannot be empty"));
    else if (m->fault.p != NULL)
        add_fault(f, field, m->fault);
}

/* --- create ------------------------------------------------------------------------------------------------------ */

struct creation {
    struct str name;
    struct schema schema;
    struct configuration configuration;
    struct collection_metadata metadata;
    bool get_or_create;
};

static bool parse_creation(struct json_reader *j, struct creation *c)
{
    static const char *const names[] = {"name", "schema", "configuration", "metadata", "get_or_create"};
    struct json_fields f;
    if (!json_enter_fields(j, &f, names, 5, false, "struct CreateCollectionPayload")) return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        bool ok;
        switch (i) {
        case 0:
            ok = json_string(j, &c->name, "a string");
            break;
        case 1:
            ok = parse_schema(j, &c->schema);
            break;
        case 2:
            ok = parse_configuration(j, false, &c->configuration);
            break;
        case 3:
            ok = parse_collection_metadata(j, false, &c->metadata);
            break;
        default:
            ok = json_bool(j, &c->get_or_create, "a boolean");
            break;
        }
        if (!ok) return false;
    }
    return json_need_field(j, &f, 0) && json_finish(j);
}

/* The catalog has refused; by now there may be fewer, which the message should not say. */
static enum api_outcome refuse_another(struct api_request *r, uint64_t max)
{
    uint64_t n = catalog_count_tenant(store_catalog(r->api->store), r->params[0]).n_collections;
    return quota_refuse(r, QUOTA_COLLECTIONS, (n > max ? n : max) + 1);
}

static enum api_outcome create(struct api_request *r, const struct creation *c, const struct hnsw_settings *h,
                               struct str configuration, struct str schema)
{
    const struct catalog_collection *col = NULL;
    struct errmsg em = {{0}};
    const struct catalog_new_collection in = {.tenant = r->params[0],
                                              .database = r->params[1],
                                              .name = c->name,
                                              .configuration = configuration,
                                              .schema = schema,
                                              .metadata = c->metadata.packed,
                                              .space = (uint8_t)h->space,
                                              .get_or_create = c->get_or_create,
                                              .tenant_max = quota_max(r, QUOTA_COLLECTIONS)};
    /* Not inside an epoch: what frees something may have to wait for readers, and must not wait for itself. */
    enum err e = store_create_collection(r->api->store, &in, &col, &em);
    switch (e) {
    case ERR_OK:
        return answer_new_collection(r, col);
    case ERR_EXISTS:
        return answer_about(r, e, "Collection [", c->name, "] already exists");
    case ERR_QUOTA:
        return refuse_another(r, in.tenant_max);
    case ERR_NOT_FOUND:
        return answer_about(r, ERR_INVALID, "Database [", r->params[1], "] does not exist");
    default:
        return api_fail(r, e, "%s", em.text);
    }
}

enum api_outcome handle_create_collection(struct api_request *r)
{
    struct json_reader *j = arena_alloc(&r->arena, sizeof *j);
    struct creation *c = arena_zalloc(&r->arena, sizeof *c);
    struct hnsw_settings settings;
    struct faults faults = {{0}};
    struct buf configuration = {0}, schema = {0};
    struct str fault;
    enum api_outcome outcome;
    if (j == NULL || c == NULL) return out_of_memory(r);
    json_reader_init(j, r->body, &r->arena);
    if (!parse_creation(j, c)) return api_fail_json(r, j);
    if (!quota_allows(r, QUOTA_NAME_BYTES, c->name.n) || !quota_allows_metadata(r, c->metadata.packed, true))
        return API_DONE;
    if (!configuration_resolve(&c->configuration, c->metadata.packed, &r->arena, &settings, &fault))
        return api_fail_str(r, ERR_INVALID, fault);
    if (!api_check_database_name(r, r->params[1])) return API_DONE;
    if (!name_check(c->name, &r->arena, &fault)) add_fault(&faults, "name", fault);
    check_metadata(&faults, "metadata", &c->metadata);
    if (!schema_check(&c->schema, &r->arena, &fault)) add_fault(&faults, "schema", fault);
    if (answer_faults(r, &faults)) return API_DONE;
    if (!settings_reconcile(&c->schema, &settings, &c->configuration.function, &r->arena, &settings, &configuration,
                            &schema, &fault))
        outcome = api_fail(r, ERR_INVALID, "Failed to reconcile schema: %.*s", STR_ARG(fault));
    else if (configuration.err != ERR_OK || schema.err != ERR_OK)
        outcome = out_of_memory(r);
    else
        outcome = create(r, c, &settings, buf_view(&configuration), buf_view(&schema));
    buf_free(&configuration);
    buf_free(&schema);
    return outcome;
}

/* --- update ------------------------------------------------------------------------------------------------------ */

struct change {
    struct str name; /* .p == NULL: stays */
    struct collection_metadata metadata;
    struct configuration configuration;
};

static bool parse_change(struct json_reader *j, struct change *c)
{
    static const char *const names[] = {"new_name", "new_metadata", "new_configuration"};
    struct json_fields f;
    if (!json_enter_fields(j, &f, names, 3, false, "struct UpdateCollectionPayload")) return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        bool ok;
        if (i == 1)
            ok = parse_collection_metadata(j, true, &c->metadata);
        else if (i == 2)
            ok = parse_configuration(j, true, &c->configuration);
        else
            ok = json_peek(j) == JSON_NULL ? json_null(j) : json_string(j, &c->name, "a string");
        if (!ok) return false;
    }
    return j->err == ERR_OK && json_finish(j);
}

static bool changes_documents(const struct change *c)
{
    return c->configuration.hnsw.fields != 0 || c->configuration.function.text.p != NULL;
}

/* Inside update_mutex when documents change: they are read, changed and written back. */
static enum err write_update(struct api_request *r, const struct catalog_collection *col, const struct change *c,
                             struct errmsg *em)
{
    struct buf configuration = {0}, schema = {0};
    struct catalog_update u = {.name = c->name};
    enum err e = ERR_OK;
    if (c->metadata.is_given) {
        u.set_metadata = true;
        u.metadata = c->metadata.packed;
    }
    if (changes_documents(c)) {
        e = settings_update(col->configuration, col->schema, &c->configuration, &r->arena, &configuration, &schema, em);
        u.configuration = buf_view(&configuration);
        u.schema = buf_view(&schema);
    }
    if (e == ERR_OK) e = catalog_update_collection(store_catalog(r->api->store), col->number, &u, em);
    buf_free(&configuration);
    buf_free(&schema);
    return e;
}

static enum api_outcome update(struct api_request *r, const struct catalog_collection *col, const struct change *c)
{
    struct errmsg em = {{0}};
    enum err e;
    if (changes_documents(c)) {
        /* Two updates at once must not lose one's change: the later reads what the earlier wrote. */
        (void)pthread_mutex_lock(&r->api->update_mutex);
        const struct catalog_collection *now =
            catalog_collection_by_id(store_catalog(r->api->store), r->params[0], r->params[1], &col->id);
        e = now != NULL ? write_update(r, now, c, &em) : ERR_NOT_FOUND;
        catalog_collection_unref(now);
        (void)pthread_mutex_unlock(&r->api->update_mutex);
    } else {
        e = write_update(r, col, c, &em);
    }
    if (e == ERR_EXISTS) return answer_about(r, e, "Collection [", c->name, "] already exists");
    if (e == ERR_NOT_FOUND) return api_no_collection(r, &col->id); /* deleted meanwhile */
    if (e != ERR_OK) return api_fail(r, e, "%s", em.text);
    buf_lit(&r->answer, "{}");
    return api_ok(r, 200);
}

enum api_outcome handle_update_collection(struct api_request *r)
{
    struct json_reader *j = arena_alloc(&r->arena, sizeof *j);
    struct change *c = arena_zalloc(&r->arena, sizeof *c);
    struct faults faults = {{0}};
    struct str fault;
    enum api_outcome outcome;
    if (j == NULL || c == NULL) return out_of_memory(r);
    json_reader_init(j, r->body, &r->arena);
    if (!parse_change(j, c)) return api_fail_json(r, j);
    if (!quota_allows(r, QUOTA_NAME_BYTES, c->name.n) || !quota_allows_metadata(r, c->metadata.packed, true))
        return API_DONE;
    const struct catalog_collection *col = api_find_collection(r);
    if (col == NULL) return API_DONE;
    if (c->configuration.hnsw.is_given && c->configuration.has_spann) {
        outcome = api_fail(r, ERR_INVALID, "Multiple vector index configurations provided");
    } else {
        if (c->name.p != NULL && !name_check(c->name, &r->arena, &fault)) add_fault(&faults, "new_name", fault);
        check_metadata(&faults, "new_metadata", &c->metadata);
        outcome = answer_faults(r, &faults) ? API_DONE : update(r, col, c);
    }
    catalog_collection_unref(col);
    return outcome;
}
