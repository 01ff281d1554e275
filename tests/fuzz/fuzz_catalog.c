/* fuzz_catalog.c - the catalog's file: any bytes, a valid one with changed bytes, and a valid one with changed rows,
 * against which SQLite itself has nothing to say. Opening refuses it, or everything that the catalog answers stays
 * within it.
 *
 * INPUT  a byte: 0 any bytes; 1 changes of bytes (image.h), anywhere; 2 the same, in one page's head; else changes of
 *        rows: table and column (1 byte), row (1), kind of value (1), the value (a length, bytes). Constraints are
 *        not checked then.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/image.h"
/* the check above goes first: see fuzz.h */
#include "catalog/check.h"
#include "core/logger.h"
#include "core/mem.h"

enum { IMAGE_MAX = 1 << 20, ROW_CHANGES_MAX = 6 };

static char path[128]; /* these are made with the first input */
static uint8_t *base;
static size_t n_base;

static const char *const columns[] = {
    "tenants.name",
    "databases.number",
    "databases.id",
    "databases.tenant",
    "databases.name",
    "collections.number",
    "collections.id",
    "collections.database",
    "collections.name",
    "collections.space",
    "collections.configuration",
    "collections.schema",
    "collections.metadata",
    "collections.root",
    "versions.collection",
    "versions.version",
    "versions.log_position",
    "versions.next_ordinal",
    "versions.dimension",
    "versions.manifest",
    "versions.n_rows",
    "versions.file_bytes",
    "counters.name",
    "counters.value",
    "usage.tenant",
    "usage.queries",
    "lineages.root",
    "lineages.n_forks",
};

static void remove_files(void)
{
    static const char *const ends[] = {"", "-wal", "-mark", "-shm", "-journal"};
    for (int i = 0; i < 5; i++) {
        char file[160];
        (void)snprintf(file, sizeof file, "%s%s", path, ends[i]);
        (void)unlink(file);
    }
}

static void remove_all(void)
{
    remove_files();
    path[strlen(path) - strlen("/catalog.sqlite3")] = '\0';
    (void)rmdir(path);
}

static void write_file(const uint8_t *p, size_t n)
{
    remove_files();
    FILE *f = fopen(path, "wb");
    must(f != NULL);
    must(fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

static struct catalog_new_collection plan(struct str database, struct str name)
{
    return (struct catalog_new_collection){.tenant = STR("default_tenant"),
                                           .database = database,
                                           .name = name,
                                           .configuration = STR("{}"),
                                           .schema = STR("{\"keys\":{}}"),
                                           .metadata = {"\1k\1\1", 4},
                                           .space = 1};
}

static void make_base(void)
{
    struct catalog *c;
    struct stat st;
    const struct catalog_collection *col;
    const struct str tenant = STR("default_tenant"), database = STR("default_database");
    bool is_new;
    char dir[] = "/dev/shm/chroma-fuzz-XXXXXX";
    must(mkdtemp(dir) != NULL);
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite3", dir);
    (void)atexit(remove_all);
    must_ok(catalog_open(&c, vfs_posix(), path, NULL));
    must_ok(catalog_create_tenant(c, STR("other"), NULL));
    must_ok(catalog_create_database(c, tenant, STR("second"), NULL));
    for (int i = 0; i < 5; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "name-%d", i);
        struct catalog_new_collection in = plan(i < 3 ? database : STR("second"), str_from_c(name));
        must_ok(catalog_create_collection(c, &in, &col, &is_new, NULL));
        struct catalog_version v = {.number = col->number,
                                    .version = 1,
                                    .log_position = 10 + (uint64_t)i,
                                    .next_ordinal = 5,
                                    .dimension = 3,
                                    .manifest = STR("m1"),
                                    .n_rows = 4,
                                    .file_bytes = 8192,
                                    .is_measured = true};
        if (i != 2) must_ok(catalog_publish_version(c, &v, NULL));
        if (i == 0) {
            const struct catalog_collection *fork;
            struct catalog_fork f = {.source = col->number, .name = STR("fork")};
            must_ok(catalog_reserve_number(c, &f.number, NULL));
            must_ok(catalog_fork_collection(c, &f, &fork, NULL));
            catalog_collection_unref(fork);
        }
        catalog_collection_unref(col);
    }
    const struct catalog_usage usage = {.tenant = tenant, .numbers = {1, 2, 3}};
    must_ok(catalog_store_usage(c, &usage, 1, NULL));
    must_ok(catalog_set_counter(c, "trimmed", 7, NULL));
    catalog_close(c);
    FILE *f = fopen(path, "rb");
    must(f != NULL && fstat(fileno(f), &st) == 0);
    n_base = (size_t)st.st_size;
    base = mem_alloc(n_base);
    must(base != NULL && n_base <= IMAGE_MAX && fread(base, 1, n_base, f) == n_base);
    (void)fclose(f);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static void change_rows(struct input *in)
{
    sqlite3 *db;
    must(sqlite3_open(path, &db) == SQLITE_OK);
    must(sqlite3_exec(db, "PRAGMA ignore_check_constraints=1; PRAGMA foreign_keys=0; PRAGMA synchronous=0", NULL, NULL,
                      NULL) == SQLITE_OK);
    for (int i = 0; i < ROW_CHANGES_MAX && in->n > 0; i++) {
        char sql[256];
        sqlite3_stmt *q = NULL;
        const char *column = columns[input_u8(in) % (sizeof columns / sizeof columns[0])], *dot = strchr(column, '.');
        uint32_t row = input_u8(in) % 8, kind = input_u8(in) % 5;
        int n_table = (int)(dot - column);
        int at = snprintf(sql, sizeof sql, "%s%.*s", kind == 4 ? "DELETE FROM " : "UPDATE OR IGNORE ", n_table, column);
        if (kind != 4) at += snprintf(sql + at, sizeof sql - (size_t)at, " SET %s = ?1", dot + 1);
        (void)snprintf(sql + at, sizeof sql - (size_t)at, " WHERE %s IN (SELECT %s FROM %.*s LIMIT 1 OFFSET %u)",
                       dot + 1, dot + 1, n_table, column, row);
        if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK) continue;
        if (kind == 0) {
            uint64_t low = input_u32(in), high = input_u32(in);
            (void)sqlite3_bind_int64(q, 1, (sqlite3_int64)(high << 32 | low));
        } else if (kind == 1 || kind == 2) {
            struct str s = input_text(in, input_u8(in));
            if (kind == 1)
                (void)sqlite3_bind_text(q, 1, s.n > 0 ? s.p : "", (int)s.n, SQLITE_STATIC);
            else
                (void)sqlite3_bind_blob(q, 1, s.n > 0 ? s.p : "", (int)s.n, SQLITE_STATIC);
        }
        (void)sqlite3_step(q); /* a STRICT table refuses what is of another type */
        (void)sqlite3_finalize(q);
    }
    (void)sqlite3_close(db);
}

/* --- use ---------------------------------------------------------------------------------------------------------- */

static enum err count_usage(void *ctx, const struct catalog_usage *row, struct errmsg *em)
{
    (void)em;
    *(uint64_t *)ctx += row->tenant.n;
    return ERR_OK;
}

static bool is_allowed(enum err e)
{
    return e == ERR_OK || e == ERR_CORRUPT || e == ERR_IO || e == ERR_NOMEM || e == ERR_NOT_FOUND || e == ERR_EXISTS ||
           e == ERR_INVALID || e == ERR_NO_SPACE || e == ERR_LOCKED ||
           e == ERR_READ_ONLY; /* byte 18 of the file says that only a newer SQLite may write it */
}

static void use(struct catalog *c)
{
    struct arena a = {.max_bytes = 64 << 20};
    const struct catalog_collection **list, *col;
    struct catalog_version *versions, v;
    struct catalog_database *databases;
    const struct str tenant = STR("default_tenant");
    size_t n = 0, n_versions = 0, n_databases = 0;
    uint64_t counter, n_forks, number, n_usage = 0;
    bool is_new;
    must(is_allowed(catalog_list_databases(c, tenant, UINT32_MAX, 0, &a, &databases, &n_databases)));
    must(is_allowed(catalog_all_versions(c, &a, &versions, &n_versions, NULL)));
    must(is_allowed(catalog_load_usage(c, count_usage, &n_usage, NULL)));
    must(is_allowed(catalog_get_counter(c, "trimmed", &counter, NULL)));
    if (catalog_all_collections(c, &a, &list, &n) == ERR_OK) {
        for (size_t i = 0; i < n; i++) {
            must(is_allowed(catalog_get_version(c, list[i]->number, &a, &v, NULL)));
            must(is_allowed(catalog_count_forks(c, list[i]->number, &n_forks, NULL)));
            const struct catalog_collection *same = catalog_collection_by_number(c, list[i]->number);
            must(same != NULL && same->number == list[i]->number);
            catalog_collection_unref(same);
        }
        struct catalog_update u = {.name = STR("renamed"), .set_metadata = true};
        if (n > 0) must(is_allowed(catalog_update_collection(c, list[0]->number, &u, NULL)));
        struct catalog_version next = {.version = 9, .log_position = 99, .manifest = STR("m9")};
        if (n > 0) next.number = list[n - 1]->number;
        if (n > 0) must(is_allowed(catalog_publish_version(c, &next, NULL)));
        for (size_t i = 0; i < n; i++) catalog_collection_unref(list[i]);
    }
    struct catalog_new_collection in = plan(STR("default_database"), STR("new"));
    enum err e = catalog_create_collection(c, &in, &col, &is_new, NULL);
    must(is_allowed(e));
    if (e == ERR_OK) {
        must(is_new);
        catalog_collection_unref(col);
    }
    must(is_allowed(catalog_reserve_number(c, &number, NULL)));
    must(is_allowed(catalog_delete_collection(c, tenant, STR("default_database"), STR("name-1"), NULL, NULL)));
    must(is_allowed(catalog_delete_database(c, tenant, STR("second"), NULL, NULL, NULL)));
    arena_free(&a);
}

static void count_problem(void *ctx, enum err e, const char *what)
{
    must(e != ERR_OK && what[0] != '\0');
    ++*(uint32_t *)ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    struct catalog *c;
    struct errmsg em = {{0}};
    logger_set_level(LOG_NONE);
    if (base == NULL) make_base();
    uint8_t how = input_u8(&in);
    if (how == 0) {
        write_file(in.p, in.n);
    } else if (how <= 2) {
        struct image m = {mem_dup(base, n_base), n_base};
        must(m.p != NULL);
        size_t page = how == 2 ? (size_t)input_u8(&in) * 4096 % n_base : 0, length = how == 2 ? 128 : n_base;
        for (int i = 0; i < IMAGE_CHANGES_MAX && in.n > 0; i++) image_change(&m, page, length, &in);
        write_file(m.p, m.n);
        mem_free(m.p);
    } else {
        write_file(base, n_base);
        change_rows(&in);
    }
    uint32_t n_problems = 0;
    int schema;
    enum err ce = catalog_check(vfs_posix(), path, count_problem, &n_problems, &schema, &em);
    must(is_allowed(ce));
    enum err e = catalog_open(&c, vfs_posix(), path, &em);
    /* catalog_open compares the tables' checksums, catalog_check leaves that to it: `chroma verify` does both. */
    if (ce == ERR_OK && n_problems == 0)
        must_msg(e == ERR_OK || e == ERR_CORRUPT, "catalog_check has no problem, but %s", em.text);
    must(e == ERR_OK || ((e == ERR_CORRUPT || e == ERR_NEWER || e == ERR_IO || e == ERR_NOMEM) && em.text[0] != '\0'));
    if (e != ERR_OK) return 0;
    use(c);
    catalog_close(c);
    return 0;
}
