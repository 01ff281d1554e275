/* publish.c - building fragments from tails and from other fragments, and making them the current version.
 *
 * PUBLISHING, in this order, so that a cut at any point leaves the version before or the one after:
 *   1. the fragment file is complete and synced         (nothing names it yet)
 *   2. the manifest is written and synced, then the directory
 *   3. one SQLite transaction makes (manifest, log position) current
 *   4. the collection swaps segments in memory
 *   5. files that only the former version named are removed (readers that map them keep them)
 * A failure before 3 removes the new files and leaves everything as it was. A failure of 3 may turn out to have been
 * none, if the process dies before the catalog's next change (catalog.h), and after a failure of 4 the catalog names
 * files that memory does not. So the files of both are left over until the next version is published, and no number of
 * a version or fragment is used twice: what a crash may bring to light always finds its files, as they were.
 *
 * DEAD ROWS in a manifest are those of the version's log position P, no later ones: replay starts at P, and a row that
 * died after P is still needed when the write that replaced it is applied again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/store_internal.h"
#include "core/logger.h"
#include "core/mem.h"
#include "core/tail.h"

enum { MANIFEST_PATH_MAX = STORE_PATH_MAX + 64, STOP_CHECK_ROWS = 64 };

/* One fragment being built from one or more segments. */
struct build {
    struct store *s;
    const struct catalog_collection *col;
    struct live *live;
    uint64_t position; /* rows dead at or before it are left out */
    uint64_t fragment_id;
    struct replaced *sources;
    uint32_t n_sources;
    uint32_t n_rows;                      /* written so far */
    struct segment *fragment;             /* opened; NULL when no row is left */
    uint64_t version_rows, version_bytes; /* of the version to be: live rows, bytes of its fragments */
    bool is_named;                        /* the catalog names it, or may: its file must stay */
    char path[STORE_PATH_MAX];            /* of the fragment; empty: no file was made */
    struct arena arena;                   /* row maps and lists */
};

struct build_row {
    uint64_t ordinal;
    uint32_t source, row;
};

static int compare_rows(const void *a, const void *b)
{
    const struct build_row *x = a, *y = b;
    return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

/* Every row that is alive at the position, in the order of creation. */
static enum err choose_rows(struct build *b, const uint32_t *n_rows, struct build_row **out, uint32_t *n_out,
                            struct errmsg *em)
{
    size_t most = 0, n = 0;
    for (uint32_t i = 0; i < b->n_sources; i++) most += n_rows[i];
    if (most > UINT32_MAX / 2) return errmsg_set(em, ERR_TOO_LARGE, "%zu rows in one fragment", most);
    struct build_row *rows = arena_alloc(&b->arena, most * sizeof *rows);
    if (rows == NULL) return errmsg_set(em, ERR_NOMEM, "build a fragment of %zu rows", most);
    for (uint32_t i = 0; i < b->n_sources; i++) {
        const struct segment *s = b->sources[i].segment;
        uint32_t *map = arena_alloc(&b->arena, n_rows[i] * sizeof *map);
        if (map == NULL) return errmsg_set(em, ERR_NOMEM, "build a fragment of %zu rows", most);
        memset(map, 0xff, n_rows[i] * sizeof *map); /* ROW_NONE */
        b->sources[i].row_map = map;
        for (uint32_t row = 0; row < n_rows[i]; row++) {
            uint64_t died = segment_died_at(s, row);
            if (died == 0 || died > b->position) rows[n++] = (struct build_row){s->ops->ordinal(s, row), i, row};
        }
    }
    qsort(rows, n, sizeof *rows, compare_rows);
    *out = rows;
    *n_out = (uint32_t)n;
    return ERR_OK;
}

static enum err write_rows(struct build *b, struct fragment_writer *w, const struct build_row *rows, uint32_t n,
                           struct errmsg *em)
{
    struct arena scratch = {0};
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        const struct segment *s = b->sources[rows[i].source].segment;
        struct row row = {0};
        e = s->ops->row(s, rows[i].row, ROW_ALL, &scratch, &row, em);
        if (e == ERR_OK) e = fragment_writer_add(w, &row, rows[i].ordinal, s->ops->born(s, rows[i].row), em);
        if (e == ERR_OK) ((uint32_t *)(uintptr_t)b->sources[rows[i].source].row_map)[rows[i].row] = b->n_rows++;
        if (scratch.used_bytes > (1U << 18)) arena_free(&scratch);
        if (collection_is_dropped(b->live->collection)) e = errmsg_set(em, ERR_NOT_FOUND, "deleted meanwhile");
        if (i % STOP_CHECK_ROWS == 0 && compactor_is_stopping(b->s)) e = errmsg_set(em, ERR_BUSY, "stopping");
    }
    arena_free(&scratch);
    return e;
}

static void remove_file(struct store *s, const char *path)
{
    struct errmsg em = {{0}};
    enum err e = s->vfs->remove(s->vfs->ctx, path, &em);
    if (e != ERR_OK && e != ERR_NOT_FOUND) log_warn("cannot remove %s: %s", path, em.text);
}

/* Writes and opens the fragment. On failure the file is gone again. */
static enum err build_fragment(struct build *b, const uint32_t *n_rows, struct errmsg *em)
{
    struct fragment_writer *w = NULL;
    struct fragment *f = NULL;
    struct build_row *rows = NULL;
    uint32_t n = 0;
    char dir[STORE_PATH_MAX];
    enum err e = choose_rows(b, n_rows, &rows, &n, em);
    if (e != ERR_OK || n == 0) return e;
    store_collection_dir(b->s, b->live->number, dir);
    e = b->s->vfs->make_dir(b->s->vfs->ctx, dir, em);
    if (e != ERR_OK) return e;
    store_fragment_path(b->s, b->live->number, b->fragment_id, b->path);
    const struct fragment_options o = {
        .dim = collection_dim(b->live->collection),
        .space = collection_space(b->live->collection),
        .fragment_id = b->fragment_id,
    };
    e = fragment_writer_new(&w, b->s->vfs, b->path, &o, em);
    if (e == ERR_OK) e = write_rows(b, w, rows, n, em);
    if (e == ERR_OK) e = fragment_writer_finish(w, em);
    fragment_writer_free(w);
    if (e == ERR_OK) e = fragment_open(&f, b->s->vfs, b->path, em);
    if (e == ERR_OK) {
        b->fragment = fragment_segment(f);
        fragment_set_watch(b->fragment, &b->s->watch);
    } else {
        remove_file(b->s, b->path);
    }
    return e;
}

/* --- publishing ------------------------------------------------------------------------------------------------ */

/* Rows of `s` that died at or before the position, as a bitmap; *n_dead 0 and no bitmap when there are none. */
static enum err dead_bitmap(const struct segment *s, uint64_t position, struct arena *a, struct manifest_entry *entry)
{
    struct bitset dead;
    if (atomic_load(&s->deaths.n_dead) == 0) return ERR_OK;
    if (!bitset_init(&dead, a, s->deaths.n_rows)) return ERR_NOMEM;
    for (uint32_t row = 0; row < s->deaths.n_rows; row++) {
        uint64_t died = deaths_at(&s->deaths, row);
        if (died != 0 && died <= position) bitset_add(&dead, row);
    }
    entry->n_dead = bitset_count(&dead);
    entry->dead = entry->n_dead > 0 ? dead.words : NULL;
    return ERR_OK;
}

/* Deaths that the sources saw since the rows were chosen and that the new version's position covers. */
static enum err dead_in_new(const struct build *b, uint64_t position, struct arena *a, struct manifest_entry *entry)
{
    struct bitset dead;
    if (!bitset_init(&dead, a, b->n_rows)) return ERR_NOMEM;
    for (uint32_t i = 0; i < b->n_sources; i++) {
        const struct segment *s = b->sources[i].segment;
        if (s->is_tail) continue; /* a flush chooses its rows at the very position it publishes */
        for (uint32_t row = 0; row < s->deaths.n_rows; row++) {
            uint64_t died = deaths_at(&s->deaths, row);
            uint32_t to = b->sources[i].row_map[row];
            if (died != 0 && died <= position && to != ROW_NONE) bitset_add(&dead, to);
        }
    }
    entry->n_dead = bitset_count(&dead);
    entry->dead = entry->n_dead > 0 ? dead.words : NULL;
    return ERR_OK;
}

static bool is_source(const struct build *b, const struct segment *s)
{
    for (uint32_t i = 0; i < b->n_sources; i++)
        if (b->sources[i].segment == s) return true;
    return false;
}

/* The fragments that there are, without those that `b` replaces (NULL: all of them); with room for one more entry. */
static enum err list_present(const struct live *live, const struct build *b, uint64_t position, struct arena *a,
                             struct manifest_entry **out, uint32_t *n_out, uint64_t *bytes)
{
    CHECK(!collection_is_closed(live->collection) && "a version that is replaced is open");
    struct segment **fragments = NULL;
    uint32_t n_fragments = 0, n = 0;
    *bytes = 0;
    if (collection_fragments(live->collection, a, &fragments, &n_fragments) != ERR_OK) return ERR_NOMEM;
    struct manifest_entry *entries = arena_array(a, (size_t)n_fragments + 1, sizeof *entries);
    enum err e = entries != NULL ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; i < n_fragments; i++) {
        if (e == ERR_OK && (b == NULL || !is_source(b, fragments[i]))) {
            entries[n].fragment_id = fragment_id(fragments[i]);
            entries[n].n_rows = fragment_n_rows(fragments[i]);
            *bytes += fragment_file_bytes(fragments[i]);
            e = dead_bitmap(fragments[i], position, a, &entries[n++]);
        }
        segment_unref(fragments[i]); /* stays: only publishers, one at a time, take fragments out */
    }
    *out = entries;
    *n_out = n;
    return e;
}

static enum err list_entries(struct build *b, uint64_t position, struct arena *a, struct manifest_entry **out,
                             uint32_t *n_out)
{
    enum err e = list_present(b->live, b, position, a, out, n_out, &b->version_bytes);
    if (e == ERR_OK && b->fragment != NULL) {
        struct manifest_entry *entry = &(*out)[(*n_out)++];
        entry->fragment_id = b->fragment_id;
        entry->n_rows = b->n_rows;
        b->version_bytes += fragment_file_bytes(b->fragment);
        e = dead_in_new(b, position, a, entry);
    }
    b->version_rows = 0;
    for (uint32_t i = 0; e == ERR_OK && i < *n_out; i++) b->version_rows += (*out)[i].n_rows - (*out)[i].n_dead;
    return e;
}

/* Notes a file that is to be removed later. Without memory for the note it goes at the next start. */
static void leave_over(struct live *live, struct leftover **list, const char *path)
{
    size_t n = strlen(path) + 1;
    struct leftover *l = mem_alloc(sizeof *l + n);
    if (l == NULL) return;
    memcpy(l->path, path, n);
    l->next = *list;
    *list = l;
    (void)atomic_fetch_add_explicit(&live->n_leftovers, 1, memory_order_relaxed);
}

static void remove_leftovers(struct store *s, struct live *live, struct leftover **list)
{
    while (*list != NULL) {
        struct leftover *l = *list;
        *list = l->next;
        (void)atomic_fetch_sub_explicit(&live->n_leftovers, 1, memory_order_relaxed);
        remove_file(s, l->path);
        mem_free(l);
    }
}

/* A file that no version names any more: while one that did is pinned, it goes with the last pin. */
static void drop_file(struct store *s, struct live *live, const char *path)
{
    if (live->n_pins > 0)
        leave_over(live, &live->unpinned, path);
    else
        remove_file(s, path);
}

/* The same for what was left over by versions that failed. */
static void drop_leftovers(struct store *s, struct live *live)
{
    if (live->n_pins == 0) {
        remove_leftovers(s, live, &live->leftovers);
        return;
    }
    struct leftover **end = &live->unpinned;
    while (*end != NULL) end = &(*end)->next;
    *end = live->leftovers;
    live->leftovers = NULL;
}

/* What only the version before named: its manifest, and the fragments that were merged. */
static void remove_replaced(const struct build *b, const char *old_manifest)
{
    char path[STORE_PATH_MAX];
    if (old_manifest[0] != '\0') drop_file(b->s, b->live, old_manifest);
    for (uint32_t i = 0; i < b->n_sources; i++) {
        if (b->sources[i].segment->is_tail) continue;
        store_fragment_path(b->s, b->live->number, fragment_id(b->sources[i].segment), path);
        drop_file(b->s, b->live, path);
    }
}

static void manifest_path(const struct store *s, const struct live *live, uint64_t version, char out[MANIFEST_PATH_MAX])
{
    char dir[STORE_PATH_MAX], name[64];
    store_collection_dir(s, live->number, dir);
    store_manifest_name(version, name);
    (void)snprintf(out, MANIFEST_PATH_MAX, "%s/%s", dir, name);
}

/* Step 2. */
static enum err write_manifest(struct build *b, const struct collection_state *state, const char *path,
                               struct errmsg *em)
{
    struct store *s = b->s;
    struct arena a = {0};
    struct manifest_entry *entries = NULL;
    uint32_t n = 0;
    char dir[STORE_PATH_MAX], parent[STORE_PATH_MAX];
    store_collection_dir(s, b->live->number, dir);
    enum err e = list_entries(b, state->log_position, &a, &entries, &n);
    if (e != ERR_OK) (void)errmsg_set(em, e, "list fragments");
    if (e == ERR_OK) e = s->vfs->make_dir(s->vfs->ctx, dir, em);
    if (e == ERR_OK) e = manifest_write(s->vfs, path, entries, n, em);
    if (e == ERR_OK) e = s->vfs->sync_dir(s->vfs->ctx, dir, em);
    if (e == ERR_OK && b->live->version == 0) { /* the directory itself is new */
        (void)snprintf(parent, sizeof parent, "%s/collections", s->path);
        e = s->vfs->sync_dir(s->vfs->ctx, parent, em);
    }
    arena_free(&a);
    return e;
}

/* Step 3. *may_be_named: the catalog names the version, or will if the process dies now. */
static enum err name_version(struct build *b, const struct collection_state *state, uint64_t version,
                             bool *may_be_named, struct errmsg *em)
{
    char name[64];
    store_manifest_name(version, name);
    const struct catalog_version v = {
        .number = b->live->number,
        .version = version,
        .log_position = state->log_position,
        .next_ordinal = state->next_ordinal,
        .dimension = state->dimension,
        .manifest = str_from_c(name),
        .n_rows = b->version_rows,
        .file_bytes = b->version_bytes,
    };
    enum err e = catalog_publish_version(b->s->catalog, &v, em);
    *may_be_named = e != ERR_NOT_FOUND && e != ERR_INVALID;
    return e;
}

/* Steps 2 to 5 of the head of this file; publish_mu held. `state`: of the new version. */
static enum err publish(struct build *b, const struct collection_state *state, struct errmsg *em)
{
    struct store *s = b->s;
    struct live *live = b->live;
    char path[MANIFEST_PATH_MAX], old_path[MANIFEST_PATH_MAX] = "";
    uint64_t version = ++live->last_tried;
    bool is_manifest_named = false;
    if (live->version != 0) manifest_path(s, live, live->version, old_path);
    manifest_path(s, live, version, path);
    enum err e = write_manifest(b, state, path, em);
    if (e == ERR_OK) e = name_version(b, state, version, &is_manifest_named, em);
    if (e != ERR_OK) {
        b->is_named = is_manifest_named;
        if (is_manifest_named)
            leave_over(live, &live->leftovers, path);
        else
            remove_file(s, path);
        return e;
    }
    b->is_named = true;
    live->version = version;
    live->state = *state;
    atomic_store(&live->file_bytes, b->version_bytes);
    room_note_active(s);
    drop_leftovers(s, live);
    e = collection_install(live->collection, b->sources, b->n_sources, b->fragment, em);
    if (e != ERR_OK) {
        live->is_ahead = live->is_ahead || b->sources[0].segment->is_tail;
        if (old_path[0] != '\0') drop_file(s, live, old_path);
        return e;
    }
    b->fragment = NULL; /* the collection's now */
    remove_replaced(b, old_path);
    return ERR_OK;
}

static void count_published(struct compactor_counts *c, uint64_t started_ns, uint64_t bytes)
{
    (void)atomic_fetch_add_explicit(&c->n_done, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&c->busy_ns, clock_monotonic_ns() - started_ns, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&c->bytes_written, bytes, memory_order_relaxed);
}

/* Builds outside publish_mu, publishes inside. */
static enum err build_and_publish(struct build *b, const uint32_t *n_rows, const struct collection_state *flushed,
                                  struct errmsg *em)
{
    struct store *s = b->s;
    struct live *live = b->live;
    struct compactor_counts *counts = flushed != NULL ? &s->compactor.flushes : &s->compactor.merges;
    uint64_t started_ns = clock_monotonic_ns(), bytes = 0;
    (void)atomic_fetch_add_explicit(&counts->n_running, 1, memory_order_relaxed);
    (void)pthread_mutex_lock(&s->publish_mu);
    b->fragment_id = live->next_fragment_id++;
    if (flushed == NULL) b->position = live->state.log_position;
    (void)pthread_mutex_unlock(&s->publish_mu);
    enum err e = build_fragment(b, n_rows, em);
    if (e == ERR_OK) {
        bytes = b->fragment != NULL ? fragment_file_bytes(b->fragment) : 0;
        (void)pthread_mutex_lock(&s->publish_mu);
        struct collection_state state = flushed != NULL ? *flushed : live->state;
        if (flushed == NULL && live->is_ahead)
            e = errmsg_set(em, ERR_BUSY, "a flush has to be repeated first");
        else
            e = publish(b, &state, em);
        if (e == ERR_OK) live->is_ahead = false; /* it was a flush, or it was false already */
        if (b->fragment != NULL) {               /* not taken over */
            b->fragment->ops->free(b->fragment);
            if (b->is_named)
                leave_over(live, &live->leftovers, b->path);
            else
                remove_file(s, b->path);
        }
        (void)pthread_mutex_unlock(&s->publish_mu);
    }
    (void)atomic_fetch_sub_explicit(&counts->n_running, 1, memory_order_relaxed);
    if (e == ERR_OK) count_published(counts, started_ns, bytes);
    arena_free(&b->arena);
    return e;
}

enum err flush_collection(struct store *s, const struct catalog_collection *col, struct errmsg *em)
{
    struct live *live = live_of(col);
    enum err e = ERR_OK;
    if (live->sealed.tail == NULL) e = collection_seal(live->collection, &live->sealed, em);
    if (e != ERR_OK || live->sealed.tail == NULL) return e;
    struct replaced source = {.segment = live->sealed.tail};
    struct build b = {
        .s = s,
        .col = col,
        .live = live,
        .position = live->sealed.state.log_position,
        .sources = &source,
        .n_sources = 1,
    };
    e = build_and_publish(&b, &live->sealed.n_rows, &live->sealed.state, em);
    if (e == ERR_OK) {
        segment_unref(live->sealed.tail);
        live->sealed.tail = NULL;
    }
    return e;
}

bool publish_has_live_rows(const struct segment *s, uint64_t position)
{
    return deaths_next_alive(&s->deaths, 0, position) < s->deaths.n_rows;
}

enum err merge_fragments(struct store *s, const struct catalog_collection *col, struct segment *const *fragments,
                         uint32_t n, struct errmsg *em)
{
    struct build b = {.s = s, .col = col, .live = live_of(col), .n_sources = n};
    uint32_t *n_rows = arena_array(&b.arena, n, sizeof *n_rows);
    b.sources = arena_array(&b.arena, n, sizeof *b.sources);
    if (n_rows == NULL || b.sources == NULL) {
        arena_free(&b.arena);
        return errmsg_set(em, ERR_NOMEM, "merge %u fragments", n);
    }
    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&s->publish_mu);
    uint64_t position = b.live->state.log_position;
    (void)pthread_mutex_unlock(&s->publish_mu);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        b.sources[i].segment = fragments[i];
        n_rows[i] = fragment_n_rows(fragments[i]);
        /* damage must not get a fresh checksum; what is not rows is made again, and of rows those that are alive count */
        if (!fragment_has_lost_rows(fragments[i]) || publish_has_live_rows(fragments[i], position))
            e = fragment_verify_rows(fragments[i], em);
    }
    if (e == ERR_OK) return build_and_publish(&b, n_rows, NULL, em);
    arena_free(&b.arena);
    return e;
}

/* --- for forks and backups --------------------------------------------------------------------------------------- */

/* What memory holds is what the catalog names, or the same rows in the fragments that a merge put together (step 4 of it
 * failed, and their files stayed). */
enum err publish_pin(struct store *s, struct live *live, struct arena *a, struct manifest_entry **entries, uint32_t *n,
                     struct collection_state *state)
{
    (void)pthread_mutex_lock(&s->publish_mu);
    CHECK(!live->is_ahead && "a fork comes after a complete flush");
    uint64_t bytes;
    enum err e = list_present(live, NULL, live->state.log_position, a, entries, n, &bytes);
    if (e == ERR_OK) {
        *state = live->state;
        live->n_pins++;
    }
    (void)pthread_mutex_unlock(&s->publish_mu);
    return e;
}

void publish_pin_named(struct live *live)
{
    live->n_pins++;
}

void publish_unpin(struct store *s, struct live *live)
{
    (void)pthread_mutex_lock(&s->publish_mu);
    if (--live->n_pins == 0) remove_leftovers(s, live, &live->unpinned);
    (void)pthread_mutex_unlock(&s->publish_mu);
}
