/* upstream_rows.c - see upstream_db.h: the records of a metadata segment.
 *
 * HAPPY PATH  the rows of `embeddings` in order; for each, its scalars and its lists, both in byte order of their
 *             keys, are merged into packed metadata. chroma:document and chroma:uri among them are the record's
 *             document and uri.
 * FAILURE     damage of the file ends the walk (ERR_CORRUPT). A value that is no text is left out, and the record
 *             says so.
 */
#include "api/upstream_db.h"

#include "api/json.h"
#include "core/utf8.h"
#include "core/value.h"

/* The four value columns that both tables have, from `at` on. VALUE_NULL: all are NULL. */
static struct value read_value(sqlite3_stmt *row, int at)
{
    if (sqlite3_column_type(row, at) != SQLITE_NULL)
        return (struct value){.type = VALUE_STR, .s = upstream_text(row, at)};
    if (sqlite3_column_type(row, at + 1) != SQLITE_NULL)
        return (struct value){.type = VALUE_INT, .i = sqlite3_column_int64(row, at + 1)};
    if (sqlite3_column_type(row, at + 2) != SQLITE_NULL)
        return (struct value){.type = VALUE_FLOAT, .f = sqlite3_column_double(row, at + 2)};
    if (sqlite3_column_type(row, at + 3) != SQLITE_NULL)
        return (struct value){.type = VALUE_BOOL, .b = sqlite3_column_int64(row, at + 3) != 0};
    return (struct value){.type = VALUE_NULL};
}

struct reader {
    struct upstream_db *u;
    struct arena *arena; /* of one record */
    struct buf meta;
    struct upstream_record r;
    bool has_list; /* the lists' statement stands on a row */
};

static enum err no_memory(struct errmsg *em)
{
    return errmsg_set(em, ERR_NOMEM, "out of memory");
}

/* All items of the list whose first one the statement stands on. Lists have one type; what differs is left out. */
static enum err put_list(struct reader *b, struct errmsg *em)
{
    sqlite3_stmt *st = b->u->arrays;
    struct value list = {.type = VALUE_NULL}, *items = NULL;
    struct str key = arena_str(b->arena, upstream_text(st, 0));
    enum value_type first = VALUE_NULL;
    uint32_t n = 0, cap = 0;
    enum err e = ERR_OK;
    if (key.p == NULL) return no_memory(em);
    do {
        struct value v = read_value(st, 1);
        if (n == cap) {
            uint32_t more = cap > 0 ? cap * 2 : 8;
            struct value *bigger = arena_array(b->arena, more, sizeof *bigger);
            if (bigger == NULL) return no_memory(em);
            if (n > 0) memcpy(bigger, items, n * sizeof *items);
            items = bigger;
            cap = more;
        }
        if (first == VALUE_NULL) first = v.type;
        if (v.type != first || v.type == VALUE_NULL || (v.type == VALUE_STR && !utf8_is_valid(v.s))) {
            b->r.fault = "a list in its metadata has items that fit no type";
        } else {
            if (v.type == VALUE_STR && (v.s = arena_str(b->arena, v.s)).p == NULL) return no_memory(em);
            items[n++] = v;
        }
        e = upstream_step(b->u, st, &b->has_list, em);
    } while (e == ERR_OK && b->has_list && str_eq(upstream_text(st, 0), key));
    static const enum value_type list_types[] = {
        [VALUE_BOOL] = VALUE_BOOLS, [VALUE_INT] = VALUE_INTS, [VALUE_FLOAT] = VALUE_FLOATS, [VALUE_STR] = VALUE_STRS};
    if (e != ERR_OK || n == 0) return e;
    list.type = list_types[first];
    list.list.n = n;
    list.list.items = items;
    if (utf8_is_valid(key))
        meta_put(&b->meta, key, &list);
    else
        b->r.fault = "a key of its metadata is no text";
    return ERR_OK;
}

static enum err put_scalar(struct reader *b, struct errmsg *em)
{
    sqlite3_stmt *st = b->u->scalars;
    struct str key = upstream_text(st, 0);
    struct value v = read_value(st, 1);
    bool is_document = str_eq(key, STR("chroma:document")), is_uri = str_eq(key, STR("chroma:uri"));
    if (v.type == VALUE_NULL) return ERR_OK;
    if (!utf8_is_valid(key) || (v.type == VALUE_STR && !utf8_is_valid(v.s))) {
        b->r.fault = "a text of it is no UTF-8";
        return ERR_OK;
    }
    if ((is_document || is_uri) && v.type == VALUE_STR) {
        struct str copy = arena_str(b->arena, v.s);
        *(is_document ? &b->r.document : &b->r.uri) = copy;
        return copy.p != NULL ? ERR_OK : no_memory(em);
    }
    meta_put(&b->meta, key, &v);
    return ERR_OK;
}

/* Both statements give their keys in ascending order; of a key in both, the list counts. */
static enum err read_parts(struct reader *b, int64_t number, struct errmsg *em)
{
    struct upstream_db *u = b->u;
    bool has_scalar = true;
    b->has_list = u->arrays != NULL;
    (void)sqlite3_bind_int64(u->scalars, 1, number);
    enum err e = upstream_step(u, u->scalars, &has_scalar, em);
    if (e == ERR_OK && b->has_list) {
        (void)sqlite3_bind_int64(u->arrays, 1, number);
        e = upstream_step(u, u->arrays, &b->has_list, em);
    }
    while (e == ERR_OK && (has_scalar || b->has_list)) {
        int c = !b->has_list  ? -1
                : !has_scalar ? 1
                              : str_cmp(upstream_text(u->scalars, 0), upstream_text(u->arrays, 0));
        if (c < 0) e = put_scalar(b, em);
        if (e == ERR_OK && c <= 0) e = upstream_step(u, u->scalars, &has_scalar, em);
        if (e == ERR_OK && c >= 0) e = put_list(b, em);
    }
    (void)sqlite3_reset(u->scalars);
    if (u->arrays != NULL) (void)sqlite3_reset(u->arrays);
    return e;
}

static enum err prepare_parts(struct upstream_db *u, struct errmsg *em)
{
    enum err e = ERR_OK;
    if (u->scalars == NULL)
        e = upstream_prepare(u,
                             "SELECT key, string_value, int_value, float_value, bool_value FROM embedding_metadata "
                             "WHERE id = ?1 ORDER BY key",
                             &u->scalars, em);
    if (e == ERR_OK && u->has_arrays && u->arrays == NULL)
        e = upstream_prepare(
            u,
            "SELECT key, string_value, int_value, float_value, bool_value FROM embedding_metadata_array "
            "WHERE id = ?1 ORDER BY key, rowid",
            &u->arrays, em);
    return e;
}

enum err upstream_each_record(struct upstream_db *u, struct str segment, upstream_record_visitor visit, void *ctx,
                              struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    struct arena arena = {0};
    struct reader b = {.u = u, .arena = &arena};
    bool has_row = true;
    enum err e = prepare_parts(u, em);
    if (e == ERR_OK)
        e = upstream_prepare(u, "SELECT id, embedding_id FROM embeddings WHERE segment_id = ?1 ORDER BY id", &st, em);
    if (e == ERR_OK) (void)sqlite3_bind_text(st, 1, segment.p, (int)segment.n, SQLITE_STATIC);
    while (e == ERR_OK && (e = upstream_step(u, st, &has_row, em)) == ERR_OK && has_row) {
        b.r = (struct upstream_record){.id = upstream_text(st, 1)};
        b.meta.n = 0;
        e = read_parts(&b, sqlite3_column_int64(st, 0), em);
        if (e == ERR_OK && b.meta.err != ERR_OK) e = errmsg_set(em, b.meta.err, "metadata");
        b.r.meta = (struct bytes){b.meta.p, b.meta.n};
        if (e == ERR_OK) e = visit(ctx, &b.r, em);
        arena_free(&arena);
    }
    (void)sqlite3_finalize(st);
    buf_free(&b.meta);
    arena_free(&arena);
    return e;
}
