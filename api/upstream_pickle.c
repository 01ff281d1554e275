/* upstream_pickle.c - see upstream_pickle.h.
 *
 * HAPPY PATH  opcodes push values on a stack; SETITEMS moves pairs from the stack into a dict; STOP leaves one value,
 *             the dict or an object with it, in which `id_to_label` is looked up.
 * MACHINE     a value is 16 bytes. Strings are views into the file. MEMOIZE and PUT note the top of the stack under the
 *             next number, GET brings it back: the writer numbers in order, so a number that jumps is damage.
 * FAILURE     every opcode checks that its operand lies in the file and that the stack has what it takes; the first
 *             that does not ends the reading. A file can push a value of 16 bytes with one byte and note it with
 *             another, so memory stays below 40 times the file's size, within the arena's ceiling.
 * INVARIANT   an object or a dict is changed only while it is built; a value that contains itself would be harmless,
 *             since nothing walks more than two levels.
 */
#include "api/upstream_pickle.h"

#include "core/buf.h"

enum kind { VAL_NONE, VAL_INT, VAL_OTHER, VAL_STR, VAL_DICT, VAL_OBJECT, VAL_MARK };

struct dict {
    struct pair *pairs;
    uint32_t n, cap;
};

struct object {
    struct dict *state; /* NULL: none, or of another kind */
};

struct val {
    uint32_t kind;
    uint32_t n; /* of a string */
    union {
        int64_t i;
        const char *s;
        struct dict *dict;
        struct object *object;
    };
};
_Static_assert(sizeof(struct val) == 16, "as the essay says");

struct pair {
    struct val key, value;
};

struct machine {
    const uint8_t *start, *at, *end;
    struct arena *arena;
    struct buf stack, memo; /* struct val */
    struct errmsg *em;
    enum err err; /* sticky */
};

static void fail(struct machine *m, const char *what)
{
    if (m->err != ERR_OK) return;
    m->err = errmsg_set(m->em, ERR_CORRUPT, "index_metadata.pickle: %s at byte %zu", what, (size_t)(m->at - m->start));
}

static void fail_nomem(struct machine *m)
{
    if (m->err == ERR_OK) m->err = errmsg_set(m->em, ERR_NOMEM, "index_metadata.pickle: out of memory");
}

/* --- the stack --------------------------------------------------------------------------------------------------- */

static size_t depth(const struct machine *m)
{
    return m->stack.n / sizeof(struct val);
}

static struct val *slot(const struct machine *m, size_t i)
{
    return (struct val *)(void *)m->stack.p + i;
}

static void push(struct machine *m, struct val v)
{
    buf_add(&m->stack, &v, sizeof v);
    if (m->stack.err != ERR_OK) fail_nomem(m);
}

static void push_kind(struct machine *m, enum kind kind)
{
    push(m, (struct val){.kind = kind});
}

static void push_int(struct machine *m, int64_t i)
{
    push(m, (struct val){.kind = VAL_INT, .i = i});
}

static struct val pop(struct machine *m)
{
    if (depth(m) == 0) {
        fail(m, "the stack is empty");
        return (struct val){0};
    }
    m->stack.n -= sizeof(struct val);
    return *slot(m, depth(m));
}

/* Where the values above the topmost mark begin; the mark is just below. */
static size_t above_mark(struct machine *m)
{
    size_t i = depth(m);
    while (i > 0 && slot(m, i - 1)->kind != VAL_MARK) i--;
    if (i == 0) fail(m, "no mark on the stack");
    return i;
}

static void drop_to(struct machine *m, size_t n)
{
    m->stack.n = n * sizeof(struct val);
}

/* --- operands ---------------------------------------------------------------------------------------------------- */

/* n bytes behind the opcode, or NULL. */
static const uint8_t *take(struct machine *m, uint64_t n)
{
    const uint8_t *p = m->at;
    if (n > (uint64_t)(m->end - m->at)) {
        fail(m, "it ends within an operand");
        return NULL;
    }
    m->at += n;
    return p;
}

static uint64_t take_uint(struct machine *m, unsigned size)
{
    uint64_t v = 0;
    const uint8_t *p = take(m, size);
    for (unsigned i = size; p != NULL && i > 0; i--) v = v << 8 | p[i - 1];
    return v;
}

static void push_string(struct machine *m, uint64_t n, enum kind kind)
{
    const uint8_t *p = take(m, n);
    if (p == NULL) return;
    if (n > UINT32_MAX) {
        fail(m, "a string of 4 GiB");
        return;
    }
    push(m, (struct val){.kind = kind, .n = (uint32_t)n, .s = (const char *)p});
}

/* Two's complement, little-endian, any length; beyond 64 bits is none of ours. */
static void push_long(struct machine *m, uint64_t n)
{
    const uint8_t *p = take(m, n);
    uint64_t v = 0;
    if (p == NULL) return;
    if (n > 8) {
        fail(m, "a number of more than 64 bits");
        return;
    }
    if (n > 0 && p[n - 1] >= 0x80) v = UINT64_MAX;
    for (uint64_t i = n; i > 0; i--) v = v << 8 | p[i - 1];
    push_int(m, (int64_t)v);
}

static void skip_line(struct machine *m)
{
    const uint8_t *end = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (end == NULL)
        fail(m, "it ends within a name");
    else
        m->at = end + 1;
}

/* --- dicts and objects ------------------------------------------------------------------------------------------- */

static void push_dict(struct machine *m)
{
    struct dict *d = arena_zalloc(m->arena, sizeof *d);
    if (d == NULL)
        fail_nomem(m);
    else
        push(m, (struct val){.kind = VAL_DICT, .dict = d});
}

static bool grow(struct machine *m, struct dict *d, size_t more)
{
    size_t want = d->n + more, cap = d->cap * (size_t)2 > want ? d->cap * (size_t)2 : want;
    if (want <= d->cap) return true;
    struct pair *pairs = want <= UINT32_MAX / 2 ? arena_array(m->arena, cap, sizeof *pairs) : NULL;
    if (pairs == NULL) {
        fail_nomem(m);
        return false;
    }
    if (d->n > 0) memcpy(pairs, d->pairs, d->n * sizeof *pairs);
    d->pairs = pairs;
    d->cap = (uint32_t)cap;
    return true;
}

/* The values from `first` on are keys and values by turns; the dict lies `below` them. */
static void set_items(struct machine *m, size_t first, size_t below)
{
    size_t n = depth(m) - first;
    if (m->err != ERR_OK) return;
    if (n % 2 != 0 || below == 0 || slot(m, below - 1)->kind != VAL_DICT) {
        fail(m, "no pairs for a dict");
        return;
    }
    struct dict *d = slot(m, below - 1)->dict;
    if (!grow(m, d, n / 2)) return;
    if (n > 0) memcpy(&d->pairs[d->n], slot(m, first), n * sizeof(struct val));
    d->n += (uint32_t)(n / 2);
    drop_to(m, below);
}

/* A class and its arguments become an object; which class it is does not matter. */
static void make_object(struct machine *m)
{
    (void)pop(m);
    (void)pop(m);
    struct object *o = arena_zalloc(m->arena, sizeof *o);
    if (o == NULL)
        fail_nomem(m);
    else
        push(m, (struct val){.kind = VAL_OBJECT, .object = o});
}

static void build_object(struct machine *m)
{
    struct val state = pop(m);
    if (m->err != ERR_OK) return;
    if (depth(m) == 0 || slot(m, depth(m) - 1)->kind != VAL_OBJECT)
        fail(m, "no object for a state");
    else if (state.kind == VAL_DICT)
        slot(m, depth(m) - 1)->object->state = state.dict;
}

/* --- the memo ---------------------------------------------------------------------------------------------------- */

static void memoize(struct machine *m, uint64_t number)
{
    if (m->err != ERR_OK) return;
    if (depth(m) == 0 || number > m->memo.n / sizeof(struct val)) {
        fail(m, "a note out of order");
        return;
    }
    struct val top = *slot(m, depth(m) - 1);
    if (number < m->memo.n / sizeof(struct val)) {
        memcpy(m->memo.p + number * sizeof top, &top, sizeof top);
        return;
    }
    buf_add(&m->memo, &top, sizeof top);
    if (m->memo.err != ERR_OK) fail_nomem(m);
}

static void recall(struct machine *m, uint64_t number)
{
    struct val v;
    if (m->err != ERR_OK) return;
    if (number >= m->memo.n / sizeof v) {
        fail(m, "a note that was not made");
        return;
    }
    memcpy(&v, m->memo.p + number * sizeof v, sizeof v);
    push(m, v);
}

/* --- opcodes ----------------------------------------------------------------------------------------------------- */

static void run_scalar(struct machine *m, uint8_t op)
{
    switch (op) {
    case 'N':
        push_kind(m, VAL_NONE);
        break;
    case 0x88: /* True */
    case 0x89: /* False */
        push_kind(m, VAL_OTHER);
        break;
    case 'J':
        push_int(m, (int32_t)(uint32_t)take_uint(m, 4));
        break;
    case 'K':
        push_int(m, (int64_t)take_uint(m, 1));
        break;
    case 'M':
        push_int(m, (int64_t)take_uint(m, 2));
        break;
    case 0x8a:
        push_long(m, take_uint(m, 1));
        break;
    case 0x8b:
        push_long(m, take_uint(m, 4));
        break;
    case 'G': /* a float */
        (void)take(m, 8);
        push_kind(m, VAL_OTHER);
        break;
    case 'X':
        push_string(m, take_uint(m, 4), VAL_STR);
        break;
    case 0x8c:
        push_string(m, take_uint(m, 1), VAL_STR);
        break;
    case 0x8d:
        push_string(m, take_uint(m, 8), VAL_STR);
        break;
    case 'C': /* bytes */
        push_string(m, take_uint(m, 1), VAL_OTHER);
        break;
    case 'B':
        push_string(m, take_uint(m, 4), VAL_OTHER);
        break;
    default:
        m->at--;
        fail(m, "an opcode that does not belong there");
        break;
    }
}

static void run_opcode(struct machine *m, uint8_t op)
{
    switch (op) {
    case 0x80: /* the version of the protocol */
        if (take_uint(m, 1) > 5) fail(m, "an unknown protocol");
        break;
    case 0x95: /* a frame: only a hint for reading ahead */
        (void)take(m, 8);
        break;
    case '(':
        push_kind(m, VAL_MARK);
        break;
    case '}':
        push_dict(m);
        break;
    case 'u': {
        size_t first = above_mark(m);
        set_items(m, first, first > 0 ? first - 1 : 0);
        break;
    }
    case 's':
        if (depth(m) < 3)
            fail(m, "no pair for a dict");
        else
            set_items(m, depth(m) - 2, depth(m) - 2);
        break;
    case ')': /* an empty tuple */
        push_kind(m, VAL_OTHER);
        break;
    case 0x87: /* tuples of three, two and one */
        (void)pop(m);
        __attribute__((fallthrough));
    case 0x86:
        (void)pop(m);
        __attribute__((fallthrough));
    case 0x85:
        (void)pop(m);
        push_kind(m, VAL_OTHER);
        break;
    case 'c': /* a class: module and name in two lines */
        skip_line(m);
        if (m->err == ERR_OK) skip_line(m);
        push_kind(m, VAL_OTHER);
        break;
    case 0x93: /* a class: module and name on the stack */
        (void)pop(m);
        (void)pop(m);
        push_kind(m, VAL_OTHER);
        break;
    case 0x81: /* NEWOBJ */
    case 'R':  /* REDUCE: how protocols before 2 make an object */
        make_object(m);
        break;
    case 'b':
        build_object(m);
        break;
    case 0x94:
        memoize(m, m->memo.n / sizeof(struct val));
        break;
    case 'q':
        memoize(m, take_uint(m, 1));
        break;
    case 'r':
        memoize(m, take_uint(m, 4));
        break;
    case 'h':
        recall(m, take_uint(m, 1));
        break;
    case 'j':
        recall(m, take_uint(m, 4));
        break;
    default:
        run_scalar(m, op);
        break;
    }
}

/* --- what is wanted of it ---------------------------------------------------------------------------------------- */

static const struct val *member(const struct dict *d, const char *name)
{
    for (uint32_t i = d->n; i > 0; i--) {
        const struct val *k = &d->pairs[i - 1].key;
        if (k->kind == VAL_STR && str_eq(str_of(k->s, k->n), str_from_c(name))) return &d->pairs[i - 1].value;
    }
    return NULL;
}

static void read_labels(struct machine *m, const struct dict *d, struct upstream_labels *out)
{
    struct upstream_labels found = {0};
    const struct val *labels = member(d, "id_to_label"), *seq = member(d, "max_seq_id");
    if (labels == NULL || labels->kind != VAL_DICT) {
        fail(m, "no id_to_label");
        return;
    }
    const struct dict *l = labels->dict;
    found.items = arena_array(m->arena, l->n > 0 ? l->n : 1, sizeof *found.items);
    if (found.items == NULL) {
        fail_nomem(m);
        return;
    }
    for (uint32_t i = 0; i < l->n; i++) {
        const struct val *k = &l->pairs[i].key, *v = &l->pairs[i].value;
        if (k->kind != VAL_STR || v->kind != VAL_INT || v->i < 0) {
            fail(m, "id_to_label has something else than labels");
            return;
        }
        found.items[i] = (struct upstream_label){str_of(k->s, k->n), (uint64_t)v->i};
    }
    found.n = l->n;
    if (seq != NULL && seq->kind == VAL_INT) {
        found.has_max_seq_id = true;
        found.max_seq_id = seq->i;
    }
    *out = found;
}

enum err upstream_pickle_read(struct bytes pickle, struct arena *a, struct upstream_labels *labels, struct errmsg *em)
{
    const uint8_t *p = pickle.p;
    struct machine m = {.start = p, .at = p, .end = p + pickle.n, .arena = a, .em = em};
    bool is_done = false;
    while (m.err == ERR_OK && !is_done) {
        if (m.at == m.end)
            fail(&m, "it ends early");
        else if (*m.at == '.')
            is_done = true;
        else
            run_opcode(&m, *m.at++);
    }
    if (m.err == ERR_OK) {
        struct val root = pop(&m);
        const struct dict *d = root.kind == VAL_DICT ? root.dict : root.kind == VAL_OBJECT ? root.object->state : NULL;
        if (depth(&m) != 0)
            fail(&m, "it holds more than one value");
        else if (d == NULL)
            fail(&m, "it holds no dict");
        else
            read_labels(&m, d, labels);
    }
    buf_free(&m.stack);
    buf_free(&m.memo);
    return m.err;
}
