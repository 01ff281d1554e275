/* test_fragment_health.c - every section of a fragment damaged in turn: without what can be made again the answers are
 * the model's; what cannot is refused where it is needed, and only there. The scrub names the same sections.
 */
#include "core/crc32c.h"
#include "core/logger.h"
#include "tests/unit/index/fragment_model.h"

enum { N_ROWS = 300, WIDE = 40 }; /* a dimension that has codes */

/* One fragment of a model with one bit of one section turned; opened again. */
struct damaged {
    struct vfs *vfs;
    struct model m;
    struct fragment_watch watch;
    struct segment *s;
};

static struct fragment_section section_in(const struct vfs *vfs, enum section_type type)
{
    struct vfs_file *file;
    struct fragment_header *h = mem_alloc(sizeof *h);
    struct fragment_section found = {0};
    must_ok(vfs->open(vfs->ctx, "fragment", VFS_READ, &file, NULL));
    must_ok(vfs->pread(file, h, sizeof *h, 0, NULL));
    for (uint32_t i = 0; i < h->n_sections; i++)
        if (h->sections[i].type == (uint32_t)type) found = h->sections[i];
    vfs->close(file);
    mem_free(h);
    must(found.length > 0);
    return found;
}

static void turn_bit(const struct vfs *vfs, enum section_type type, struct rng *r)
{
    struct fragment_section section = section_in(vfs, type);
    struct vfs_file *file;
    uint64_t at = section.offset + rng_below(r, (uint32_t)section.length);
    uint8_t byte;
    must_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE, &file, NULL));
    must_ok(vfs->pread(file, &byte, 1, at, NULL));
    byte ^= (uint8_t)(1U << rng_below(r, 8));
    must_ok(vfs->pwrite(file, &byte, 1, at, NULL));
    vfs->close(file);
}

static void open_damaged(struct damaged *d)
{
    struct fragment *f;
    struct errmsg em = {0};
    must_msg(fragment_open(&f, d->vfs, "fragment", &em) == ERR_OK, "%s", em.text);
    d->s = fragment_segment(f);
    d->watch = (struct fragment_watch){0};
    fragment_set_watch(d->s, &d->watch);
}

static void setup_damaged(struct damaged *d, enum section_type type, enum space space, uint64_t seed)
{
    struct rng r = {seed};
    logger_set_level(LOG_NONE);
    must_ok(vfs_mem_new(&d->vfs, NULL));
    model_init(&d->m, N_ROWS, WIDE, &r);
    must_ok(write_model(&d->m, d->vfs, "fragment", space));
    turn_bit(d->vfs, type, &r);
    open_damaged(d);
}

static void teardown_damaged(struct damaged *d)
{
    d->s->ops->free(d->s);
    arena_free(&d->m.arena);
    vfs_mem_free(d->vfs);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static void check_finds(const struct damaged *d)
{
    for (uint32_t i = 0; i < N_ROWS; i++) must(d->s->ops->find(d->s, d->m.rows[i].id, 1000) == i);
    must(d->s->ops->find(d->s, STR("id-absent"), 1000) == ROW_NONE);
}

static void check_rows(const struct damaged *d)
{
    for (uint32_t i = 0; i < N_ROWS; i++) {
        struct arena a = {0};
        struct row got = {0};
        const struct row *want = &d->m.rows[i];
        must_ok(d->s->ops->row(d->s, i, ROW_ALL, &a, &got, NULL));
        must(str_eq(got.id, want->id) && str_eq(got.document, want->document) && str_eq(got.uri, want->uri));
        must(got.meta.n == want->meta.n && memcmp(got.vector, want->vector, WIDE * sizeof(float)) == 0);
        arena_free(&a);
    }
}

static void check_filters(const struct damaged *d, uint64_t seed)
{
    struct rng r = {seed};
    for (int round = 0; round < 120; round++) {
        struct arena a = {0};
        struct regexes re = {.n = 0};
        const struct filter *filter = random_filter(&r, &a, &d->m, &re, 0);
        struct bitset found, later;
        struct filter_rest rest = {0};
        must_ok(d->s->ops->filter(d->s, N_ROWS, filter, &a, &found, NULL, NULL));
        must_ok(d->s->ops->filter(d->s, N_ROWS, filter, &a, &later, &rest, NULL));
        if (rest.n > 0) must_ok(d->s->ops->settle(d->s, &rest, &later, 0, N_ROWS, NULL));
        for (uint32_t i = 0; i < N_ROWS; i++) {
            bool want;
            must_ok(filter_matches(filter, &d->m.rows[i], &a, &want, NULL));
            must_msg(bitset_get(&found, i) == want && bitset_get(&later, i) == want, "seed %llu: row %u, kind %d",
                     (unsigned long long)seed, i, (int)filter->kind);
        }
        for (uint32_t i = 0; i < re.n; i++) regex_free(re.list[i]);
        arena_free(&a);
    }
}

/* The same list, whether searched through what is left of the indexes or by comparing every vector. */
static void check_nearest(const struct damaged *d, enum section_type type, enum space space, uint64_t seed)
{
    struct rng r = {seed};
    for (int round = 0; round < 20; round++) {
        struct arena a = {0};
        struct query_vector q;
        struct topk top;
        float v[WIDE], best[5];
        for (int k = 0; k < WIDE; k++) v[k] = rng_gauss(&r);
        query_vector_init(&q, v, WIDE, space, &a);
        q.is_exact = type != SECTION_CODES; /* good codes may miss one; without them nothing is missed */
        must(topk_init(&top, &a, 5));
        must_ok(d->s->ops->nearest(d->s, N_ROWS, &q, NULL, N_ROWS, 1000, &top, &a, NULL));
        topk_sort(&top);
        must(top.n == 5);
        for (int k = 0; k < 5; k++) best[k] = INFINITY;
        for (uint32_t i = 0; i < N_ROWS; i++) {
            const float *x = d->m.rows[i].vector;
            float at = distance_exact(&q, x, distance_ops()->dot(x, x, WIDE));
            for (int k = 0; k < 5; k++) {
                if (at >= best[k]) continue;
                float t = best[k];
                best[k] = at;
                at = t;
            }
        }
        for (uint32_t k = 0; k < 5; k++) must_msg(top.heap[k].distance == best[k], "place %u", k);
        arena_free(&a);
    }
}

/* What the scrub says of the file: that section, and no other. */
static enum err count_pieces(void *ctx, uint64_t bytes)
{
    *(uint64_t *)ctx += bytes;
    return ERR_OK;
}

static void check_scrub(const struct damaged *d, enum section_type type)
{
    uint64_t bytes = 0;
    uint32_t damage = 0;
    must_ok(fragment_scrub(d->vfs, "fragment", count_pieces, &bytes, &damage, NULL));
    must(damage == UINT32_C(1) << type);
    must(bytes > FRAGMENT_HEADER_BYTES && bytes <= fragment_file_bytes(d->s));
    must(fragment_verify(d->s, NULL) == ERR_CORRUPT);
}

/* --- what can be made again ---------------------------------------------------------------------------------------- */

static const enum section_type derived[] = {SECTION_NORMS,      SECTION_ID_HASH,    SECTION_CODES,
                                            SECTION_META_INDEX, SECTION_TEXT_INDEX, SECTION_SPARSE_LISTS};

static void use_all(const struct damaged *d, enum section_type type, enum space space, uint64_t seed)
{
    static const uint32_t indices[] = {3, 70};
    static const float weights[] = {1, -1};
    const struct sparse_query q = {STR("a"), indices, weights, 2};
    struct arena a = {0};
    struct topk top;
    uint32_t counts[2] = {0};
    check_finds(d);
    check_rows(d);
    check_filters(d, seed);
    check_nearest(d, type, space, seed);
    must(topk_init(&top, &a, 3));
    enum err e = d->s->ops->sparse_nearest(d->s, &q, NULL, 1000, &top, &a, NULL);
    must(e == (type == SECTION_SPARSE_LISTS ? ERR_UNSUPPORTED
                                            : ERR_OK)); /* core/rank_sparse.c passes over the metadata then */
    must(d->s->ops->sparse_count(d->s, &q, 1000, counts, NULL) == e);
    must(e == ERR_OK || (top.n == 0 && counts[0] == 0 && counts[1] == 0));
    must(d->s->ops->lost(d->s) == 0);
    arena_free(&a);
}

START_TEST(answers_are_right_without_an_index)
{
    for (size_t k = 0; k < sizeof derived / sizeof derived[0]; k++) {
        for (uint64_t seed = 1; seed <= 6; seed++) {
            struct damaged d;
            enum space space = (enum space)(seed % 3);
            setup_damaged(&d, derived[k], space, seed);
            use_all(&d, derived[k], space, seed);
            bool is_used = derived[k] != SECTION_NORMS || space == SPACE_COSINE;
            must_msg(fragment_wants_rebuild(d.s) == is_used, "%s, seed %llu", section_name(derived[k]),
                     (unsigned long long)seed);
            must(!fragment_has_lost_rows(d.s) && !segment_is_unreadable(d.s));
            must(d.watch.n_derived == (is_used ? 1 : 0) && d.watch.n_rows == 0);
            must_ok(fragment_verify_rows(d.s, NULL));
            check_scrub(&d, derived[k]);
            must(fragment_wants_rebuild(d.s)); /* by now, at least */
            teardown_damaged(&d);
        }
    }
}
END_TEST

/* All of them at once, and what the scrub finds behind a fragment that is in use. */
START_TEST(damage_that_comes_later_is_noted)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct damaged d;
        struct rng r = {seed};
        uint64_t bytes = 0;
        uint32_t damage = 0, all = 0;
        setup_damaged(&d, SECTION_CODES, SPACE_L2, seed);
        turn_bit(d.vfs, SECTION_CODES, &r); /* maybe another one; verified below */
        for (size_t k = 0; k < sizeof derived / sizeof derived[0]; k++) {
            if (derived[k] != SECTION_CODES) turn_bit(d.vfs, derived[k], &r);
            all |= UINT32_C(1) << derived[k];
        }
        must_ok(fragment_scrub(d.vfs, "fragment", count_pieces, &bytes, &damage, NULL));
        must((damage | UINT32_C(1) << SECTION_CODES) == all);
        fragment_note_scrub(d.s, damage);
        must(d.watch.n_derived >= 5);
        use_all(&d, SECTION_SPARSE_LISTS, SPACE_L2, seed);
        check_nearest(&d, SECTION_CODES, SPACE_L2, seed);
        teardown_damaged(&d);
    }
}
END_TEST

/* Memory is short while the id hash is made again: every id is looked at instead. */
static bool fail_large(void *ctx, size_t size)
{
    (void)ctx;
    return size < 1024;
}

START_TEST(ids_are_found_without_memory)
{
    struct damaged d;
    setup_damaged(&d, SECTION_ID_HASH, SPACE_L2, 5);
    mem_set_hook(fail_large, NULL);
    check_finds(&d);
    mem_set_hook(NULL, NULL);
    check_finds(&d);
    teardown_damaged(&d);
}
END_TEST

/* --- what cannot ---------------------------------------------------------------------------------------------------- */

static const struct {
    enum section_type type;
    unsigned parts; /* that are lost with it; 0: all is */
} lasting[] = {
    {SECTION_VECTORS, ROW_VECTOR},
    {SECTION_URIS, ROW_URI},
    {SECTION_META, ROW_META},
    {SECTION_DOCUMENTS, ROW_DOCUMENT},
    {SECTION_IDS, 0},
    {SECTION_ORDINALS, 0},
    {SECTION_BORN, 0},
};

static void check_refusals(const struct damaged *d, unsigned lost, bool is_unreadable)
{
    static const unsigned parts[] = {ROW_ID, ROW_DOCUMENT, ROW_URI, ROW_META, ROW_VECTOR};
    struct arena a = {0};
    struct query_vector q;
    struct topk top;
    struct errmsg em = {0};
    struct value one = {.type = VALUE_INT, .i = 1};
    struct filter meta = {.kind = FILTER_EQ, .key = STR("a"), .values = &one, .n_values = 1};
    struct filter text = {.kind = FILTER_DOC_CONTAINS, .text = STR("abc")};
    struct bitset rows;
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        for (uint32_t i = 0; i < N_ROWS; i++) {
            struct row row = {0};
            bool is_lost = is_unreadable || parts[k] == lost;
            must(d->s->ops->row(d->s, i, parts[k], &a, &row, &em) == (is_lost ? ERR_CORRUPT : ERR_OK));
        }
    }
    must(strstr(em.text, "fragment: ") != NULL && strstr(em.text, "damaged") != NULL);
    query_vector_init(&q, d->m.rows[0].vector, WIDE, SPACE_L2, &a);
    must(topk_init(&top, &a, 5));
    enum err e = d->s->ops->nearest(d->s, N_ROWS, &q, NULL, N_ROWS, 1000, &top, &a, NULL);
    must(e == (is_unreadable || lost == ROW_VECTOR ? ERR_CORRUPT : ERR_OK));
    /* the index answers although the metadata are lost; documents are always read */
    e = d->s->ops->filter(d->s, N_ROWS, &meta, &a, &rows, NULL, NULL);
    must(e == (is_unreadable ? ERR_CORRUPT : ERR_OK));
    e = d->s->ops->filter(d->s, N_ROWS, &text, &a, &rows, NULL, NULL);
    must(e == (is_unreadable || lost == ROW_DOCUMENT ? ERR_CORRUPT : ERR_OK));
    if (is_unreadable)
        must(d->s->ops->find(d->s, d->m.rows[3].id, 1000) == ROW_UNKNOWN);
    else
        check_finds(d);
    arena_free(&a);
}

START_TEST(lost_rows_are_refused_where_they_are_needed)
{
    for (size_t k = 0; k < sizeof lasting / sizeof lasting[0]; k++) {
        for (uint64_t seed = 1; seed <= 6; seed++) {
            struct damaged d;
            bool is_unreadable = lasting[k].parts == 0;
            setup_damaged(&d, lasting[k].type, SPACE_L2, seed);
            must(segment_is_unreadable(d.s) == is_unreadable); /* known before the first use */
            check_refusals(&d, lasting[k].parts, is_unreadable);
            must(is_unreadable || d.s->ops->lost(d.s) == lasting[k].parts);
            must(fragment_has_lost_rows(d.s) && !fragment_wants_rebuild(d.s));
            must(d.watch.n_rows == 1 && d.watch.n_derived == 0);
            must(fragment_verify_rows(d.s, NULL) == ERR_CORRUPT);
            check_scrub(&d, lasting[k].type);
            teardown_damaged(&d);
        }
    }
}
END_TEST

/* --- the scrub ------------------------------------------------------------------------------------------------------ */

static enum err stop_soon(void *ctx, uint64_t bytes)
{
    uint64_t *left = ctx;
    if (bytes >= *left) return ERR_BUSY;
    *left -= bytes;
    return ERR_OK;
}

START_TEST(a_scrub_can_be_stopped)
{
    struct fixture f;
    uint32_t damage = 7;
    uint64_t left = 20000, all = 0;
    setup(&f, N_ROWS, WIDE, SPACE_L2, 9);
    ck_assert_int_eq(fragment_scrub(f.vfs, "fragment", stop_soon, &left, &damage, NULL), ERR_BUSY);
    ck_assert_uint_eq(damage, 7);
    must_ok(fragment_scrub(f.vfs, "fragment", count_pieces, &all, &damage, NULL));
    ck_assert_uint_eq(damage, 0);
    ck_assert_int_eq(fragment_scrub(f.vfs, "absent", count_pieces, &all, &damage, NULL), ERR_NOT_FOUND);
    teardown(&f);
}
END_TEST

/* --- agreement ------------------------------------------------------------------------------------------------------ */

START_TEST(good_indexes_agree)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct fixture f;
        struct fragment_agreement out = {0};
        setup(&f, N_ROWS, seed % 2 == 0 ? WIDE : DIM, (enum space)(seed % 3), seed);
        for (uint32_t i = 0; i < N_ROWS; i += 7) must_ok(deaths_mark(&f.s->deaths, i, 500));
        must_ok(fragment_agree(f.s, 80, seed, &out, NULL));
        must_msg(out.n_wrong == 0, "seed %llu: %s", (unsigned long long)seed, out.first);
        must(out.n_probes > 160);
        teardown(&f);
    }
}
END_TEST

/* An index that was written wrong: a bit of it is another (an id hash is empty), and all checksums are right. */
static void write_wrong(const struct vfs *vfs, enum section_type type, struct rng *r)
{
    struct vfs_file *file;
    struct fragment_header *h = mem_alloc(sizeof *h);
    turn_bit(vfs, type, r);
    must_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE, &file, NULL));
    must_ok(vfs->pread(file, h, sizeof *h, 0, NULL));
    for (uint32_t i = 0; i < h->n_sections; i++) {
        struct fragment_section *section = &h->sections[i];
        if (section->type != (uint32_t)type) continue;
        void *bytes = mem_alloc(section->length);
        must_ok(vfs->pread(file, bytes, section->length, section->offset, NULL));
        if (type == SECTION_ID_HASH) memset(bytes, 0, section->length);
        must_ok(vfs->pwrite(file, bytes, section->length, section->offset, NULL));
        section->crc = crc32c(0, bytes, section->length);
        mem_free(bytes);
    }
    h->crc = crc32c(0, h, offsetof(struct fragment_header, crc));
    must_ok(vfs->pwrite(file, h, sizeof *h, 0, NULL));
    vfs->close(file);
    mem_free(h);
}

START_TEST(an_index_that_says_something_else_is_noticed)
{
    static const enum section_type types[] = {SECTION_NORMS, SECTION_ID_HASH, SECTION_META_INDEX, SECTION_TEXT_INDEX,
                                              SECTION_SPARSE_LISTS};
    logger_set_level(LOG_NONE);
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
        uint32_t n_noticed = 0;
        for (uint64_t seed = 1; seed <= 16; seed++) {
            struct damaged d;
            struct rng r = {seed};
            struct fragment_agreement out = {0};
            must_ok(vfs_mem_new(&d.vfs, NULL));
            model_init(&d.m, N_ROWS, WIDE, &r);
            must_ok(write_model(&d.m, d.vfs, "fragment", SPACE_COSINE));
            write_wrong(d.vfs, types[k], &r);
            open_damaged(&d);
            must_ok(fragment_verify(d.s, NULL));
            must_ok(fragment_agree(d.s, 100, seed, &out, NULL));
            /* or it contradicts itself, and is not used any more */
            n_noticed += out.n_wrong > 0 || fragment_wants_rebuild(d.s);
            must((out.n_wrong > 0) == (out.first[0] != '\0'));
            teardown_damaged(&d);
        }
        /* bits that mean nothing much (the low ones of a float, an empty slot's, a rare value's) are in all of them */
        must_msg(n_noticed >= (types[k] == SECTION_ID_HASH ? 16U : 2U), "%s: %u of 16", section_name(types[k]),
                 n_noticed);
    }
}
END_TEST

TESTS(fragment_health, answers_are_right_without_an_index, damage_that_comes_later_is_noted,
      ids_are_found_without_memory, lost_rows_are_refused_where_they_are_needed, a_scrub_can_be_stopped,
      good_indexes_agree, an_index_that_says_something_else_is_noticed)
