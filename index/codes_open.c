/* codes_open.c - where the parts of a section lie, and a section as it is mapped.
 *
 * FAILURE     ERR_CORRUPT, ERR_NEWER. Sizes, the header and the starts of lists are checked; codes, factors, centroids and
 *             the order of rows are not: any bytes there make a search that stays in bounds.
 */
#include "index/codes_internal.h"

#include "core/mem.h"
#include "index/rotation.h"

/* Places `n` items of `size` bytes at *at, on a multiple of 64, and moves *at behind them. */
static bool place(size_t *at, size_t n, size_t size, size_t *offset)
{
    size_t bytes;
    if (!ck_add(*at, 63, at)) return false;
    *at = *at / 64 * 64;
    *offset = *at;
    return ck_mul(n, size, &bytes) && ck_add(*at, bytes, at);
}

bool codes_layout(uint32_t n_rows, uint32_t copies, uint32_t n_lists, uint32_t padded_dim, uint32_t first_dims,
                  bool has_looks, struct codes_layout *l)
{
    size_t at = sizeof(struct codes_header), block;
    if (first_dims > padded_dim || copies == 0 || n_rows > UINT32_MAX / copies) return false;
    const uint32_t n_places = n_rows * copies;
    const size_t factors = CODES_BLOCK_FACTORS * sizeof(float), vector = (size_t)padded_dim * sizeof(float);
    *l = (struct codes_layout){0};
    if (!ck_mul(padded_dim, 4, &block) || !place(&at, 1, vector, &l->centroid)) return false;
    if (n_lists > 0) {
        if (!place(&at, (size_t)n_lists + 1, sizeof(uint32_t), &l->starts) ||
            !place(&at, n_lists, vector, &l->centroids) ||
            !place(&at, codes_n_blocks(n_lists), block, &l->list_blocks) ||
            !place(&at, codes_n_blocks(n_lists), factors, &l->list_factors) ||
            !place(&at, n_places, sizeof(uint32_t), &l->order))
            return false;
    }
    if (!place(&at, codes_n_blocks(n_places), (size_t)first_dims * 4, &l->blocks) ||
        !place(&at, codes_n_blocks(n_places), (size_t)(padded_dim - first_dims) * 4, &l->rests) ||
        !place(&at, codes_n_blocks(n_places), factors, &l->factors))
        return false;
    if (has_looks && (!place(&at, 3, sizeof(float), &l->look_units) ||
                      !place(&at, codes_n_blocks(n_places), sizeof(uint32_t), &l->unlimited) ||
                      !place(&at, codes_n_blocks(n_places), CODES_BLOCK_LOOKS * sizeof(int16_t), &l->looks)))
        return false;
    l->size = at;
    return true;
}

static bool are_starts(const uint32_t *starts, uint32_t n_lists, uint32_t n_places)
{
    if (starts[0] != 0 || starts[n_lists] != n_places) return false;
    for (uint32_t i = 0; i < n_lists; i++) {
        if (starts[i] > starts[i + 1]) return false;
    }
    return true;
}

/* What sections with lists have more. */
static bool open_lists(struct codes *c, const struct codes_header *h, uint32_t copies, const struct codes_layout *l)
{
    const char *p = c->section.p;
    c->n_lists = h->n_lists;
    c->copies = copies;
    c->stop = h->stop;
    c->lean = h->lean;
    c->stop_few = h->stop_few;
    c->lift = h->lift;
    c->starts = (const uint32_t *)(const void *)(p + l->starts);
    c->centroids = (const float *)(const void *)(p + l->centroids);
    c->list_blocks = (const uint8_t *)p + l->list_blocks;
    c->list_factors = (const float *)(const void *)(p + l->list_factors);
    c->order = (const uint32_t *)(const void *)(p + l->order);
    return are_starts(c->starts, h->n_lists, h->n_rows * copies);
}

enum err codes_open(struct codes *c, struct bytes section, uint32_t n_rows, uint32_t dim, enum space space,
                    struct errmsg *em)
{
    struct codes_header h;
    if (section.n < sizeof h) return errmsg_set(em, ERR_CORRUPT, "vector codes: cut off");
    memcpy(&h, section.p, sizeof h);
    if (h.magic != CODES_MAGIC) return errmsg_set(em, ERR_CORRUPT, "vector codes: wrong magic");
    if (h.version > CODES_VERSION) return errmsg_set(em, ERR_NEWER, "vector codes: version %u", h.version);
    if (h.version == 0) return errmsg_set(em, ERR_CORRUPT, "vector codes: version 0");
    if (h.size_bytes > section.n) return errmsg_set(em, ERR_CORRUPT, "vector codes: cut off");
    if (h.dim != dim || h.space != (uint32_t)space)
        return errmsg_set(em, ERR_CORRUPT, "vector codes: of other vectors (%u dimensions, space %u)", h.dim, h.space);
    if (h.n_rows == 0) {
        if (h.size_bytes != sizeof h || h.padded_dim != 0)
            return errmsg_set(em, ERR_CORRUPT, "vector codes: empty, but with content");
        *c = (struct codes){.section = section, .dim = dim, .space = space, .seed = h.seed};
        return ERR_OK;
    }
    struct codes_layout l;
    const bool has_lists = h.version == CODES_VERSION_LISTS || h.version == 2, has_looks = h.version == CODES_VERSION;
    uint32_t n_lists = has_lists ? h.n_lists : 0, first_dims = h.version >= 2 ? h.first_dims : h.padded_dim;
    uint32_t copies = h.version == CODES_VERSION_LISTS ? CODES_COPIES : 1;
    if (h.n_rows != n_rows || dim < CODES_MIN_DIM || h.padded_dim != rotation_padded(dim) || n_lists > n_rows ||
        (has_lists && n_lists < copies) || (has_looks && h.padded_dim > CODES_LOOKS_MAX_DIM) || first_dims == 0 ||
        first_dims % 64 != 0 || !codes_layout(h.n_rows, copies, n_lists, h.padded_dim, first_dims, has_looks, &l) ||
        h.size_bytes != l.size)
        return errmsg_set(em, ERR_CORRUPT, "vector codes: %u rows in %llu bytes", h.n_rows,
                          (unsigned long long)h.size_bytes);
    if ((uintptr_t)section.p % _Alignof(float) != 0) return errmsg_set(em, ERR_CORRUPT, "vector codes: not aligned");
    const char *p = section.p;
    struct codes found = {.section = section,
                          .n = h.n_rows,
                          .dim = dim,
                          .padded_dim = h.padded_dim,
                          .space = space,
                          .seed = h.seed,
                          .centroid = (const float *)(const void *)(p + l.centroid),
                          .first_dims = first_dims,
                          .blocks = (const uint8_t *)p + l.blocks,
                          .rests = (const uint8_t *)p + l.rests,
                          .factors = (const float *)(const void *)(p + l.factors)};
    if (has_looks) {
        found.looks = (const int16_t *)(const void *)(p + l.looks);
        found.look_units = (const float *)(const void *)(p + l.look_units);
        found.unlimited = (const uint32_t *)(const void *)(p + l.unlimited);
    }
    if (n_lists > 0 && !open_lists(&found, &h, copies, &l))
        return errmsg_set(em, ERR_CORRUPT, "vector codes: %u lists are damaged", n_lists);
    *c = found;
    return ERR_OK;
}
