/* json.h - a strict JSON reader that pulls, and a writer that appends.
 *
 * WHY NOT ONLY cJSON  The contract needs what cJSON's tree cannot give: 64-bit integers told from doubles, NUL in
 * strings, duplicate members, the place of an error, and half a million numbers without half a million nodes. Whole
 * documents that are kept as they are (configuration, schema) do go through cJSON: json_tree().
 *
 * READING  One pass; the caller asks for what it expects. The first failure is sticky: it sets err (ERR_INVALID: not
 * JSON; ERR_SHAPE: JSON, but something else was expected; ERR_NOMEM), and every later call fails at once. Messages are
 * those of the contract: "name: invalid type: integer `5`, expected a string at line 1 column 10".
 * Depth is limited to 127 nested arrays and objects. Strings come back decoded and checked to be UTF-8: views into the text where
 * nothing was escaped, else copies in the arena.
 * THREADS  one owner.
 */
#ifndef API_JSON_H
#define API_JSON_H

#include <cjson/cJSON.h>

#include "core/arena.h"
#include "core/buf.h"

enum json_type { JSON_FAILED, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

enum { JSON_DEPTH_MAX = 127 };

struct json_step { /* one step of the path to the present value */
    struct str key;  /* in an object; .p == NULL: in an array */
    uint32_t index;
};

struct json_reader {
    const char *start, *at, *end;
    struct arena *arena;
    enum err err;
    struct str message;   /* of the failure, without "Failed to parse ..." in front */
    unsigned depth;       /* containers entered */
    bool is_first;        /* no item or member of the innermost container was read yet */
    struct json_step path[JSON_DEPTH_MAX + 1];
};

struct json_number {
    bool is_int; /* an integer literal that fits int64 */
    int64_t i;
    double f;    /* the value as a double, also when is_int */
};

void json_reader_init(struct json_reader *r, struct str text, struct arena *arena);

enum json_type json_peek(struct json_reader *r); /* of the next value, without reading it */

/* `expected` completes "invalid type: ..., expected " (a string, a map, struct CreateTenantPayload ...). */
bool json_enter_object(struct json_reader *r, const char *expected);
bool json_next_member(struct json_reader *r, struct str *key); /* false: the object has ended, or failure */
bool json_enter_array(struct json_reader *r, const char *expected);
bool json_next_item(struct json_reader *r);                    /* false: the array has ended, or failure */

bool json_string(struct json_reader *r, struct str *s, const char *expected);
bool json_bool(struct json_reader *r, bool *b, const char *expected);
bool json_number(struct json_reader *r, struct json_number *n, const char *expected);
bool json_u32(struct json_reader *r, uint32_t *v);             /* "expected u32" */
bool json_null(struct json_reader *r);                         /* reads a null if one is next, else false; no failure */
bool json_skip(struct json_reader *r);                         /* any value, checked */
bool json_finish(struct json_reader *r);                       /* nothing but white space may follow */

/* An array of numbers, appended to `out` as float32 (rounded to nearest from the decimal; out of range gives infinity, which
 * the caller refuses). The hot path of ingestion: no node, no copy. *n gets the count. */
bool json_f32_array(struct json_reader *r, struct buf *out, uint32_t *n);

/* Any value as a cJSON tree, numbers verbatim (cJSON raw nodes); the caller frees it. */
bool json_tree(struct json_reader *r, cJSON **tree);

/* Fails with ERR_SHAPE at the present place: "<path>: <text> at line L column C". */
void json_fail_shape(struct json_reader *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* --- writing (compact, as serde_json does) ---------------------------------------------------------------------- */

void json_put_string(struct buf *b, struct str s);   /* quoted, escaped */
void json_put_int(struct buf *b, int64_t v);
void json_put_uint(struct buf *b, uint64_t v);
void json_put_double(struct buf *b, double v);       /* shortest that reads back; "1.0", "1e16"; not finite: null */
void json_put_float(struct buf *b, float v);         /* likewise for float32 */
void json_put_floats(struct buf *b, const float *v, uint32_t n); /* [1.0,0.5]; the hot path of answers */
void json_put_meta(struct buf *b, struct bytes packed_meta, struct arena *a); /* an object, or null when empty */

#endif
