/* store_open.c - at start: replaying the log into the collections, and removing files that no version names.
 *
 * Only collections that the log has something for are opened. One whose files are damaged then stops (collection_stop): it
 * is not read and takes no writes, the log keeps what it should have got, and the others go on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/store_internal.h"
#include "core/logger.h"
#include "core/mem.h"

/* --- replay ---------------------------------------------------------------------------------------------------- */

/* One line now and then, so that a long start is seen to move. */
static void say_progress(struct store *s, uint64_t lsn)
{
    static const uint64_t EVERY_NS = 2000000000;
    uint64_t now = clock_monotonic_ns();
    if (now - s->replay_said_ns < EVERY_NS) return;
    s->replay_said_ns = now;
    log_info("replaying the log: replayed=%llu at=%llu", (unsigned long long)s->n_replayed, (unsigned long long)lsn);
}

/* Its files are what is wrong, not the log: the start goes on without it. */
static enum err stop_collection(struct live *live, uint64_t lsn, enum err why, const struct errmsg *em)
{
    if (why == ERR_NOMEM) return why;
    log_error("collection number %llu is stopped until its files are repaired and the server is started again: %s",
              (unsigned long long)live->number, em->text);
    atomic_store(&live->is_stopped, true);
    collection_stop(live->collection, lsn);
    return ERR_OK;
}

static enum err replay_block(struct store *s, struct live *live, uint64_t lsn, struct bytes payload, struct errmsg *em)
{
    uint32_t n_changed;
    enum err e = live_open(s, live, em);
    if (e != ERR_OK) return stop_collection(live, lsn, e, em);
    void *copy = mem_aligned(64, payload.n);
    struct bytes block = {copy, payload.n};
    if (copy == NULL) return errmsg_set(em, ERR_NOMEM, "replay");
    memcpy(copy, payload.p, payload.n);
    e = batch_validate(block, em);
    if (e == ERR_OK && batch_dim(block) != 0 && collection_dim(live->collection) != 0 &&
        batch_dim(block) != collection_dim(live->collection))
        e = errmsg_set(em, ERR_CORRUPT, "a block of dimension %u in a collection of %u", batch_dim(block),
                       collection_dim(live->collection));
    if (e != ERR_OK) {
        mem_free(copy);
        return e;
    }
    atomic_store_explicit(&live->last_write_ns, clock_monotonic_ns(), memory_order_relaxed);
    e = collection_apply(live->collection, lsn, block, &n_changed, em);
    return e != ERR_OK ? stop_collection(live, lsn, e, em) : ERR_OK;
}

enum err store_replay(void *ctx, uint64_t lsn, uint32_t type, uint64_t number, struct bytes payload, struct errmsg *em)
{
    struct store *s = ctx;
    struct errmsg own = {{0}};
    if (em == NULL) em = &own; /* a collection that is stopped says why in the log */
    if (type != STORE_RECORD_BATCH)
        return errmsg_set(em, ERR_NEWER, "log record %llu is of a kind that this version does not know",
                          (unsigned long long)lsn);
    const struct catalog_collection *col = catalog_collection_by_number(s->catalog, number);
    if (col == NULL) return ERR_OK; /* deleted since: its records mean nothing any more */
    enum err e = ERR_OK;
    struct live *live = live_of(col);
    if (lsn > live->state.log_position && !collection_is_broken(live->collection)) {
        e = replay_block(s, live, lsn, payload, em);
        if (e != ERR_OK) errmsg_wrap(em, "log record %llu", (unsigned long long)lsn);
        s->n_replayed++;
        say_progress(s, lsn);
    }
    catalog_collection_unref(col);
    return e;
}

/* --- cleaning up ----------------------------------------------------------------------------------------------- */

struct clean {
    struct store *s;
    char dir[STORE_PATH_MAX];
    const char *manifest; /* the current one; NULL: everything goes */
    const struct manifest_entry *keep;
    uint32_t n_keep;
};

/* The number that `name` is, followed by `suffix` and nothing else. */
static bool read_number(const char *name, const char *suffix, uint64_t *number)
{
    char *end;
    if (name[0] < '0' || name[0] > '9') return false;
    errno = 0;
    *number = strtoull(name, &end, 10);
    return errno == 0 && strcmp(end, suffix) == 0;
}

static bool is_kept(const struct clean *c, const char *name)
{
    uint64_t id;
    if (c->manifest != NULL && strcmp(name, c->manifest) == 0) return true;
    if (!read_number(name, ".fragment", &id)) return false;
    for (uint32_t i = 0; i < c->n_keep; i++)
        if (c->keep[i].fragment_id == id) return true;
    return false;
}

static enum err clean_entry(void *ctx, struct str name, bool is_dir)
{
    struct clean *c = ctx;
    char text[256], path[STORE_PATH_MAX + 256];
    if (is_dir || name.n >= sizeof text) return ERR_OK;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (is_kept(c, text)) return ERR_OK;
    (void)snprintf(path, sizeof path, "%s/%s", c->dir, text);
    struct errmsg em = {{0}};
    if (c->s->vfs->remove(c->s->vfs->ctx, path, &em) != ERR_OK) log_warn("cannot remove %s: %s", path, em.text);
    return ERR_OK;
}

void store_clean_collection(struct store *s, uint64_t number, const char *manifest,
                            const struct manifest_entry *entries, uint32_t n)
{
    struct clean c = {.s = s, .manifest = manifest, .keep = entries, .n_keep = n};
    store_collection_dir(s, number, c.dir);
    (void)s->vfs->list(s->vfs->ctx, c.dir, clean_entry, &c, NULL);
}

void store_remove_collection(struct store *s, uint64_t number)
{
    char dir[STORE_PATH_MAX];
    store_collection_dir(s, number, dir);
    store_clean_collection(s, number, NULL, NULL, 0);
    (void)s->vfs->remove_dir(s->vfs->ctx, dir, NULL);
}

static enum err clean_dir(void *ctx, struct str name, bool is_dir)
{
    struct store *s = ctx;
    uint64_t number;
    char text[32];
    if (!is_dir || name.n >= sizeof text) return ERR_OK;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (!read_number(text, "", &number)) return ERR_OK;
    const struct catalog_collection *col = catalog_collection_by_number(s->catalog, number);
    if (col == NULL)
        store_remove_collection(s, number);
    else if (live_of(col)->version == 0)
        store_clean_collection(s, number, NULL, NULL, 0);
    if (col != NULL) catalog_collection_unref(col);
    return ERR_OK; /* what else there is: live_clean */
}

void store_clean(struct store *s)
{
    char dir[STORE_PATH_MAX];
    struct errmsg em = {{0}};
    (void)snprintf(dir, sizeof dir, "%s/collections", s->path);
    if (s->vfs->list(s->vfs->ctx, dir, clean_dir, s, &em) != ERR_OK) log_warn("cannot clean up %s: %s", dir, em.text);
}
