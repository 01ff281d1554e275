/* fragment_model.h - random rows, a fragment written of them, and random filters that meet them. */
#ifndef TESTS_FRAGMENT_MODEL_H
#define TESTS_FRAGMENT_MODEL_H

#include "index/fragment_internal.h"
#include "tests/unit/index/random_rows.h"

enum { DIM = 8 };

struct model {
    struct arena arena;
    uint32_t n, dim;
    struct row *rows;
    uint64_t *ordinals, *born;
};

static inline struct str random_document(struct rng *r, struct arena *a, uint32_t i)
{
    if (rng_below(r, 8) == 0) return (struct str){NULL, 0};
    if (i % 50 == 7) return random_text(r, a, 500 + rng_below(r, 3000)); /* long enough for a block to be compressed */
    return random_text(r, a, rng_below(r, 30));
}

static inline struct row random_row(struct rng *r, struct arena *a, uint32_t i, uint32_t dim)
{
    float *v = arena_array(a, dim, sizeof *v);
    for (uint32_t d = 0; d < dim; d++) v[d] = rng_gauss(r);
    struct row row = {
        .id = i % 97 == 5 ? arena_printf(a, "id\n%u%c", i, 0) : arena_printf(a, "id-%u", i),
        .document = random_document(r, a, i),
        .uri = rng_below(r, 4) == 0 ? arena_printf(a, "file:///%u", i) : (struct str){NULL, 0},
        .meta = random_meta(r, a),
        .vector = v,
    };
    if (i % 13 == 4) row.uri = STR("");
    return row;
}

static inline void model_init(struct model *m, uint32_t n, uint32_t dim, struct rng *r)
{
    *m = (struct model){.n = n, .dim = dim};
    m->rows = arena_array(&m->arena, n, sizeof *m->rows);
    m->ordinals = arena_array(&m->arena, n, sizeof *m->ordinals);
    m->born = arena_array(&m->arena, n, sizeof *m->born);
    uint64_t ordinal = 0;
    for (uint32_t i = 0; i < n; i++) {
        m->rows[i] = random_row(r, &m->arena, i, dim);
        m->ordinals[i] = ordinal += 1 + rng_below(r, 3);
        m->born[i] = 10 + rng_below(r, 100);
    }
}

static inline enum err write_model(const struct model *m, const struct vfs *vfs, const char *path, enum space space)
{
    struct fragment_writer *w = NULL;
    struct fragment_options o = {.dim = m->dim, .space = space, .fragment_id = 42};
    enum err e = fragment_writer_new(&w, vfs, path, &o, NULL);
    for (uint32_t i = 0; i < m->n && e == ERR_OK; i++)
        e = fragment_writer_add(w, &m->rows[i], m->ordinals[i], m->born[i], NULL);
    if (e == ERR_OK) e = fragment_writer_finish(w, NULL);
    if (e == ERR_OK || w != NULL) fragment_writer_free(w);
    return e;
}

struct fixture {
    struct vfs *vfs;
    struct model m;
    struct segment *s;
};

static inline void setup(struct fixture *f, uint32_t n, uint32_t dim, enum space space, uint64_t seed)
{
    struct rng r = {seed};
    struct fragment *fragment;
    struct errmsg em = {0};
    must_ok(vfs_mem_new(&f->vfs, NULL));
    model_init(&f->m, n, dim, &r);
    must_ok(write_model(&f->m, f->vfs, "fragment", space));
    must_msg(fragment_open(&fragment, f->vfs, "fragment", &em) == ERR_OK, "%s", em.text);
    f->s = fragment_segment(fragment);
}

static inline void teardown(struct fixture *f)
{
    f->s->ops->free(f->s);
    arena_free(&f->m.arena);
    vfs_mem_free(f->vfs);
}

/* A needle that may occur: part of a document, or random. */
static inline struct str random_needle(struct rng *r, struct arena *a, const struct model *m)
{
    uint32_t length = rng_below(r, 7);
    if (m->n > 0 && rng_below(r, 4) != 0) {
        struct str document = m->rows[rng_below(r, m->n)].document;
        if (document.p != NULL && document.n >= length)
            return str_of(document.p + rng_below(r, (uint32_t)(document.n - length) + 1), length);
    }
    return random_text(r, a, rng_below(r, 4));
}

struct regexes { /* made for one test, freed with it */
    struct regex *list[64];
    uint32_t n;
};

static inline struct filter *random_filter(struct rng *r, struct arena *a, const struct model *m, struct regexes *re,
                                           unsigned depth)
{
    static const enum filter_kind docs[] = {FILTER_DOC_CONTAINS, FILTER_DOC_CONTAINS, FILTER_DOC_NOT_CONTAINS,
                                            FILTER_DOC_REGEX, FILTER_DOC_NOT_REGEX};
    struct filter *f = arena_zalloc(a, sizeof *f);
    uint32_t dice = rng_below(r, 10);
    if (dice < 4 && depth < 4) {
        f->kind = rng_below(r, 2) == 0 ? FILTER_AND : FILTER_OR;
        f->n_children = rng_below(r, 4);
        f->children = arena_array(a, f->n_children, sizeof(struct filter *));
        for (uint32_t i = 0; i < f->n_children; i++) f->children[i] = random_filter(r, a, m, re, depth + 1);
    } else if (dice == 9) {
        f->kind = rng_below(r, 2) == 0 ? FILTER_ID_IN : FILTER_ID_NOT_IN;
        f->n_values = rng_below(r, 5);
        f->values = arena_array(a, f->n_values, sizeof *f->values);
        for (uint32_t i = 0; i < f->n_values; i++) {
            uint32_t at = rng_below(r, m->n + 3);
            f->values[i] = (struct value){.type = VALUE_STR, .s = at < m->n ? m->rows[at].id : STR("nobody")};
        }
    } else if (dice >= 7) {
        f->kind = docs[rng_below(r, re->n < 64 ? 5 : 3)];
        f->text = random_needle(r, a, m);
        if (f->kind == FILTER_DOC_REGEX || f->kind == FILTER_DOC_NOT_REGEX) {
            static const struct str patterns[] = {{"abc", 3}, {"a", 1}, {"xyza", 4}, {"", 0}, {"b c", 3}};
            must_ok(regex_new(patterns[rng_below(r, 5)], &re->list[re->n], NULL));
            f->regex = re->list[re->n++];
        }
    } else {
        f = random_meta_filter(r, a);
    }
    return f;
}

#endif
