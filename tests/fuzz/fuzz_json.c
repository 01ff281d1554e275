/* fuzz_json.c - the JSON reader: what it accepts beside cJSON, number arrays beside strtod, and what is written
 * beside what is read back. The first byte chooses.
 */
#include "api/json_internal.h"

#include <math.h>
#include <stdlib.h>

#include "core/mem.h"
#include "core/utf8.h"
#include "tests/fuzz/fuzz.h"

/* cJSON cuts numbers at 63 bytes. */
enum { CJSON_NUMBER_MAX = 60 };

static bool is_plain(struct str text)
{
    size_t run = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        run = (c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '-' || c == '+' ? run + 1 : 0;
        if (run > CJSON_NUMBER_MAX || c == '\0') return false;
    }
    return !str_contains(text, STR("\\u0000")); /* cJSON refuses it */
}

/* ours: numbers are raw nodes. */
static bool is_same_tree(const cJSON *ours, const cJSON *theirs)
{
    if (cJSON_IsRaw(ours)) return cJSON_IsNumber(theirs) && strtod(ours->valuestring, NULL) == theirs->valuedouble;
    if ((ours->type & 0xff) != (theirs->type & 0xff)) return false;
    if (cJSON_IsString(ours)) return strcmp(ours->valuestring, theirs->valuestring) == 0;
    const cJSON *o = ours->child, *t = theirs->child;
    for (; o != NULL && t != NULL; o = o->next, t = t->next) {
        if (cJSON_IsObject(ours) && strcmp(o->string, t->string) != 0) return false;
        if (!is_same_tree(o, t)) return false;
    }
    return o == t;
}

static void check_tree(struct str text)
{
    struct arena a = {0};
    struct json_reader r, s;
    cJSON *ours = NULL;
    json_reader_init(&s, text, &a);
    bool is_skipped = json_skip(&s) && json_finish(&s);
    json_reader_init(&r, text, &a);
    bool is_read = json_tree(&r, &ours) && json_finish(&r);
    must(is_read == is_skipped);
    if (!is_read) must(str_eq(r.message, s.message) && r.message.n > 0);
    if (is_read && is_plain(text)) {
        cJSON *theirs = cJSON_ParseWithLength(text.p, text.n);
        must(theirs != NULL && "cJSON takes more than we do");
        must(is_same_tree(ours, theirs));
        cJSON_Delete(theirs);
    }
    cJSON_Delete(ours);
    struct buf once = {0}, twice = {0};
    json_reader_init(&r, text, &a);
    must((json_sorted_text(&r, &once) && json_finish(&r)) == is_skipped);
    if (is_skipped) { /* it is a fixed point */
        json_reader_init(&r, buf_view(&once), &a);
        must(json_sorted_text(&r, &twice) && json_finish(&r));
        must(str_eq(buf_view(&once), buf_view(&twice)));
    }
    buf_free(&once);
    buf_free(&twice);
    arena_free(&a);
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

static uint32_t bits_of(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

/* The hot path takes what the slow one takes, says of the rest what that one says, and gives what strtod gives. */
static void check_floats(struct str text)
{
    struct arena a = {0};
    struct json_reader r, s;
    struct buf floats = {0};
    uint32_t n = 0, i = 0;
    json_reader_init(&r, text, &a);
    bool is_read = json_f32_array(&r, &floats, &n) && json_finish(&r);
    json_reader_init(&s, text, &a);
    bool is_good = json_enter_array(&s, "an array of numbers");
    char *copy = mem_alloc(text.n + 1);
    must(copy != NULL);
    if (text.n > 0) memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    for (struct json_number v; is_good && json_next_item(&s); i++) {
        json_skip_space(&s);
        const char *at = copy + (s.at - s.start);
        if (!json_number(&s, &v, "f32")) break;
        double want = strtod(at, NULL);
        must(want == v.f && signbit(want) == signbit(v.f));
        if (is_read) must(i < n && bits_of(((const float *)(const void *)floats.p)[i]) == bits_of((float)want));
    }
    is_good = is_good && s.err == ERR_OK && json_finish(&s);
    must(is_read == is_good);
    must(r.err == s.err);
    if (is_read) must(i == n && floats.n == n * sizeof(float));
    mem_free(copy);
    buf_free(&floats);
    arena_free(&a);
}

/* Any floats, written and read back. */
static void check_writing(struct input in)
{
    float v[64];
    uint32_t n = 0, n_read = 0;
    while (in.n >= 4 && n < 64) {
        uint32_t u = input_u32(&in);
        memcpy(&v[n], &u, sizeof u);
        n += isfinite(v[n]) != 0;
    }
    struct arena a = {0};
    struct buf text = {0}, floats = {0}, single = {0};
    struct json_reader r;
    json_put_floats(&text, v, n);
    buf_char(&single, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) buf_char(&single, ',');
        json_put_float(&single, v[i]);
    }
    buf_char(&single, ']');
    must(str_eq(buf_view(&text), buf_view(&single)));
    json_reader_init(&r, buf_view(&text), &a);
    must(json_f32_array(&r, &floats, &n_read) && json_finish(&r) && n_read == n);
    if (n > 0) must(memcmp(floats.p, v, n * sizeof v[0]) == 0);
    buf_free(&text);
    buf_free(&floats);
    buf_free(&single);
    arena_free(&a);
}

/* Any UTF-8, written and read back; and any text between quotes, read and written. */
static void check_strings(struct str text)
{
    struct arena a = {0};
    struct json_reader r;
    struct str s = {0};
    struct buf b = {0};
    if (utf8_is_valid(text)) {
        json_put_string(&b, text);
        json_reader_init(&r, buf_view(&b), &a);
        must(json_string(&r, &s, "a string") && json_finish(&r) && str_eq(s, text));
    }
    json_reader_init(&r, text, &a);
    if (json_string(&r, &s, "a string") && json_finish(&r)) must(utf8_is_valid(s));
    buf_free(&b);
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    switch (input_u8(&in) % 4) {
    case 0:
        check_floats(input_text(&in, in.n));
        break;
    case 1:
        check_writing(in);
        break;
    case 2:
        check_strings(input_text(&in, in.n));
        break;
    default:
        check_tree(input_text(&in, in.n));
        break;
    }
    return 0;
}
