/* fragment_check.c - see fragment_check.h: the file as a whole, the rows, the id hash; the other sections in
 * fragment_check_*.c.
 *
 * HAPPY PATH  map, header; the checksum of each section; open; order and bounds of the rows' sections; the indexes.
 * FAILURE     a section with a wrong checksum is reported and not looked into; the rest is. When a section of the rows
 *             is damaged, the indexes are not compared with the rows.
 */
#include "index/fragment_check_internal.h"

#include <math.h>
#include <stdio.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "core/value.h"

static const struct kind {
    const char *name;
    bool is_index;
} kinds[SECTION_TYPES_] = {
    [0] = {"header", false},
    [SECTION_VECTORS] = {"vectors", false},
    [SECTION_ORDINALS] = {"ordinals", false},
    [SECTION_BORN] = {"born", false},
    [SECTION_NORMS] = {"norms", true},
    [SECTION_IDS] = {"ids", false},
    [SECTION_ID_HASH] = {"id hash", true},
    [SECTION_URIS] = {"uris", false},
    [SECTION_META] = {"metadata", false},
    [SECTION_DOCUMENTS] = {"documents", false},
    [SECTION_CODES] = {"codes", true},
    [SECTION_META_INDEX] = {"metadata index", true},
    [SECTION_TEXT_INDEX] = {"text index", true},
    [SECTION_SPARSE_LISTS] = {"sparse lists", true},
};

static const struct fragment_section *section_of(const struct fragment_header *h, uint32_t type)
{
    for (uint32_t i = 0; i < h->n_sections; i++)
        if (h->sections[i].type == type) return &h->sections[i];
    return NULL;
}

static void report(struct check *c, const struct fragment_header *h, uint32_t type, const char *what)
{
    const struct fragment_section *s = h != NULL && type != 0 ? section_of(h, type) : NULL;
    struct fragment_problem p = {
        .section = type < SECTION_TYPES_ ? kinds[type].name : "unknown",
        .to = FRAGMENT_HEADER_BYTES,
        .loss = type < SECTION_TYPES_ && kinds[type].is_index ? FRAGMENT_LOSES_INDEX : FRAGMENT_LOSES_ROWS,
        .what = what,
    };
    if (s != NULL) {
        p.from = s->offset;
        p.to = s->offset + s->length;
    }
    c->on_problem(c->ctx, &p);
}

bool check_fail(struct check *c, enum section_type type, const char *fmt, ...)
{
    char what[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    report(c, c->f->header, (uint32_t)type, what);
    return false;
}

bool check_sums(struct check *c, enum section_type type)
{
    for (uint32_t row = 0; row < c->f->n_rows; row++)
        if (c->sums[row] != 0) return check_fail(c, type, "it does not hold what row %u holds", row);
    return true;
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* The checksums, on the bare file: a fragment with a damaged section may not open. *bad: a bit a type. */
static enum err check_checksums(struct check *c, struct bytes map, struct fragment_summary *s, uint64_t *bad,
                                struct errmsg *em)
{
    const struct fragment_header *h = map.p;
    bool is_sound = map.n >= sizeof *h && memcmp(h->magic, FRAGMENT_MAGIC, sizeof h->magic) == 0 &&
                    crc32c(0, h, offsetof(struct fragment_header, crc)) == h->crc;
    if (!is_sound) {
        report(c, NULL, 0, map.n < sizeof *h ? "the file is shorter than its header" : "the checksum is wrong");
        return ERR_CORRUPT;
    }
    if (h->version > FRAGMENT_VERSION)
        return errmsg_set(em, ERR_NEWER, "fragment format %u; this program knows %d", h->version, FRAGMENT_VERSION);
    *s = (struct fragment_summary){.fragment_id = h->fragment_id,
                                   .file_bytes = map.n,
                                   .n_rows = h->n_rows,
                                   .dim = h->dim,
                                   .space = (enum space)h->space};
    if (h->file_bytes != map.n || h->n_sections > FRAGMENT_SECTIONS_MAX) {
        report(c, NULL, 0, "the file has another length than its header says");
        return ERR_CORRUPT;
    }
    for (uint32_t i = 0; i < h->n_sections; i++) {
        const struct fragment_section *section = &h->sections[i];
        if (section->offset > map.n || section->length > map.n - section->offset) {
            report(c, NULL, 0, "a section is outside the file");
            return ERR_CORRUPT;
        }
        if (crc32c(0, (const uint8_t *)map.p + section->offset, (size_t)section->length) == section->crc) continue;
        report(c, h, section->type, "the checksum is wrong");
        *bad |= UINT64_C(1) << (section->type & 63);
    }
    return ERR_OK;
}

static enum err map_and_check(struct check *c, const struct vfs *vfs, const char *path, struct fragment_summary *s,
                              uint64_t *bad, struct errmsg *em)
{
    struct vfs_file *file;
    struct bytes map = {NULL, 0};
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &file, em);
    if (e != ERR_OK) return e;
    e = vfs->map(file, &map, em);
    vfs->close(file);
    if (e != ERR_OK) return e;
    e = check_checksums(c, map, s, bad, em);
    if (map.p != NULL) vfs->unmap(vfs->ctx, map);
    return e;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static bool check_column(struct check *c, enum section_type type, const struct column *column)
{
    if (column->offsets == NULL) return true;
    uint64_t before = column_offset(column, 0);
    if (before != 0) return check_fail(c, type, "the first offset is not 0");
    for (uint32_t row = 0; row < c->f->n_rows; row++) {
        uint64_t next = column_offset(column, row + 1);
        if (next < before || next > column->heap_bytes)
            return check_fail(c, type, "row %u: its end is out of range", row);
        if (next != before && !column_has(column, row))
            return check_fail(c, type, "row %u has bytes, but no value", row);
        before = next;
    }
    if (before != column->heap_bytes) return check_fail(c, type, "bytes belong to no row");
    return true;
}

static bool check_positions(struct check *c, struct fragment_summary *s)
{
    const struct fragment *f = c->f;
    for (uint32_t row = 0; row < f->n_rows; row++) {
        if (row > 0 && f->ordinals[row - 1] >= f->ordinals[row])
            return check_fail(c, SECTION_ORDINALS, "row %u: ordinals do not ascend", row);
        if (f->born[row] == 0) return check_fail(c, SECTION_BORN, "row %u was born at no position", row);
        if (f->born[row] > s->last_born) s->last_born = f->born[row];
    }
    if (f->n_rows > 0) s->last_ordinal = f->ordinals[f->n_rows - 1];
    return true;
}

static bool check_meta(struct check *c)
{
    struct bytes meta;
    for (uint32_t row = 0; row < c->f->n_rows; row++) {
        if (column_get(&c->f->meta, row, &meta, NULL) != ERR_OK || (meta.n > 0 && !meta_validate(meta, false)))
            return check_fail(c, SECTION_META, "row %u: its metadata are malformed", row);
    }
    return true;
}

static enum err check_documents(struct check *c, bool *is_sound)
{
    struct docs_reader r = {.docs = &c->f->docs};
    struct errmsg em = {{0}};
    struct str document;
    enum err e = ERR_OK;
    for (uint32_t row = 0; e == ERR_OK && row < c->f->n_rows; row++) e = docs_get(&r, row, &document, &em);
    docs_end(&r);
    if (e == ERR_CORRUPT) *is_sound = check_fail(c, SECTION_DOCUMENTS, "%s", em.text);
    return e == ERR_CORRUPT ? ERR_OK : e;
}

bool fragment_norm_is_right(const struct fragment *f, uint32_t row)
{
    const float *v = f->vectors + (size_t)row * f->dim;
    double sum = 0, norm = (double)f->norms[row];
    for (uint32_t d = 0; d < f->dim; d++) sum += (double)v[d] * (double)v[d];
    /* the float's own rounding, in any order of adding; infinite both is as good as equal, and of no number nothing is known */
    return fabs(norm - sum) <= sum * 1e-4 + 1e-30 || (isinf(norm) && sum > 3e38) || isnan(sum);
}

static bool check_norms(struct check *c)
{
    const struct fragment *f = c->f;
    for (uint32_t row = 0; row < f->n_rows; row++) {
        if (!fragment_norm_is_right(f, row))
            return check_fail(c, SECTION_NORMS, "row %u: %g is not the squared length of its vector", row,
                              (double)f->norms[row]);
    }
    return true;
}

static bool check_ids(struct check *c)
{
    uint32_t n_used = 0;
    for (uint32_t i = 0; i < c->f->n_id_slots; i++) n_used += c->f->id_slots[i] != 0;
    if (n_used != c->f->n_rows) return check_fail(c, SECTION_ID_HASH, "%u slots are in use", n_used);
    for (uint32_t row = 0; row < c->f->n_rows; row++) {
        struct bytes id;
        if (column_get(&c->f->ids, row, &id, NULL) != ERR_OK || id.p == NULL || id.n == 0)
            return check_fail(c, SECTION_IDS, "row %u has no id", row);
        if (id_hash_find(c->f, str_of(id.p, id.n)) != row)
            return check_fail(c, SECTION_ID_HASH, "it does not lead from the id of row %u to the row", row);
    }
    return true;
}

static bool is_bad(uint64_t bad, enum section_type type)
{
    return (bad >> type & 1) != 0;
}

/* A section with a right checksum and a wrong structure does not keep the fragment from opening; it was condemned then. */
static void check_structure(struct check *c, uint64_t *bad)
{
    uint32_t condemned = atomic_load_explicit(&c->f->health->damaged, memory_order_acquire);
    for (int type = 1; type < SECTION_TYPES_; type++) {
        uint64_t bit = UINT64_C(1) << type;
        if ((condemned & bit) != 0 && (*bad & bit) == 0)
            (void)check_fail(c, (enum section_type)type, "its structure is wrong");
        *bad |= condemned & bit;
    }
}

/* `bad`: sections that are not looked into. */
static enum err check_rows(struct check *c, uint64_t bad, bool *is_sound, struct fragment_summary *s)
{
    const struct fragment *f = c->f;
    bool is_readable = true;
    *is_sound = true;
    for (int type = 1; type < SECTION_TYPES_; type++)
        if (is_bad(bad, (enum section_type)type) && !kinds[type].is_index) *is_sound = false;
    if (!is_bad(bad, SECTION_ORDINALS) && !is_bad(bad, SECTION_BORN) && !check_positions(c, s)) *is_sound = false;
    if (!is_bad(bad, SECTION_IDS) && !check_column(c, SECTION_IDS, &f->ids)) *is_sound = false;
    if (!is_bad(bad, SECTION_URIS) && !check_column(c, SECTION_URIS, &f->uris)) *is_sound = false;
    if (!is_bad(bad, SECTION_META) && (!check_column(c, SECTION_META, &f->meta) || !check_meta(c))) *is_sound = false;
    if (is_bad(bad, SECTION_DOCUMENTS)) return ERR_OK;
    enum err e = check_documents(c, &is_readable);
    if (!is_readable || !check_column(c, SECTION_DOCUMENTS, &f->docs.column)) *is_sound = false;
    return e;
}

static enum err check_indexes(struct check *c, uint64_t bad, struct errmsg *em)
{
    size_t bytes;
    enum err e = ERR_OK;
    if (!is_bad(bad, SECTION_NORMS)) (void)check_norms(c);
    if (!is_bad(bad, SECTION_ID_HASH)) (void)check_ids(c);
    if (!ck_mul(c->f->n_rows, sizeof *c->sums, &bytes)) return errmsg_set(em, ERR_NOMEM, "check a fragment");
    c->sums = mem_alloc(bytes > 0 ? bytes : 1);
    if (c->sums == NULL) return errmsg_set(em, ERR_NOMEM, "check a fragment of %u rows", c->f->n_rows);
    memset(c->sums, 0, bytes);
    if (!is_bad(bad, SECTION_META_INDEX)) e = check_meta_index(c, em);
    memset(c->sums, 0, bytes);
    if (e == ERR_OK && !is_bad(bad, SECTION_TEXT_INDEX)) e = check_text_index(c, em);
    memset(c->sums, 0, bytes);
    if (e == ERR_OK && c->f->sparse_lists.section.p != NULL && !is_bad(bad, SECTION_SPARSE_LISTS))
        e = check_sparse_lists(c, em);
    if (e == ERR_OK && c->f->codes.n > 0 && !is_bad(bad, SECTION_CODES)) e = check_codes(c, em);
    mem_free(c->sums);
    c->sums = NULL;
    return e;
}

enum err fragment_check(const struct vfs *vfs, const char *path, fragment_on_problem on_problem, void *ctx,
                        struct fragment_summary *s, struct fragment **out, struct errmsg *em)
{
    struct check c = {.on_problem = on_problem, .ctx = ctx};
    struct errmsg why = {{0}};
    struct fragment *f = NULL;
    uint64_t bad = 0;
    bool is_sound;
    *s = (struct fragment_summary){0};
    *out = NULL;
    enum err e = map_and_check(&c, vfs, path, s, &bad, em);
    if (e == ERR_CORRUPT) return ERR_OK;
    if (e != ERR_OK) return e;
    e = fragment_open(&f, vfs, path, &why);
    if (e ==
        ERR_CORRUPT) { /* right checksums and a wrong structure, or a section that its checksum has named already */
        if (bad == 0) report(&c, NULL, 0, why.text);
        return ERR_OK;
    }
    if (e != ERR_OK) {
        if (em != NULL) *em = why;
        return e;
    }
    c.f = f;
    check_structure(&c, &bad);
    e = check_rows(&c, bad, &is_sound, s);
    if (e == ERR_OK && is_sound) e = check_indexes(&c, bad, em);
    if (e != ERR_OK) {
        fragment_free(&f->segment);
        return errmsg_set(em, e, "check %s: %s", path, err_text(e));
    }
    *out = f;
    return ERR_OK;
}
