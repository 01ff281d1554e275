/* fragment_open.c - maps a fragment, checks its structure, and gives it the operations of a segment.
 *
 * HAPPY PATH  map; the header's magic, version and checksum; every section lies in the file and has the size that
 *             n_rows and dim demand; the heads of columns and indexes; the checksums of ids, ordinals and births, on which
 *             everything rests. No row is read: the offsets inside columns are checked by whoever uses them (column_get,
 *             docs_get, the indexes), other checksums on the first use (fragment_health.c).
 * FAILURE     of the header and the sizes that it states: ERR_CORRUPT, ERR_NEWER, with the path in front; nothing stays mapped.
 *             A section whose inside is wrong is condemned, and the fragment opens without it.
 */
#include "core/crc32c.h"
#include "core/mem.h"
#include "index/fragment_internal.h"

static enum err damaged(struct errmsg *em, const char *what)
{
    return errmsg_set(em, ERR_CORRUPT, "%s", what);
}

enum err fragment_check_header_of(const struct fragment_header *h, uint64_t file_bytes, struct errmsg *em)
{
    if (memcmp(h->magic, FRAGMENT_MAGIC, sizeof h->magic) != 0) return damaged(em, "this is no fragment");
    if (h->version > FRAGMENT_VERSION)
        return errmsg_set(em, ERR_NEWER, "fragment format %u; this program knows %d", h->version, FRAGMENT_VERSION);
    if (crc32c(0, h, offsetof(struct fragment_header, crc)) != h->crc)
        return damaged(em, "the header's checksum is wrong");
    if (h->file_bytes != file_bytes) return damaged(em, "the file has another length than its header says");
    if (h->n_sections > FRAGMENT_SECTIONS_MAX || h->n_rows > FRAGMENT_ROWS_MAX || h->space > SPACE_IP)
        return damaged(em, "the header is wrong");
    for (uint32_t i = 0; i < h->n_sections; i++) {
        const struct fragment_section *s = &h->sections[i];
        if (s->offset < FRAGMENT_HEADER_BYTES || s->offset % FRAGMENT_ALIGN != 0 || s->offset > file_bytes ||
            s->length > file_bytes - s->offset)
            return damaged(em, "a section is outside the file");
    }
    return ERR_OK;
}

enum err fragment_check_header(struct bytes map, struct errmsg *em)
{
    if (map.n < sizeof(struct fragment_header)) return damaged(em, "the file is shorter than its header");
    return fragment_check_header_of(map.p, map.n, em);
}

/* The section of a type; p is NULL when it is left out. */
static struct bytes section_of(const struct fragment *f, enum section_type type)
{
    const struct fragment_section *s = section_entry(f, type);
    if (s == NULL) return (struct bytes){NULL, 0};
    return (struct bytes){(const uint8_t *)f->map.p + s->offset, (size_t)s->length};
}

/* A section of n items of `size` bytes; NULL when it is not there or has another length. */
static const void *array_of(const struct fragment *f, enum section_type type, uint64_t n, uint64_t size)
{
    struct bytes s = section_of(f, type);
    size_t bytes;
    return s.p != NULL && ck_mul((size_t)n, (size_t)size, &bytes) && s.n == bytes ? s.p : NULL;
}

/* Splits offsets and bits off the front of what follows a column's head; *rest gets the remainder. */
static bool split_column(struct column *c, struct bytes body, uint32_t n_rows, uint32_t has_present, struct bytes *rest)
{
    const uint8_t *at = body.p;
    size_t offsets = (((size_t)n_rows + 1) * c->width + 7) / 8 * 8;
    size_t bits = has_present != 0 ? bitset_words(n_rows) * 8 : 0;
    if ((c->width != 4 && c->width != 8) || offsets > body.n || bits > body.n - offsets) return false;
    c->offsets = at;
    c->present = has_present != 0 ? at + offsets : NULL;
    *rest = (struct bytes){at + offsets + bits, body.n - offsets - bits};
    return true;
}

static bool open_column(const struct fragment *f, enum section_type type, struct column *c)
{
    struct bytes s = section_of(f, type), heap;
    struct column_header h;
    *c = (struct column){0};
    if (s.p == NULL) return type != SECTION_IDS;
    if (s.n < sizeof h) return false;
    memcpy(&h, s.p, sizeof h);
    c->width = h.width;
    c->heap_bytes = h.heap_bytes;
    struct bytes body = {(const uint8_t *)s.p + sizeof h, s.n - sizeof h};
    if (!split_column(c, body, f->n_rows, h.has_present, &heap) || heap.n != h.heap_bytes) return false;
    c->heap = heap.p;
    return true;
}

static bool open_docs(const struct fragment *f, struct docs *d)
{
    struct bytes s = section_of(f, SECTION_DOCUMENTS), rest;
    struct docs_header h;
    if (s.p == NULL) return true;
    if (s.n < sizeof h) return false;
    memcpy(&h, s.p, sizeof h);
    d->column.width = h.width;
    d->column.heap_bytes = h.text_bytes;
    struct bytes body = {(const uint8_t *)s.p + sizeof h, s.n - sizeof h};
    size_t blocks;
    if (!split_column(&d->column, body, f->n_rows, h.has_present, &rest) ||
        !ck_mul((size_t)h.n_blocks, sizeof(struct docs_block), &blocks) || blocks > rest.n ||
        rest.n - blocks != h.stored_bytes)
        return false;
    d->blocks = rest.p;
    d->n_blocks = h.n_blocks;
    d->stored_bytes = h.stored_bytes;
    d->column.heap = d->blocks + blocks;
    return true;
}

static enum err open_rows(struct fragment *f, struct errmsg *em)
{
    uint64_t n = f->n_rows;
    f->vectors = array_of(f, SECTION_VECTORS, n * f->dim, sizeof(float));
    f->norms = array_of(f, SECTION_NORMS, n, sizeof(float));
    f->ordinals = array_of(f, SECTION_ORDINALS, n, sizeof(uint64_t));
    f->born = array_of(f, SECTION_BORN, n, sizeof(uint64_t));
    if (f->vectors == NULL || f->norms == NULL || f->ordinals == NULL || f->born == NULL)
        return damaged(em, "a section of the rows has the wrong size");
    if (section_entry(f, SECTION_IDS) == NULL) return damaged(em, "there are no ids");
    const struct {
        enum section_type type;
        struct column *column;
    } columns[] = {{SECTION_IDS, &f->ids}, {SECTION_URIS, &f->uris}, {SECTION_META, &f->meta}};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        if (!open_column(f, columns[i].type, columns[i].column)) {
            *columns[i].column = (struct column){0}; /* reads as if no row had any, should somebody not ask */
            section_condemn(f, columns[i].type, "the head of a section is wrong");
        }
    if (!open_docs(f, &f->docs)) {
        f->docs = (struct docs){.cache = f->docs.cache};
        section_condemn(f, SECTION_DOCUMENTS, "the head of a section is wrong");
    }
    struct bytes slots = section_of(f, SECTION_ID_HASH);
    f->id_slots = slots.p;
    f->n_id_slots = id_hash_slots(f->n_rows);
    if (slots.p == NULL || slots.n != (size_t)f->n_id_slots * sizeof(uint32_t))
        return damaged(em, "the id hash has the wrong size");
    (void)section_is_good(f, SECTION_IDS);
    (void)section_is_good(f, SECTION_ORDINALS);
    (void)section_is_good(f, SECTION_BORN);
    return ERR_OK;
}

/* The outcome of opening a section that can be done without. A version that is not known is one only if the checksum says
 * that nobody else wrote it. */
static enum err condemn(const struct fragment *f, enum section_type type, enum err e, struct errmsg *em)
{
    if (e == ERR_NEWER && !section_check(f, type)) e = ERR_CORRUPT;
    if (e != ERR_CORRUPT) return e;
    section_condemn(f, type, em != NULL && em->text[0] != '\0' ? em->text : "the head of a section is wrong");
    return ERR_OK;
}

static enum err open_indexes(struct fragment *f, struct errmsg *em)
{
    struct bytes codes = section_of(f, SECTION_CODES), sparse = section_of(f, SECTION_SPARSE_LISTS);
    enum err e = ERR_OK;
    if (codes.p != NULL) e = codes_open(&f->codes, codes, f->n_rows, f->dim, f->space, em);
    if (e != ERR_OK) e = condemn(f, SECTION_CODES, e, em);
    if (e == ERR_OK) e = meta_index_open(&f->meta_index, section_of(f, SECTION_META_INDEX), f->n_rows, em);
    if (e != ERR_OK) e = condemn(f, SECTION_META_INDEX, e, em);
    if (e == ERR_OK) e = text_index_open(&f->text_index, section_of(f, SECTION_TEXT_INDEX), f->n_rows, em);
    if (e != ERR_OK) e = condemn(f, SECTION_TEXT_INDEX, e, em);
    if (e == ERR_OK && sparse.p != NULL) e = sparse_lists_open(&f->sparse_lists, sparse, f->n_rows, em);
    if (e != ERR_OK) e = condemn(f, SECTION_SPARSE_LISTS, e, em);
    f->segment.ops = fragment_ops(sparse.p != NULL);
    return e;
}

static enum err map_file(struct fragment *f, const char *path, struct errmsg *em)
{
    struct vfs_file *file;
    enum err e = f->vfs->open(f->vfs->ctx, path, VFS_READ, &file, em);
    if (e != ERR_OK) return e;
    e = f->vfs->map(file, &f->map, em);
    f->vfs->close(file);
    return e;
}

void fragment_free(struct segment *s)
{
    struct fragment *f = (struct fragment *)(void *)s;
    if (f->map.p != NULL) f->vfs->unmap(f->vfs->ctx, f->map);
    docs_cache_free(f->docs.cache);
    if (f->health != NULL) mem_free(atomic_load(&f->health->id_slots));
    mem_free(f->health);
    deaths_deinit(&f->segment.deaths);
    mem_free(f->path);
    mem_free(f);
}

enum err fragment_open(struct fragment **out, const struct vfs *vfs, const char *path, struct errmsg *em)
{
    struct fragment *f = mem_zalloc(sizeof *f);
    if (f == NULL) return errmsg_set(em, ERR_NOMEM, "open %s", path);
    enum err e = ERR_NOMEM;
    f->vfs = vfs;
    f->path = mem_dup(path, strlen(path) + 1);
    f->health = mem_zalloc(sizeof *f->health);
    if (f->path == NULL || f->health == NULL || docs_cache_new(&f->docs.cache) != ERR_OK) {
        (void)errmsg_set(em, e, "open a fragment");
        goto fail;
    }
    if ((e = map_file(f, path, em)) != ERR_OK) goto fail;
    if ((e = fragment_check_header(f->map, em)) != ERR_OK) goto fail;
    f->header = f->map.p;
    f->n_rows = f->header->n_rows;
    f->dim = f->header->dim;
    f->space = (enum space)f->header->space;
    if ((e = open_rows(f, em)) != ERR_OK) goto fail;
    if ((e = open_indexes(f, em)) != ERR_OK) goto fail;
    if ((e = deaths_init(&f->segment.deaths, f->n_rows)) != ERR_OK) {
        (void)errmsg_set(em, e, "deaths of %u rows", f->n_rows);
        goto fail;
    }
    *out = f;
    return ERR_OK;
fail:
    errmsg_wrap(em, "%s", path);
    fragment_free(&f->segment);
    return e;
}

struct segment *fragment_segment(struct fragment *f)
{
    return &f->segment;
}

uint32_t fragment_n_rows(const struct segment *s)
{
    return fragment_of(s)->n_rows;
}

uint64_t fragment_id(const struct segment *s)
{
    return fragment_of(s)->header->fragment_id;
}

uint64_t fragment_file_bytes(const struct segment *s)
{
    return fragment_of(s)->map.n;
}
