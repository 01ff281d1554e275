/* test_fragment_check.c - fragment_check finds nothing in sound fragments, names the section of a wrong checksum, and
 * finds indexes that say something else than the rows though every checksum is right.
 */
#include "core/crc32c.h"
#include "index/fragment_check.h"
#include "tests/unit/index/fragment_model.h"

struct found {
    uint32_t n, n_here;
    const char *here; /* count problems of this section */
    enum fragment_loss loss;
    char last[300];
};

static void on_problem(void *ctx, const struct fragment_problem *p)
{
    struct found *found = ctx;
    must(p->from <= p->to);
    found->n++;
    if (found->here != NULL && strcmp(p->section, found->here) == 0) {
        found->n_here++;
        found->loss = p->loss;
    }
    (void)snprintf(found->last, sizeof found->last, "%s: %s", p->section, p->what);
}

static void check(const struct vfs *vfs, struct found *found)
{
    struct fragment_summary s;
    struct fragment *f;
    struct errmsg em = {{0}};
    enum err e = fragment_check(vfs, "fragment", on_problem, found, &s, &f, &em);
    must_msg(e == ERR_OK || e == ERR_NEWER || e == ERR_NOMEM, "%s", em.text);
    if (f != NULL) fragment_segment(f)->ops->free(fragment_segment(f));
}

START_TEST(sound_fragments_have_no_problems)
{
    static const uint32_t sizes[] = {0, 1, 31, 120, 1500}, dims[] = {1, DIM, 40, 100};
    struct rng r = {99};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++) {
            struct vfs *vfs;
            struct model m;
            struct found found = {0};
            struct fragment_summary s;
            struct fragment *f;
            enum space space = (enum space)((i + k) % 3);
            must_ok(vfs_mem_new(&vfs, NULL));
            model_init(&m, sizes[i], dims[k], &r);
            must_ok(write_model(&m, vfs, "fragment", space));
            must_ok(fragment_check(vfs, "fragment", on_problem, &found, &s, &f, NULL));
            must_msg(found.n == 0, "%u rows of %u: %s", sizes[i], dims[k], found.last);
            must(f != NULL && s.n_rows == sizes[i] && s.dim == dims[k] && s.space == space);
            must(s.file_bytes == fragment_file_bytes(fragment_segment(f)));
            if (sizes[i] > 0) must(s.last_ordinal == m.ordinals[sizes[i] - 1] && s.last_born >= 10);
            fragment_segment(f)->ops->free(fragment_segment(f));
            ck_assert_int_eq(fragment_check(vfs, "absent", on_problem, &found, &s, &f, NULL), ERR_NOT_FOUND);
            arena_free(&m.arena);
            vfs_mem_free(vfs);
        }
    }
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------- */

struct target {
    struct vfs *vfs;
    struct model m;
    struct vfs_file *file;
    struct fragment_header h;
};

static void make(struct target *t, uint64_t seed)
{
    struct rng r = {seed};
    must_ok(vfs_mem_new(&t->vfs, NULL));
    model_init(&t->m, 200, 40, &r);
    must_ok(write_model(&t->m, t->vfs, "fragment", SPACE_L2));
    must_ok(t->vfs->open(t->vfs->ctx, "fragment", VFS_WRITE, &t->file, NULL));
    must_ok(t->vfs->pread(t->file, &t->h, sizeof t->h, 0, NULL));
}

static void unmake(struct target *t)
{
    t->vfs->close(t->file);
    arena_free(&t->m.arena);
    vfs_mem_free(t->vfs);
}

static const struct fragment_section *section(const struct target *t, enum section_type type)
{
    for (uint32_t i = 0; i < t->h.n_sections; i++)
        if (t->h.sections[i].type == (uint32_t)type) return &t->h.sections[i];
    must_msg(false, "no section %d", (int)type);
    return NULL;
}

/* Turns one bit of a section; `repairs`: with all checksums as if it had been written so. Twice: as before. */
static void turn(struct target *t, const struct fragment_section *s, uint64_t at, unsigned bit, bool repairs)
{
    char *bytes = malloc(s->length);
    must(bytes != NULL);
    must_ok(t->vfs->pread(t->file, bytes, s->length, s->offset, NULL));
    bytes[at] = (char)(bytes[at] ^ 1 << bit);
    must_ok(t->vfs->pwrite(t->file, bytes + at, 1, s->offset + at, NULL));
    if (repairs) {
        struct fragment_header h = t->h;
        h.sections[s - t->h.sections].crc = crc32c(0, bytes, s->length);
        h.crc = crc32c(0, &h, offsetof(struct fragment_header, crc));
        must_ok(t->vfs->pwrite(t->file, &h, sizeof h, 0, NULL));
    }
    free(bytes);
}

static const struct kind {
    enum section_type type;
    const char *name;
    enum fragment_loss loss;
    unsigned share; /* percent of turned bits that must be found behind right checksums; 0: no index */
} kinds[] = {
    {SECTION_VECTORS, "vectors", FRAGMENT_LOSES_ROWS, 0},
    {SECTION_ORDINALS, "ordinals", FRAGMENT_LOSES_ROWS, 0},
    {SECTION_BORN, "born", FRAGMENT_LOSES_ROWS, 0},
    {SECTION_NORMS, "norms", FRAGMENT_LOSES_INDEX, 40}, /* the rest is within the tolerance */
    {SECTION_IDS, "ids", FRAGMENT_LOSES_ROWS, 0},
    {SECTION_ID_HASH, "id hash", FRAGMENT_LOSES_INDEX, 95},
    {SECTION_URIS, "uris", FRAGMENT_LOSES_ROWS, 0},
    {SECTION_META, "metadata", FRAGMENT_LOSES_ROWS, 0},
    {SECTION_DOCUMENTS, "documents", FRAGMENT_LOSES_ROWS, 0},
    {SECTION_CODES, "codes", FRAGMENT_LOSES_INDEX, 30}, /* the code proper; of the factors one in three */
    {SECTION_META_INDEX, "metadata index", FRAGMENT_LOSES_INDEX, 80},
    {SECTION_TEXT_INDEX, "text index", FRAGMENT_LOSES_INDEX, 90},
    {SECTION_SPARSE_LISTS, "sparse lists", FRAGMENT_LOSES_INDEX, 80},
};

START_TEST(a_wrong_checksum_is_named)
{
    struct target t;
    struct rng r = {4};
    make(&t, 7);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct fragment_section *s = section(&t, kinds[i].type);
        for (int round = 0; round < 20; round++) {
            struct found found = {.here = kinds[i].name};
            uint64_t at = rng_below(&r, (uint32_t)s->length);
            unsigned bit = rng_below(&r, 8);
            turn(&t, s, at, bit, false);
            check(t.vfs, &found);
            turn(&t, s, at, bit, false);
            must_msg(found.n == 1 && found.n_here == 1 && found.loss == kinds[i].loss, "%s, byte %llu: %u problems, %s",
                     kinds[i].name, (unsigned long long)at, found.n, found.last);
        }
    }
    unmake(&t);
}
END_TEST

/* What was written wrong has right checksums. Whatever the bytes are, the check ends well (asan). */
START_TEST(indexes_that_lie_are_found)
{
    enum { ROUNDS = 150 };
    struct target t;
    struct rng r = {5};
    make(&t, 8);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct fragment_section *s = section(&t, kinds[i].type);
        unsigned n_found = 0;
        for (int round = 0; round < ROUNDS; round++) {
            struct found found = {0};
            uint64_t at = rng_below(&r, (uint32_t)s->length);
            unsigned bit = rng_below(&r, 8);
            turn(&t, s, at, bit, true);
            check(t.vfs, &found);
            turn(&t, s, at, bit, true);
            n_found += found.n > 0;
        }
        must_msg(n_found * 100 >= kinds[i].share * ROUNDS, "%s: %u of %d found", kinds[i].name, n_found, (int)ROUNDS);
    }
    struct found none = {0};
    check(t.vfs, &none);
    must_msg(none.n == 0, "%s", none.last);
    unmake(&t);
}
END_TEST

TESTS(fragment_check, sound_fragments_have_no_problems, a_wrong_checksum_is_named, indexes_that_lie_are_found)
