/* live.c - the live side of one collection: made from what the catalog says, opened when it is needed, closed when it is not.
 *
 * HAPPY PATH  At start nothing but the catalog is read: a collection is closed, and says how many records it has. The first
 *             read, write or replayed record opens it: the manifest is read, the fragments are mapped. When it was not used
 *             for long, or others need the room (room.c), it is closed: the fragments leave the version, and are
 *             unmapped when the last reader that has them is done.
 * WHEN IT MAY BE CLOSED  When the published version is all there is (collection_close), and nobody holds it. A holder counts
 *             itself first and looks at is_closing then; the one who closes sets is_closing first and looks at the count
 *             then. Both in one order that all see (seq_cst), so at least one of them sees the other: the holder then waits
 *             for open_mu and opens it again, or it is not closed.
 *             Not while files are left over either (publish.c): after a failed swap memory and version differ, and what is
 *             left over by one is named by the other.
 * FAILURE     files that cannot be opened are told once in the log, and to whoever asked; the next one tries again. A collection
 *             that the replay stopped stays closed: its files alone are not all it had.
 */
#include <stdio.h>

#include "api/store_internal.h"
#include "core/clock.h"
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

static struct live *live_alloc(const struct catalog_version *v, struct errmsg *em)
{
    struct live *live = mem_zalloc(sizeof *live);
    if (live == NULL) {
        (void)errmsg_set(em, ERR_NOMEM, "open a collection");
        return NULL;
    }
    (void)pthread_mutex_init(&live->flush_mu, NULL);
    (void)pthread_mutex_init(&live->merge_mu, NULL);
    (void)pthread_mutex_init(&live->open_mu, NULL);
    live->runtime.free_runtime = live_free;
    live->number = v->number;
    atomic_init(&live->last_used_ns, clock_monotonic_ns());
    live->next_fragment_id = 1;
    live->version = live->last_tried = v->version;
    live->state = (struct collection_state){v->log_position, v->next_ordinal, v->dimension};
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
    (void)pthread_mutex_destroy(&live->merge_mu);
    (void)pthread_mutex_destroy(&live->open_mu);
    mem_free(live);
}

/* --- files ------------------------------------------------------------------------------------------------------- */

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
    fragment_set_watch(segment, &s->watch);
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

/* What a version consists of; everything in the arena but the fragments themselves. */
struct opened {
    struct arena arena;
    char manifest[64];
    struct manifest_entry *entries;
    struct segment **fragments; /* n_open of them */
    uint32_t n, n_open;
    uint64_t next_id, bytes;
};

static enum err read_entries(struct store *s, uint64_t number, uint64_t version, struct opened *o, struct errmsg *em)
{
    char dir[STORE_PATH_MAX], path[STORE_PATH_MAX + 64];
    store_collection_dir(s, number, dir);
    store_manifest_name(version, o->manifest);
    (void)snprintf(path, sizeof path, "%s/%s", dir, o->manifest);
    enum err e = manifest_read(s->vfs, path, &o->arena, &o->entries, &o->n, em);
    return e == ERR_NOT_FOUND ? ERR_CORRUPT : e; /* the catalog names it, so it must be there */
}

static void close_files(struct opened *o)
{
    while (o->n_open > 0) {
        struct segment *f = o->fragments[--o->n_open];
        f->ops->free(f);
    }
}

static enum err open_files(struct store *s, uint64_t number, uint64_t version, struct opened *o, struct errmsg *em)
{
    enum err e = read_entries(s, number, version, o, em);
    if (e != ERR_OK) return e;
    o->fragments = arena_array(&o->arena, o->n, sizeof *o->fragments);
    if (o->fragments == NULL) return errmsg_set(em, ERR_NOMEM, "open a collection");
    while (e == ERR_OK && o->n_open < o->n) {
        struct segment **f = &o->fragments[o->n_open];
        e = open_fragment(s, number, &o->entries[o->n_open], f, em);
        if (e != ERR_OK) break;
        o->bytes += fragment_file_bytes(*f);
        if (fragment_id(*f) >= o->next_id) o->next_id = fragment_id(*f) + 1;
        o->n_open++;
    }
    if (e != ERR_OK) close_files(o);
    return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
}

/* --- making ------------------------------------------------------------------------------------------------------ */

static enum err finish(struct live *live, enum err e, struct live **out)
{
    if (e == ERR_OK)
        *out = live;
    else
        live_free(&live->runtime);
    return e;
}

enum err live_from_version(struct store *s, const struct catalog_version *v, enum space space, struct live **out,
                           struct errmsg *em)
{
    struct opened o = {.next_id = 1};
    struct live *live = live_alloc(v, em);
    if (live == NULL) return ERR_NOMEM;
    enum err e = v->version != 0 ? open_files(s, v->number, v->version, &o, em) : ERR_OK;
    if (e == ERR_OK) {
        live->next_fragment_id = o.next_id;
        atomic_store(&live->file_bytes, o.bytes);
        e = collection_new(&live->collection, v->number, space, &live->state, o.fragments, o.n, em);
        if (e != ERR_OK) close_files(&o);
    }
    arena_free(&o.arena);
    return finish(live, e, out);
}

enum err live_new(struct live **out, const struct catalog_collection *col, struct errmsg *em)
{
    const struct catalog_version none = {.number = col->number};
    return live_from_version(NULL, &none, (enum space)col->space, out, em);
}

enum err live_from_catalog(struct store *s, const struct catalog_version *v, enum space space, struct live **out,
                           struct errmsg *em)
{
    struct live *live = NULL;
    if (v->version == 0 || !v->is_measured) {
        enum err e = live_from_version(s, v, space, &live, em);
        if (e != ERR_OK) return e;
        atomic_store(&live->needs_clean, v->version != 0);
        *out = live;
        return ERR_OK;
    }
    live = live_alloc(v, em);
    if (live == NULL) return ERR_NOMEM;
    atomic_store(&live->file_bytes, v->file_bytes);
    atomic_store(&live->needs_clean, true);
    return finish(live, collection_new_closed(&live->collection, v->number, space, &live->state, v->n_rows, em), out);
}

/* --- opening and closing ----------------------------------------------------------------------------------------- */

static enum err open_again(struct store *s, struct live *live, struct errmsg *em)
{
    struct opened o = {.next_id = 1};
    enum err e = live->version != 0 ? open_files(s, live->number, live->version, &o, em) : ERR_OK;
    if (e == ERR_OK) {
        if (atomic_load(&live->needs_clean)) store_clean_collection(s, live->number, o.manifest, o.entries, o.n);
        atomic_store(&live->needs_clean, false);
        /* before it is open: from then on merges and flushes go by these */
        if (live->next_fragment_id < o.next_id) live->next_fragment_id = o.next_id;
        atomic_store(&live->file_bytes, o.bytes);
        e = collection_open(live->collection, o.fragments, o.n, em);
        if (e != ERR_OK) close_files(&o);
    }
    arena_free(&o.arena);
    return e;
}

enum err live_open(struct store *s, struct live *live, struct errmsg *em)
{
    struct errmsg own = {{0}};
    enum err e = ERR_OK;
    if (atomic_load(&live->is_stopped))
        return errmsg_set(em, ERR_CORRUPT,
                          "the collection is stopped: its files are damaged, the server's log says which");
    if (!collection_is_closed(live->collection)) return ERR_OK;
    (void)pthread_mutex_lock(&live->open_mu);
    if (collection_is_closed(live->collection)) {
        e = open_again(s, live, &own);
        if (e != ERR_OK && collection_is_dropped(live->collection)) {
            e = errmsg_set(&own, ERR_NOT_FOUND, "deleted meanwhile");
        } else if (e != ERR_OK && !err_is_shortage(e) && !live->has_told) {
            log_error("collection number %llu cannot be opened: %s", (unsigned long long)live->number, own.text);
            live->has_told = true;
        }
        if (e == ERR_OK) {
            atomic_store_explicit(&live->last_used_ns, clock_monotonic_ns(), memory_order_relaxed);
            live->has_told = false;
        }
    }
    (void)pthread_mutex_unlock(&live->open_mu);
    if (e == ERR_OK)
        room_note_opened(s, atomic_load_explicit(&live->file_bytes, memory_order_relaxed));
    else if (em != NULL)
        *em = own;
    return e;
}

enum err live_hold(struct store *s, struct live *live, struct errmsg *em)
{
    enum err e = ERR_OK;
    (void)atomic_fetch_add(&live->n_holds, 1);
    if (atomic_load(&live->is_closing)) { /* it does not see us: wait until it is done */
        (void)pthread_mutex_lock(&live->open_mu);
        (void)pthread_mutex_unlock(&live->open_mu);
    }
    e = live_open(s, live, em);
    if (e != ERR_OK) live_release(live);
    return e;
}

void live_release(struct live *live)
{
    uint32_t before = atomic_fetch_sub(&live->n_holds, 1);
    CHECK(before > 0 && "released as often as held");
}

/* What was found damaged is known as long as the fragment is open, and most of it would not be found again before the next
 * scrub: so it stays open. */
static bool has_lost_rows(const struct live *live)
{
    struct arena a = {0};
    struct segment **list = NULL;
    uint32_t n = 0;
    bool has_lost = false;
    if (collection_fragments(live->collection, &a, &list, &n) == ERR_OK) {
        for (uint32_t i = 0; i < n; i++) {
            has_lost = has_lost || fragment_has_lost_rows(list[i]);
            segment_unref(list[i]);
        }
    }
    arena_free(&a);
    return has_lost;
}

bool live_close(struct live *live)
{
    struct version *before = NULL;
    if (has_lost_rows(live)) return false;
    (void)pthread_mutex_lock(&live->open_mu);
    atomic_store(&live->is_closing, true);
    if (atomic_load(&live->n_holds) == 0 && atomic_load(&live->n_leftovers) == 0)
        before = collection_close(live->collection);
    atomic_store(&live->is_closing, false);
    (void)pthread_mutex_unlock(&live->open_mu);
    version_retire(before);
    return before != NULL;
}

void live_clean(struct store *s, struct live *live)
{
    struct opened o = {.next_id = 1};
    struct errmsg em = {{0}};
    (void)pthread_mutex_lock(&live->open_mu);
    if (atomic_load(&live->needs_clean) && collection_is_closed(live->collection)) {
        enum err e = read_entries(s, live->number, live->version, &o, &em);
        if (e == ERR_OK) store_clean_collection(s, live->number, o.manifest, o.entries, o.n);
        if (e != ERR_OK && !collection_is_dropped(live->collection)) log_warn("cannot clean up: %s", em.text);
        atomic_store(&live->needs_clean, false);
    }
    (void)pthread_mutex_unlock(&live->open_mu);
    arena_free(&o.arena);
}
