/* request_line.c - see request_line.h.
 */
#include "server/request_line.h"

#include "api/json.h"
#include "core/utf8.h"

/* So that a line fits into one of the program's log, which are cut at 2 KiB, unless it is full of escapes. */
enum { PATH_MAX_BYTES = 768, NAME_MAX_BYTES = 128, METHOD_MAX_BYTES = 16, DIGITS_MAX = 10, TYPICAL_BYTES = 1000 };

/* `,"name":`, the comma unless it is the first member. */
static void put_name(struct buf *b, const char *name)
{
    if (b->n > 0 && b->p[b->n - 1] != '{') buf_char(b, ',');
    buf_char(b, '"');
    buf_str(b, str_from_c(name)); /* a literal: nothing to escape */
    buf_lit(b, "\":");
}

static void put_number(struct buf *b, const char *name, uint64_t v)
{
    put_name(b, name);
    json_put_uint(b, v);
}

/* What clients send, cut to `max` bytes. Bytes that are no UTF-8 become question marks: a line must stay JSON. */
static void put_text(struct buf *b, const char *name, struct str s, size_t max)
{
    char text[PATH_MAX_BYTES + 4];
    CHECK(max + 4 <= sizeof text && "room for the text and the mark behind it");
    bool is_cut = s.n > max;
    size_t n = is_cut ? max : s.n;
    while (is_cut && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80) n--; /* not within a character */
    if (n > 0) memcpy(text, s.p, n);
    if (!utf8_is_valid(str_of(text, n)))
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)text[i] >= 0x80) text[i] = '?';
    if (is_cut) {
        memcpy(text + n, "...", 3);
        n += 3;
    }
    put_name(b, name);
    json_put_string(b, str_of(text, n));
}

static void put_time(struct buf *b, const struct timespec *t)
{
    struct tm utc;
    char text[40];
    (void)gmtime_r(&t->tv_sec, &utc);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    put_name(b, "time");
    buf_printf(b, "\"%.*s.%06ldZ\"", (int)n, text, t->tv_nsec / 1000);
}

/* --- the query string --------------------------------------------------------------------------------------------- */

static bool are_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9') return false;
    return s.n > 0 && s.n <= DIGITS_MAX;
}

/* Is this pair one that the server reads, with a value of the kind that belongs there? Then it is no secret. */
static bool is_shown(struct str pair)
{
    static const char *const numbers[] = {"limit=", "offset="};
    static const char *const words[] = {"collections=true", "read_level=index_only", "read_level=index_and_wal",
                                        "read_level=index_and_bounded_wal"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct str key = str_from_c(numbers[i]);
        if (str_starts(pair, key)) return are_digits(str_of(pair.p + key.n, pair.n - key.n));
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (str_eq(pair, str_from_c(words[i]))) return true;
    return false;
}

static void put_query(struct buf *b, struct str query)
{
    bool is_first = true;
    for (unsigned n_shown = 0; query.n > 0 && n_shown < 8;) {
        const char *amp = memchr(query.p, '&', query.n);
        size_t n = amp != NULL ? (size_t)(amp - query.p) : query.n, skip = amp != NULL ? n + 1 : n;
        struct str pair = str_of(query.p, n);
        query = str_of(query.p + skip, query.n - skip);
        if (!is_shown(pair)) continue;
        if (is_first) put_name(b, "query");
        buf_char(b, is_first ? '"' : '&');
        buf_str(b, pair); /* nothing in it needs an escape */
        is_first = false;
        n_shown++;
    }
    if (!is_first) buf_char(b, '"');
}

/* --- the line ----------------------------------------------------------------------------------------------------- */

static void put_scope(struct buf *b, const struct api_request *r)
{
    static const char *const names[] = {"tenant", "database", "collection"};
    CHECK(r->n_scope <= 3 && "tenant, database, collection");
    for (unsigned i = 0; i < r->n_scope; i++) put_text(b, names[i], r->params[i], NAME_MAX_BYTES);
}

static void put_work(struct buf *b, const struct api_request *r)
{
    static const char *const plans[EXEC_PLANS] = {[EXEC_EXACT] = "plan_exact",
                                                  [EXEC_MASKED] = "plan_masked_scan",
                                                  [EXEC_FULL] = "plan_full_scan",
                                                  [EXEC_SPARSE] = "plan_sparse"};
    bool has_plan = false;
    if (r->n_records > 0) put_number(b, "records", r->n_records);
    if (r->did.n_documents > 0) put_number(b, "documents", r->did.n_documents);
    for (unsigned i = 0; i < EXEC_PLANS; i++) {
        if (r->did.plans[i] == 0) continue;
        put_number(b, plans[i], r->did.plans[i]);
        has_plan = true;
    }
    if (!has_plan) return;
    put_number(b, "candidates", r->did.n_candidates);
    put_number(b, "measured", r->did.n_measured);
}

void request_line_begin(struct buf *b, const struct api_request *r, const struct request_line *l)
{
    (void)buf_room(b, TYPICAL_BYTES); /* one allocation; if it fails, what follows says so */
    buf_char(b, '{');
    put_time(b, &l->received);
    if (r->trace_id[0] != '\0') put_text(b, "trace_id", str_from_c(r->trace_id), NAME_MAX_BYTES);
    if (l->remote[0] != '\0') put_text(b, "remote", str_from_c(l->remote), NAME_MAX_BYTES);
    put_text(b, "method", r->method, METHOD_MAX_BYTES);
    put_text(b, "path", r->path, PATH_MAX_BYTES);
    put_query(b, r->query);
    if (r->operation_name != NULL) put_text(b, "operation", str_from_c(r->operation_name), NAME_MAX_BYTES);
    put_number(b, "status", l->status);
    if (l->error != NULL) put_text(b, "error", str_from_c(l->error), NAME_MAX_BYTES);
    if (r->user_name.p != NULL) put_text(b, "user", r->user_name, NAME_MAX_BYTES);
    put_scope(b, r);
    put_number(b, "bytes_in", l->bytes_in);
    put_number(b, "bytes_out", l->bytes_out);
    put_work(b, r);
    if (l->was_queued) {
        put_number(b, "queue_us", l->queued_ns / 1000);
        put_number(b, "run_us", l->run_ns / 1000);
    }
}

void request_line_end(struct buf *b, uint64_t duration_ns, bool is_sent)
{
    put_number(b, "duration_us", duration_ns / 1000);
    put_name(b, "sent");
    buf_str(b, is_sent ? STR("true}") : STR("false}"));
}
