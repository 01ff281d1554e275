/* upstream_hnsw.h - the vectors in an index that upstream's server wrote (hnswlib's files, as its fork lays them out).
 * Internal to api/upstream_*.c and their tests.
 *
 *   header.bin (100 bytes, little-endian)
 *     0  i32 version (1)          4  u64 place of level 0 (0)   12  u64 elements there is room for
 *     20 u64 elements             28 u64 bytes an element       36  u64 place of the label in it
 *     44 u64 place of the vector  52 i32 highest level          56  u32 entry point
 *     60 u64 links above level 0  68 u64 links on level 0       76  u64 M
 *     84 f64 factor of levels     92 u64 ef_construction
 *   data_level0.bin: for each element: u32 links (a count in the lower half, 1 in the third byte: deleted), the links
 *     (u32 each), the vector (f32 each), u64 label
 * The other files hold links only, and are not read.
 */
#ifndef API_UPSTREAM_HNSW_H
#define API_UPSTREAM_HNSW_H

#include "core/vfs.h"

enum { UPSTREAM_DIM_MAX = 1 << 20 }; /* a larger dimension is damage */

struct hnsw_place;

/* All-zero is an index without vectors. */
struct upstream_hnsw {
    const struct vfs *vfs;
    struct bytes data; /* data_level0.bin, mapped */
    size_t element_bytes, vector_at;
    uint32_t dim;
    struct hnsw_place *places; /* sorted by label */
    uint32_t n;
};

/* Maps the files in `dir`. ERR_CORRUPT: what the header says contradicts itself, or does not fit the file;
 * ERR_NOT_FOUND, ERR_IO, ERR_NOMEM. */
enum err upstream_hnsw_open(struct upstream_hnsw *h, const struct vfs *vfs, const char *dir, struct errmsg *em);
void upstream_hnsw_close(struct upstream_hnsw *h);

/* The h->dim floats stored under a label, not aligned, in the mapping; NULL: none. */
const uint8_t *upstream_hnsw_find(const struct upstream_hnsw *h, uint64_t label);

#endif
