/* json.h - a strict JSON reader that pulls, and a writer that appends.
 *
 * WHY NOT ONLY cJSON  The contract needs what cJSON's tree cannot give: 64-bit integers told from doubles, NUL in
 * strings, duplicate members, the place of an error, and half a million numbers without half a million nodes. Whole
 * documents that are kept as they are (configuration, schema) do go through cJSON: json_tree().
 *
 * READING  One pass; the caller asks for what it expects. The first failure is sticky: it sets err (ERR_INVALID: not
 * JSON; ERR_SHAPE: JSON, but something else was expected; ERR_NOMEM), and every later call fails at once. Messages are
 * those of the contract: "name: invalid type: integer `5`, expected a string at line 1 column 10".
 * Depth is limited to 127 nested arrays and objects. Strings come back decoded and checked to be UTF-8: views into the
 * text where nothing was escaped, else copies in the arena.
 * THREADS  one owner.
 */
#ifndef API_JSON_H
#define API_JSON_H

#include <cjson/cJSON.h>

#include "core/arena.h"
#include "core/buf.h"

enum json_type { JSON_FAILED, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

enum { JSON_DEPTH_MAX = 127 };

struct json_step {  /* one step of the path to the present value */
    struct str key; /* in an object; .p == NULL: in an array */
    uint32_t index;
};

struct json_reader {
    const char *start, *at, *end;
    struct arena *arena;
    enum err err;
    struct str message;  /* of the failure, without "Failed to parse ..." in front */
    unsigned depth;      /* containers entered */
    bool is_first;       /* no item or member of the innermost container was read yet */
    bool has_step;       /* path[depth - 1] belongs to the present place: inside an item or a member */
    const char *key_end; /* after the key that json_next_member returned last: where faults of the key itself are */
    struct json_step path[JSON_DEPTH_MAX + 1];
};

struct json_number {
    bool is_int;  /* an integer literal that fits int64 ("-0" is none: it is the double -0.0) */
    bool is_uint; /* an integer literal that fits uint64 */
    int64_t i;
    uint64_t u;
    double f; /* the value as a double, also when is_int or is_uint */
};

void json_reader_init(struct json_reader *r, struct str text, struct arena *arena);

enum json_type json_peek(struct json_reader *r); /* of the next value, without reading it */

/* `expected` completes "invalid type: ..., expected " (a string, a map, struct CreateTenantPayload ...). */
bool json_enter_object(struct json_reader *r, const char *expected);
bool json_next_member(struct json_reader *r, struct str *key); /* false: the object has ended, or failure */
bool json_enter_array(struct json_reader *r, const char *expected);
bool json_next_item(struct json_reader *r); /* false: the array has ended, or failure */

bool json_string(struct json_reader *r, struct str *s, const char *expected);
bool json_bool(struct json_reader *r, bool *b, const char *expected);
bool json_number(struct json_reader *r, struct json_number *n, const char *expected);
bool json_u32(struct json_reader *r, uint32_t *v); /* "expected u32" */
bool json_null(struct json_reader *r);             /* reads a null if one is next, else false; no failure */
bool json_skip(struct json_reader *r);             /* any value, checked */
bool json_finish(struct json_reader *r);           /* nothing but white space may follow */

/* An array of numbers, appended to `out` as float32: the double nearest to the decimal, rounded to float32 (as upstream
 * does). Beyond the range of float32 it is infinity, which the caller refuses; beyond that of double the reader fails.
 * The hot path of ingestion: no node, no copy. *n gets the count. */
bool json_f32_array(struct json_reader *r, struct buf *out, uint32_t *n);

/* --- structs: objects of which the members are known ------------------------------------------------------------- */

/* A table of names drives the loop; duplicates fail, unknown members are skipped (strict: they fail).
 *
 *     static const char *const names[] = {"ids", "limit"};
 *     struct json_fields f;
 *     if (!json_enter_fields(r, &f, names, 2, false, "struct GetPayload")) return false;
 *     for (int i; (i = json_next_field(r, &f)) >= 0;)
 *         switch (i) { case 0: ... read the value of "ids" ... }
 *     return json_need_field(r, &f, 0);        (true: no failure up to here and "ids" was there)
 *
 * "keys|key_overrides" is a name with an alias. As upstream's parser does, a struct may also be written as an array of
 * all its members in the order of the table. */
struct json_fields {
    const char *const *names;
    uint32_t n, next;
    uint32_t seen; /* a bit a name */
    bool is_strict, is_array;
    const char *expected;
};
enum { JSON_FIELDS_MAX = 32 };
bool json_enter_fields(struct json_reader *r, struct json_fields *f, const char *const *names, uint32_t n,
                       bool is_strict, const char *expected);
int json_next_field(struct json_reader *r, struct json_fields *f); /* an index, or -1: the end, or failure */
bool json_need_field(struct json_reader *r, const struct json_fields *f, uint32_t i);

/* --- whole documents ---------------------------------------------------------------------------------------------- */

/* Any value as a cJSON tree, numbers verbatim (cJSON raw nodes); the caller frees it. What a tree cannot hold (a NUL
 * in a string or a key) stays a raw node with the value's text. */
bool json_tree(struct json_reader *r, cJSON **tree);

/* Any value as compact text, members sorted by key (of equal keys the last stays), numbers verbatim. */
bool json_sorted_text(struct json_reader *r, struct buf *out);

/* --- failures of the caller's making ------------------------------------------------------------------------------ */

/* Fails with ERR_SHAPE at the present place: "<path>: <text> at line L column C". */
void json_fail_shape(struct json_reader *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The same, placed where upstream notices late: behind the bracket that closes what is around the value just read. */
void json_fail_shape_late(struct json_reader *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Fails with ERR_NOMEM: the caller could not keep what was read. */
void json_fail_nomem(struct json_reader *r);

/* --- writing (compact, as serde_json does) ---------------------------------------------------------------------- */

void json_put_string(struct buf *b, struct str s); /* quoted, escaped */
/* The same for what may be no UTF-8, which JSON has to be: as upstream does, U+FFFD stands for each byte of no character. */
void json_put_text(struct buf *b, struct str s);
void json_put_int(struct buf *b, int64_t v);
void json_put_uint(struct buf *b, uint64_t v);
void json_put_double(struct buf *b, double v); /* shortest that reads back; "1.0", "1e16"; not finite: null */
void json_put_float(struct buf *b, float v);   /* likewise for float32 */
void json_put_floats(struct buf *b, const float *v, uint32_t n); /* [1.0,0.5]; the hot path of answers */

/* Packed metadata as an object, or null when empty. Keys that begin with `hidden` are left out, none if it is empty.
 * False: the bytes are no packed form, and what was appended is of no use. */
bool json_put_meta(struct buf *b, struct bytes packed_meta, struct str hidden, struct arena *a);

#endif
