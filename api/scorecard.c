/* scorecard.c - requests in progress, counted by the tags that rules match. See limits.h for what a rule is.
 *
 * HAPPY PATH  a request has at most three tags. Each way to match every pattern of a rule with a tag is a combination; as in
 *             upstream, a tag that a combination has twice cancels itself out, so a combination is a set of tags, one bit
 *             each. The first rule that yields a set decides its score. The sets are counted, under their hash, all or none.
 * FAILURE     some set has reached its score: nothing stays counted.
 * INVARIANT   a key is in the table as long as some ticket holds it, so the table is bounded by the requests in progress.
 */
#include "api/limits_internal.h"

#include "core/hash.h"
#include "core/mem.h"

enum { BUCKETS_MIN = 64 };

struct entry {
    struct entry *next;
    struct scorecard_key key;
    uint64_t n; /* requests in progress; never 0 */
};

struct scorecard {
    const struct scorecard_rule *rules; /* immutable, the caller's */
    size_t n_rules;
    uint64_t seed_a, seed_b;
    pthread_mutex_t mu; /* held for a few comparisons only: the loop takes it */
    struct entry **buckets;
    size_t n_buckets, n;
};

enum err scorecard_new(struct scorecard **out, const struct scorecard_rule *rules, size_t n, struct errmsg *em)
{
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < rules[i].n_patterns; k++)
            if (rules[i].patterns[k].n > SCORECARD_PATTERN_MAX)
                return errmsg_set(em, ERR_INVALID, "scorecard: the pattern \"%.*s\" is longer than %d bytes",
                                  STR_ARG(rules[i].patterns[k]), SCORECARD_PATTERN_MAX);
    struct scorecard *s = mem_zalloc(sizeof *s);
    if (s == NULL) return errmsg_set(em, ERR_NOMEM, "make a scorecard");
    s->rules = rules;
    s->n_rules = n;
    s->n_buckets = BUCKETS_MIN;
    s->buckets = mem_array(s->n_buckets, sizeof(struct entry *));
    if (s->buckets == NULL) {
        mem_free(s);
        return errmsg_set(em, ERR_NOMEM, "make a scorecard");
    }
    random_bytes(&s->seed_a, sizeof s->seed_a);
    random_bytes(&s->seed_b, sizeof s->seed_b);
    (void)pthread_mutex_init(&s->mu, NULL); /* cannot fail without attributes */
    *out = s;
    return ERR_OK;
}

void scorecard_free(struct scorecard *s)
{
    if (s == NULL) return;
    for (size_t i = 0; i < s->n_buckets; i++) {
        while (s->buckets[i] != NULL) {
            struct entry *next = s->buckets[i]->next;
            mem_free(s->buckets[i]);
            s->buckets[i] = next;
        }
    }
    mem_free(s->buckets);
    (void)pthread_mutex_destroy(&s->mu);
    mem_free(s);
}

/* On a mismatch the last star takes one byte more; earlier stars need not, since the last one could take it as well. */
bool scorecard_matches(struct str pattern, struct str tag)
{
    size_t p = 0, t = 0, star = SIZE_MAX, star_t = 0;
    while (t < tag.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            star_t = t;
        } else if (p < pattern.n && pattern.p[p] == tag.p[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++star_t;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*') p++;
    return p == pattern.n;
}

/* --- which sets of tags a rule yields ---------------------------------------------------------------------------- */

/* Bit m of the result: the rule yields the set of tags m. */
static unsigned sets_of(const struct scorecard_rule *rule, const struct str *tags, uint32_t n_tags)
{
    unsigned sets = rule->n_patterns > 0 ? 1 : 0; /* the empty set, so far */
    for (uint32_t k = 0; k < rule->n_patterns && sets != 0; k++) {
        unsigned longer = 0;
        for (uint32_t i = 0; i < n_tags; i++) {
            if (!scorecard_matches(rule->patterns[k], tags[i])) continue;
            for (unsigned m = 0; m < SCORECARD_KEYS_MAX; m++)
                if ((sets >> m & 1) != 0) longer |= 1u << (m ^ (1u << i));
        }
        sets = longer;
    }
    return sets;
}

static struct scorecard_key key_of(const struct scorecard *s, unsigned set, const struct str *tags, uint32_t n_tags)
{
    struct scorecard_key key = {0, 0};
    for (uint32_t i = 0; i < n_tags; i++) {
        if ((set >> i & 1) == 0) continue;
        key.a ^= hash_bytes(tags[i].p, tags[i].n, s->seed_a);
        key.b ^= hash_bytes(tags[i].p, tags[i].n, s->seed_b);
    }
    return key;
}

/* --- counting: with the mutex ------------------------------------------------------------------------------------- */

static bool is_same(const struct scorecard_key *x, const struct scorecard_key *y)
{
    return x->a == y->a && x->b == y->b;
}

static struct entry **find(struct scorecard *s, const struct scorecard_key *key)
{
    struct entry **link = &s->buckets[key->a & (s->n_buckets - 1)];
    while (*link != NULL && !is_same(&(*link)->key, key)) link = &(*link)->next;
    return link;
}

static void grow(struct scorecard *s)
{
    size_t n;
    if (!ck_mul(s->n_buckets, 2, &n)) return;
    struct entry **bigger = mem_array(n, sizeof *bigger);
    if (bigger == NULL) return; /* longer chains, the same answers */
    for (size_t i = 0; i < s->n_buckets; i++) {
        while (s->buckets[i] != NULL) {
            struct entry *e = s->buckets[i];
            s->buckets[i] = e->next;
            e->next = bigger[e->key.a & (n - 1)];
            bigger[e->key.a & (n - 1)] = e;
        }
    }
    mem_free(s->buckets);
    s->buckets = bigger;
    s->n_buckets = n;
}

static enum err count(struct scorecard *s, const struct scorecard_key *key, uint64_t score)
{
    struct entry *e = *find(s, key);
    if (score == 0 || (e != NULL && e->n >= score)) return ERR_RATE;
    if (e != NULL) {
        e->n++;
        return ERR_OK;
    }
    if (s->n >= s->n_buckets) grow(s);
    e = mem_alloc(sizeof *e);
    if (e == NULL) return ERR_NOMEM;
    struct entry **bucket = &s->buckets[key->a & (s->n_buckets - 1)];
    *e = (struct entry){.next = *bucket, .key = *key, .n = 1};
    *bucket = e;
    s->n++;
    return ERR_OK;
}

static void uncount(struct scorecard *s, struct scorecard_ticket *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        struct entry **link = find(s, &t->keys[i]), *e = *link;
        bool is_counted = e != NULL && e->n > 0;
        CHECK(is_counted && "what leaves was counted");
        if (--e->n > 0) continue;
        *link = e->next;
        mem_free(e);
        s->n--;
    }
    t->n = 0;
}

enum err scorecard_enter(struct scorecard *s, const struct str *tags, uint32_t n_tags, struct scorecard_ticket *t)
{
    CHECK(n_tags <= SCORECARD_TAGS_MAX && "a set of tags is a byte");
    unsigned seen = 0;
    enum err e = ERR_OK;
    t->n = 0;
    (void)pthread_mutex_lock(&s->mu);
    for (size_t i = 0; i < s->n_rules && e == ERR_OK; i++) {
        unsigned sets = sets_of(&s->rules[i], tags, n_tags) & ~seen;
        seen |= sets;
        for (unsigned m = 0; m < SCORECARD_KEYS_MAX && e == ERR_OK; m++) {
            if ((sets >> m & 1) == 0) continue;
            struct scorecard_key key = key_of(s, m, tags, n_tags);
            e = count(s, &key, s->rules[i].score);
            if (e == ERR_OK) t->keys[t->n++] = key;
        }
    }
    if (e != ERR_OK) uncount(s, t);
    (void)pthread_mutex_unlock(&s->mu);
    return e;
}

void scorecard_leave(struct scorecard *s, struct scorecard_ticket *t)
{
    if (t->n == 0) return;
    (void)pthread_mutex_lock(&s->mu);
    uncount(s, t);
    (void)pthread_mutex_unlock(&s->mu);
}

size_t scorecard_n_counted(struct scorecard *s)
{
    (void)pthread_mutex_lock(&s->mu);
    size_t n = s->n;
    (void)pthread_mutex_unlock(&s->mu);
    return n;
}
