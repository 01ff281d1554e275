/* migrate_records.c - see migrate_internal.h: the records of one collection.
 *
 * HAPPY PATH  the metadata segment's rows, in order, are added with their vectors (upstream_vectors.h); then the log
 *             entries behind the segment are written as what they are: adds, updates, upserts, deletes, which mean
 *             the same here. Rows gather in a batch (core/batch.h); a full batch goes the way of a request's:
 *             dimension, schema, log.
 * FAILURE     a record that cannot be brought is told by name and left out. Damage of the source ends the collection
 *             with what was read before it. A failure of the store ends the migration.
 * ORDER       batches are submitted one after the other, each when the former is durable, so records keep upstream's
 *             order.
 */
#include <math.h>
#include <pthread.h>
#include <time.h>

#include "api/collections.h"
#include "api/migrate_internal.h"
#include "api/upstream_vectors.h"
#include "core/clock.h"
#include "core/mem.h"
#include "core/utf8.h"

enum { BATCH_ROWS = 2000, BATCH_BYTES = 8 << 20, BUSY_TRIES = 120 };

struct bringer {
    struct mover *m;
    const struct upstream_collection *c;
    const struct catalog_collection **col;
    struct upstream_vectors *vectors;
    uint32_t dim; /* of the vectors that fit; 0: not known yet */

    /* the batch */
    enum batch_kind kind;
    struct arena arena;
    struct buf ids, documents, uris; /* struct str */
    struct buf metas;                /* struct bytes */
    struct buf floats, present;      /* u8 a row */
    uint32_t n, n_vectors;
    size_t bytes;

    uint64_t n_told, n_unit, n_written;
};

/* --- telling ----------------------------------------------------------------------------------------------------- */

static void lose(struct bringer *b, struct str id, const char *why)
{
    size_t n = id.n < 300 ? id.n : 300;
    while (n > 0 && n < id.n && (id.p[n] & 0xc0) == 0x80) n--; /* not within a character */
    migrate_tell(b->m, MIGRATE_PROBLEM, "collection " STR_FMT ", record '" STR_FMT "': %s", STR_ARG(b->c->name),
                 STR_ARG(str_of(id.p != NULL ? id.p : "", n)), why);
}

static void say_progress(struct bringer *b)
{
    static const uint64_t EVERY_NS = 2000000000;
    uint64_t now = clock_monotonic_ns();
    if (now - b->m->told_ns < EVERY_NS) return;
    b->m->told_ns = now;
    migrate_tell(b->m, MIGRATE_PROGRESS, "collection " STR_FMT ": %llu rows so far", STR_ARG(b->c->name),
                 (unsigned long long)b->n_written);
}

/* --- one batch into the store ------------------------------------------------------------------------------------ */

struct waiting {
    struct store_write write; /* first */
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool is_done;
    enum err err;
};

static void write_done(struct store_write *w, enum err e)
{
    struct waiting *p = (struct waiting *)(void *)w;
    (void)pthread_mutex_lock(&p->mu);
    p->is_done = true;
    p->err = e;
    (void)pthread_cond_signal(&p->cond); /* under the lock: the waiter's frame is gone as soon as it has it */
    (void)pthread_mutex_unlock(&p->mu);
}

/* Takes the block over. A store that is busy flushing is waited for. */
static enum err write_block(struct bringer *b, struct bytes block)
{
    struct waiting w = {.write = {.collection = catalog_collection_ref(*b->col), .block = block, .done = write_done}};
    const struct timespec pause = {.tv_nsec = 100000000};
    enum err e = ERR_BUSY;
    (void)pthread_mutex_init(&w.mu, NULL);
    (void)pthread_cond_init(&w.cond, NULL);
    for (int i = 0; i < BUSY_TRIES && e == ERR_BUSY; i++) {
        if (i > 0) (void)nanosleep(&pause, NULL);
        e = store_submit(b->m->store, &w.write);
    }
    if (e == ERR_OK) {
        (void)pthread_mutex_lock(&w.mu);
        while (!w.is_done) (void)pthread_cond_wait(&w.cond, &w.mu);
        (void)pthread_mutex_unlock(&w.mu);
        e = w.err;
    } else {
        mem_free((void *)(uintptr_t)block.p); /* it was built here: the constness is for its readers */
        catalog_collection_unref(*b->col);
    }
    (void)pthread_mutex_destroy(&w.mu);
    (void)pthread_cond_destroy(&w.cond);
    return e;
}

/* The schema's keys, where the source had no schema. The store has a newer state of the collection afterwards. */
static void learn(struct bringer *b, struct bytes block)
{
    struct catalog *catalog = store_catalog(b->m->store);
    schema_learn_block(catalog, NULL, &b->arena, *b->col, block);
    const struct catalog_collection *now = catalog_collection_by_number(catalog, (*b->col)->number);
    if (now == NULL) return;
    catalog_collection_unref(*b->col);
    *b->col = now;
}

static void clear(struct bringer *b)
{
    b->ids.n = b->documents.n = b->uris.n = b->metas.n = b->floats.n = b->present.n = 0;
    b->n = b->n_vectors = 0;
    b->bytes = 0;
    arena_free(&b->arena);
}

static enum err flush(struct bringer *b, struct errmsg *em)
{
    struct bytes block;
    uint32_t fixed = 0;
    if (b->n == 0) return ERR_OK;
    const struct batch_input in = {
        .kind = b->kind,
        .n_rows = b->n,
        .dim = b->n_vectors > 0 ? b->dim : 0,
        .ids = (const struct str *)(const void *)b->ids.p,
        .vectors = b->n_vectors > 0 ? (const float *)(const void *)b->floats.p : NULL,
        .has_vector = b->n_vectors > 0 ? (const uint8_t *)b->present.p : NULL,
        .documents = (const struct str *)(const void *)b->documents.p,
        .uris = (const struct str *)(const void *)b->uris.p,
        .metas = (const struct bytes *)(const void *)b->metas.p,
    };
    enum err e = batch_build(&in, &block, em);
    if (e == ERR_OK && in.dim != 0) {
        collection_reserve_dim(store_collection(*b->col), in.dim, &fixed);
        CHECK(fixed == in.dim && "the collection is this migration's alone");
    }
    if (e == ERR_OK) {
        learn(b, block);
        e = write_block(b, block);
        if (e != ERR_OK) (void)errmsg_set(em, e, "write to the new directory: %s", err_text(e));
    }
    b->m->has_store_failed = e != ERR_OK;
    b->n_written += b->n;
    clear(b);
    if (e == ERR_OK) say_progress(b);
    return e;
}

/* --- one row into the batch -------------------------------------------------------------------------------------- */

static enum err no_memory(struct bringer *b, struct errmsg *em)
{
    b->m->has_store_failed = true;
    return errmsg_set(em, ERR_NOMEM, "out of memory");
}

/* A row whose vector (`floats` behind those of the batch, n_floats of them; 0: none) is there already. Texts are
 * copied. */
static enum err put_row(struct bringer *b, const struct upstream_record *r, uint32_t n_floats, struct errmsg *em)
{
    const uint8_t has_vector = n_floats > 0;
    struct str id = arena_str(&b->arena, r->id), meta = {NULL, 0}, document = {NULL, 0}, uri = {NULL, 0};
    if (r->document.p != NULL) document = arena_str(&b->arena, r->document);
    if (r->uri.p != NULL) uri = arena_str(&b->arena, r->uri);
    if (r->meta.n > 0) meta = arena_str(&b->arena, str_of(r->meta.p, r->meta.n));
    if (id.p == NULL || (r->document.p != NULL && document.p == NULL) || (r->uri.p != NULL && uri.p == NULL) ||
        (r->meta.n > 0 && meta.p == NULL))
        return no_memory(b, em);
    const struct bytes packed = {meta.p, meta.n};
    buf_add(&b->ids, &id, sizeof id);
    buf_add(&b->documents, &document, sizeof document);
    buf_add(&b->uris, &uri, sizeof uri);
    buf_add(&b->metas, &packed, sizeof packed);
    buf_add(&b->present, &has_vector, 1);
    if (b->ids.err != ERR_OK || b->documents.err != ERR_OK || b->uris.err != ERR_OK || b->metas.err != ERR_OK ||
        b->present.err != ERR_OK || b->floats.err != ERR_OK)
        return no_memory(b, em);
    b->n++;
    b->n_vectors += has_vector;
    b->bytes += id.n + document.n + uri.n + meta.n + n_floats * sizeof(float);
    return b->n == BATCH_ROWS || b->bytes >= BATCH_BYTES ? flush(b, em) : ERR_OK;
}

/* What is wrong with the vector that was appended last, n_floats long; NULL: nothing. It is taken back then. */
static const char *check_vector(struct bringer *b, uint32_t n_floats)
{
    const char *fault = NULL;
    const float *v = (const float *)(const void *)b->floats.p + b->floats.n / sizeof(float) - n_floats;
    if (b->dim == 0) b->dim = n_floats;
    if (n_floats != b->dim) fault = "its embedding has another dimension than the collection";
    for (uint32_t i = 0; i < n_floats && fault == NULL; i++)
        if (!isfinite(v[i])) fault = "its embedding has a number that is not finite";
    if (fault != NULL) b->floats.n -= n_floats * sizeof(float);
    return fault;
}

static const char *check_record(const struct upstream_record *r)
{
    if (r->id.n == 0) return "its id is empty";
    if (!utf8_is_valid(r->id)) return "its id is no UTF-8";
    if (r->meta.n > 0 && !meta_validate(r->meta, true)) return "its metadata are damaged";
    return NULL;
}

/* --- the segment's rows ------------------------------------------------------------------------------------------ */

/* Only when the index is ahead of the metadata: a record that it has no more may be deleted by what follows. */
static bool is_deleted_later(struct bringer *b, struct str id)
{
    struct upstream_entry w;
    if (b->c->vector_seq <= b->c->metadata_seq) return false;
    for (uint32_t i = 0; i < b->c->n_log; i++) {
        if (b->c->log[i] <= b->c->metadata_seq) continue;
        if (upstream_log_entry(&b->m->db, b->c->log[i], &w, NULL) != ERR_OK) return false;
        if (w.operation == UPSTREAM_DELETE && str_eq(w.id, id)) return true;
    }
    return false;
}

static enum err bring_record(void *ctx, const struct upstream_record *r, struct errmsg *em)
{
    struct bringer *b = ctx;
    uint32_t n = 0;
    enum upstream_origin origin;
    const char *fault = check_record(r);
    if (fault != NULL) {
        lose(b, r->id, fault);
        return ERR_OK;
    }
    struct errmsg why = {{0}};
    enum err e = upstream_vectors_get(b->vectors, r->id, &b->floats, &n, &origin, &why);
    if (e == ERR_CORRUPT) {
        lose(b, r->id, why.text);
        return ERR_OK;
    }
    if (e != ERR_OK) return errmsg_set(em, e, "%s", why.text);
    if (origin == UPSTREAM_NOWHERE) {
        if (!is_deleted_later(b, r->id)) lose(b, r->id, "upstream has no embedding for it any more");
        return ERR_OK;
    }
    fault = check_vector(b, n);
    if (fault != NULL) {
        lose(b, r->id, fault);
        return ERR_OK;
    }
    if (r->fault != NULL) lose(b, r->id, r->fault);
    if (origin == UPSTREAM_DISPUTED)
        lose(b, r->id, "its embedding in the log and in the index are not the same: that of the log was taken");
    b->n_unit += origin == UPSTREAM_UNIT;
    return put_row(b, r, n, em);
}

/* --- the log behind the segment ---------------------------------------------------------------------------------- */

static bool is_member(struct str key, const char *name, enum value_type type)
{
    return (type == VALUE_STR || type == VALUE_NULL) && str_eq(key, str_from_c(name));
}

/* The packed metadata of an entry without what stands for document and uri, and, in an add, without nulls. A null for a
 * document means that nothing is said about it. */
static enum err split_metadata(struct bringer *b, bool keeps_nulls, struct str packed, struct upstream_record *r)
{
    struct buf rest = {0};
    struct meta_entry e;
    struct value v;
    for (struct meta_iter it = meta_iter((struct bytes){packed.p, packed.n}); meta_next(&it, &e);) {
        bool is_document = is_member(e.key, "chroma:document", e.type);
        bool is_uri = is_member(e.key, "chroma:uri", e.type);
        if ((is_document || is_uri) && e.type == VALUE_STR && meta_value(&e, &b->arena, &v))
            *(is_document ? &r->document : &r->uri) = v.s;
        else if (!is_document && !is_uri && (keeps_nulls || e.type != VALUE_NULL))
            meta_put_raw(&rest, &e);
    }
    enum err err = rest.err;
    struct str kept = err == ERR_OK ? arena_str(&b->arena, buf_view(&rest)) : (struct str){NULL, 0};
    buf_free(&rest);
    if (kept.p == NULL) return ERR_NOMEM;
    r->meta = (struct bytes){kept.p, kept.n};
    return ERR_OK;
}

/* *fault: what is wrong with the entry's metadata; they are left out then. */
static enum err read_metadata(struct bringer *b, const struct upstream_entry *w, struct upstream_record *r,
                              const char **fault)
{
    struct buf packed = {0};
    bool is_bad = false;
    struct json_reader *j = arena_alloc(&b->arena, sizeof *j);
    struct str copy = arena_str(&b->arena, w->metadata); /* views of the reader outlive the statement's row */
    if (j == NULL || copy.p == NULL) return ERR_NOMEM;
    json_reader_init(j, copy, &b->arena);
    bool ok = parse_record_metadata(j, true, &packed, &is_bad) && json_finish(j);
    enum err e = !ok && j->err == ERR_NOMEM ? ERR_NOMEM : packed.err;
    struct str kept = arena_str(&b->arena, buf_view(&packed));
    buf_free(&packed);
    if (e == ERR_OK && kept.p == NULL) e = ERR_NOMEM;
    if (e != ERR_OK) return e;
    if (!ok || is_bad) {
        *fault = "its metadata in the log cannot be read";
        return ERR_OK;
    }
    return split_metadata(b, w->operation != UPSTREAM_ADD, kept, r);
}

static enum err switch_to(struct bringer *b, enum batch_kind kind, struct errmsg *em)
{
    enum err e = b->kind != kind ? flush(b, em) : ERR_OK;
    b->kind = kind;
    return e;
}

static enum err bring_entry(struct bringer *b, const struct upstream_entry *w, struct errmsg *em)
{
    static const enum batch_kind kinds[] = {[UPSTREAM_ADD] = BATCH_ADD,
                                            [UPSTREAM_UPDATE] = BATCH_UPDATE,
                                            [UPSTREAM_UPSERT] = BATCH_UPSERT,
                                            [UPSTREAM_DELETE] = BATCH_DELETE};
    struct upstream_record r = {.id = w->id};
    uint32_t n = 0;
    bool needs_vector = w->operation == UPSTREAM_ADD || w->operation == UPSTREAM_UPSERT;
    enum err e = switch_to(b, kinds[w->operation], em);
    if (e != ERR_OK) return e;
    const char *fault = check_record(&r);
    if (fault == NULL && w->vector.p == NULL && needs_vector) fault = "it is written without an embedding";
    if (fault != NULL) {
        lose(b, w->id, fault);
        return ERR_OK;
    }
    if (w->operation == UPSTREAM_DELETE) return put_row(b, &r, 0, em);
    if (w->metadata.p != NULL) e = read_metadata(b, w, &r, &fault);
    if (e != ERR_OK) return no_memory(b, em);
    if (fault != NULL) lose(b, w->id, fault);
    if (w->vector.p != NULL) {
        struct errmsg why = {{0}};
        e = upstream_entry_vector(w, &b->floats, &n, &why);
        if (e == ERR_NOMEM) return no_memory(b, em);
        fault = e == ERR_OK ? check_vector(b, n) : why.text;
        if (fault != NULL) {
            lose(b, w->id, fault);
            return ERR_OK;
        }
    }
    return put_row(b, &r, n, em);
}

static enum err bring_log(struct bringer *b, struct errmsg *em)
{
    const struct upstream_collection *c = b->c;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < c->n_log && e == ERR_OK; i++) {
        struct upstream_entry w;
        if (c->log[i] <= c->metadata_seq) continue;
        e = upstream_log_entry(&b->m->db, c->log[i], &w, em);
        if (e == ERR_OK) e = bring_entry(b, &w, em);
    }
    return e;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

/* A collection whose records are all deleted keeps its dimension: an update of a record that is not there says it. */
static enum err keep_dimension(struct bringer *b, struct errmsg *em)
{
    const struct upstream_record nobody = {.id = STR("nobody")};
    uint32_t dim = b->c->dimension;
    if (dim == 0 || collection_dim(store_collection(*b->col)) != 0) return ERR_OK;
    enum err e = switch_to(b, BATCH_UPDATE, em);
    if (e != ERR_OK) return e;
    b->dim = dim;
    buf_zero(&b->floats, dim * sizeof(float));
    e = put_row(b, &nobody, dim, em);
    return e == ERR_OK ? flush(b, em) : e;
}

enum err migrate_records(struct mover *m, const struct upstream_collection *c, const struct catalog_collection **col,
                         struct errmsg *em)
{
    struct bringer b = {.m = m, .c = c, .col = col, .dim = c->dimension, .kind = BATCH_ADD};
    struct arena names = {0}; /* ids of the table of vectors */
    const struct upstream_vectors_in in = {&m->db, m->vfs, m->o->from, c, (enum space)(*col)->space};
    struct str index_fault;
    enum err e = upstream_vectors_open(&b.vectors, &in, &names, &index_fault, em);
    if (e == ERR_OK && index_fault.p != NULL)
        migrate_tell(m, MIGRATE_PROBLEM,
                     "collection " STR_FMT ": its index cannot be read (" STR_FMT "): embeddings come "
                     "from the log, as far as it has them",
                     STR_ARG(c->name), STR_ARG(index_fault));
    if (c->metadata_segment.p == NULL)
        migrate_tell(m, MIGRATE_PROBLEM, "collection " STR_FMT ": the database does not say where its records are",
                     STR_ARG(c->name));
    if (e == ERR_OK && c->metadata_segment.p != NULL)
        e = upstream_each_record(&m->db, c->metadata_segment, bring_record, &b, em);
    if (e == ERR_OK) e = bring_log(&b, em);
    if (!m->has_store_failed) { /* also what was read before the source turned out to be damaged */
        struct errmsg other = {{0}};
        enum err flushed = flush(&b, &other);
        if (flushed == ERR_OK) flushed = keep_dimension(&b, &other);
        if (flushed != ERR_OK) e = errmsg_set(em, flushed, "%s", other.text);
    }
    if (b.n_unit > 0)
        migrate_tell(m, MIGRATE_NOTE,
                     "collection " STR_FMT
                     ": %llu embeddings have the length 1: upstream's index divides by the length "
                     "under cosine, and its log no longer has them as they were sent",
                     STR_ARG(c->name), (unsigned long long)b.n_unit);
    clear(&b);
    upstream_vectors_close(b.vectors);
    buf_free(&b.ids);
    buf_free(&b.documents);
    buf_free(&b.uris);
    buf_free(&b.metas);
    buf_free(&b.floats);
    buf_free(&b.present);
    arena_free(&names);
    return e;
}
