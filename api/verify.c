/* verify.c - `chroma verify`: everything in a data directory against its checksums and against each other. See
 * inspect.h.
 *
 * HAPPY PATH  catalog (SQLite's own check, then as the server reads it); each collection: manifest, fragments, what the
 *             catalog says of them, files that belong to nothing; the log, record by record; what else lies in the
 * directory.
 * FAILURE     a catalog that cannot be read leaves nothing to compare with: then only the log is checked. Anything else
 *             that is damaged is told, and the check goes on.
 */
#include <inttypes.h>
#include <stdio.h>

#include "api/inspect.h"
#include "api/store_internal.h"
#include "catalog/check.h"
#include "catalog/sqlite_wal.h"
#include "core/batch.h"
#include "core/mem.h"
#include "index/fragment_check.h"

struct verify {
    struct inspection in;
    verify_on_finding on_finding;
    void *ctx;
    struct verify_summary *s;
    bool has_catalog;

    /* the collection at hand */
    const struct catalog_collection *col;
    struct catalog_version version;
    struct manifest_entry *entries;
    struct segment **fragments; /* of entry i; NULL: it cannot be opened */
    uint32_t n;
    char file[128]; /* the file at hand */
};

static void tell(struct verify *v, const struct verify_finding *f)
{
    if (f->is_problem)
        v->s->n_problems++;
    else
        v->s->n_notes++;
    v->on_finding(v->ctx, f);
}

static void problem(struct verify *v, const char *file, const char *what, const char *so)
{
    tell(v, &(struct verify_finding){.is_problem = true, .file = file, .what = what, .so = so});
}

static void note(struct verify *v, const char *file, const char *what, const char *so)
{
    tell(v, &(struct verify_finding){.file = file, .what = what, .so = so});
}

/* Messages begin with a path; the reader knows the directory. */
static const char *within(const struct verify *v, const char *what)
{
    size_t n = strlen(v->in.path);
    return strncmp(what, v->in.path, n) == 0 && what[n] == '/' ? what + n + 1 : what;
}

/* Damage becomes a finding; other errors go on. */
static enum err tell_error(struct verify *v, enum err e, const char *file, const struct errmsg *why, const char *so,
                           struct errmsg *em)
{
    if (e == ERR_CORRUPT || e == ERR_NEWER || e == ERR_NOT_FOUND) {
        problem(v, file, within(v, why->text),
                e == ERR_NEWER ? "A later version of the program wrote it: use that one." : so);
        return ERR_OK;
    }
    if (e != ERR_OK && em != NULL) *em = *why;
    return e;
}

/* --- catalog ------------------------------------------------------------------------------------------------------ */

#define CATALOG_FILE "catalog.sqlite3"

static void catalog_problem(void *ctx, enum err e, const char *what)
{
    problem(ctx, CATALOG_FILE, what,
            e == ERR_NEWER ? "A later version of the program wrote it: use that one."
                           : "The server may refuse to start, or lose track of collections: restore a backup.");
}

static enum err verify_catalog(struct verify *v, struct errmsg *em)
{
    struct errmsg why = {{0}};
    uint64_t before = v->s->n_problems;
    enum err e = sqlite_wal_check(v->in.memory, INSPECT_COPY, &why);
    e = tell_error(v, e, CATALOG_FILE "-wal", &why, "The server refuses to start with it: restore a backup.", em);
    if (e == ERR_OK) e = catalog_check(v->in.memory, INSPECT_COPY, catalog_problem, v, &v->s->schema, em);
    if (e != ERR_OK) return e;
    e = inspect_read_catalog(&v->in, &why);
    v->has_catalog = e == ERR_OK;
    if (e == ERR_CORRUPT && v->s->n_problems > before) return ERR_OK; /* told already */
    return tell_error(v, e, CATALOG_FILE, &why, "The server refuses to start with it: restore a backup.", em);
}

/* --- fragments ---------------------------------------------------------------------------------------------------- */

static void fragment_problem(void *ctx, const struct fragment_problem *p)
{
    struct verify *v = ctx;
    tell(v, &(struct verify_finding){
                .is_problem = true,
                .file = v->file,
                .section = p->section,
                .from = p->from,
                .to = p->to,
                .what = p->what,
                .so = p->loss == FRAGMENT_LOSES_INDEX ? "No row is lost: it can be made again from the rows."
                                                      : "Rows in it are lost, unless a backup has them.",
            });
}

static enum err verify_fragment(struct verify *v, uint32_t i, struct fragment_summary *s, struct errmsg *em)
{
    char path[INSPECT_PATH_MAX];
    struct errmsg why = {{0}};
    struct fragment *f = NULL;
    const struct manifest_entry *entry = &v->entries[i];
    (void)snprintf(v->file, sizeof v->file, "collections/%" PRIu64 "/%010" PRIu64 ".fragment", v->col->number,
                   entry->fragment_id);
    CHECK(vfs_join(path, sizeof path, v->in.path, v->file) && "half as long");
    enum err e = fragment_check(v->in.vfs, path, fragment_problem, v, s, &f, &why);
    if (f != NULL) v->fragments[i] = fragment_segment(f);
    if (e != ERR_OK) return tell_error(v, e, v->file, &why, "Its rows are lost, unless a backup has them.", em);
    v->s->n_fragments++;
    v->s->fragment_bytes += s->file_bytes;
    if (s->file_bytes == 0) return ERR_OK; /* its header is damaged, which was told */
    if (s->fragment_id != entry->fragment_id || s->n_rows != entry->n_rows)
        problem(v, v->file, "it is not the fragment that the manifest names", "The collection cannot be opened.");
    if (s->dim != v->version.dimension || s->space != (enum space)v->col->space)
        problem(v, v->file, "its vectors are of another dimension or space than the collection's",
                "The collection cannot be used.");
    if (s->last_ordinal >= v->version.next_ordinal && s->n_rows > 0)
        problem(v, v->file, "it has a record with an ordinal that is yet to be given",
                "The order of records may change.");
    if (s->last_born > v->version.log_position)
        problem(v, v->file, "it has a row from a position of the log behind its version's",
                "Writes may be applied twice.");
    if (f != NULL && entry->n_dead > 0 && s->n_rows == entry->n_rows)
        return deaths_set_base(&v->fragments[i]->deaths, entry->dead, entry->n_rows);
    return ERR_OK;
}

/* An id lives in one row of all fragments. */
static enum err verify_ids(struct verify *v, struct errmsg *em)
{
    struct arena a = {0};
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < v->n && v->n > 1 && (e == ERR_OK || e == ERR_CORRUPT); i++) {
        const struct segment *s = v->fragments[i];
        for (uint32_t row = 0; s != NULL && row < fragment_n_rows(s); row++) {
            struct row r;
            if (deaths_at(&s->deaths, row) != 0) continue;
            e = s->ops->row(s, row, ROW_ID, &a, &r, em);
            if (e != ERR_OK) break; /* told when the fragment was checked */
            for (uint32_t j = i + 1; j < v->n; j++) {
                const struct segment *other = v->fragments[j];
                if (other == NULL || segment_is_unreadable(other)) continue;
                if (other->ops->find(other, r.id, UINT64_MAX) == ROW_NONE) continue;
                char what[256];
                (void)snprintf(what, sizeof what, "id '%.*s' is alive in fragment %" PRIu64 " and in fragment %" PRIu64,
                               (int)(r.id.n < 100 ? r.id.n : 100), r.id.p, v->entries[i].fragment_id,
                               v->entries[j].fragment_id);
                problem(v, v->file, what, "The record is there twice.");
                i = v->n;
                s = NULL;
                break;
            }
        }
    }
    arena_free(&a);
    return e == ERR_CORRUPT ? ERR_OK : e;
}

static void verify_counts(struct verify *v, uint64_t n_rows, uint64_t bytes)
{
    char what[160];
    if (!v->version.is_measured || (v->version.n_rows == n_rows && v->version.file_bytes == bytes)) return;
    (void)snprintf(what, sizeof what,
                   "collection %" PRIu64 ": it says %" PRIu64 " rows in %" PRIu64 " bytes; there are %" PRIu64
                   " in %" PRIu64,
                   v->col->number, v->version.n_rows, v->version.file_bytes, n_rows, bytes);
    problem(v, CATALOG_FILE, what, "Counts are wrong until the collection is opened.");
}

/* --- collections -------------------------------------------------------------------------------------------------- */

static void leftover(struct verify *v, const char *file)
{
    note(v, file, "no version names it", "A write that was cut off left it behind; the server removes it.");
}

static enum err visit_file(void *ctx, struct str name, bool is_dir)
{
    struct verify *v = ctx;
    char file[512], own[64];
    (void)snprintf(file, sizeof file, "collections/%" PRIu64 "/%.*s", v->col->number, STR_ARG(name));
    if (!is_dir && v->version.version != 0) {
        if (str_eq(name, v->version.manifest)) return ERR_OK;
        for (uint32_t i = 0; i < v->n; i++) {
            (void)snprintf(own, sizeof own, "%010" PRIu64 ".fragment", v->entries[i].fragment_id);
            if (str_eq(name, str_from_c(own))) return ERR_OK;
        }
        if (v->entries == NULL) return ERR_OK; /* the manifest is damaged: nobody knows what it names */
    }
    leftover(v, file);
    return ERR_OK;
}

static void close_fragments(struct verify *v)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (v->fragments != NULL && v->fragments[i] != NULL) v->fragments[i]->ops->free(v->fragments[i]);
    v->fragments = NULL;
    v->entries = NULL;
    v->n = 0;
}

static enum err verify_version(struct verify *v, struct arena *a, struct errmsg *em)
{
    char path[INSPECT_PATH_MAX], name[64];
    struct errmsg why = {{0}};
    uint64_t n_rows = 0, bytes = 0;
    bool is_whole = true;
    store_manifest_name(v->version.version, name);
    (void)snprintf(v->file, sizeof v->file, "collections/%" PRIu64 "/%s", v->col->number, name);
    CHECK(vfs_join(path, sizeof path, v->in.path, v->file) && "half as long");
    if (!str_eq(v->version.manifest, str_from_c(name)))
        problem(v, CATALOG_FILE, "a version names a manifest that is not its own", "The collection cannot be opened.");
    enum err e = manifest_read(v->in.vfs, path, a, &v->entries, &v->n, &why);
    if (e != ERR_OK)
        return tell_error(v, e, v->file, &why, "The collection cannot be opened: nobody knows which rows are dead.",
                          em);
    v->fragments = arena_array(a, v->n > 0 ? v->n : 1, sizeof *v->fragments);
    if (v->fragments == NULL) {
        v->n = 0;
        return errmsg_set(em, ERR_NOMEM, "check a collection");
    }
    for (uint32_t i = 0; e == ERR_OK && i < v->n; i++) {
        struct fragment_summary s;
        e = verify_fragment(v, i, &s, em);
        is_whole = is_whole && v->fragments[i] != NULL;
        n_rows += v->entries[i].n_rows - v->entries[i].n_dead;
        v->s->n_dead += v->entries[i].n_dead;
        bytes += s.file_bytes;
    }
    v->s->n_rows += n_rows;
    if (e == ERR_OK && is_whole) {
        verify_counts(v, n_rows, bytes);
        e = verify_ids(v, em);
    }
    return e;
}

static enum err verify_collection(struct verify *v, const struct catalog_collection *col, struct errmsg *em)
{
    char dir[64], path[INSPECT_PATH_MAX];
    struct arena a = {0};
    enum err e = ERR_OK;
    v->col = col;
    v->version = inspect_version(&v->in, col->number);
    if (v->version.version != 0) e = verify_version(v, &a, em);
    (void)snprintf(dir, sizeof dir, "collections/%" PRIu64, col->number);
    CHECK(vfs_join(path, sizeof path, v->in.path, dir) && "half as long");
    if (e == ERR_OK) e = v->in.vfs->list(v->in.vfs->ctx, path, visit_file, v, em);
    if (e == ERR_NOT_FOUND) e = ERR_OK; /* nothing was written yet, or the manifest's absence was told */
    close_fragments(v);
    arena_free(&a);
    v->s->n_collections++;
    return e;
}

static enum err visit_collection_dir(void *ctx, struct str name, bool is_dir)
{
    struct verify *v = ctx;
    char file[512], number[32];
    for (size_t i = 0; i < v->in.n_collections && is_dir; i++) {
        (void)snprintf(number, sizeof number, "%" PRIu64, v->in.collections[i]->number);
        if (str_eq(name, str_from_c(number))) return ERR_OK;
    }
    (void)snprintf(file, sizeof file, "collections/%.*s", STR_ARG(name));
    note(v, file, "it belongs to no collection", "What was deleted left it behind; the server removes it.");
    return ERR_OK;
}

static enum err verify_collections(struct verify *v, struct errmsg *em)
{
    char path[INSPECT_PATH_MAX];
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < v->in.n_collections; i++) e = verify_collection(v, v->in.collections[i], em);
    if (e != ERR_OK) return e;
    CHECK(vfs_join(path, sizeof path, v->in.path, "collections") && "half as long");
    e = v->in.vfs->list(v->in.vfs->ctx, path, visit_collection_dir, v, em);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* --- log ---------------------------------------------------------------------------------------------------------- */

static void log_problem(void *ctx, enum err e, const char *what)
{
    struct verify *v = ctx;
    problem(v, "wal", within(v, what),
            e == ERR_NEWER ? "A later version of the program wrote it: use that one."
                           : "Writes that had been acknowledged are lost from there on; the server refuses to start.");
}

static enum err verify_record(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                              struct errmsg *em)
{
    struct verify *v = ctx;
    struct errmsg why = {{0}};
    char what[600];
    (void)em;
    if (type != STORE_RECORD_BATCH) {
        (void)snprintf(what, sizeof what, "record %" PRIu64 " is of kind %u", lsn, type);
        problem(v, "wal", what, "A later version of the program wrote it: use that one.");
        return ERR_OK;
    }
    enum err e = batch_validate(payload, &why);
    struct catalog_version version = inspect_version(&v->in, collection);
    if (e == ERR_OK && batch_dim(payload) != 0 && version.dimension != 0 && batch_dim(payload) != version.dimension)
        (void)errmsg_set(&why, e = ERR_CORRUPT, "vectors of dimension %u in a collection of %u", batch_dim(payload),
                         version.dimension);
    if (e != ERR_CORRUPT && e != ERR_INVALID) return e;
    (void)snprintf(what, sizeof what, "record %" PRIu64 " of collection %" PRIu64 ": %s", lsn, collection, why.text);
    problem(v, "wal", what, "The server refuses to start with it.");
    return ERR_OK;
}

static enum err verify_log(struct verify *v, struct errmsg *em)
{
    char path[INSPECT_PATH_MAX], file[64];
    struct wal_summary *log = &v->s->log;
    CHECK(vfs_join(path, sizeof path, v->in.path, "wal") && "half as long");
    enum err e = wal_check(v->in.vfs, path, verify_record, log_problem, v, log, em);
    if (e == ERR_NOT_FOUND) {
        problem(v, "wal", "the directory is missing", "Writes that were in no fragment yet are lost.");
        return ERR_OK;
    }
    if (e == ERR_OK && log->is_torn) {
        (void)snprintf(file, sizeof file, "wal/%020" PRIu64 ".log", log->torn_number);
        tell(v, &(struct verify_finding){
                    .file = file,
                    .from = log->torn_at,
                    .to = log->torn_at,
                    .what = "what follows the last record is none",
                    .so = "A write was cut off there that nobody had acknowledged; the next start removes it.",
                });
    }
    return e;
}

/* --- everything --------------------------------------------------------------------------------------------------- */

static enum err visit_top(void *ctx, struct str name, bool is_dir)
{
    static const char *const files[] = {
        "LOCK", "control", CATALOG_FILE, CATALOG_FILE "-wal", CATALOG_FILE "-mark", CATALOG_FILE "-shm"};
    struct verify *v = ctx;
    char file[256];
    if (is_dir && (str_eq(name, STR("wal")) || str_eq(name, STR("collections")))) return ERR_OK;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && !is_dir; i++)
        if (str_eq(name, str_from_c(files[i]))) return ERR_OK;
    (void)snprintf(file, sizeof file, "%.*s", STR_ARG(name));
    if (!is_dir && str_eq(name, STR(STORE_MIGRATION_NAME))) {
        problem(v, file, "a migration into this directory was not finished",
                "The server refuses to start: run `chroma migrate` with the same --from and --path again.");
        return ERR_OK;
    }
    note(v, file, "it is no part of the data", "The server leaves it alone.");
    return ERR_OK;
}

enum err verify_directory(const char *path, verify_on_finding on_finding, void *ctx, struct verify_summary *s,
                          struct errmsg *em)
{
    struct verify v = {.on_finding = on_finding, .ctx = ctx, .s = s};
    *s = (struct verify_summary){0};
    enum err e = inspect_open(&v.in, path, em);
    if (e == ERR_OK) e = verify_catalog(&v, em);
    if (e == ERR_OK && v.has_catalog) e = verify_collections(&v, em);
    if (e == ERR_OK) e = verify_log(&v, em);
    if (e == ERR_OK) e = v.in.vfs->list(v.in.vfs->ctx, v.in.path, visit_top, &v, em);
    inspect_close(&v.in);
    return e;
}
