/* upstream_log.c - see upstream_db.h: the log of writes, `embeddings_queue`.
 *
 * The table has no index by collection, so its positions are sorted out in one pass; entries are then read one by
 * one, by position. A topic is "persistent://TENANT/NAMESPACE/ID" with the collection's id behind the last slash.
 */
#include "api/upstream_db.h"

#include <stdlib.h>

#include "core/mem.h"

struct place {
    int64_t seq;
    uint32_t collection;
};

/* The list is ordered by id, as text. */
static uint32_t find_collection(const struct upstream_collection *list, uint32_t n, struct str topic)
{
    uint32_t low = 0;
    const char *slash = topic.n > 0 ? memrchr(topic.p, '/', topic.n) : NULL;
    if (slash == NULL) return n;
    struct str id = str_of(slash + 1, topic.n - (size_t)(slash + 1 - topic.p));
    for (uint32_t high = n; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (str_cmp(list[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && str_eq(list[low].id, id) ? low : n;
}

static enum err gather(struct upstream_db *u, struct upstream_collection *list, uint32_t n, struct buf *places,
                       struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    bool has_row = true;
    enum err e = upstream_prepare(u, "SELECT seq_id, topic FROM embeddings_queue ORDER BY seq_id", &st, em);
    while (e == ERR_OK && (e = upstream_step(u, st, &has_row, em)) == ERR_OK && has_row) {
        struct place p = {.seq = sqlite3_column_int64(st, 0),
                          .collection = find_collection(list, n, upstream_text(st, 1))};
        if (p.collection == n) continue;
        list[p.collection].n_log++;
        buf_add(places, &p, sizeof p);
        if (places->err != ERR_OK) e = errmsg_set(em, places->err, "the log's positions");
    }
    (void)sqlite3_finalize(st);
    return e;
}

enum err upstream_log_list(struct upstream_db *u, struct arena *a, struct upstream_collection *list, uint32_t n,
                           struct errmsg *em)
{
    struct buf places = {0};
    enum err e = gather(u, list, n, &places, em);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        if (list[i].n_log == 0) continue;
        list[i].log = arena_array(a, list[i].n_log, sizeof *list[i].log);
        list[i].n_log = 0; /* counted again below */
        if (list[i].log == NULL) e = errmsg_set(em, ERR_NOMEM, "the log's positions");
    }
    const struct place *p = (const struct place *)(const void *)places.p;
    for (size_t i = 0; e == ERR_OK && i < places.n / sizeof *p; i++) {
        struct upstream_collection *c = &list[p[i].collection];
        c->log[c->n_log++] = p[i].seq;
    }
    buf_free(&places);
    return e;
}

enum err upstream_log_entry(struct upstream_db *u, int64_t seq, struct upstream_entry *out, struct errmsg *em)
{
    bool has_row = false;
    enum err e = ERR_OK;
    if (u->entry == NULL)
        e = upstream_prepare(u,
                             "SELECT operation, id, vector, encoding, metadata FROM embeddings_queue WHERE seq_id = ?1",
                             &u->entry, em);
    if (e != ERR_OK) return e;
    (void)sqlite3_reset(u->entry);
    (void)sqlite3_bind_int64(u->entry, 1, seq);
    e = upstream_step(u, u->entry, &has_row, em);
    if (e != ERR_OK) return e;
    int operation = sqlite3_column_int(u->entry, 0);
    if (!has_row || operation < UPSTREAM_ADD || operation > UPSTREAM_DELETE)
        return errmsg_set(em, ERR_CORRUPT, UPSTREAM_FILE ": log entry %lld cannot be read", (long long)seq);
    struct upstream_entry found = {.seq = seq,
                                   .operation = (enum upstream_operation)operation,
                                   .id = upstream_text(u->entry, 1),
                                   .is_int = str_eq(upstream_text(u->entry, 3), STR("INT32")),
                                   .metadata = upstream_text(u->entry, 4)};
    if (sqlite3_column_type(u->entry, 2) != SQLITE_NULL) {
        const void *p = sqlite3_column_blob(u->entry, 2); /* NULL for a blob of no bytes */
        if (p != NULL) found.vector = (struct bytes){p, (size_t)sqlite3_column_bytes(u->entry, 2)};
    }
    *out = found;
    return ERR_OK;
}

enum err upstream_entry_vector(const struct upstream_entry *e, struct buf *floats, uint32_t *dim, struct errmsg *em)
{
    const char *p = e->vector.p;
    size_t n = e->vector.n / sizeof(float);
    if (n == 0 || e->vector.n % sizeof(float) != 0 || n > UINT32_MAX)
        return errmsg_set(em, ERR_CORRUPT, "log entry %lld: a vector of %zu bytes", (long long)e->seq, e->vector.n);
    if (!e->is_int) {
        buf_add(floats, p, e->vector.n);
    } else {
        for (size_t i = 0; i < n; i++) {
            float f = (float)(int32_t)le32_get(p + i * sizeof f);
            buf_add(floats, &f, sizeof f);
        }
    }
    if (floats->err != ERR_OK) return errmsg_set(em, floats->err, "a vector");
    *dim = (uint32_t)n;
    return ERR_OK;
}
