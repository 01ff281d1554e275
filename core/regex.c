/* regex.c - patterns and their matchers: see regex.h, and regex_internal.h for the way through the other files.
 *
 * HAPPY PATH  regex_new: parse, compile, find the needs. regex_matches: quick answers first (a text too short, a missing
 *             literal), then an automaton from the pool.
 * FAILURE     regex_new: ERR_INVALID, ERR_NOMEM; everything is released. regex_matches: ERR_NOMEM; ERR_INVALID beyond
 *             the limit of steps.
 * INVARIANTS  all but the pool is unchanged after regex_new. Each matcher is in the pool or with one thread. As many
 *             are made as threads ever searched at once.
 */
#include "core/regex_internal.h"

#include <pthread.h>

#include "core/mem.h"
#include "core/utf8.h"

struct pool {
    pthread_mutex_t mu;
    struct rx_matcher *idle; /* guarded by mu */
};

struct regex {
    struct arena arena; /* tree, program, needs */
    struct rx_props props;
    struct rx_program prog;
    const struct regex_need *needs;
    struct str must;   /* every match contains it; .p == NULL: nothing known */
    bool is_literal;   /* and nothing else is asked */
    struct pool *pool; /* apart, because it changes while the regex does not */
};

/* The longest literal that a match cannot be without. */
static struct str must_of(const struct regex_need *need)
{
    struct str best = {NULL, 0};
    if (need->kind == REGEX_LITERAL) return need->literal;
    if (need->kind != REGEX_ALL_OF) return best;
    for (uint32_t i = 0; i < need->n_children; i++) {
        struct str s = must_of(need->children[i]);
        if (s.n > best.n) best = s;
    }
    return best;
}

static struct pool *pool_new(void)
{
    struct pool *pool = mem_zalloc(sizeof *pool);
    if (pool == NULL) return NULL;
    if (pthread_mutex_init(&pool->mu, NULL) != 0) {
        mem_free(pool);
        return NULL;
    }
    return pool;
}

static void pool_free(struct pool *pool)
{
    if (pool == NULL) return;
    while (pool->idle != NULL) {
        struct rx_matcher *m = pool->idle;
        pool->idle = *rx_matcher_link(m);
        rx_matcher_free(m);
    }
    (void)pthread_mutex_destroy(&pool->mu);
    mem_free(pool);
}

static struct rx_matcher *pool_take(struct pool *pool, const struct rx_program *prog)
{
    CHECK(pthread_mutex_lock(&pool->mu) == 0);
    struct rx_matcher *m = pool->idle;
    if (m != NULL) pool->idle = *rx_matcher_link(m);
    CHECK(pthread_mutex_unlock(&pool->mu) == 0);
    return m != NULL ? m : rx_matcher_new(prog);
}

static void pool_give(struct pool *pool, struct rx_matcher *m)
{
    CHECK(pthread_mutex_lock(&pool->mu) == 0);
    *rx_matcher_link(m) = pool->idle;
    pool->idle = m;
    CHECK(pthread_mutex_unlock(&pool->mu) == 0);
}

enum err regex_new(struct str pattern, struct regex **r, struct errmsg *em)
{
    if (pattern.n > RX_PATTERN_MAX) {
        return errmsg_set(em, ERR_INVALID,
                          "regex parse error:\n    the pattern has %zu bytes, more than %d\nerror: "
                          "compiled regex exceeds size limit",
                          pattern.n, (int)RX_PATTERN_MAX);
    }
    if (!utf8_is_valid(pattern)) {
        return errmsg_set(em, ERR_INVALID, "regex parse error:\nerror: the pattern is not valid UTF-8");
    }
    struct regex *fresh = mem_zalloc(sizeof *fresh);
    if (fresh == NULL) return ERR_NOMEM;
    fresh->arena.max_bytes = RX_MEMORY_MAX;
    enum err e = ERR_NOMEM;
    struct str whole;
    struct rx_node *tree;
    struct rx_parser parser = {.pattern = pattern, .flags = RX_U, .effort = RX_EFFORT_MAX, .em = em};
    parser.a = &fresh->arena;
    parser.props = &fresh->props;
    if (!rx_probe_init(&fresh->props.probe)) goto fail;
    if ((e = rx_parse(&parser, &tree)) != ERR_OK) goto fail;
    if ((e = rx_compile(tree, &fresh->arena, &fresh->props, &fresh->prog, em)) != ERR_OK) goto fail;
    e = ERR_NOMEM;
    if ((fresh->needs = rx_needs(tree, &fresh->arena, &whole)) == NULL) goto fail;
    fresh->must = must_of(fresh->needs);
    fresh->is_literal = whole.p != NULL && whole.n == fresh->must.n && fresh->prog.asserts == 0;
    if ((fresh->pool = pool_new()) == NULL) goto fail;
    *r = fresh;
    return ERR_OK;
fail:
    regex_free(fresh);
    return e;
}

void regex_free(struct regex *r)
{
    if (r == NULL) return;
    pool_free(r->pool);
    rx_props_free(&r->props);
    rx_probe_deinit(&r->props.probe);
    arena_free(&r->arena);
    mem_free(r);
}

enum err regex_matches(const struct regex *r, struct str text, bool *matches, struct errmsg *em)
{
    if (text.n < r->prog.min_len || (r->must.n > 0 && !str_contains(text, r->must))) {
        *matches = false;
        return ERR_OK;
    }
    if (r->is_literal) {
        *matches = true;
        return ERR_OK;
    }
    struct rx_matcher *m = pool_take(r->pool, &r->prog);
    if (m == NULL) return ERR_NOMEM;
    enum err e = rx_search(m, text, matches, em);
    pool_give(r->pool, m);
    return e;
}

const struct regex_need *regex_needs(const struct regex *r)
{
    return r->needs;
}
