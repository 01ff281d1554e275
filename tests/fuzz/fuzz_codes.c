/* fuzz_codes.c - sections of vector codes, with and without lists, with changes anywhere: opening refuses them or
 * searches stay within them. Fragments have lists from 131,072 rows on only, so the sections are built here without
 * one.
 *
 * INPUT  which section (1 byte), the row to search for (1), then changes (image.h).
 */
#include "tests/fuzz/image.h"
/* the check above goes first: see fuzz.h */
#include "core/mem.h"
#include "core/topk.h"
#include "index/codes_internal.h"

enum { N_ROWS = 300, DIM = 200, N_LISTS = 6, SEED = 5, N_SECTIONS = 9 };

static float rows[N_ROWS * DIM], norms[N_ROWS]; /* made with the first input */
static struct buf sections[N_SECTIONS];

static void make_sections(void)
{
    struct rng r = {SEED};
    for (size_t i = 0; i < N_ROWS; i++) {
        for (size_t d = 0; d < DIM; d++) {
            float v = rng_gauss(&r) * 0.5f + (float)((i * 7 + d) % N_LISTS);
            rows[i * DIM + d] = v;
            norms[i] += v * v;
        }
    }
    for (uint32_t i = 0; i < N_SECTIONS; i++)
        must_ok(codes_build_as(rows, N_ROWS, DIM, (enum space)(i % 3), SEED, i < 3 ? 0 : N_LISTS,
                               i < 6 ? 1 : CODES_COPIES, &sections[i], NULL));
}

static bool is_visible(const void *ctx, uint32_t row)
{
    (void)ctx;
    must(row < N_ROWS);
    return row % 7 != 3;
}

static uint64_t ordinal(const void *ctx, uint32_t row)
{
    (void)ctx;
    must(row < N_ROWS);
    return row;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    struct codes c;
    struct errmsg em = {{0}};
    if (sections[0].p == NULL) make_sections();
    uint32_t which = input_below(&in, N_SECTIONS), row = input_below(&in, N_ROWS);
    enum space space = (enum space)(which % 3);
    struct image m = {mem_aligned(64, sections[which].n), sections[which].n};
    must(m.p != NULL);
    memcpy(m.p, sections[which].p, m.n);
    for (int i = 0; i < IMAGE_CHANGES_MAX && in.n > 0; i++) image_change(&m, 0, m.n, &in);
    enum err e = codes_open(&c, (struct bytes){m.p, m.n}, N_ROWS, DIM, space, &em);
    must(e == ERR_OK || ((e == ERR_CORRUPT || e == ERR_NEWER) && em.text[0] != '\0'));
    for (int i = 0; i < 4 && e == ERR_OK && c.n > 0; i++) {
        struct arena a = {.max_bytes = 16 << 20};
        struct query_vector q;
        struct topk top;
        struct bitset mask;
        struct codes_rows cr = {.vectors = rows, .norm2 = norms, .is_visible = is_visible, .ordinal = ordinal};
        must(bitset_init(&mask, &a, N_ROWS) && topk_init(&top, &a, i < 2 ? 4 : 40));
        for (uint32_t k = 0; k < N_ROWS; k += 2) bitset_add(&mask, k);
        query_vector_init(&q, rows + (size_t)row * DIM, DIM, space, &a);
        enum err se = codes_search(&c, &cr, &q, i % 2 == 0 ? NULL : &mask, 2.5f, &top, &a, &em);
        must(se == ERR_OK || se == ERR_CORRUPT || se == ERR_NOMEM);
        for (uint32_t k = 0; k < top.n; k++) must(top.heap[k].row < N_ROWS);
        arena_free(&a);
    }
    mem_free(m.p);
    return 0;
}
