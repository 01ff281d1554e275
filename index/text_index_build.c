/* text_index_build.c - collects the trigrams of documents and writes them as a section, in bounded memory.
 *
 * HAPPY PATH  add: the distinct trigrams of the document (a bitmap of all 2^24 finds repetitions; it is cleared by
 *             walking the document again) become pairs (trigram, row). When RUN_PAIRS pairs are gathered they are
 *             sorted by trigram (two radix passes, stable, so rows stay ascending) and appended to the spill as a run:
 *             a record for each trigram with its rows as deltas. finish: the runs are merged. Rows of a later run are
 *             above those of an earlier one, so merging a trigram's rows is copying them, but for the first delta of
 *             each run.
 * MEMORY      16 bytes a pair of one run (64 MB at most), the bitmap (2 MB), 16 bytes a distinct trigram; the runs are
 *             mapped from the temporary file.
 * FAILURE     no memory, or the temporary file: the error is carried up and the builder useless.
 */
#include "core/mem.h"
#include "index/spill.h"
#include "index/text_index_internal.h"

enum {
    RUN_PAIRS = 4 << 20,
    PAIRS_FIRST = 4096,
    RADIX_BITS = 12,
    RADIX = 1 << RADIX_BITS,
    SEEN_WORDS = (1 << 24) / 64,
};

/* What precedes the deltas of one trigram in a run. */
struct run_record {
    uint32_t trigram, n_rows, last_row;
    uint32_t n_bytes;
};

struct run {
    uint64_t from, to; /* in the spill */
};

struct text_index_builder {
    uint64_t *seen;  /* bits: trigrams of the document at hand */
    uint64_t *pairs; /* trigram << 32 | row */
    size_t n_pairs, cap_pairs;
    struct spill spill;
    struct run *runs;
    size_t n_runs, cap_runs;
    struct buf deltas;
    struct buf shorts; /* u32 each: rows with a document too short for a trigram */
    uint32_t places[2][RADIX];
};

enum err text_index_builder_new(struct text_index_builder **out, const struct vfs *vfs, const char *path,
                                struct errmsg *em)
{
    struct text_index_builder *b = mem_zalloc(sizeof *b);
    if (b == NULL) return errmsg_set(em, ERR_NOMEM, "a text index");
    enum err e = spill_init(&b->spill, vfs, path, ".text.tmp", em);
    if (e != ERR_OK) {
        text_index_builder_free(b);
        return e;
    }
    *out = b;
    return ERR_OK;
}

void text_index_builder_free(struct text_index_builder *b)
{
    if (b == NULL) return;
    mem_free(b->seen);
    mem_free(b->pairs);
    mem_free(b->runs);
    buf_free(&b->deltas);
    buf_free(&b->shorts);
    spill_deinit(&b->spill);
    mem_free(b);
}

/* --- runs ------------------------------------------------------------------------------------------------------- */

static void radix_pass(const uint64_t *from, uint64_t *to, size_t n, unsigned shift, uint32_t places[RADIX])
{
    uint32_t sum = 0;
    memset(places, 0, RADIX * sizeof places[0]);
    for (size_t i = 0; i < n; i++) places[from[i] >> shift & (RADIX - 1)]++;
    for (int b = 0; b < RADIX; b++) {
        uint32_t count = places[b];
        places[b] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++) to[places[from[i] >> shift & (RADIX - 1)]++] = from[i];
}

/* Appends the rows of pairs [from, to), all of one trigram, as one record. */
static void add_record(struct text_index_builder *b, size_t from, size_t to)
{
    uint32_t before = 0;
    b->deltas.n = 0;
    for (size_t i = from; i < to; i++) {
        uint32_t row = (uint32_t)b->pairs[i];
        buf_varint(&b->deltas, row - before);
        before = row;
    }
    struct run_record record = {
        .trigram = (uint32_t)(b->pairs[from] >> 32),
        .n_rows = (uint32_t)(to - from),
        .last_row = before,
        .n_bytes = (uint32_t)b->deltas.n,
    };
    spill_add(&b->spill, &record, sizeof record);
    spill_add(&b->spill, b->deltas.p, b->deltas.n);
}

static enum err close_run(struct text_index_builder *b, struct errmsg *em)
{
    if (b->n_pairs == 0) return ERR_OK;
    if (b->n_runs == b->cap_runs) {
        size_t cap = b->cap_runs > 0 ? b->cap_runs * 2 : 4;
        struct run *runs = mem_resize(b->runs, cap * sizeof *runs);
        if (runs == NULL) return errmsg_set(em, ERR_NOMEM, "%zu runs of trigrams", cap);
        b->runs = runs;
        b->cap_runs = cap;
    }
    uint64_t *scratch = mem_alloc(b->n_pairs * sizeof *scratch);
    if (scratch == NULL) return errmsg_set(em, ERR_NOMEM, "sort %zu trigrams", b->n_pairs);
    radix_pass(b->pairs, scratch, b->n_pairs, 32, b->places[0]);
    radix_pass(scratch, b->pairs, b->n_pairs, 32 + RADIX_BITS, b->places[1]);
    mem_free(scratch);

    struct run *run = &b->runs[b->n_runs++];
    run->from = spill_size(&b->spill);
    for (size_t from = 0, to; from < b->n_pairs; from = to) {
        for (to = from; to < b->n_pairs && b->pairs[to] >> 32 == b->pairs[from] >> 32;) to++;
        add_record(b, from, to);
    }
    run->to = spill_size(&b->spill);
    b->n_pairs = 0;
    if (b->deltas.err != ERR_OK) return errmsg_set(em, b->deltas.err, "rows of a trigram");
    if (b->spill.err != ERR_OK && em != NULL) *em = b->spill.why;
    return b->spill.err;
}

static enum err push(struct text_index_builder *b, uint32_t trigram, uint32_t row, struct errmsg *em)
{
    if (b->n_pairs == RUN_PAIRS) {
        enum err e = close_run(b, em);
        if (e != ERR_OK) return e;
    }
    if (b->n_pairs == b->cap_pairs) {
        size_t cap = b->cap_pairs > 0 ? b->cap_pairs * 2 : PAIRS_FIRST;
        if (cap > RUN_PAIRS) cap = RUN_PAIRS;
        uint64_t *pairs = mem_resize(b->pairs, cap * sizeof *pairs);
        if (pairs == NULL) return errmsg_set(em, ERR_NOMEM, "%zu trigrams", cap);
        b->pairs = pairs;
        b->cap_pairs = cap;
    }
    b->pairs[b->n_pairs++] = (uint64_t)trigram << 32 | row;
    return ERR_OK;
}

enum err text_index_builder_add(struct text_index_builder *b, uint32_t row, struct str document, struct errmsg *em)
{
    if (document.n < 3) {
        if (document.n > 0) buf_u32(&b->shorts, row);
        return b->shorts.err == ERR_OK ? ERR_OK : errmsg_set(em, b->shorts.err, "rows of short documents");
    }
    if (b->seen == NULL) b->seen = mem_array(SEEN_WORDS, sizeof *b->seen);
    if (b->seen == NULL) return errmsg_set(em, ERR_NOMEM, "a text index");
    const uint8_t *text = (const uint8_t *)document.p;
    enum err e = ERR_OK;
    for (size_t i = 0; i + 3 <= document.n && e == ERR_OK; i++) {
        uint32_t trigram = trigram_at(text + i);
        uint64_t *word = &b->seen[trigram / 64], bit = UINT64_C(1) << (trigram % 64);
        if ((*word & bit) != 0) continue;
        *word |= bit;
        e = push(b, trigram, row, em);
    }
    for (size_t i = 0; i + 3 <= document.n; i++) b->seen[trigram_at(text + i) / 64] = 0;
    return e;
}

/* --- merging ---------------------------------------------------------------------------------------------------- */

/* Where a run is being read. */
struct cursor {
    const uint8_t *at, *end;
    struct run_record record; /* at `at`; trigram UINT32_MAX: the run is done */
};

static enum err cursor_load(struct cursor *c, struct errmsg *em)
{
    size_t left = (size_t)(c->end - c->at);
    c->record.trigram = UINT32_MAX;
    if (left == 0) return ERR_OK;
    if (left >= sizeof c->record) memcpy(&c->record, c->at, sizeof c->record);
    if (left < sizeof c->record || c->record.n_bytes > left - sizeof c->record)
        return errmsg_set(em, ERR_CORRUPT, "the temporary file of the text index is damaged");
    return ERR_OK;
}

static enum err cursor_next(struct cursor *c, struct errmsg *em)
{
    c->at += sizeof c->record + c->record.n_bytes;
    return cursor_load(c, em);
}

/* Reads a varint of at most 32 bits; NULL when it is cut off or longer. */
static const uint8_t *get_varint(const uint8_t *at, const uint8_t *end, uint32_t *v)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35 && at < end; shift += 7) {
        uint8_t byte = *at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte >= 0x80) continue;
        *v = (uint32_t)value;
        return value <= UINT32_MAX ? at : NULL;
    }
    return NULL;
}

/* Sets the rows of the record in the words, or writes them as deltas after row `before`. */
static enum err merge_record(const struct cursor *c, uint32_t before, uint64_t *words, uint32_t n_rows,
                             struct buf *deltas, struct errmsg *em)
{
    const uint8_t *at = c->at + sizeof c->record, *end = at + c->record.n_bytes;
    uint32_t row = 0, delta;
    if (words == NULL) {
        at = get_varint(at, end, &row);
        if (at == NULL) goto damaged;
        buf_varint(deltas, row - before);
        buf_add(deltas, at, (size_t)(end - at));
        return deltas->err == ERR_OK ? ERR_OK : errmsg_set(em, deltas->err, "rows of a trigram");
    }
    while (at < end) {
        at = get_varint(at, end, &delta);
        if (at == NULL || delta > UINT32_MAX - row || row + delta >= n_rows) goto damaged;
        row += delta;
        words[row / 64] |= UINT64_C(1) << (row % 64);
    }
    return ERR_OK;
damaged:
    return errmsg_set(em, ERR_CORRUPT, "the temporary file of the text index is damaged");
}

struct merge {
    struct cursor *cursors;
    size_t n_cursors;
    uint32_t n_rows;
    uint64_t *words; /* scratch: one bit a row */
    struct buf deltas;
    struct buf directory; /* struct text_trigram each */
    uint32_t n_trigrams;
    struct sink *out;
};

/* Writes the postings of one trigram from all runs that have it, and moves those on. */
static enum err merge_trigram(struct merge *m, uint32_t trigram, struct errmsg *em)
{
    uint64_t n_rows = 0, n_bytes = 0, bitmap_bytes = bitset_words(m->n_rows) * 8;
    for (size_t i = 0; i < m->n_cursors; i++) {
        if (m->cursors[i].record.trigram != trigram) continue;
        n_rows += m->cursors[i].record.n_rows;
        n_bytes += m->cursors[i].record.n_bytes;
    }
    bool is_bitmap = n_bytes > bitmap_bytes;
    struct text_trigram entry = {
        .key = trigram << 8 | (is_bitmap ? TEXT_BITMAP : TEXT_DELTAS),
        .n_rows = (uint32_t)n_rows,
        .at = sink_at(m->out),
    };
    uint32_t before = 0;
    m->deltas.n = 0;
    if (is_bitmap) memset(m->words, 0, bitmap_bytes);
    for (size_t i = 0; i < m->n_cursors; i++) {
        struct cursor *c = &m->cursors[i];
        if (c->record.trigram != trigram) continue;
        enum err e = merge_record(c, before, is_bitmap ? m->words : NULL, m->n_rows, &m->deltas, em);
        before = c->record.last_row;
        if (e == ERR_OK) e = cursor_next(c, em);
        if (e != ERR_OK) return e;
    }
    if (is_bitmap)
        sink_add(m->out, m->words, bitmap_bytes);
    else
        sink_add(m->out, m->deltas.p, m->deltas.n);
    buf_add(&m->directory, &entry, sizeof entry);
    m->n_trigrams++;
    return m->out->err;
}

static uint32_t lowest_trigram(const struct merge *m)
{
    uint32_t lowest = UINT32_MAX;
    for (size_t i = 0; i < m->n_cursors; i++)
        if (m->cursors[i].record.trigram < lowest) lowest = m->cursors[i].record.trigram;
    return lowest;
}

static enum err merge_runs(struct text_index_builder *b, struct merge *m, struct errmsg *em)
{
    struct bytes runs;
    enum err e = spill_view(&b->spill, &runs, em);
    if (e != ERR_OK) return e;
    for (size_t i = 0; i < m->n_cursors; i++) {
        m->cursors[i].at = (const uint8_t *)runs.p + b->runs[i].from;
        m->cursors[i].end = (const uint8_t *)runs.p + b->runs[i].to;
        if ((e = cursor_load(&m->cursors[i], em)) != ERR_OK) return e;
    }
    for (uint32_t trigram; (trigram = lowest_trigram(m)) != UINT32_MAX;)
        if ((e = merge_trigram(m, trigram, em)) != ERR_OK) return e;
    return ERR_OK;
}

enum err text_index_builder_finish(struct text_index_builder *b, uint32_t n_rows, struct sink *out, struct errmsg *em)
{
    struct merge m = {.n_rows = n_rows, .out = out};
    enum err e = close_run(b, em);
    if (e != ERR_OK) return e;
    mem_free(b->pairs);
    b->pairs = NULL;
    b->cap_pairs = 0;
    m.n_cursors = b->n_runs;
    m.cursors = mem_array(b->n_runs, sizeof *m.cursors);
    m.words = mem_array(bitset_words(n_rows), sizeof *m.words);
    if (m.cursors == NULL || m.words == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "merge %zu runs of trigrams", b->n_runs);
        goto out;
    }
    if ((e = merge_runs(b, &m, em)) != ERR_OK) goto out;
    struct text_trigram end = {.key = UINT32_MAX, .at = sink_at(out)};
    buf_add(&m.directory, &end, sizeof end);
    if (m.directory.err != ERR_OK) {
        e = errmsg_set(em, m.directory.err, "the directory of %u trigrams", m.n_trigrams);
        goto out;
    }
    sink_align(out, 8);
    struct text_trailer trailer = {
        .magic = TEXT_INDEX_MAGIC,
        .n_rows = n_rows,
        .n_trigrams = m.n_trigrams,
        .has_shorts = 1,
        .trigrams_at = sink_at(out),
    };
    sink_add(out, m.directory.p, m.directory.n);
    trailer.shorts_at = sink_at(out);
    sink_u32(out, (uint32_t)(b->shorts.n / sizeof(uint32_t)));
    sink_add(out, b->shorts.p, b->shorts.n);
    sink_align(out, 8);
    sink_add(out, &trailer, sizeof trailer);
    e = out->err;
out:
    mem_free(m.cursors);
    mem_free(m.words);
    buf_free(&m.deltas);
    buf_free(&m.directory);
    return e;
}
