/* fragment_internal.h - the layout of a fragment file, and the fragment as it is mapped. For index/fragment_*.c.
 *
 * FORMAT  docs/formats.md#fragment. One header page, then sections, each at a multiple of 64; the vectors follow the
 *         header directly, because they are written while rows still arrive.
 */
#ifndef INDEX_FRAGMENT_INTERNAL_H
#define INDEX_FRAGMENT_INTERNAL_H

#include "core/buf.h"
#include "index/codes.h"
#include "index/index.h"
#include "index/meta_index.h"
#include "index/sparse_lists.h"
#include "index/text_index.h"

#define FRAGMENT_MAGIC "CHRFRAG\n"

/* The same in all fragments: a query is then rotated once for all of them. */
#define FRAGMENT_CODES_SEED UINT64_C(0x6368726f6d612d31)

enum {
    FRAGMENT_VERSION = 1,
    FRAGMENT_HEADER_BYTES = 4096,
    FRAGMENT_SECTIONS_MAX = 32,
    FRAGMENT_ALIGN = 64,
    FRAGMENT_ROWS_MAX = 1 << 30, /* so that the id hash is at most half full */
};

enum section_type {                        /* numbers are part of the file format */
                    SECTION_VECTORS = 1,   /* f32[n * dim] */
                    SECTION_ORDINALS = 2,  /* u64[n], strictly ascending */
                    SECTION_BORN = 3,      /* u64[n] */
                    SECTION_NORMS = 4,     /* f32[n]: squared lengths */
                    SECTION_IDS = 5,       /* column */
                    SECTION_ID_HASH = 6,   /* u32[power of two]: see fragment_ids.c */
                    SECTION_URIS = 7,      /* column; left out when no row has one */
                    SECTION_META = 8,      /* column of packed metadata; left out when no row has any */
                    SECTION_DOCUMENTS = 9, /* struct docs_header ...; left out when no row has one */
                    SECTION_CODES = 10,    /* codes.h; left out when there are none */
                    SECTION_META_INDEX = 11,
                    SECTION_TEXT_INDEX = 12,
                    SECTION_SPARSE_LISTS = 13, /* sparse_lists.h; left out by former versions of the program only */
                    SECTION_TYPES_ = 14,
};

struct fragment_section {
    uint32_t type;
    uint32_t crc; /* CRC32C of the section's bytes */
    uint64_t offset, length;
    uint64_t zero;
};
_Static_assert(sizeof(struct fragment_section) == 32, "format");

struct fragment_header {
    char magic[8];
    uint32_t version;
    uint32_t n_sections;
    uint64_t fragment_id;
    uint32_t n_rows, dim;
    uint32_t space;
    uint32_t zero;
    uint64_t hash_seed; /* of the id hash */
    uint64_t file_bytes;
    uint64_t zero2;
    struct fragment_section sections[FRAGMENT_SECTIONS_MAX];
    uint8_t zero3[FRAGMENT_HEADER_BYTES - 64 - FRAGMENT_SECTIONS_MAX * 32 - 4];
    uint32_t crc; /* CRC32C of the 4092 bytes before it */
};
_Static_assert(sizeof(struct fragment_header) == FRAGMENT_HEADER_BYTES, "format");
_Static_assert(offsetof(struct fragment_header, sections) == 64, "format");
_Static_assert(offsetof(struct fragment_header, crc) == FRAGMENT_HEADER_BYTES - 4, "format");

/* A column of byte strings: this header, offsets[n + 1] of `width` bytes each, zeros up to a multiple of 8, then if
 * has_present one bit a row in 64-bit words (clear: the row has none), then the heap. */
struct column_header {
    uint32_t width; /* 4 or 8 */
    uint32_t has_present;
    uint64_t heap_bytes;
};
_Static_assert(sizeof(struct column_header) == 16, "format");

/* Documents: this header, offsets and bits as above (offsets count in the text as it was before compression), then
 * the blocks, then the stored bytes. Each block holds whole documents. */
struct docs_header {
    uint32_t width;
    uint32_t has_present;
    uint64_t text_bytes, stored_bytes;
    uint64_t n_blocks;
};
_Static_assert(sizeof(struct docs_header) == 32, "format");

enum docs_codec { DOCS_RAW = 0, DOCS_ZSTD = 1 };

struct docs_block {
    uint64_t text_at;             /* of its first byte in the text; ascending, the first is 0 */
    uint64_t stored_at, stored_n; /* in the stored bytes */
    uint32_t codec;
    uint32_t zero;
};
_Static_assert(sizeof(struct docs_block) == 32, "format");

enum {
    DOCS_BLOCK_BYTES = 16 << 10, /* a block is closed once it holds this much text */
    DOCS_RAW_BELOW = 512,        /* blocks whose documents are smaller on average stay as they are */
    DOCS_ZSTD_LEVEL = 3,
};

/* --- mapped ----------------------------------------------------------------------------------------------------- */

/* Offsets and bits of a column. The areas are within the file; the values in them are checked at every access. */
struct column {
    const uint8_t *offsets; /* NULL: the section is left out, no row has any */
    uint32_t width;
    const uint8_t *present; /* NULL: every row has one */
    const uint8_t *heap;
    uint64_t heap_bytes; /* of documents: text_bytes */
};

struct docs {
    struct column column; /* heap: the stored bytes */
    const uint8_t *blocks;
    uint64_t n_blocks, stored_bytes;
    struct docs_cache *cache; /* decompressors and the last blocks they made; shared by readers */
};

/* What is known about the sections; bits are 1 << enum section_type. Set by readers too, so apart from what is const. */
struct fragment_health {
    _Atomic uint32_t checked; /* the checksum was right */
    _Atomic uint32_t damaged; /* never cleared; a section may be in both: it was right once */
    struct fragment_watch *watch;
    _Atomic(uint32_t *) id_slots; /* made in memory in the place of a damaged id hash; NULL: not yet, or no memory */
};

struct fragment {
    struct segment segment; /* first */
    /* immutable after open */
    const struct vfs *vfs;
    struct bytes map;
    const struct fragment_header *header;
    uint32_t n_rows, dim;
    enum space space;
    const float *vectors, *norms;
    const uint64_t *ordinals, *born;
    struct column ids, uris, meta;
    const uint32_t *id_slots;
    uint32_t n_id_slots; /* a power of two */
    struct docs docs;
    struct codes codes;
    struct meta_index meta_index;
    struct text_index text_index;
    struct sparse_lists sparse_lists;
    struct fragment_health *health;
    char *path; /* for messages */
};

static inline const struct fragment *fragment_of(const struct segment *s)
{
    return (const struct fragment *)(const void *)s;
}

static inline uint64_t column_offset(const struct column *c, uint32_t i)
{
    return c->width == 4 ? le32_get(c->offsets + (size_t)i * 4) : le64_get(c->offsets + (size_t)i * 8);
}

/* The value of one row. p is NULL when the row has none. ERR_CORRUPT. */
enum err column_get(const struct column *c, uint32_t row, struct bytes *value, struct errmsg *em);
bool column_has(const struct column *c, uint32_t row);

/* --- damage (fragment_health.c) ------------------------------------------------------------------------------------ */

const char *section_name(enum section_type type);

/* The entry of a section; NULL when it is left out. */
const struct fragment_section *section_entry(const struct fragment *f, enum section_type type);

/* May it be used? Compares its checksum if that was not done and it is not too large. One that is left out may. */
bool section_is_good(const struct fragment *f, enum section_type type);
/* The same, as an error that names the section. */
enum err section_need(const struct fragment *f, enum section_type type, struct errmsg *em);
/* Compares it, whatever its size. */
bool section_check(const struct fragment *f, enum section_type type);
/* It is not used from now on; logs it and counts it, once. */
void section_condemn(const struct fragment *f, enum section_type type, const char *what);

/* --- ids (fragment_ids.c) ---------------------------------------------------------------------------------------- */

uint32_t id_hash_slots(uint32_t n_rows); /* size of the table */

/* Fills the table; ids: the column as it was written. ERR_CORRUPT: an id occurs twice. */
enum err id_hash_build(uint32_t *slots, uint32_t n_slots, const uint64_t *hashes, const struct column *ids,
                       uint32_t n_rows, struct errmsg *em);

/* The row with this id, dead or alive, or ROW_NONE. The ids are good. */
uint32_t id_hash_find(const struct fragment *f, struct str id);

/* --- documents (fragment_docs.c) --------------------------------------------------------------------------------- */

/* Reads documents one after the other; keeps the block at hand decompressed. All-zero but for `docs` at first. */
struct docs_reader {
    const struct docs *docs;
    struct docs_slot *slot; /* NULL until a compressed block is met */
};

enum err docs_cache_new(struct docs_cache **c);
void docs_cache_free(struct docs_cache *c);

/* The document of a row, valid until the next get or end. p is NULL when it has none. ERR_CORRUPT, ERR_NOMEM. */
enum err docs_get(struct docs_reader *r, uint32_t row, struct str *document, struct errmsg *em);
void docs_end(struct docs_reader *r);
bool docs_is_lasting(const struct docs_reader *r, struct str document); /* a view into the file, not into the reader */

/* --- operations --------------------------------------------------------------------------------------------------- */

bool fragment_norm_is_right(const struct fragment *f, uint32_t row); /* fragment_check.c; both sections are good */
enum err fragment_check_header(struct bytes map, struct errmsg *em); /* fragment_open.c */
enum err fragment_check_header_of(const struct fragment_header *h, uint64_t file_bytes, struct errmsg *em);
const struct segment_ops *fragment_ops(bool has_sparse_lists); /* fragment_ops.c */
void fragment_free(struct segment *s);                         /* fragment_open.c */

enum err fragment_filter(const struct segment *s, uint32_t n_rows, const struct filter *f, struct arena *a,
                         struct bitset *out, struct filter_rest *rest, struct errmsg *em); /* fragment_filter.c */
/* The same by reading rows, without the indexes of metadata and text: what those must agree with. */
enum err fragment_filter_rows(const struct segment *s, const struct filter *f, struct arena *a, struct bitset *out,
                              struct errmsg *em);
enum err fragment_settle(const struct segment *s, struct filter_rest *rest, struct bitset *rows, uint32_t from,
                         uint32_t to, struct errmsg *em);

#endif
