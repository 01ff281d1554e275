/* index.h - fragments: immutable, memory-mapped files that hold rows of one collection with everything to find them.
 *
 * A fragment is one file (docs/formats.md#fragment): row store (ids, documents, uris, packed metadata, f32 vectors,
 * ordinals, birth positions), id hash, vector codes, metadata index, trigram index, inverted lists of sparse vectors;
 * every section with a CRC32C.
 * Rows are in ascending order of their ordinals. Fragments are written by the compactor, searchable the moment they are
 * mapped, never changed. The list of a collection's fragments with their dead rows is a manifest file, named by the
 * catalog.
 *
 * THREADS  a writer or builder: one thread. A fragment is a segment (core/segment.h): any number of readers.
 */
#ifndef INDEX_INDEX_H
#define INDEX_INDEX_H

#include "core/segment.h"
#include "core/vfs.h"

/* --- writing -------------------------------------------------------------------------------------------------- */

struct fragment_writer;

struct fragment_options {
    uint32_t dim;
    enum space space;
    uint64_t fragment_id; /* ascending within the collection; part of the header */
};

/* Starts a fragment in `path` (made new; an existing file is overwritten). */
enum err fragment_writer_new(struct fragment_writer **w, const struct vfs *vfs, const char *path,
                             const struct fragment_options *o, struct errmsg *em);

/* Adds the next row; ordinals must ascend strictly. All parts of `row` are copied or written before it returns. */
enum err fragment_writer_add(struct fragment_writer *w, const struct row *row, uint64_t ordinal, uint64_t born,
                             struct errmsg *em);

/* Builds the indexes, writes, syncs the file (not the directory). After an error the file is to be removed. */
enum err fragment_writer_finish(struct fragment_writer *w, struct errmsg *em);
void fragment_writer_free(struct fragment_writer *w); /* always; NULL is fine */

/* --- reading -------------------------------------------------------------------------------------------------- */

struct fragment; /* its first member is a struct segment */

/* Maps the file and checks header and structure (bounds of everything); cheap: reads no row. ERR_CORRUPT, ERR_NEWER. */
enum err fragment_open(struct fragment **f, const struct vfs *vfs, const char *path, struct errmsg *em);
struct segment *fragment_segment(struct fragment *f); /* freed through its ops->free */

uint32_t fragment_n_rows(const struct segment *s);
uint64_t fragment_id(const struct segment *s);
uint64_t fragment_file_bytes(const struct segment *s);

/* Reads everything and compares every checksum. */
enum err fragment_verify(const struct segment *s, struct errmsg *em);

/* --- manifests ------------------------------------------------------------------------------------------------ */

struct manifest_entry {
    uint64_t fragment_id;
    uint32_t n_rows;
    uint32_t n_dead;
    const uint64_t *dead; /* bitset_words(n_rows) words, or NULL when n_dead is 0 */
};

/* Writes and syncs the manifest (not the directory). */
enum err manifest_write(const struct vfs *vfs, const char *path, const struct manifest_entry *entries, uint32_t n,
                        struct errmsg *em);
/* Entries and bitmaps lie in the arena. ERR_CORRUPT, ERR_NEWER, ERR_NOT_FOUND. */
enum err manifest_read(const struct vfs *vfs, const char *path, struct arena *a, struct manifest_entry **entries,
                       uint32_t *n, struct errmsg *em);

#endif
