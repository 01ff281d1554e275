/* fragment_finish.c - the second half of writing a fragment: everything behind the vectors.
 *
 * HAPPY PATH  the columns are written one after the other, each from its spill, which is dropped at once; then the
 *             file so far is mapped, because the id hash compares ids and the codes need all vectors; then the
 *             indexes; the header last, so that a file cut short has none; one sync.
 * FAILURE     every error of a sink is sticky, so it is asked once, before the header.
 */
#include "core/crc32c.h"
#include "core/mem.h"
#include "index/fragment_write_internal.h"

static void begin_section(struct fragment_writer *w)
{
    sink_begin(&w->sink, FRAGMENT_ALIGN);
}

/* The section that was begun last becomes an entry of the table. */
static void end_section(struct fragment_writer *w, enum section_type type)
{
    CHECK(w->header.n_sections < FRAGMENT_SECTIONS_MAX && "room in the section table");
    w->header.sections[w->header.n_sections++] = (struct fragment_section){
        .type = (uint32_t)type,
        .crc = sink_crc(&w->sink),
        .offset = w->sink.section,
        .length = sink_at(&w->sink),
    };
}

static void write_fixed(struct fragment_writer *w)
{
    begin_section(w);
    for (uint32_t i = 0; i < w->n_rows; i++) sink_u64(&w->sink, w->rows[i].ordinal);
    end_section(w, SECTION_ORDINALS);
    begin_section(w);
    for (uint32_t i = 0; i < w->n_rows; i++) sink_u64(&w->sink, w->rows[i].born);
    end_section(w, SECTION_BORN);
    begin_section(w);
    for (uint32_t i = 0; i < w->n_rows; i++) sink_add(&w->sink, &w->rows[i].norm2, sizeof(float));
    end_section(w, SECTION_NORMS);
}

/* offsets[n + 1], taken from the member of the rows at `field`. */
static void write_offsets(struct fragment_writer *w, size_t field, uint32_t width)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i <= w->n_rows; i++) {
        sink_add(&w->sink, &end, width); /* little-endian: the low bytes come first */
        if (i < w->n_rows) memcpy(&end, (const char *)&w->rows[i] + field, sizeof end);
    }
    sink_align(&w->sink, 8);
}

static void write_present(struct fragment_writer *w, uint32_t flag)
{
    for (uint32_t i = 0; i < w->n_rows; i += 64) {
        uint64_t word = 0;
        for (uint32_t k = 0; k < 64 && i + k < w->n_rows; k++)
            if ((w->rows[i + k].flags & flag) != 0) word |= UINT64_C(1) << k;
        sink_u64(&w->sink, word);
    }
}

static uint32_t width_for(uint64_t bytes)
{
    return bytes <= UINT32_MAX ? 4 : 8;
}

/* How many rows have the flag. */
static uint32_t count_present(const struct fragment_writer *w, uint32_t flag)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n_rows; i++) n += (w->rows[i].flags & flag) != 0;
    return n;
}

/* One column from its spill. flag 0: every row has a value. */
static enum err write_column(struct fragment_writer *w, enum section_type type, struct spill *spill, size_t field,
                             uint32_t flag, struct errmsg *em)
{
    struct bytes heap;
    enum err e = spill_view(spill, &heap, em);
    if (e != ERR_OK) return e;
    struct column_header h = {
        .width = width_for(heap.n),
        .has_present = flag != 0 && count_present(w, flag) < w->n_rows,
        .heap_bytes = heap.n,
    };
    begin_section(w);
    sink_add(&w->sink, &h, sizeof h);
    write_offsets(w, field, h.width);
    if (h.has_present) write_present(w, flag);
    sink_add(&w->sink, heap.p, heap.n);
    end_section(w, type);
    spill_deinit(spill);
    return w->sink.err;
}

static enum err write_documents(struct fragment_writer *w, struct errmsg *em)
{
    struct docs_writer *d = &w->docs;
    struct bytes stored;
    enum err e = docs_writer_finish(d, em);
    if (e == ERR_OK) e = spill_view(&d->stored, &stored, em);
    if (e != ERR_OK) return e;
    struct docs_header h = {
        .width = width_for(d->text_bytes),
        .has_present = count_present(w, PENDING_DOCUMENT) < w->n_rows,
        .text_bytes = d->text_bytes,
        .stored_bytes = stored.n,
        .n_blocks = d->n_blocks,
    };
    begin_section(w);
    sink_add(&w->sink, &h, sizeof h);
    write_offsets(w, offsetof(struct pending_row, document_end), h.width);
    if (h.has_present) write_present(w, PENDING_DOCUMENT);
    sink_add(&w->sink, d->blocks, d->n_blocks * sizeof *d->blocks);
    sink_add(&w->sink, stored.p, stored.n);
    end_section(w, SECTION_DOCUMENTS);
    docs_writer_deinit(d);
    return w->sink.err;
}

static enum err write_columns(struct fragment_writer *w, struct errmsg *em)
{
    enum err e = write_column(w, SECTION_IDS, &w->ids, offsetof(struct pending_row, id_end), 0, em);
    if (e == ERR_OK && count_present(w, PENDING_URI) > 0)
        e = write_column(w, SECTION_URIS, &w->uris, offsetof(struct pending_row, uri_end), PENDING_URI, em);
    if (e == ERR_OK && spill_size(&w->metas) > 0)
        e = write_column(w, SECTION_META, &w->metas, offsetof(struct pending_row, meta_end), 0, em);
    if (e == ERR_OK && count_present(w, PENDING_DOCUMENT) > 0) e = write_documents(w, em);
    return e;
}

/* The ids as they lie in the mapped file. */
static struct column written_ids(const struct fragment_writer *w, struct bytes map)
{
    const struct fragment_section *s = w->header.sections;
    while (s->type != SECTION_IDS) s++;
    const uint8_t *at = (const uint8_t *)map.p + s->offset;
    uint32_t width = le32_get(at);
    uint64_t heap_bytes = le64_get(at + offsetof(struct column_header, heap_bytes));
    return (struct column){
        .offsets = at + sizeof(struct column_header),
        .width = width,
        .heap = at + (s->length - heap_bytes),
        .heap_bytes = heap_bytes,
    };
}

static enum err write_id_hash(struct fragment_writer *w, struct bytes map, struct errmsg *em)
{
    uint32_t n_slots = id_hash_slots(w->n_rows);
    uint32_t *slots = mem_array(n_slots, sizeof *slots);
    uint64_t *hashes = mem_array(w->n_rows, sizeof *hashes);
    struct column ids = written_ids(w, map);
    enum err e = ERR_NOMEM;
    if (slots == NULL || hashes == NULL) {
        (void)errmsg_set(em, e, "the id hash of %u rows", w->n_rows);
        goto out;
    }
    for (uint32_t i = 0; i < w->n_rows; i++) hashes[i] = w->rows[i].id_hash;
    e = id_hash_build(slots, n_slots, hashes, &ids, w->n_rows, em);
    if (e != ERR_OK) goto out;
    begin_section(w);
    sink_add(&w->sink, slots, (size_t)n_slots * sizeof *slots);
    end_section(w, SECTION_ID_HASH);
out:
    mem_free(slots);
    mem_free(hashes);
    return e;
}

static enum err write_codes(struct fragment_writer *w, struct bytes map, struct errmsg *em)
{
    struct buf codes = {0};
    const float *rows = (const void *)((const char *)map.p + FRAGMENT_HEADER_BYTES);
    enum err e = codes_build(rows, w->n_rows, w->o.dim, w->o.space, FRAGMENT_CODES_SEED, &codes, em);
    if (e == ERR_OK && codes.err != ERR_OK) e = errmsg_set(em, codes.err, "vector codes");
    if (e == ERR_OK && codes.n > 0) {
        begin_section(w);
        sink_add(&w->sink, codes.p, codes.n);
        end_section(w, SECTION_CODES);
    }
    buf_free(&codes);
    return e;
}

static enum err write_derived(struct fragment_writer *w, struct errmsg *em)
{
    struct bytes map;
    enum err e = sink_flush(&w->sink, em);
    if (e == ERR_OK) e = w->vfs->map(w->file, &map, em);
    if (e != ERR_OK) return e;
    e = write_id_hash(w, map, em);
    mem_free(w->rows);
    w->rows = NULL;
    if (e == ERR_OK && w->n_rows > 0) e = write_codes(w, map, em);
    w->vfs->unmap(w->vfs->ctx, map);
    if (e != ERR_OK) return e;

    begin_section(w);
    if ((e = meta_index_builder_finish(w->meta_index, w->n_rows, &w->sink, em)) != ERR_OK) return e;
    end_section(w, SECTION_META_INDEX);
    meta_index_builder_free(w->meta_index);
    w->meta_index = NULL;
    begin_section(w);
    if ((e = text_index_builder_finish(w->text_index, w->n_rows, &w->sink, em)) != ERR_OK) return e;
    end_section(w, SECTION_TEXT_INDEX);
    text_index_builder_free(w->text_index);
    w->text_index = NULL;
    begin_section(w);
    if ((e = sparse_lists_builder_finish(w->sparse_lists, w->n_rows, &w->sink, em)) != ERR_OK) return e;
    end_section(w, SECTION_SPARSE_LISTS);
    sparse_lists_builder_free(w->sparse_lists);
    w->sparse_lists = NULL;
    return ERR_OK;
}

static enum err write_header(struct fragment_writer *w, struct errmsg *em)
{
    struct fragment_header *h = &w->header;
    memcpy(h->magic, FRAGMENT_MAGIC, sizeof h->magic);
    h->version = FRAGMENT_VERSION;
    h->fragment_id = w->o.fragment_id;
    h->n_rows = w->n_rows;
    h->dim = w->o.dim;
    h->space = (uint32_t)w->o.space;
    h->hash_seed = w->hash_seed;
    h->file_bytes = w->sink.flushed;
    h->crc = crc32c(0, h, offsetof(struct fragment_header, crc));
    return w->vfs->pwrite(w->file, h, sizeof *h, 0, em);
}

enum err fragment_writer_finish(struct fragment_writer *w, struct errmsg *em)
{
    CHECK(!w->is_finished && "finish once");
    w->is_finished = true;
    end_section(w, SECTION_VECTORS);
    write_fixed(w);
    enum err e = write_columns(w, em);
    if (e == ERR_OK) e = write_derived(w, em);
    if (w->sink.err != ERR_OK) e = sink_flush(&w->sink, em); /* tells why; no write follows a failed one */
    if (e == ERR_OK) e = sink_flush(&w->sink, em);
    if (e == ERR_OK) e = write_header(w, em);
    if (e == ERR_OK) e = w->vfs->sync(w->file, false, em);
    if (e != ERR_OK) errmsg_wrap(em, "%s", w->path);
    return e;
}
