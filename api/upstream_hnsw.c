/* upstream_hnsw.c - see upstream_hnsw.h.
 *
 * HAPPY PATH  the header is checked against itself and against the size of data_level0.bin, which is mapped; the
 *             labels are gathered and sorted once.
 * FAILURE     anything that does not fit is ERR_CORRUPT, before a vector is looked at; nothing is left open then.
 * INVARIANT   after a successful open every element, its vector and its label lie within the mapping.
 * LABELS      an element that is marked deleted counts only when no other has its label: the index reuses places, and
 *             what is deleted is no longer in the list of ids anyway.
 */
#include "api/upstream_hnsw.h"

#include <stdlib.h>

#include "core/mem.h"

enum { HEADER_BYTES = 100, HEADER_VERSION = 1, DELETED = 1 };

struct hnsw_place {
    uint64_t label;
    uint32_t element;
    bool is_deleted;
};

static int by_label(const void *a, const void *b)
{
    const struct hnsw_place *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    if (x->is_deleted != y->is_deleted)
        return x->is_deleted ? -1 : 1; /* the last one of a label is the one that counts */
    return x->element < y->element ? -1 : x->element > y->element;
}

static enum err open_file(const struct vfs *vfs, const char *dir, const char *name, struct vfs_file **f,
                          struct errmsg *em)
{
    char path[4096];
    if (!vfs_join(path, sizeof path, dir, name)) return errmsg_set(em, ERR_INVALID, "the path %s is too long", dir);
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, f, em);
    if (e != ERR_OK) errmsg_wrap(em, "%s", name);
    return e;
}

static enum err read_header(struct upstream_hnsw *h, const char *dir, uint64_t *n, struct errmsg *em)
{
    uint8_t b[HEADER_BYTES];
    struct vfs_file *f;
    enum err e = open_file(h->vfs, dir, "header.bin", &f, em);
    if (e != ERR_OK) return e;
    e = h->vfs->pread(f, b, sizeof b, 0, em);
    h->vfs->close(f);
    if (e != ERR_OK) {
        errmsg_wrap(em, "header.bin");
        return e;
    }
    uint64_t count = le64_get(b + 20), size = le64_get(b + 28), label = le64_get(b + 36), vector = le64_get(b + 44);
    if (le32_get(b) != HEADER_VERSION || le64_get(b + 4) != 0)
        return errmsg_set(em, ERR_CORRUPT, "header.bin: not of version %d", HEADER_VERSION);
    bool fits = count <= UINT32_MAX && vector >= sizeof(uint32_t) && label > vector &&
                label - vector <= UPSTREAM_DIM_MAX * 4 && (label - vector) % sizeof(float) == 0 &&
                label <= UINT32_MAX && size == label + sizeof(uint64_t);
    if (!fits) return errmsg_set(em, ERR_CORRUPT, "header.bin: its sizes contradict each other");
    h->element_bytes = (size_t)size;
    h->vector_at = (size_t)vector;
    h->dim = (uint32_t)((label - vector) / sizeof(float));
    *n = count;
    return ERR_OK;
}

static enum err map_data(struct upstream_hnsw *h, const char *dir, uint64_t n, struct errmsg *em)
{
    struct vfs_file *f;
    enum err e = open_file(h->vfs, dir, "data_level0.bin", &f, em);
    if (e != ERR_OK) return e;
    e = h->vfs->map(f, &h->data, em);
    h->vfs->close(f);
    if (e != ERR_OK) {
        errmsg_wrap(em, "data_level0.bin");
    } else if (!ck_inside(h->data.n, 0, n, h->element_bytes)) {
        e = errmsg_set(em, ERR_CORRUPT, "data_level0.bin: %zu bytes are too few for %llu elements", h->data.n,
                       (unsigned long long)n);
    }
    return e;
}

static const uint8_t *element(const struct upstream_hnsw *h, uint32_t i)
{
    return (const uint8_t *)h->data.p + (size_t)i * h->element_bytes;
}

enum err upstream_hnsw_open(struct upstream_hnsw *h, const struct vfs *vfs, const char *dir, struct errmsg *em)
{
    struct upstream_hnsw fresh = {.vfs = vfs};
    uint64_t n = 0;
    enum err e = read_header(&fresh, dir, &n, em);
    if (e == ERR_OK) e = map_data(&fresh, dir, n, em);
    if (e != ERR_OK) goto fail;
    fresh.n = (uint32_t)n;
    fresh.places = mem_array(n > 0 ? (size_t)n : 1, sizeof *fresh.places);
    if (fresh.places == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "an index of %u vectors", fresh.n);
        goto fail;
    }
    for (uint32_t i = 0; i < fresh.n; i++) {
        const uint8_t *p = element(&fresh, i);
        fresh.places[i].label = le64_get(p + fresh.element_bytes - sizeof(uint64_t));
        fresh.places[i].element = i;
        fresh.places[i].is_deleted = (p[2] & DELETED) != 0;
    }
    qsort(fresh.places, fresh.n, sizeof *fresh.places, by_label);
    *h = fresh;
    return ERR_OK;
fail:
    upstream_hnsw_close(&fresh);
    return e;
}

void upstream_hnsw_close(struct upstream_hnsw *h)
{
    if (h->data.p != NULL) h->vfs->unmap(h->vfs->ctx, h->data);
    mem_free(h->places);
    *h = (struct upstream_hnsw){0};
}

const uint8_t *upstream_hnsw_find(const struct upstream_hnsw *h, uint64_t label)
{
    uint32_t low = 0; /* places before `low` have labels up to the wanted one */
    for (uint32_t high = h->n; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (h->places[middle].label <= label)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || h->places[low - 1].label != label) return NULL;
    return element(h, h->places[low - 1].element) + h->vector_at;
}
