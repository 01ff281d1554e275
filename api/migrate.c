/* migrate.c - see migrate.h.
 *
 * HAPPY PATH  open the source; take the target and mark it; open a store in it; tenants, databases, then one collection
 *             after the other; close the store; see that nobody wrote to the source; remove the mark.
 * FAILURE     of the source as a whole, or of the target: everything is closed, the mark stays. Of one collection's
 *             data: told, and the others go on.
 */
#include "api/migrate.h"

#include <stdio.h>

#include "api/json.h"
#include "api/migrate_internal.h"
#include "api/upstream_settings.h"
#include "catalog/schema.h"
#include "core/clock.h"
#include "core/utf8.h"
#include "core/value.h"

void migrate_tell(struct mover *m, enum migrate_line kind, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    utf8_make_plain(text, strlen(text)); /* names come from a file that may be damaged */
    if (kind == MIGRATE_PROBLEM) m->counts.n_problems++;
    if (m->o->tell != NULL) m->o->tell(m->o->ctx, kind, text);
}

/* --- tenants and databases --------------------------------------------------------------------------------------- */

static enum err bring_tenant(void *ctx, struct str name, struct errmsg *em)
{
    struct mover *m = ctx;
    if (name.p == NULL || !utf8_is_valid(name)) {
        migrate_tell(m, MIGRATE_PROBLEM, "tenant " STR_FMT ": its name is no UTF-8",
                     STR_ARG(name.p != NULL ? name : STR("")));
        return ERR_OK;
    }
    enum err e = catalog_create_tenant(store_catalog(m->store), name, em);
    if (e == ERR_EXISTS) e = ERR_OK; /* default_tenant */
    m->counts.n_tenants += e == ERR_OK;
    m->has_store_failed = e != ERR_OK;
    return e;
}

/* A new directory has a default database of its own, which makes room for upstream's. */
static enum err bring_database(void *ctx, struct str tenant, struct str name, struct str id, struct errmsg *em)
{
    struct mover *m = ctx;
    struct catalog *c = store_catalog(m->store);
    struct uuid uuid;
    if (tenant.p == NULL || name.p == NULL || !utf8_is_valid(tenant) || !utf8_is_valid(name) ||
        !uuid_parse(id, &uuid)) {
        migrate_tell(m, MIGRATE_PROBLEM, "database " STR_FMT ": its id, its name or its tenant is damaged",
                     STR_ARG(name.p != NULL ? name : STR("")));
        return ERR_OK;
    }
    enum err e = catalog_restore_database(c, tenant, name, &uuid, em);
    if (e == ERR_EXISTS) {
        migrate_tell(m, MIGRATE_PROBLEM, "database " STR_FMT ": its name or its id is there twice", STR_ARG(name));
        return ERR_OK;
    }
    m->counts.n_databases += e == ERR_OK;
    m->has_store_failed = e != ERR_OK;
    return e;
}

static enum err bring_names(struct mover *m, struct errmsg *em)
{
    m->has_store_failed = true;
    enum err e = store_delete_database(m->store, STR(DEFAULT_TENANT), STR(DEFAULT_DATABASE), em);
    if (e != ERR_OK) return e;
    m->has_store_failed = false;
    e = upstream_each_tenant(&m->db, bring_tenant, m, em);
    return e == ERR_OK ? upstream_each_database(&m->db, bring_database, m, em) : e;
}

/* --- collections ------------------------------------------------------------------------------------------------- */

static enum err make_collection(struct mover *m, const struct upstream_collection *c, struct arena *a,
                                const struct catalog_collection **col, struct errmsg *em)
{
    struct upstream_settings settings = {0};
    struct buf metadata = {0};
    struct uuid id;
    if (c->tenant.p == NULL || c->database.p == NULL || c->name.p == NULL || !uuid_parse(c->id, &id))
        return errmsg_set(em, ERR_CORRUPT, "it has no id, no name or no database");
    if (!utf8_is_valid(c->name)) return errmsg_set(em, ERR_CORRUPT, "its name is no UTF-8");
    enum err e = upstream_collection_metadata(&m->db, c, &metadata, em);
    const struct bytes packed = {metadata.p, metadata.n};
    if (e == ERR_OK && !meta_validate(packed, false)) e = errmsg_set(em, ERR_CORRUPT, "its metadata are damaged");
    if (e == ERR_OK) e = upstream_settings_read(c, packed, a, &settings, em);
    if (e == ERR_OK) {
        const struct catalog_new_collection in = {.tenant = c->tenant,
                                                  .database = c->database,
                                                  .name = c->name,
                                                  .configuration = buf_view(&settings.configuration),
                                                  .schema = buf_view(&settings.schema),
                                                  .metadata = packed,
                                                  .space = (uint8_t)settings.space,
                                                  .id = &id};
        e = store_create_collection(m->store, &in, col, em);
        m->has_store_failed = e != ERR_OK && e != ERR_EXISTS && e != ERR_NOT_FOUND;
    }
    if (e == ERR_OK && settings.note != NULL)
        migrate_tell(m, MIGRATE_PROBLEM, "collection " STR_FMT ": %s", STR_ARG(c->name), settings.note);
    buf_free(&settings.configuration);
    buf_free(&settings.schema);
    buf_free(&metadata);
    return e;
}

static enum err bring_collection(struct mover *m, const struct upstream_collection *c, struct errmsg *em)
{
    const struct catalog_collection *col = NULL;
    struct arena a = {0};
    enum err e = make_collection(m, c, &a, &col, em);
    arena_free(&a);
    if (e == ERR_OK) {
        m->counts.n_collections++;
        e = migrate_records(m, c, &col, em);
    }
    if (e != ERR_OK && !m->has_store_failed && e != ERR_NOMEM) {
        migrate_tell(m, MIGRATE_PROBLEM, "collection " STR_FMT "%s: %s", STR_ARG(c->name.p != NULL ? c->name : c->id),
                     col != NULL ? ", not all of it could be read" : " could not be brought", em->text);
        e = ERR_OK;
    }
    if (e == ERR_OK && col != NULL) {
        uint64_t n = collection_count(store_collection(col));
        m->counts.n_records += n;
        migrate_tell(m, MIGRATE_RESULT,
                     "tenant " STR_FMT ", database " STR_FMT ", collection " STR_FMT ": %llu records",
                     STR_ARG(c->tenant), STR_ARG(c->database), STR_ARG(c->name), (unsigned long long)n);
    } else if (e != ERR_OK) {
        errmsg_wrap(em, "collection " STR_FMT, STR_ARG(c->name.p != NULL ? c->name : c->id));
    }
    if (col != NULL) catalog_collection_unref(col);
    return e;
}

static enum err bring_all(struct mover *m, struct errmsg *em)
{
    struct upstream_collection *list = NULL;
    uint32_t n = 0;
    enum err e = bring_names(m, em);
    if (e == ERR_OK) e = upstream_collections(&m->db, &m->arena, &list, &n, em);
    if (e == ERR_OK) e = upstream_log_list(&m->db, &m->arena, list, n, em);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) e = bring_collection(m, &list[i], em);
    return e;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

enum err migrate(const struct migrate_options *o, struct migrate_counts *counts, struct errmsg *em)
{
    struct mover m = {.o = o, .vfs = vfs_posix(), .told_ns = clock_monotonic_ns()};
    const struct store_options store = {.path = o->path, .memory_budget = o->memory_budget, .is_migration = true};
    enum err e =
        migrate_look_at_source(&m, &m.source, em); /* a wrong --from must not leave a marked directory behind */
    if (e == ERR_OK) e = migrate_take_target(&m, em);
    if (e != ERR_OK) return e;
    e = migrate_open_source(&m, em);
    const bool is_begun = e == ERR_OK;
    if (e == ERR_OK) e = store_open(&m.store, &store, em);
    if (e == ERR_OK) e = bring_all(&m, em);
    if (m.store != NULL) store_close(m.store);
    struct errmsg other = {{0}};
    enum err closed = migrate_close_source(&m, &other);
    /* that its server has written meanwhile explains what looked like damage */
    if (closed != ERR_OK && (e == ERR_OK || closed == ERR_BUSY)) e = errmsg_set(em, closed, "%s", other.text);
    if (e == ERR_OK) e = migrate_release_target(&m, em);
    if (!is_begun) (void)migrate_release_target(&m, NULL); /* it is as empty as it was */
    arena_free(&m.arena);
    if (e == ERR_OK) *counts = m.counts;
    return e;
}
