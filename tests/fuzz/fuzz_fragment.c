/* fuzz_fragment.c - a valid fragment with changes in any section, its checksums made right again, so that only the
 * checks of the structure stand between the changes and the readers. Opening refuses it, or every reader answers or
 * says ERR_CORRUPT. Where fragment_check finds nothing wrong, every reader must answer, and the indexes must say what
 * the rows say.
 *
 * INPUT  which fragment (1 byte), seed of the questions (2), then changes: section (1), image.h; 0xff: in the header.
 */
#include <math.h>
#include <stdlib.h>

#include "tests/fuzz/image.h"
/* the check above goes first: see fuzz.h */
#include "core/crc32c.h"
#include "core/logger.h"
#include "core/topk.h"
#include "index/fragment_check.h"
#include "tests/unit/index/fragment_model.h"

enum { N_FRAGMENTS = 4 };

static const struct {
    uint32_t n_rows, dim;
    enum space space;
} shapes[N_FRAGMENTS] = {{60, 8, SPACE_L2}, {40, 40, SPACE_COSINE}, {1, 2, SPACE_IP}, {33, 64, SPACE_IP}};

struct base {
    struct model m;
    uint8_t *p;
    size_t n;
};

static struct vfs *vfs; /* these are made with the first input */
static struct vfs_file *file;
static struct base bases[N_FRAGMENTS];

static void make_bases(void)
{
    logger_set_level(LOG_NONE); /* each damaged section would be told */
    must_ok(vfs_mem_new(&vfs, NULL));
    for (int i = 0; i < N_FRAGMENTS; i++) {
        struct rng r = {(uint64_t)i + 77};
        struct base *b = &bases[i];
        uint64_t size;
        struct vfs_file *f;
        model_init(&b->m, shapes[i].n_rows, shapes[i].dim, &r);
        must_ok(write_model(&b->m, vfs, "base", shapes[i].space));
        must_ok(vfs->open(vfs->ctx, "base", VFS_READ, &f, NULL));
        must_ok(vfs->size(f, &size, NULL));
        b->n = (size_t)size;
        b->p = mem_alloc(b->n);
        must(b->p != NULL);
        must_ok(vfs->pread(f, b->p, b->n, 0, NULL));
        vfs->close(f);
    }
    must_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE | VFS_CREATE, &file, NULL));
}

/* Wherever the changed header says that sections are. */
static void mend_checksums(struct image *m)
{
    struct fragment_header h;
    memcpy(&h, m->p, sizeof h);
    uint32_t n = h.n_sections < FRAGMENT_SECTIONS_MAX ? h.n_sections : FRAGMENT_SECTIONS_MAX;
    for (uint32_t i = 0; i < n; i++)
        if (ck_inside(m->n, h.sections[i].offset, 1, h.sections[i].length))
            h.sections[i].crc = crc32c(0, m->p + h.sections[i].offset, (size_t)h.sections[i].length);
    h.crc = crc32c(0, &h, sizeof h - 4);
    memcpy(m->p, &h, sizeof h);
}

static bool is_allowed(enum err e)
{
    return e == ERR_OK || e == ERR_CORRUPT || e == ERR_NOMEM || e == ERR_INVALID || e == ERR_UNSUPPORTED;
}

static void count_problem(void *ctx, const struct fragment_problem *p)
{
    must(p->what[0] != '\0' && p->section[0] != '\0');
    ++*(uint32_t *)ctx;
}

/* Does the checker find nothing to say against it? */
static bool is_sound(void)
{
    struct fragment_summary summary;
    struct fragment *f = NULL;
    struct errmsg em = {{0}};
    uint32_t n = 0;
    enum err e = fragment_check(vfs, "fragment", count_problem, &n, &summary, &f, &em);
    must(e == ERR_OK || ((e == ERR_NEWER || e == ERR_NOMEM) && em.text[0] != '\0'));
    if (e == ERR_OK && f != NULL) fragment_segment(f)->ops->free(fragment_segment(f));
    must((e != ERR_OK || f != NULL || n > 0) && "what cannot be opened has a problem");
    return e == ERR_OK && n == 0;
}

static void read_rows(struct segment *s, const struct model *m, bool sound, struct arena *a)
{
    uint32_t n = fragment_n_rows(s);
    for (uint32_t i = 0; i < n && i < 200; i++) {
        struct row row = {0};
        struct errmsg em = {{0}};
        enum err e = s->ops->row(s, i, ROW_ALL, a, &row, &em);
        must(is_allowed(e));
        if (sound) must_msg(e == ERR_OK, "the checker finds nothing, the reader says: %s", em.text);
        if (sound) must(s->ops->find(s, row.id, 1u << 31) == i || s->ops->born(s, i) > 1u << 31);
        if (e == ERR_OK) must(row.meta.n == 0 || meta_validate(row.meta, false));
        (void)s->ops->ordinal(s, i);
        (void)s->ops->born(s, i);
    }
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t found = s->ops->find(s, m->rows[i].id, 1000);
        must(found == ROW_NONE || found == ROW_UNKNOWN || found < n);
    }
}

/* What the fragment found is what its own rows say. */
static void compare(struct segment *s, const struct filter *f, const struct bitset *found, struct arena *a)
{
    for (uint32_t i = 0; i < found->n_bits; i++) {
        struct row row = {0};
        bool matches;
        must_ok(s->ops->row(s, i, ROW_ALL, a, &row, NULL));
        must_ok(filter_matches(f, &row, a, &matches, NULL));
        must_msg(matches == bitset_get(found, i), "filter of kind %d, row %u: the rows say %d", (int)f->kind, i,
                 matches);
    }
}

static void filter_rows(struct segment *s, const struct model *m, bool sound, struct rng *r, struct arena *a)
{
    struct regexes re = {.n = 0};
    for (int i = 0; i < 5; i++) {
        struct bitset found;
        struct filter_rest rest = {0};
        const struct filter *f = random_filter(r, a, m, &re, 0);
        enum err e = s->ops->filter(s, fragment_n_rows(s), f, a, &found, i % 2 == 0 ? &rest : NULL, NULL);
        must(is_allowed(e));
        if (sound) must(e == ERR_OK);
        if (e != ERR_OK) continue;
        must(found.n_bits == fragment_n_rows(s) && bitset_count(&found) <= found.n_bits);
        if (rest.n > 0) e = s->ops->settle(s, &rest, &found, 0, found.n_bits, NULL);
        must(is_allowed(e));
        if (sound) must(e == ERR_OK);
        if (sound) compare(s, f, &found, a);
    }
    for (uint32_t i = 0; i < re.n; i++) regex_free(re.list[i]);
}

static void search_rows(struct segment *s, const struct model *m, bool sound, struct rng *r, struct arena *a)
{
    const struct fragment *f = fragment_of(s);
    struct bitset mask;
    must(bitset_init(&mask, a, f->n_rows));
    for (uint32_t i = 0; i < f->n_rows; i += 1 + rng_below(r, 3)) bitset_add(&mask, i);
    for (int i = 0; i < 4; i++) {
        struct query_vector q;
        struct topk top;
        float *v = arena_array(a, f->dim, sizeof *v);
        must(v != NULL);
        for (uint32_t d = 0; d < f->dim; d++) v[d] = m->n > 0 && m->dim == f->dim ? m->rows[0].vector[d] : rng_gauss(r);
        query_vector_init(&q, v, f->dim, f->space, a);
        must(topk_init(&top, a, 5));
        const struct bitset *only = i % 2 == 0 ? NULL : &mask;
        uint32_t n_only = only != NULL ? bitset_count(&mask) : f->n_rows;
        must(is_allowed(s->ops->nearest(s, f->n_rows, &q, only, n_only, 1000, &top, a, NULL)));
        for (uint32_t k = 0; k < top.n; k++) must(top.heap[k].row < f->n_rows);
    }
    for (int i = 0; i < 4 && s->ops->sparse_nearest != NULL; i++) {
        static const uint32_t indices[] = {3, 70};
        static const float weights[] = {1, -1};
        const struct sparse_query q = {random_key(r), indices, weights, 2};
        uint32_t counts[2] = {0};
        struct topk top;
        must(topk_init(&top, a, 3));
        enum err e = s->ops->sparse_nearest(s, &q, i % 2 == 0 ? NULL : &mask, 1000, &top, a, NULL);
        must(is_allowed(e) || (e == ERR_UNSUPPORTED && top.n == 0));
        must(!sound || e == ERR_OK);
        for (uint32_t k = 0; k < top.n; k++) must(top.heap[k].row < f->n_rows);
        e = s->ops->sparse_count(s, &q, 1000, counts, NULL);
        must(is_allowed(e) || (e == ERR_UNSUPPORTED && counts[0] == 0 && counts[1] == 0));
        must(!sound || e == ERR_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    struct fragment *f;
    struct errmsg em = {{0}};
    if (vfs == NULL) make_bases();
    logger_set_level(getenv("FUZZ_LOG") != NULL ? LOG_DEBUG : LOG_NONE); /* damage is logged */
    const struct base *b = &bases[input_u8(&in) % N_FRAGMENTS];
    struct rng r = {input_u8(&in) | (uint64_t)input_u8(&in) << 8 | 1};
    struct image m = {mem_dup(b->p, b->n), b->n};
    must(m.p != NULL);
    const struct fragment_header *h = (const struct fragment_header *)(const void *)b->p;
    for (int i = 0; i < IMAGE_CHANGES_MAX && in.n > 0; i++) {
        uint8_t which = input_u8(&in);
        const struct fragment_section *s = &h->sections[which % h->n_sections];
        if (which == 0xff)
            image_change(&m, 0, sizeof *h, &in);
        else
            image_change(&m, (size_t)s->offset, (size_t)s->length, &in);
    }
    mend_checksums(&m);
    must_ok(vfs->truncate(file, m.n, NULL));
    must_ok(vfs->pwrite(file, m.p, m.n, 0, NULL));
    mem_free(m.p);
    enum err e = fragment_open(&f, vfs, "fragment", &em);
    must(e == ERR_OK || ((e == ERR_CORRUPT || e == ERR_NEWER) && em.text[0] != '\0'));
    if (e != ERR_OK) return 0;
    struct arena a = {.max_bytes = 64 << 20};
    struct segment *s = fragment_segment(f);
    struct fragment_agreement agreement = {0};
    must(is_allowed(fragment_verify(s, NULL)));
    bool sound = is_sound();
    enum err agrees = fragment_agree(s, 1, r.s, &agreement, &em);
    must(is_allowed(agrees));
    if (sound)
        must_msg(agrees == ERR_OK && agreement.n_wrong == 0, "the checker finds nothing, but %s%s", em.text,
                 agreement.first);
    read_rows(s, &b->m, sound, &a);
    filter_rows(s, &b->m, sound, &r, &a);
    search_rows(s, &b->m, sound, &r, &a);
    s->ops->free(s);
    arena_free(&a);
    return 0;
}
