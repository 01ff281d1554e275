/* store_open.c - bringing one collection to life from its published version, replaying the log into it, and removing
 * files that no version names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/store_internal.h"
#include "core/logger.h"
#include "core/mem.h"

/* The files are left for the clean-up of the next start. */
static void forget_leftovers(struct leftover *l)
{
    while (l != NULL) {
        struct leftover *next = l->next;
        mem_free(l);
        l = next;
    }
}

static struct live *live_alloc(uint64_t number, struct errmsg *em)
{
    struct live *live = mem_zalloc(sizeof *live);
    if (live == NULL) {
        (void)errmsg_set(em, ERR_NOMEM, "open a collection");
        return NULL;
    }
    (void)pthread_mutex_init(&live->flush_mu, NULL);
    live->runtime.free_runtime = live_free;
    live->number = number;
    live->next_fragment_id = 1;
    return live;
}

void live_free(struct catalog_runtime *p)
{
    struct live *live = (struct live *)(void *)p;
    forget_leftovers(live->leftovers);
    forget_leftovers(live->unpinned);
    segment_unref(live->sealed.tail);
    collection_retire(live->collection);
    (void)pthread_mutex_destroy(&live->flush_mu);
    mem_free(live);
}

static enum err open_fragment(struct store *s, uint64_t number, const struct manifest_entry *entry,
                              struct segment **out, struct errmsg *em)
{
    char path[STORE_PATH_MAX];
    struct fragment *f = NULL;
    store_fragment_path(s, number, entry->fragment_id, path);
    enum err e = fragment_open(&f, s->vfs, path, em);
    if (e != ERR_OK) return e;
    struct segment *segment = fragment_segment(f);
    if (fragment_n_rows(segment) != entry->n_rows || fragment_id(segment) != entry->fragment_id)
        e = errmsg_set(em, ERR_CORRUPT, "%s is not the fragment that its manifest names", path);
    if (e == ERR_OK && entry->n_dead > 0) {
        e = deaths_set_base(&segment->deaths, entry->dead, entry->n_rows);
        if (e != ERR_OK) (void)errmsg_set(em, e, "open %s", path);
    }
    if (e != ERR_OK) {
        segment->ops->free(segment);
        return e;
    }
    *out = segment;
    return ERR_OK;
}

/* The fragments of a published version; on failure those already open are closed. */
static enum err open_fragments(struct store *s, uint64_t number, struct str manifest, struct arena *a,
                               struct segment ***out, uint32_t *n_out, uint64_t *next_id, struct errmsg *em)
{
    char dir[STORE_PATH_MAX], path[STORE_PATH_MAX + 64];
    struct manifest_entry *entries = NULL;
    uint32_t n = 0, n_open = 0;
    store_collection_dir(s, number, dir);
    (void)snprintf(path, sizeof path, "%s/" STR_FMT, dir, STR_ARG(manifest));
    enum err e = manifest_read(s->vfs, path, a, &entries, &n, em);
    struct segment **segments = e == ERR_OK ? arena_array(a, n, sizeof *segments) : NULL;
    if (e == ERR_OK && segments == NULL) e = errmsg_set(em, ERR_NOMEM, "open %s", path);
    while (e == ERR_OK && n_open < n) {
        e = open_fragment(s, number, &entries[n_open], &segments[n_open], em);
        if (e != ERR_OK) break;
        if (entries[n_open].fragment_id >= *next_id) *next_id = entries[n_open].fragment_id + 1;
        n_open++;
    }
    if (e != ERR_OK) {
        while (n_open-- > 0) segments[n_open]->ops->free(segments[n_open]);
        return e == ERR_NOT_FOUND ? ERR_CORRUPT : e; /* the catalog names it, so it must be there */
    }
    *out = segments;
    *n_out = n;
    return ERR_OK;
}

enum err live_from_version(struct store *s, const struct catalog_version *v, enum space space, struct live **out,
                           struct errmsg *em)
{
    struct arena a = {0};
    struct segment **fragments = NULL;
    uint32_t n_fragments = 0;
    enum err e = ERR_OK;
    struct live *live = live_alloc(v->number, em);
    if (live == NULL) return ERR_NOMEM;
    live->version = live->last_tried = v->version;
    live->state = (struct collection_state){v->log_position, v->next_ordinal, v->dimension};
    if (v->version != 0)
        e = open_fragments(s, v->number, v->manifest, &a, &fragments, &n_fragments, &live->next_fragment_id, em);
    if (e == ERR_OK) {
        e = collection_new(&live->collection, v->number, space, &live->state, fragments, n_fragments, em);
        for (uint32_t i = 0; e != ERR_OK && i < n_fragments; i++) fragments[i]->ops->free(fragments[i]);
    }
    arena_free(&a);
    if (e == ERR_OK)
        *out = live;
    else
        live_free(&live->runtime);
    return e;
}

enum err live_new(struct live **out, const struct catalog_collection *col, struct errmsg *em)
{
    const struct catalog_version none = {.number = col->number};
    return live_from_version(NULL, &none, (enum space)col->space, out, em);
}

enum err live_open(struct store *s, const struct catalog_collection *col, struct errmsg *em)
{
    struct arena a = {0};
    struct catalog_version v = {0};
    struct live *live = NULL;
    enum err e = catalog_get_version(s->catalog, col->number, &a, &v, em);
    if (e == ERR_OK) e = live_from_version(s, &v, (enum space)col->space, &live, em);
    if (e == ERR_OK)
        CHECK(catalog_set_runtime(s->catalog, col->number, &live->runtime) && "nothing is deleted while opening");
    arena_free(&a);
    return e;
}

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

enum err store_replay(void *ctx, uint64_t lsn, uint32_t type, uint64_t number, struct bytes payload, struct errmsg *em)
{
    struct store *s = ctx;
    if (type != STORE_RECORD_BATCH)
        return errmsg_set(em, ERR_NEWER, "log record %llu is of a kind that this version does not know",
                          (unsigned long long)lsn);
    const struct catalog_collection *col = catalog_collection_by_number(s->catalog, number);
    if (col == NULL) return ERR_OK; /* deleted since: its records mean nothing any more */
    enum err e = ERR_OK;
    struct live *live = live_of(col);
    if (lsn > live->state.log_position) {
        void *copy = mem_aligned(64, payload.n);
        struct bytes block = {copy, payload.n};
        uint32_t n_changed;
        if (copy == NULL)
            e = errmsg_set(em, ERR_NOMEM, "replay");
        else
            memcpy(copy, payload.p, payload.n);
        if (e == ERR_OK) e = batch_validate(block, em);
        if (e == ERR_OK)
            e = collection_apply(live->collection, lsn, block, &n_changed, em);
        else
            mem_free(copy);
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
    uint64_t number;
    char dir[STORE_PATH_MAX];
    char manifest[64];    /* the current one; empty: everything goes */
    const uint64_t *keep; /* fragment ids that the current version names */
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
    if (c->manifest[0] != '\0' && strcmp(name, c->manifest) == 0) return true;
    if (!read_number(name, ".fragment", &id)) return false;
    for (uint32_t i = 0; i < c->n_keep; i++)
        if (c->keep[i] == id) return true;
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

void store_clean_collection(struct store *s, uint64_t number, bool remove_all)
{
    struct arena a = {0};
    struct segment **fragments = NULL;
    struct clean c = {.s = s, .number = number};
    struct errmsg em = {{0}};
    store_collection_dir(s, number, c.dir);
    const struct catalog_collection *col = remove_all ? NULL : catalog_collection_by_number(s->catalog, number);
    if (col != NULL) {
        uint32_t n = 0;
        uint64_t *keep = NULL;
        struct collection_pressure p;
        collection_pressure(live_of(col)->collection, &p);
        keep = arena_array(&a, p.n_fragments, sizeof *keep);
        if (keep == NULL || collection_fragments(live_of(col)->collection, &a, &fragments, &n) != ERR_OK) goto out;
        CHECK(n == p.n_fragments && "cleaning up is before the compactor starts");
        for (uint32_t i = 0; i < n; i++) {
            keep[i] = fragment_id(fragments[i]);
            segment_unref(fragments[i]);
        }
        c.keep = keep;
        c.n_keep = n;
        store_manifest_name(live_of(col)->version, c.manifest);
    }
    (void)s->vfs->list(s->vfs->ctx, c.dir, clean_entry, &c, &em);
    if (col == NULL) (void)s->vfs->remove_dir(s->vfs->ctx, c.dir, &em);
out:
    if (col != NULL) catalog_collection_unref(col);
    arena_free(&a);
}

static enum err clean_dir(void *ctx, struct str name, bool is_dir)
{
    uint64_t number;
    char text[32];
    if (!is_dir || name.n >= sizeof text) return ERR_OK;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (read_number(text, "", &number)) store_clean_collection(ctx, number, false);
    return ERR_OK;
}

void store_clean(struct store *s)
{
    char dir[STORE_PATH_MAX];
    struct errmsg em = {{0}};
    (void)snprintf(dir, sizeof dir, "%s/collections", s->path);
    if (s->vfs->list(s->vfs->ctx, dir, clean_dir, s, &em) != ERR_OK) log_warn("cannot clean up %s: %s", dir, em.text);
}
