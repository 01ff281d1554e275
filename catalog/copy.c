/* copy.c - the catalog as it is at one moment, as the bytes of a file: catalog_copy in catalog.h.
 *
 * STEPS    with changes locked out, SQLite's backup interface copies every page into a database in memory; then, without
 *          the lock, the copy is checked (pages, indexes and digests), its versions are listed, and its bytes are taken.
 * MEMORY   the size of the catalog twice, for a moment.
 * FAILURE  the catalog is only read, so nothing can have changed.
 * INVARIANT what the image holds was committed: the backup reads through the catalog's own connection, which has no
 *          transaction open while its lock is free.
 */
#include "catalog/internal.h"
#include "catalog/schema.h"

/* All pages in one step, so that it is one moment. */
static enum err copy_pages(struct catalog *c, struct sql *to, struct errmsg *em)
{
    catalog_lock(c);
    int rc = SQLITE_NOMEM;
    sqlite3_backup *b = sqlite3_backup_init(to->db, "main", c->sql.db, "main");
    if (b != NULL) {
        (void)sqlite3_backup_step(b, -1);
        rc = sqlite3_backup_finish(b); /* repeats the error of the step, if any */
    }
    catalog_unlock(c);
    if (rc == SQLITE_OK) return ERR_OK;
    enum err e = (rc & 0xff) == SQLITE_CORRUPT ? ERR_CORRUPT : (rc & 0xff) == SQLITE_NOMEM ? ERR_NOMEM : ERR_IO;
    return errmsg_set(em, e, "copy the catalog: %s (SQLite code %d)", sqlite3_errstr(rc), rc);
}

static enum err check_copy(struct sql *copy, struct errmsg *em)
{
    enum err e = catalog_check_rows(copy, (int)schema_n_migrations, em);
    if (e != ERR_OK) errmsg_wrap(em, "the catalog's copy");
    return e;
}

enum err catalog_copy(struct catalog *c, struct arena *a, struct catalog_image *image, struct errmsg *em)
{
    struct sql copy = {0};
    struct catalog_image taken = {{NULL, 0}};
    int64_t n_collections = 0;
    enum err e = sql_open(&copy, NULL, NULL, em);
    if (e != ERR_OK) return e;
    e = copy_pages(c, &copy, em);
    if (e == ERR_OK) e = check_copy(&copy, em);
    if (e == ERR_OK) e = catalog_read_versions(&copy, a, &taken.versions, &taken.n_versions, em);
    if (e == ERR_OK) e = sql_get_int(&copy, "SELECT count(*) FROM collections", &n_collections, em);
    if (e == ERR_OK) {
        sqlite3_int64 n = 0;
        taken.file.p = sqlite3_serialize(copy.db, "main", &n, 0);
        taken.file.n = (size_t)n;
        taken.n_collections = (uint64_t)n_collections;
        if (taken.file.p == NULL) e = errmsg_set(em, ERR_NOMEM, "copy the catalog: out of memory");
    }
    sql_close(&copy);
    if (e == ERR_OK) *image = taken;
    return e;
}

void catalog_image_free(struct catalog_image *image)
{
    sqlite3_free((void *)(uintptr_t)image->file.p);
    *image = (struct catalog_image){{NULL, 0}};
}
