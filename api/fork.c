/* fork.c - a new collection that begins as what another one is: see store_fork_collection in store.h.
 *
 * STEPS  1. The source's tail is flushed, so that its published version is all that it had at the version's position P.
 *           Every write that was acknowledged before the call is applied by then, so it is at or before P.
 *        2. The version's fragments, with the rows dead at P, are listed, and their files pinned.
 *        3. A number is reserved, and each fragment gets a second name in the new number's directory; a manifest is
 *           written beside them; file and directory are synced. The pins are given back.
 *        4. The files are opened as a live collection.
 *        5. One transaction of the catalog makes the collection, its version (position P) and its lineage.
 * Before 5 nothing names the files, and the start removes directories that no collection has; after it all is there.
 * Since a number is reserved durably, what a failure leaves in a directory is never another collection's.
 *
 * WHY IT IS ONE CUT  Flushing holds live.flush_mu until the version is pinned, so the version listed in 2 is the one
 * published in 1 or a merge of it, which has the same position. Rows that are born after P are in tails, which nobody
 * links; deaths after P are left out of the manifest.
 * WHY THEY ARE INDEPENDENT  Files of fragments are never written to once they are named, and removing a name leaves the
 * other; deaths live in memory and in each collection's own manifests; the log names collections by number.
 *
 * FAILURE  the source is as it was, but for a flush. The directory is removed, unless the catalog may name it yet
 *          (catalog.h).
 */
#include <stdio.h>

#include "api/store_internal.h"

struct forking {
    struct store *s;
    const struct catalog_collection *source;
    struct manifest_entry *entries;
    uint32_t n_entries;
    struct collection_state state; /* of the source's version */
    struct catalog_version v;      /* of the fork; .version 0: the source has none */
    char manifest[64];
    struct arena arena;
    const struct store_fork_quota *quota;
};

/* Steps 1 and 2. */
static enum err pin_version(struct forking *f, struct errmsg *em)
{
    struct store *s = f->s;
    struct live *live = live_of(f->source);
    (void)pthread_mutex_lock(&live->flush_mu);
    bool is_repeated = live->sealed.tail != NULL;
    enum err e = flush_collection(s, f->source, em);
    if (e == ERR_OK && is_repeated) e = flush_collection(s, f->source, em); /* what came since that failed */
    if (e == ERR_OK) {
        e = publish_pin(s, live, &f->arena, &f->entries, &f->n_entries, &f->state);
        if (e != ERR_OK) (void)errmsg_set(em, e, "list fragments");
    }
    (void)pthread_mutex_unlock(&live->flush_mu);
    return e;
}

/* Step 3, but for the number. */
static enum err link_version(struct forking *f, struct errmsg *em)
{
    struct store *s = f->s;
    char dir[STORE_PATH_MAX], path[STORE_PATH_MAX + 64], from[STORE_PATH_MAX];
    store_collection_dir(s, f->v.number, dir);
    enum err e = s->vfs->make_dir(s->vfs->ctx, dir, em);
    for (uint32_t i = 0; i < f->n_entries && e == ERR_OK; i++) {
        store_fragment_path(s, f->source->number, f->entries[i].fragment_id, from);
        store_fragment_path(s, f->v.number, f->entries[i].fragment_id, path);
        e = vfs_link_or_copy(s->vfs, from, path, em);
    }
    if (e != ERR_OK) return e;
    (void)snprintf(path, sizeof path, "%s/%s", dir, f->manifest);
    e = manifest_write(s->vfs, path, f->entries, f->n_entries, em);
    return e == ERR_OK ? s->vfs->sync_dir(s->vfs->ctx, dir, em) : e;
}

/* Step 3. A source that nothing was ever written to has no version, and its fork needs no files. */
static enum err make_files(struct forking *f, struct errmsg *em)
{
    enum err e = catalog_reserve_number(f->s->catalog, &f->v.number, em);
    if (e != ERR_OK || f->state.log_position == 0) return e;
    store_manifest_name(1, f->manifest);
    f->v.version = 1;
    f->v.log_position = f->state.log_position;
    f->v.next_ordinal = f->state.next_ordinal;
    f->v.dimension = f->state.dimension;
    f->v.manifest = str_from_c(f->manifest);
    return link_version(f, em);
}

/* Steps 4 and 5. *may_be_named: the catalog names the version, or will if the process dies now. */
static enum err enter(struct forking *f, struct str name, const struct catalog_collection **col, bool *may_be_named,
                      struct errmsg *em)
{
    struct live *live = NULL;
    enum err e = live_from_version(f->s, &f->v, (enum space)f->source->space, &live, em);
    if (e != ERR_OK) return e;
    f->v.n_rows = collection_count(live->collection);
    f->v.file_bytes = atomic_load(&live->file_bytes);
    f->v.is_measured = true;
    const struct catalog_fork in = {
        .source = f->source->number,
        .number = f->v.number,
        .name = name,
        .version = f->v.version != 0 ? &f->v : NULL,
        .runtime = &live->runtime,
        .tenant_max = f->quota->tenant_max,
        .forks_max = f->quota->forks_max,
    };
    e = catalog_fork_collection(f->s->catalog, &in, col, em);
    *may_be_named = e != ERR_NOT_FOUND && e != ERR_EXISTS && e != ERR_INVALID && e != ERR_QUOTA;
    return e;
}

static bool is_taken(struct store *s, const struct catalog_collection *source, struct str name)
{
    const struct catalog_collection *there =
        catalog_collection_by_name(s->catalog, source->tenant, source->database, name);
    catalog_collection_unref(there);
    return there != NULL;
}

enum err store_fork_collection(struct store *s, const struct catalog_collection *source, struct str name,
                               const struct catalog_collection **col, struct errmsg *em)
{
    return store_fork_within(s, source, name, &(struct store_fork_quota){0, 0}, col, em);
}

enum err store_fork_within(struct store *s, const struct catalog_collection *source, struct str name,
                           const struct store_fork_quota *quota, const struct catalog_collection **col,
                           struct errmsg *em)
{
    struct forking f = {.s = s, .source = source, .quota = quota};
    struct live *live = live_of(source);
    bool may_be_named = false;
    if (is_taken(s, source, name)) return errmsg_set(em, ERR_EXISTS, "the collection exists"); /* before any work */
    if (quota->tenant_max > 0 && catalog_count_tenant(s->catalog, source->tenant).n_collections >= quota->tenant_max)
        return errmsg_set(em, ERR_QUOTA, "the tenant has collections enough"); /* likewise; the catalog decides */
    enum err e = live_hold(s, live, em);
    if (e == ERR_OK) {
        e = pin_version(&f, em);
        live_release(live); /* what is pinned needs no open collection */
    }
    if (e == ERR_OK) {
        e = make_files(&f, em);
        publish_unpin(s, live);
        if (e == ERR_OK) e = enter(&f, name, col, &may_be_named, em);
        if (e != ERR_OK && f.v.version != 0 && !may_be_named) store_remove_collection(s, f.v.number);
    }
    arena_free(&f.arena);
    if (collection_is_dropped(live->collection)) {
        compactor_discard(s, source->number); /* the flush may have written where everything was removed already */
        if (e != ERR_OK) e = errmsg_set(em, ERR_NOT_FOUND, "deleted meanwhile");
    }
    compactor_wake(s, true, true); /* the log may be shorter, and there is a fragment more */
    return e;
}
