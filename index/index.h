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
/* The same for the sections of which a new fragment is made. */
enum err fragment_verify_rows(const struct segment *s, struct errmsg *em);

/* --- damage (fragment_health.c) -------------------------------------------------------------------------------- */

/* A section is used when its checksum was found right; it is compared on the first use, unless the section is so large
 * that this is left to the scrub (fragment_scrub). What is found damaged is never used again: a section that can be made
 * from the rows is done without, and answers stay what they were; of the others, whoever needs them gets ERR_CORRUPT. */

/* What all fragments of a store have found since they were opened; sums, relaxed. */
struct fragment_watch {
    _Atomic uint64_t n_derived; /* damaged sections that can be made again */
    _Atomic uint64_t n_rows;    /* damaged sections that cannot */
};
/* Before the segment is shared; what was found by then is added. The watch outlives the fragment. */
void fragment_set_watch(struct segment *s, struct fragment_watch *w);

/* Is there something to be made again, from rows that are all there? */
bool fragment_wants_rebuild(const struct segment *s);
/* Is some part of its rows damaged? So far as is known. */
bool fragment_has_lost_rows(const struct segment *s);

/* Reads the file in pieces, apart from where it is mapped, and compares every checksum. `pace` is told of each piece
 * after it was read, and ends the reading when it returns an error, which is passed on. *damaged: bits (1 << type) of
 * sections that are wrong or cannot be read. ERR_CORRUPT, ERR_NEWER: the header is, nothing else was looked at. */
typedef enum err (*fragment_pace)(void *ctx, uint64_t bytes);
enum err fragment_scrub(const struct vfs *vfs, const char *path, fragment_pace pace, void *ctx, uint32_t *damaged,
                        struct errmsg *em);
/* What fragment_scrub has found of the file of this fragment, which was open then or was opened since. */
void fragment_note_scrub(const struct segment *s, uint32_t damaged);

/* --- agreement (fragment_agree.c) ---------------------------------------------------------------------------------- */

/* Do its indexes say what its rows say? Sums. */
struct fragment_agreement {
    uint32_t n_probes; /* ids, values of metadata, pieces of documents, sparse indices and norms, found both ways */
    uint32_t n_wrong;
    char first[160]; /* the first of those, in words */
};

/* Draws n rows from `seed` and looks for what they hold through the indexes and by reading all rows; adds to *out. An index
 * that is known to be damaged is not asked, so it agrees. Reads all metadata and documents, more than once. ERR_CORRUPT: rows
 * cannot be read. ERR_NOMEM. */
enum err fragment_agree(const struct segment *s, uint32_t n, uint64_t seed, struct fragment_agreement *out,
                        struct errmsg *em);

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
