/* regex_match.c - search by a deterministic automaton that is built while it runs.
 *
 * A state is the set of instructions that the text so far leads to, and what assertions may ask about the character
 * before. A step (state, next character) is worked out once, from the program, and remembered: in a table per state for
 * ASCII and the end of the text, in a hash table for the rest. So a text costs a look-up a character where steps
 * repeat, and program length a character where they do not: never more, whatever the pattern. (R. Cox, "Regular
 * Expression Matching Can Be Simple And Fast", 2007. Different here: assertions are decided within a step, which knows
 * both neighbours; matches end as soon as they are known, for only their existence is asked.)
 *
 * HAPPY PATH  rx_search follows remembered steps; step_slow works out a new one.
 * FAILURE     ERR_INVALID beyond steps_max instructions for one text. After rx_matcher_new only the slab grows; where it
 *             cannot, it counts as full.
 * INVARIANTS  I1 states lie in `slab`; a state's number is its offset / 8, at least FIRST.
 *             I2 when slab or table is full everything is forgotten, and the search goes on from the state it needs.
 *             I3 the start instruction is in every state of an unanchored search, unwritten.
 */
#include "core/regex_internal.h"

#include "core/mem.h"
#include "core/utf8.h"

enum {
    SLAB_BYTES = 2 << 20,
    SLAB_FIRST = 16 << 10, /* most patterns need a dozen states, and a request makes its matcher anew */
    TABLE_SLOTS = 8192,    /* twice as many as there can be states in SLAB_BYTES, about */
    STATES_MAX = 4096,
    OTHERS = 4096,     /* remembered steps over characters above ASCII */
    N_NEXT = 129,      /* ASCII and the end of the text */
    END_OF_TEXT = 128, /* as an index of `next` */
};
static const uint32_t NO_CHAR = UINT32_MAX; /* the end of the text, as a character */

enum { UNKNOWN = 0, DEAD = 1, MATCH = 2, FIRST = 3 }; /* numbers of states */

/* What stands before the place. Only the bits that the program asks about are kept apart. */
enum { AT_START = 1, AFTER_LF = 2, AFTER_CR = 4, AFTER_WORD = 8, AFTER_ASCII_WORD = 16 };

struct state {
    uint32_t next[N_NEXT]; /* numbers of states */
    uint32_t before;       /* bits above */
    uint32_t n;
    uint32_t pcs[]; /* instructions, in the order in which the step found them */
};

struct other {
    uint32_t from, cp, to; /* from == UNKNOWN: free */
};

/* Repetitions of a class ask the same of the same character many times over. */
struct memo {
    uint32_t cp;
    bool has;
};

/* A set of instructions with constant-time clearing (P. Briggs and L. Torczon, 1993). */
struct sparse {
    uint32_t *dense, *sparse;
    uint32_t n;
};

struct rx_matcher {
    struct rx_matcher *link; /* the owner's */
    const struct rx_program *prog;
    struct rx_probe probe;
    uint32_t before_mask; /* bits of `before` that the program can ask about */
    char *slab;
    size_t slab_used, slab_size; /* bytes of it that there are */
    size_t slab_cap;             /* that there may be */
    size_t n_states;
    uint32_t *table; /* of state numbers, by hash */
    struct other *others;
    struct sparse seen, reached; /* instructions seen in this step; those that took the character */
    uint32_t *stack;
    struct memo *memo; /* one a class: what it said last */
    uint64_t steps;
};

static bool sparse_add(struct sparse *s, uint32_t v)
{
    uint32_t i = s->sparse[v];
    if (i < s->n && s->dense[i] == v) return false;
    s->dense[s->n] = v;
    s->sparse[v] = s->n++;
    return true;
}

static uint32_t before_mask(uint32_t asserts)
{
    static const struct {
        uint32_t what, bits;
    } uses[] = {{RX_TEXT_START, AT_START},
                {RX_LINE_START, AT_START | AFTER_LF},
                {RX_CRLF_START, AT_START | AFTER_LF | AFTER_CR},
                {RX_CRLF_END, AFTER_CR}};
    uint32_t mask = 0;
    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        if (asserts >> uses[i].what & 1) mask |= uses[i].bits;
    }
    uint32_t words = ((1u << (RX_WORD_END_HALF - RX_WORD_BOUND + 1)) - 1) << RX_WORD_BOUND;
    if (asserts & words) mask |= AFTER_WORD;
    if (asserts & words << RX_ASSERT_ASCII) mask |= AFTER_ASCII_WORD;
    return mask;
}

struct rx_matcher *rx_matcher_new(const struct rx_program *prog)
{
    struct rx_matcher *m = mem_zalloc(sizeof *m);
    if (m == NULL) return NULL;
    size_t n = prog->n_inst;
    size_t biggest = sizeof(struct state) + n * sizeof(uint32_t) + 8;
    m->prog = prog;
    m->before_mask = before_mask(prog->asserts);
    m->slab_cap = biggest * 2 + FIRST * 8 > SLAB_BYTES ? biggest * 2 + FIRST * 8 : SLAB_BYTES;
    m->slab_size = biggest * 2 + FIRST * 8 > SLAB_FIRST ? biggest * 2 + FIRST * 8 : SLAB_FIRST;
    m->slab = mem_alloc(m->slab_size);
    m->table = mem_array(TABLE_SLOTS, sizeof *m->table);
    m->others = mem_array(OTHERS, sizeof *m->others);
    m->seen.dense = mem_array(n * 5, sizeof(uint32_t));    /* one block for all five */
    m->memo = mem_array(prog->n_classes, sizeof *m->memo); /* zero: NUL, which is never asked here */
    if (m->slab == NULL || m->table == NULL || m->others == NULL || m->seen.dense == NULL || m->memo == NULL ||
        !rx_probe_init(&m->probe)) {
        rx_matcher_free(m);
        return NULL;
    }
    m->seen.sparse = m->seen.dense + n;
    m->reached.dense = m->seen.dense + n * 2;
    m->reached.sparse = m->seen.dense + n * 3;
    m->stack = m->seen.dense + n * 4;
    m->slab_used = FIRST * 8;
    return m;
}

void rx_matcher_free(struct rx_matcher *m)
{
    if (m == NULL) return;
    rx_probe_deinit(&m->probe);
    mem_free(m->slab);
    mem_free(m->table);
    mem_free(m->others);
    mem_free(m->seen.dense);
    mem_free(m->memo);
    mem_free(m);
}

struct rx_matcher **rx_matcher_link(struct rx_matcher *m)
{
    return &m->link;
}

/* ------------------------------------------------------------------------------------------------ states */
static struct state *state_at(const struct rx_matcher *m, uint32_t number)
{
    return (struct state *)(void *)(m->slab + (size_t)number * 8);
}

static void forget(struct rx_matcher *m)
{
    memset(m->table, 0, TABLE_SLOTS * sizeof *m->table);
    memset(m->others, 0, OTHERS * sizeof *m->others);
    m->slab_used = FIRST * 8;
    m->n_states = 0;
}

static uint32_t hash_state(uint32_t before, const uint32_t *pcs, uint32_t n)
{
    uint64_t h = before + 0x9E3779B97F4A7C15u;
    for (uint32_t i = 0; i < n; i++) h = (h ^ pcs[i]) * 0xFF51AFD7ED558CCDu, h ^= h >> 32;
    return (uint32_t)h;
}

/* The slot of the state, or the free one where it belongs. */
static uint32_t find_slot(const struct rx_matcher *m, uint32_t before, const uint32_t *pcs, uint32_t n)
{
    uint32_t i = hash_state(before, pcs, n) % TABLE_SLOTS;
    for (; m->table[i] != UNKNOWN; i = (i + 1) % TABLE_SLOTS) {
        const struct state *s = state_at(m, m->table[i]);
        if (s->before == before && s->n == n && (n == 0 || memcmp(s->pcs, pcs, n * sizeof *pcs) == 0)) break;
    }
    return i;
}

/* Room for one more state; false: the slab is full. */
static bool has_room(struct rx_matcher *m, size_t bytes)
{
    if (m->n_states == STATES_MAX) return false;
    if (m->slab_size - m->slab_used >= bytes) return true;
    if (m->slab_size == m->slab_cap) return false;
    size_t size = m->slab_size < m->slab_cap / 2 ? m->slab_size * 2 : m->slab_cap; /* a state is half of it at most */
    char *slab = mem_resize(m->slab, size);
    if (slab == NULL) return false;
    m->slab = slab;
    m->slab_size = size;
    return m->slab_size - m->slab_used >= bytes;
}

/* The number of a state, new or known. *forgot: earlier numbers are void. `pcs` is not in the slab. */
static uint32_t intern(struct rx_matcher *m, uint32_t before, const uint32_t *pcs, uint32_t n, bool *forgot)
{
    size_t bytes = (sizeof(struct state) + n * sizeof *pcs + 7) / 8 * 8;
    uint32_t slot = find_slot(m, before, pcs, n);
    *forgot = false;
    if (m->table[slot] != UNKNOWN) return m->table[slot];
    if (!has_room(m, bytes)) {
        forget(m);
        *forgot = true;
        slot = find_slot(m, before, pcs, n);
    }
    uint32_t number = (uint32_t)(m->slab_used / 8);
    struct state *s = state_at(m, number);
    memset(s->next, 0, sizeof s->next);
    s->before = before;
    s->n = n;
    if (n > 0) memcpy(s->pcs, pcs, n * sizeof *pcs);
    m->slab_used += bytes;
    m->n_states++;
    m->table[slot] = number;
    return number;
}

/* ------------------------------------------------------------------------------------------------ steps */
static bool is_ascii_word(uint32_t c)
{
    return c < 128 && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_');
}

static bool is_word(struct rx_matcher *m, uint32_t c, bool ascii)
{
    if (ascii || c < 128) return is_ascii_word(c); /* below 128 both say the same */
    return c != NO_CHAR && rx_prop_has(m->prog->word, c, &m->probe);
}

static bool holds(struct rx_matcher *m, uint32_t what, uint32_t before, uint32_t c)
{
    bool ascii = what >= RX_ASSERT_ASCII;
    bool left = false, right = false;
    if (ascii) what -= RX_ASSERT_ASCII;
    if (what >= RX_WORD_BOUND) {
        left = (before & (ascii ? AFTER_ASCII_WORD : AFTER_WORD)) != 0;
        right = is_word(m, c, ascii);
    }
    switch ((enum rx_assert)what) {
    case RX_TEXT_START:
        return (before & AT_START) != 0;
    case RX_TEXT_END:
        return c == NO_CHAR;
    case RX_LINE_START:
        return (before & (AT_START | AFTER_LF)) != 0;
    case RX_LINE_END:
        return c == NO_CHAR || c == '\n';
    case RX_CRLF_START:
        return (before & (AT_START | AFTER_LF)) != 0 || ((before & AFTER_CR) && c != '\n');
    case RX_CRLF_END:
        return c == NO_CHAR || c == '\r' || (c == '\n' && !(before & AFTER_CR));
    case RX_WORD_BOUND:
        return left != right;
    case RX_WORD_INSIDE:
        return left == right;
    case RX_WORD_START:
        return !left && right;
    case RX_WORD_END:
        return left && !right;
    case RX_WORD_START_HALF:
        return !left;
    case RX_WORD_END_HALF:
        return !right;
    case RX_ASSERT_ASCII:
        break;
    }
    panic("assertion of unknown kind %u", (unsigned)what);
}

static bool class_has(struct rx_matcher *m, uint32_t i, uint32_t c)
{
    if (c == NO_CHAR) return false;
    if (c < 128) return rx_class_has(m->prog->classes[i], c, &m->probe);
    struct memo *memo = &m->memo[i];
    if (memo->cp != c) *memo = (struct memo){c, rx_class_has(m->prog->classes[i], c, &m->probe)};
    return memo->has;
}

static void push(struct rx_matcher *m, uint32_t *depth, uint32_t pc)
{
    if (sparse_add(&m->seen, pc)) m->stack[(*depth)++] = pc;
}

/* Follows everything that `s` leads to before character c, collecting in `reached` what stands behind c. True: that
 * includes a match. */
static bool follow(struct rx_matcher *m, const struct state *s, uint32_t c)
{
    const struct rx_program *prog = m->prog;
    uint32_t from_start = !prog->is_anchored || (s->before & AT_START) ? 1 : 0;
    m->seen.n = m->reached.n = 0;
    for (uint32_t i = 0; i < s->n + from_start; i++) {
        uint32_t depth = 0;
        push(m, &depth, i < s->n ? s->pcs[i] : 0);
        while (depth > 0) {
            uint32_t pc = m->stack[--depth];
            const struct rx_inst *in = &prog->inst[pc];
            switch ((enum rx_op)in->op) {
            case RX_OP_MATCH:
                return true;
            case RX_OP_JUMP:
                push(m, &depth, in->x);
                break;
            case RX_OP_SPLIT:
                push(m, &depth, in->y);
                push(m, &depth, in->x);
                break;
            case RX_OP_ASSERT:
                if (holds(m, in->x, s->before, c)) push(m, &depth, pc + 1);
                break;
            case RX_OP_CHAR:
                if (in->x == c) (void)sparse_add(&m->reached, pc + 1);
                break;
            case RX_OP_CLASS:
                if (class_has(m, in->x, c)) (void)sparse_add(&m->reached, pc + 1);
                break;
            }
        }
    }
    return false;
}

static uint32_t before_of(struct rx_matcher *m, uint32_t c)
{
    uint32_t b = 0;
    if (c == '\n') b |= AFTER_LF;
    if (c == '\r') b |= AFTER_CR;
    if ((m->before_mask & AFTER_WORD) && is_word(m, c, false)) b |= AFTER_WORD;
    if (is_ascii_word(c)) b |= AFTER_ASCII_WORD;
    return b & m->before_mask;
}

/* Works out where state `number` goes on c, and remembers it. */
static uint32_t step_slow(struct rx_matcher *m, uint32_t number, uint32_t c)
{
    uint32_t to;
    bool forgot = false;
    if (follow(m, state_at(m, number), c)) {
        to = MATCH;
    } else if (c == NO_CHAR || (m->reached.n == 0 && m->prog->is_anchored)) {
        to = DEAD;
    } else {
        to = intern(m, before_of(m, c), m->reached.dense, m->reached.n, &forgot);
    }
    m->steps += m->seen.n + 1;
    if (forgot) return to;
    if (c < 128)
        state_at(m, number)->next[c] = to;
    else if (c == NO_CHAR)
        state_at(m, number)->next[END_OF_TEXT] = to;
    else
        m->others[(c ^ number * 31) % OTHERS] = (struct other){number, c, to};
    return to;
}

enum err rx_search(struct rx_matcher *m, struct str text, bool *matches, struct errmsg *em)
{
    bool forgot;
    uint32_t number = intern(m, AT_START, NULL, 0, &forgot);
    m->steps = 0;
    for (size_t i = 0; i <= text.n;) {
        uint32_t c, to;
        size_t len = 1;
        if (i == text.n) {
            c = NO_CHAR;
            to = state_at(m, number)->next[END_OF_TEXT];
        } else if ((c = (unsigned char)text.p[i]) < 128) {
            to = state_at(m, number)->next[c];
        } else {
            len = utf8_decode(text.p + i, text.n - i, &c);
            const struct other *o = &m->others[(c ^ number * 31) % OTHERS];
            to = o->from == number && o->cp == c ? o->to : UNKNOWN;
        }
        if (to == UNKNOWN) {
            if (m->steps > m->prog->steps_max) {
                return errmsg_set(em, ERR_INVALID, "the regular expression takes more than %u steps on a document",
                                  (unsigned)m->prog->steps_max);
            }
            to = step_slow(m, number, c);
        }
        if (to == MATCH || to == DEAD) {
            *matches = to == MATCH;
            return ERR_OK;
        }
        number = to;
        i += len;
    }
    panic("the end of the text leads to no state");
}
