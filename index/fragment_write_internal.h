/* fragment_write_internal.h - a fragment while it is written. For index/fragment_write.c, fragment_finish.c and
 * fragment_docs_write.c.
 *
 * Vectors go to the file as they come. Of every row 64 bytes wait in memory; ids, uris, metadata and documents wait in
 * spills; the metadata and text indexes and the sparse lists take the row at once.
 */
#ifndef INDEX_FRAGMENT_WRITE_INTERNAL_H
#define INDEX_FRAGMENT_WRITE_INTERNAL_H

#include <zstd.h>

#include "index/fragment_internal.h"
#include "index/sink.h"
#include "index/spill.h"

enum pending_flags { PENDING_URI = 1, PENDING_DOCUMENT = 2 };

/* What is kept of a row until the end; the four ends are offsets into the spills (documents: into the text). */
struct pending_row {
    uint64_t ordinal, born;
    uint64_t id_hash;
    uint64_t id_end, uri_end, meta_end, document_end;
    float norm2;
    uint32_t flags; /* enum pending_flags */
};

struct docs_writer {
    struct spill stored; /* blocks as they will lie in the file */
    struct buf text;     /* of the block that is being filled */
    uint32_t n_in_block; /* documents in it */
    uint64_t text_bytes; /* of all documents */
    struct docs_block *blocks;
    size_t n_blocks, cap_blocks;
    ZSTD_CCtx *ctx; /* made on first use */
    struct buf packed;
};

enum err docs_writer_init(struct docs_writer *d, const struct vfs *vfs, const char *path, struct errmsg *em);
void docs_writer_deinit(struct docs_writer *d);
enum err docs_writer_add(struct docs_writer *d, struct str document, struct errmsg *em);
enum err docs_writer_finish(struct docs_writer *d, struct errmsg *em); /* closes the last block */

struct fragment_writer {
    const struct vfs *vfs;
    char *path;
    struct fragment_options o;
    uint64_t hash_seed;
    struct vfs_file *file;
    struct sink sink; /* in its vectors section until finish */
    struct pending_row *rows;
    uint32_t n_rows, cap_rows;
    bool is_finished;
    struct spill ids, uris, metas;
    struct docs_writer docs;
    struct meta_index_builder *meta_index;
    struct text_index_builder *text_index;
    struct sparse_lists_builder *sparse_lists;
    struct fragment_header header; /* its section table grows */
};

#endif
