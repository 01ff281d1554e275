/* info.c - `chroma info`: what is in a data directory. See inspect.h.
 *
 * What the catalog says is taken as it is, without a look into fragments; the log is read through, to say which
 * collections have writes in it that are in no fragment yet.
 */
#include <inttypes.h>
#include <stdio.h>

#include "api/inspect.h"
#include "api/json.h"
#include "api/store_internal.h"
#include "catalog/check.h"
#include "core/batch.h"

struct in_log { /* of one collection */
    uint64_t n_records, n_rows;
};

struct info {
    struct inspection in;
    struct in_log *logs; /* one a collection */
    struct wal_summary log;
    uint32_t fragment_format, manifest_format, log_format; /* the highest met; 0: none */
    char problem[512];                                     /* of the log; "": none */
    bool is_json;
    struct buf *out;
};

/* Magic and version stand in the same places in all files but the catalog. */
static void note_format(struct info *info, const char *path, uint32_t *highest)
{
    struct vfs_file *f;
    uint8_t head[12];
    if (info->in.vfs->open(info->in.vfs->ctx, path, VFS_READ, &f, NULL) != ERR_OK) return;
    if (info->in.vfs->pread(f, head, sizeof head, 0, NULL) == ERR_OK && le32_get(head + 8) > *highest)
        *highest = le32_get(head + 8);
    info->in.vfs->close(f);
}

struct visit {
    struct info *info;
    char dir[INSPECT_PATH_MAX / 2 + 64];
};

static enum err visit_file(void *ctx, struct str name, bool is_dir)
{
    struct visit *v = ctx;
    char path[INSPECT_PATH_MAX], text[256];
    struct info *info = v->info;
    if (is_dir || name.n >= sizeof text) return ERR_OK;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    CHECK(vfs_join(path, sizeof path, v->dir, text) && "longer than both");
    const char *dot = strrchr(text, '.');
    if (dot == NULL) return ERR_OK;
    if (strcmp(dot, ".fragment") == 0) note_format(info, path, &info->fragment_format);
    if (strcmp(dot, ".manifest") == 0) note_format(info, path, &info->manifest_format);
    if (strcmp(dot, ".log") == 0) note_format(info, path, &info->log_format);
    return ERR_OK;
}

static enum err note_formats(struct info *info, const char *dir, struct errmsg *em)
{
    struct visit v = {.info = info};
    CHECK(vfs_join(v.dir, sizeof v.dir, info->in.path, dir) && "longer than both");
    enum err e = info->in.vfs->list(info->in.vfs->ctx, v.dir, visit_file, &v, em);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* --- log ---------------------------------------------------------------------------------------------------------- */

static enum err visit_record(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                             struct errmsg *em)
{
    struct info *info = ctx;
    (void)em;
    for (size_t i = 0; i < info->in.n_collections; i++) {
        if (info->in.collections[i]->number != collection) continue;
        if (lsn <= inspect_version(&info->in, collection).log_position) return ERR_OK;
        info->logs[i].n_records++;
        if (type == STORE_RECORD_BATCH && payload.n >= 64) info->logs[i].n_rows += batch_n_rows(payload);
        return ERR_OK;
    }
    return ERR_OK;
}

static void log_problem(void *ctx, enum err e, const char *what)
{
    struct info *info = ctx;
    (void)e;
    if (info->problem[0] == '\0') (void)snprintf(info->problem, sizeof info->problem, "%s", what);
}

static enum err read_log(struct info *info, struct errmsg *em)
{
    char path[INSPECT_PATH_MAX];
    info->logs = arena_array(&info->in.arena, info->in.n_collections + 1, sizeof *info->logs);
    if (info->logs == NULL) return errmsg_set(em, ERR_NOMEM, "list collections");
    CHECK(vfs_join(path, sizeof path, info->in.path, "wal") && "longer than both");
    enum err e = wal_check(info->in.vfs, path, visit_record, log_problem, info, &info->log, em);
    if (e == ERR_NOT_FOUND) (void)snprintf(info->problem, sizeof info->problem, "there is no log");
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void put_number(struct info *info, const char *name, uint64_t value)
{
    buf_printf(info->out, info->is_json ? ",\"%s\":%" PRIu64 : " %s=%" PRIu64, name, value);
}

static void put_text(struct info *info, const char *name, struct str text)
{
    buf_printf(info->out, info->is_json ? ",\"%s\":" : " %s=", name);
    json_put_text(info->out, text);
}

static const char *space_name(uint8_t space)
{
    static const char *const names[] = {"l2", "cosine", "ip"};
    return space < sizeof names / sizeof names[0] ? names[space] : "unknown";
}

static enum err write_collection(struct info *info, size_t i, struct errmsg *em)
{
    const struct catalog_collection *col = info->in.collections[i];
    struct catalog_version v = inspect_version(&info->in, col->number);
    char dir[64], path[INSPECT_PATH_MAX], name[64], id[UUID_TEXT + 1] = {0};
    struct manifest_entry *entries;
    struct errmsg why = {{0}};
    uint32_t n = 0;
    enum err e = ERR_OK;
    (void)snprintf(dir, sizeof dir, "collections/%" PRIu64, col->number);
    store_manifest_name(v.version, name);
    CHECK(vfs_join(path, sizeof path, info->in.path, dir) && "longer than both");
    size_t end = strlen(path);
    (void)snprintf(path + end, sizeof path - end, "/%s", name);
    if (v.version != 0) e = manifest_read(info->in.vfs, path, &info->in.arena, &entries, &n, &why);
    uuid_format(&col->id, id);
    buf_str(info->out, !info->is_json ? STR("collection")
                       : i > 0        ? STR(",{\"kind\":\"collection\"")
                                      : STR("{\"kind\":\"collection\""));
    put_text(info, "tenant", col->tenant);
    put_text(info, "database", col->database);
    put_text(info, "name", col->name);
    put_text(info, "id", str_from_c(id));
    put_number(info, "number", col->number);
    put_text(info, "space", str_from_c(space_name(col->space)));
    put_number(info, "dimension", v.dimension);
    if (v.is_measured || v.version == 0) { /* else an earlier program published it, and did not say */
        put_number(info, "rows", v.n_rows);
        put_number(info, "bytes", v.file_bytes);
    }
    put_number(info, "fragments", n);
    put_number(info, "position", v.log_position);
    put_number(info, "log_records", info->logs[i].n_records);
    put_number(info, "log_rows", info->logs[i].n_rows);
    if (e != ERR_OK) put_text(info, "problem", str_from_c(why.text));
    buf_char(info->out, info->is_json ? '}' : '\n');
    if (e == ERR_NOMEM) return errmsg_set(em, e, "list collections");
    return note_formats(info, dir, em);
}

static void write_log(struct info *info)
{
    buf_str(info->out, info->is_json ? STR("],\"log\":{\"kind\":\"log\"") : STR("log"));
    put_number(info, "segments", info->log.n_segments);
    put_number(info, "bytes", info->log.bytes);
    put_number(info, "records", info->log.n_records);
    put_number(info, "first", info->log.first_lsn);
    put_number(info, "last", info->log.last_lsn);
    if (info->problem[0] != '\0') put_text(info, "problem", str_from_c(info->problem));
    buf_str(info->out, info->is_json ? STR("},\"formats\":{\"kind\":\"formats\"") : STR("\nformats"));
    put_number(info, "catalog", (uint64_t)info->in.schema);
    put_number(info, "log", info->log_format);
    put_number(info, "manifest", info->manifest_format);
    put_number(info, "fragment", info->fragment_format);
    buf_str(info->out, info->is_json ? STR("}}\n") : STR("\n"));
}

static void write_database(void *ctx, struct str tenant, struct str database)
{
    struct info *info = ctx;
    bool is_tenant = database.p == NULL;
    if (info->is_json)
        buf_printf(info->out, "%s{\"kind\":\"%s\"", info->out->p[info->out->n - 1] == '[' ? "" : ",",
                   is_tenant ? "tenant" : "database");
    else
        buf_str(info->out, is_tenant ? STR("tenant") : STR("database"));
    if (!is_tenant) put_text(info, "tenant", tenant);
    put_text(info, "name", is_tenant ? tenant : database);
    buf_char(info->out, info->is_json ? '}' : '\n');
}

enum err info_write(const char *path, bool is_json, struct buf *out, struct errmsg *em)
{
    struct info info = {.is_json = is_json, .out = out};
    enum err e = inspect_open(&info.in, path, em);
    if (e == ERR_OK) e = inspect_read_catalog(&info.in, em);
    if (e == ERR_OK) e = read_log(&info, em);
    if (e == ERR_OK) e = note_formats(&info, "wal", em);
    if (e == ERR_OK && is_json) buf_lit(out, "{\"databases\":[");
    if (e == ERR_OK) e = out->err;
    if (e == ERR_OK) e = catalog_each_database(info.in.catalog, write_database, &info, em);
    if (e == ERR_OK && is_json) buf_lit(out, "],\"collections\":[");
    for (size_t i = 0; e == ERR_OK && i < info.in.n_collections; i++) e = write_collection(&info, i, em);
    if (e == ERR_OK) {
        write_log(&info);
        if (out->err != ERR_OK) e = errmsg_set(em, out->err, "list collections");
    }
    inspect_close(&info.in);
    return e;
}
