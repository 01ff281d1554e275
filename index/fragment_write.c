/* fragment_write.c - rows on their way into a fragment.
 *
 * HAPPY PATH  new: the file is made, the header's page left free; the vectors section begins. add: the vector goes to
 *             the file, the rest waits (fragment_write_internal.h). finish: fragment_finish.c.
 * FAILURE     any error leaves the writer useless and the file without a valid header; the caller removes it. Temporary
 *             files go with fragment_writer_free.
 * INVARIANTS  ordinals ascend strictly; ids differ (checked at the end, when the id hash is built).
 */
#include "core/distance.h"
#include "core/hash.h"
#include "core/mem.h"
#include "index/fragment_write_internal.h"

enum { ROWS_FIRST = 256 };

/* Never into a file that is there already: what an earlier failure left may be linked into a fork by now, and bytes
 * written to it would appear there. */
static enum err open_new(const struct vfs *vfs, const char *path, struct vfs_file **f, struct errmsg *em)
{
    enum err e = vfs->open(vfs->ctx, path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, f, em);
    if (e != ERR_EXISTS) return e;
    e = vfs->remove(vfs->ctx, path, em);
    return e == ERR_OK ? vfs->open(vfs->ctx, path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, f, em) : e;
}

enum err fragment_writer_new(struct fragment_writer **out, const struct vfs *vfs, const char *path,
                             const struct fragment_options *o, struct errmsg *em)
{
    struct fragment_writer *w = mem_zalloc(sizeof *w);
    if (w == NULL) return errmsg_set(em, ERR_NOMEM, "write a fragment");
    w->vfs = vfs;
    w->o = *o;
    random_bytes(&w->hash_seed, sizeof w->hash_seed);
    enum err e = ERR_NOMEM;
    w->path = mem_dup(path, strlen(path) + 1);
    if (w->path == NULL) {
        (void)errmsg_set(em, e, "write a fragment");
        goto fail;
    }
    if ((e = spill_init(&w->ids, vfs, path, ".ids.tmp", em)) != ERR_OK) goto fail;
    if ((e = spill_init(&w->uris, vfs, path, ".uris.tmp", em)) != ERR_OK) goto fail;
    if ((e = spill_init(&w->metas, vfs, path, ".meta.tmp", em)) != ERR_OK) goto fail;
    if ((e = docs_writer_init(&w->docs, vfs, path, em)) != ERR_OK) goto fail;
    if ((e = meta_index_builder_new(&w->meta_index, em)) != ERR_OK) goto fail;
    if ((e = text_index_builder_new(&w->text_index, vfs, path, em)) != ERR_OK) goto fail;
    if ((e = sparse_lists_builder_new(&w->sparse_lists, vfs, path, em)) != ERR_OK) goto fail;
    e = open_new(vfs, path, &w->file, em);
    if (e != ERR_OK) goto fail;
    if ((e = sink_init(&w->sink, vfs, w->file, FRAGMENT_HEADER_BYTES, em)) != ERR_OK) goto fail;
    sink_begin(&w->sink, FRAGMENT_ALIGN);
    *out = w;
    return ERR_OK;
fail:
    errmsg_wrap(em, "%s", path);
    fragment_writer_free(w);
    return e;
}

void fragment_writer_free(struct fragment_writer *w)
{
    if (w == NULL) return;
    spill_deinit(&w->ids);
    spill_deinit(&w->uris);
    spill_deinit(&w->metas);
    docs_writer_deinit(&w->docs);
    meta_index_builder_free(w->meta_index);
    text_index_builder_free(w->text_index);
    sparse_lists_builder_free(w->sparse_lists);
    sink_deinit(&w->sink);
    if (w->file != NULL) w->vfs->close(w->file);
    mem_free(w->rows);
    mem_free(w->path);
    mem_free(w);
}

static enum err reserve_row(struct fragment_writer *w, struct errmsg *em)
{
    if (w->n_rows == FRAGMENT_ROWS_MAX) return errmsg_set(em, ERR_TOO_LARGE, "a fragment of more than 2^30 rows");
    if (w->n_rows < w->cap_rows) return ERR_OK;
    uint32_t cap = w->cap_rows > 0 ? w->cap_rows + w->cap_rows / 2 : ROWS_FIRST;
    struct pending_row *rows = mem_resize(w->rows, (size_t)cap * sizeof *rows);
    if (rows == NULL) return errmsg_set(em, ERR_NOMEM, "a fragment of %u rows", cap);
    w->rows = rows;
    w->cap_rows = cap;
    return ERR_OK;
}

/* What the sinks of a row remember of failures, at once: a full disk ends a merge early. */
static enum err gathered(const struct fragment_writer *w, struct errmsg *em)
{
    const struct spill *spills[] = {&w->ids, &w->uris, &w->metas, &w->docs.stored};
    enum err e = w->sink.err;
    const struct errmsg *why = &w->sink.why;
    for (size_t i = 0; i < sizeof spills / sizeof spills[0] && e == ERR_OK; i++) {
        e = spills[i]->err;
        why = &spills[i]->why;
    }
    if (e != ERR_OK && em != NULL) *em = *why;
    return e;
}

enum err fragment_writer_add(struct fragment_writer *w, const struct row *row, uint64_t ordinal, uint64_t born,
                             struct errmsg *em)
{
    CHECK(!w->is_finished && "no rows after finish");
    CHECK((row->vector != NULL || w->o.dim == 0) && "every row has a vector");
    enum err e = reserve_row(w, em);
    if (e != ERR_OK) return e;
    uint32_t n = w->n_rows;
    /* rows come from other fragments too, and those may be damaged: no bug, so no CHECK */
    if (n > 0 && ordinal <= w->rows[n - 1].ordinal)
        return errmsg_set(em, ERR_CORRUPT, "row %u: ordinals do not ascend", n);
    sink_add(&w->sink, row->vector, (size_t)w->o.dim * sizeof(float));
    spill_add(&w->ids, row->id.p, row->id.n);
    if (row->uri.p != NULL) spill_add(&w->uris, row->uri.p, row->uri.n);
    if (row->meta.n > 0) {
        spill_add(&w->metas, row->meta.p, row->meta.n);
        if ((e = meta_index_builder_add(w->meta_index, n, row->meta, em)) != ERR_OK) return e; /* validates them */
        if ((e = sparse_lists_builder_add(w->sparse_lists, n, row->meta, em)) != ERR_OK) return e;
    }
    if (row->document.p != NULL) {
        if ((e = docs_writer_add(&w->docs, row->document, em)) != ERR_OK) return e;
        if ((e = text_index_builder_add(w->text_index, n, row->document, em)) != ERR_OK) return e;
    }
    w->rows[n] = (struct pending_row){
        .ordinal = ordinal,
        .born = born,
        .id_hash = hash_bytes(row->id.p, row->id.n, w->hash_seed),
        .id_end = spill_size(&w->ids),
        .uri_end = spill_size(&w->uris),
        .meta_end = spill_size(&w->metas),
        .document_end = w->docs.text_bytes,
        .norm2 = w->o.dim > 0 ? distance_ops()->dot(row->vector, row->vector, w->o.dim) : 0,
        .flags = (row->uri.p != NULL ? PENDING_URI : 0U) | (row->document.p != NULL ? PENDING_DOCUMENT : 0U),
    };
    w->n_rows++;
    return gathered(w, em);
}
