/* fragment_docs_write.c - documents on their way into a fragment: gathered to blocks, compressed where it pays.
 *
 * A block is closed once it holds 16 KiB of text. Small documents stay raw, since a reader that wants one of them
 * would pay for the whole block; so do blocks that compression makes less than an eighth smaller. Raw blocks that
 * follow one another are one block in the directory.
 */
#include "core/mem.h"
#include "index/fragment_write_internal.h"

enum err docs_writer_init(struct docs_writer *d, const struct vfs *vfs, const char *path, struct errmsg *em)
{
    return spill_init(&d->stored, vfs, path, ".documents.tmp", em);
}

void docs_writer_deinit(struct docs_writer *d)
{
    spill_deinit(&d->stored);
    buf_free(&d->text);
    buf_free(&d->packed);
    mem_free(d->blocks);
    (void)ZSTD_freeCCtx(d->ctx);
    *d = (struct docs_writer){0};
}

/* Compresses the block at hand into d->packed; *is_smaller says whether that is worth it. */
static enum err pack(struct docs_writer *d, bool *is_smaller, struct errmsg *em)
{
    if (d->ctx == NULL) d->ctx = ZSTD_createCCtx();
    size_t bound = ZSTD_compressBound(d->text.n);
    d->packed.n = 0;
    char *to = d->ctx != NULL && !ZSTD_isError(bound) ? buf_room(&d->packed, bound) : NULL;
    if (to == NULL) return errmsg_set(em, ERR_NOMEM, "compress %zu bytes of documents", d->text.n);
    size_t n = ZSTD_compressCCtx(d->ctx, to, bound, d->text.p, d->text.n, DOCS_ZSTD_LEVEL);
    if (ZSTD_isError(n)) return errmsg_set(em, ERR_INTERNAL, "compress documents: %s", ZSTD_getErrorName(n));
    d->packed.n = n;
    *is_smaller = n < d->text.n - d->text.n / 8;
    return ERR_OK;
}

static enum err close_block(struct docs_writer *d, struct errmsg *em)
{
    bool is_packed = false;
    size_t n = d->text.n;
    if (n / DOCS_RAW_BELOW >= d->n_in_block) {
        enum err e = pack(d, &is_packed, em);
        if (e != ERR_OK) return e;
    }
    struct docs_block *last = d->n_blocks > 0 ? &d->blocks[d->n_blocks - 1] : NULL;
    if (!is_packed && last != NULL && last->codec == DOCS_RAW) {
        last->stored_n += n;
    } else {
        if (d->n_blocks == d->cap_blocks) {
            size_t cap = d->cap_blocks > 0 ? d->cap_blocks * 2 : 16;
            struct docs_block *blocks = mem_resize(d->blocks, cap * sizeof *blocks);
            if (blocks == NULL) return errmsg_set(em, ERR_NOMEM, "%zu blocks of documents", cap);
            d->blocks = blocks;
            d->cap_blocks = cap;
        }
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): cap > n */
        d->blocks[d->n_blocks++] = (struct docs_block){
            .text_at = d->text_bytes - n,
            .stored_at = spill_size(&d->stored),
            .stored_n = is_packed ? d->packed.n : n,
            .codec = is_packed ? DOCS_ZSTD : DOCS_RAW,
        };
    }
    if (is_packed)
        spill_add(&d->stored, d->packed.p, d->packed.n);
    else
        spill_add(&d->stored, d->text.p, n);
    d->text.n = 0;
    d->n_in_block = 0;
    return ERR_OK;
}

enum err docs_writer_add(struct docs_writer *d, struct str document, struct errmsg *em)
{
    buf_str(&d->text, document);
    if (d->text.err != ERR_OK) return errmsg_set(em, d->text.err, "a document of %zu bytes", document.n);
    d->text_bytes += document.n;
    if (document.n > 0) d->n_in_block++;
    return d->text.n >= DOCS_BLOCK_BYTES ? close_block(d, em) : ERR_OK;
}

enum err docs_writer_finish(struct docs_writer *d, struct errmsg *em)
{
    return d->text.n > 0 ? close_block(d, em) : ERR_OK;
}
