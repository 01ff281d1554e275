/* search_rank.c - a rank expression from JSON into the tree of core/rank.h.
 *
 *     rank  := {"$val": number} | {"$sum"|"$mul"|"$max"|"$min": [rank...]} | {"$abs"|"$exp"|"$log": rank}
 *            | {"$sub"|"$div": {"left": rank, "right": rank}}
 *            | {"$knn": {"query": [number...] | sparse vector, "key", "limit", "default", "return_rank"}}
 * FAILURE     wrong shapes fail the reader. A sparse vector whose parts disagree is noted in the payload, the first one
 *             only: it is said later, in its turn.
 * INVARIANT   recursion is bounded by the reader's depth (JSON_DEPTH_MAX).
 */
#include "api/search_parse.h"

#include "api/json_internal.h"

enum { KNN_LIMIT = 16 }; /* where none is given */

static const char *const rank_names[] = {"$abs", "$div", "$exp", "$knn", "$log", "$max",
                                         "$min", "$mul", "$sub", "$sum", "$val"};
static const enum rank_kind rank_kinds[] = {RANK_ABS, RANK_DIV, RANK_EXP, RANK_DENSE, RANK_LOG,  RANK_MAX,
                                            RANK_MIN, RANK_MUL, RANK_SUB, RANK_SUM,   RANK_VALUE};
enum { N_RANKS = sizeof rank_names / sizeof rank_names[0] };

static const char *rank_operand(unsigned which)
{
    enum rank_kind kind = rank_kinds[which];
    return kind == RANK_DENSE || kind == RANK_SUB || kind == RANK_DIV ? "struct" : "newtype";
}

static bool read_f32(struct json_reader *j, float *v)
{
    struct json_number n;
    if (!json_number(j, &n, "f32")) return false;
    *v = n.is_int ? (float)n.i : n.is_uint ? (float)n.u : (float)n.f;
    return true;
}

/* --- leaves ------------------------------------------------------------------------------------------------------------ */

static bool read_dense(struct json_reader *j, struct rank_leaf *leaf, bool *fits)
{
    struct buf floats = {0};
    uint32_t n = 0;
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        float v;
        if (json_peek(j) != JSON_NUMBER) {
            *fits = false;
            if (!json_skip(j)) break;
        } else if (read_f32(j, &v)) {
            buf_add(&floats, &v, sizeof v);
            n++;
        }
    }
    float *copy = arena_array(j->arena, n, sizeof *copy);
    if (copy == NULL || floats.err != ERR_OK)
        json_fail_nomem(j);
    else if (n > 0)
        memcpy(copy, floats.p, floats.n);
    buf_free(&floats);
    leaf->dense = copy;
    leaf->n_dense = n;
    return j->err == ERR_OK;
}

static void note_fault(struct search_payload *p, enum sparse_fault fault)
{
    if (p->rank_fault.p != NULL) return;
    if (fault == SPARSE_LENGTHS)
        p->rank_fault =
            STR("Invalid sparse vector in KNN query: Sparse vector indices, values, and tokens (when present) "
                "must have the same length");
    else if (fault == SPARSE_ORDER)
        p->rank_fault = STR("Invalid sparse vector in KNN query: Sparse vector indices must be sorted in strictly "
                            "ascending order (no duplicates)");
}

static bool read_query(struct json_reader *j, struct search_payload *p, struct rank *rank)
{
    enum sparse_fault fault = SPARSE_FINE;
    bool fits = true, ok;
    enum json_type t = json_peek(j);
    if (t == JSON_ARRAY) {
        ok = read_dense(j, &rank->leaf, &fits);
    } else {
        rank->kind = RANK_SPARSE;
        ok = parse_sparse(j, &rank->leaf.sparse, &fits, &fault);
        note_fault(p, fault);
    }
    if (ok && !fits) json_fail_shape_late(j, "data did not match any variant of untagged enum QueryVector");
    return ok && fits;
}

static bool read_default(struct json_reader *j, struct rank_leaf *leaf)
{
    if (json_peek(j) == JSON_NULL) return json_null(j);
    leaf->has_fallback = true;
    return read_f32(j, &leaf->fallback);
}

static bool read_knn(struct json_reader *j, struct search_payload *p, struct rank *rank)
{
    static const char *const names[] = {"query", "key", "limit", "default", "return_rank"};
    struct json_fields f;
    struct rank_leaf *leaf = &rank->leaf;
    leaf->key = STR("#embedding");
    leaf->limit = KNN_LIMIT;
    bool ok = json_enter_fields(j, &f, names, 5, false, "struct variant RankExpr::Knn");
    for (int i; ok && (i = search_next_field(j, &f)) >= 0;) {
        switch (i) {
        case 0:
            ok = read_query(j, p, rank);
            break;
        case 1:
            ok = json_string(j, &leaf->key, "a string");
            break;
        case 2:
            ok = json_u32(j, &leaf->limit);
            break;
        case 3:
            ok = read_default(j, leaf);
            break;
        default:
            ok = json_bool(j, &leaf->gives_place, "a boolean");
            break;
        }
    }
    return ok && search_need_first(j, &f);
}

/* --- operators --------------------------------------------------------------------------------------------------------- */

static bool make_operands(struct json_reader *j, struct rank *rank, uint32_t n)
{
    struct rank **operands = arena_array(j->arena, n, sizeof(struct rank *));
    if (operands == NULL) {
        json_fail_nomem(j);
        return false;
    }
    if (rank->n_operands > 0) memcpy(operands, rank->operands, rank->n_operands * sizeof(struct rank *));
    rank->operands = operands;
    return true;
}

static bool read_list(struct json_reader *j, struct search_payload *p, struct rank *rank)
{
    uint32_t cap = 0;
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        if (rank->n_operands == cap) {
            cap = cap == 0 ? 4 : cap * 2; /* an operand takes several bytes of the body: no overflow */
            if (!make_operands(j, rank, cap)) return false;
        }
        if (!search_read_rank(j, p, &rank->operands[rank->n_operands])) return false;
        rank->n_operands++;
    }
    return j->err == ERR_OK;
}

static bool read_pair(struct json_reader *j, struct search_payload *p, struct rank *rank)
{
    static const char *const names[] = {"left", "right"};
    struct json_fields f;
    if (!make_operands(j, rank, 2)) return false;
    bool ok = json_enter_fields(j, &f, names, 2, false,
                                rank->kind == RANK_SUB ? "struct variant RankExpr::Subtraction"
                                                       : "struct variant RankExpr::Division");
    for (int i; ok && (i = json_next_field(j, &f)) >= 0;) ok = search_read_rank(j, p, &rank->operands[i]);
    rank->n_operands = 2;
    return ok && json_need_field(j, &f, 0) && json_need_field(j, &f, 1);
}

static bool read_unary(struct json_reader *j, struct search_payload *p, struct rank *rank)
{
    if (!make_operands(j, rank, 1) || !search_read_rank(j, p, &rank->operands[0])) return false;
    rank->n_operands = 1;
    return true;
}

bool search_read_rank(struct json_reader *j, struct search_payload *p, struct rank **out)
{
    static const struct search_operators ops = {
        rank_names, N_RANKS,
        "one of `$abs`, `$div`, `$exp`, `$knn`, `$log`, `$max`, `$min`, `$mul`, `$sub`, `$sum`, `$val`", rank_operand};
    unsigned which;
    bool is_bare, ok;
    if (!search_enter_operator(j, &ops, &which, &is_bare)) return false;
    struct rank *rank = arena_zalloc(j->arena, sizeof *rank);
    if (rank == NULL) {
        json_fail_nomem(j);
        return false;
    }
    rank->kind = rank_kinds[which];
    switch (rank->kind) {
    case RANK_VALUE:
        ok = read_f32(j, &rank->value);
        break;
    case RANK_DENSE:
        ok = read_knn(j, p, rank);
        break;
    case RANK_SUB:
    case RANK_DIV:
        ok = read_pair(j, p, rank);
        break;
    case RANK_ABS:
    case RANK_EXP:
    case RANK_LOG:
        ok = read_unary(j, p, rank);
        break;
    default:
        ok = read_list(j, p, rank);
        break;
    }
    *out = rank;
    return ok && search_leave_operator(j);
}
