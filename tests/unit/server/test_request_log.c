/* test_request_log.c - the queue of lines (bounded, nothing lost below the bound, drops counted), the file behind it
 * (order, reopening, failing), and the line itself (JSON whatever clients send, no secrets).
 *
 * The writer is held up by a pipe that nobody reads, so that the bound is met at will.
 */
#include "tests/lib/suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/json.h"
#include "core/logger.h"
#include "core/mem.h"
#include "server/request_line.h"
#include "server/request_log.h"

static struct metrics m;
static char path[512];

static struct request_log *open_log(const char *file, size_t queue_bytes)
{
    struct request_log *l = NULL;
    struct errmsg em = {{0}};
    logger_set_level(LOG_NONE);
    metrics_init(&m);
    const struct request_log_options o = {.path = file, .queue_bytes = queue_bytes, .metrics = &m};
    ck_assert_msg(request_log_open(&l, &o, &em) == ERR_OK, "%s", em.text);
    return l;
}

static const char *in_tmp(const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", tmp_dir(), name);
    return path;
}

static size_t slurp(const char *file, char *out, size_t cap)
{
    FILE *f = fopen(file, "r");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(out, 1, cap - 1, f);
    out[n] = '\0';
    (void)fclose(f);
    return n;
}

enum { THREADS = 4, LINES = 2000, TEXT = 64 };

struct putter {
    struct request_log *log;
    int number;
};

static void *put_many(void *arg)
{
    const struct putter *p = arg;
    char text[TEXT];
    for (int i = 0; i < LINES; i++) {
        int n = snprintf(text, sizeof text, "%d %d", p->number, i);
        request_log_put(p->log, REQUEST_LOG_FILE, str_of(text, (size_t)n));
    }
    return NULL;
}

START_TEST(nothing_is_lost_below_the_bound)
{
    static char text[THREADS * LINES * TEXT];
    struct request_log *l = open_log(in_tmp("whole"), THREADS * LINES * TEXT);
    struct putter putters[THREADS];
    pthread_t threads[THREADS];
    int next[THREADS] = {0}, total = 0;
    for (int i = 0; i < THREADS; i++) {
        putters[i] = (struct putter){l, i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_many, &putters[i]), 0);
    }
    for (int i = 0; i < 20; i++) request_log_flush(l); /* beside them */
    for (int i = 0; i < THREADS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    request_log_flush(l);
    (void)slurp(path, text, sizeof text);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), total++) {
        int number, i;
        ck_assert_int_eq(sscanf(line, "%d %d", &number, &i), 2);
        ck_assert(number >= 0 && number < THREADS);
        ck_assert_int_eq(i, next[number]++); /* each thread's lines in their order */
    }
    ck_assert_int_eq(total, THREADS * LINES);
    ck_assert_uint_eq(metrics_get(&m.log_lines), THREADS * LINES);
    ck_assert_uint_eq(metrics_get(&m.log_dropped), 0);
    request_log_close(l);
}
END_TEST

static void *count_lines(void *fd)
{
    static char text[4096];
    size_t *total = mem_zalloc(sizeof *total);
    ck_assert_ptr_nonnull(total);
    for (ssize_t n; (n = read(*(int *)fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < n; i++) *total += text[i] == '\n';
    return total;
}

START_TEST(what_does_not_fit_is_dropped_and_counted)
{
    enum { PUT = 5000, QUEUE = 16 << 10 };
    static char line[200];
    void *total;
    pthread_t reader;
    ck_assert_int_eq(mkfifo(in_tmp("pipe"), 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    ck_assert_int_ge(fd, 0);
    struct request_log *l = open_log(path, QUEUE);
    memset(line, 'x', sizeof line);
    for (int i = 0; i < PUT; i++) request_log_put(l, REQUEST_LOG_FILE, str_of(line, sizeof line)); /* never waits */
    uint64_t dropped = metrics_get(&m.log_dropped);
    ck_assert_uint_gt(dropped, 0); /* a pipe and three blocks do not hold a megabyte */
    ck_assert_uint_lt(dropped, PUT);
    ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
    ck_assert_int_eq(pthread_create(&reader, NULL, count_lines, &fd), 0);
    request_log_close(l);
    ck_assert_int_eq(pthread_join(reader, &total), 0);
    ck_assert_uint_eq(*(size_t *)total, PUT - dropped);
    ck_assert_uint_eq(metrics_get(&m.log_lines), PUT - dropped);
    ck_assert_uint_eq(metrics_get(&m.log_dropped), dropped);
    mem_free(total);
    (void)close(fd);
}
END_TEST

START_TEST(a_line_beyond_the_bound_is_dropped)
{
    static char line[2000], text[100];
    struct request_log *l = open_log(in_tmp("small"), 1000);
    request_log_put(l, REQUEST_LOG_FILE, str_of(line, sizeof line));
    request_log_put(l, REQUEST_LOG_FILE, STR("after"));
    request_log_put(l, REQUEST_LOG_WARN, STR("not for the file"));
    request_log_close(l);
    (void)slurp(path, text, sizeof text);
    ck_assert_str_eq(text, "after\n");
    ck_assert_uint_eq(metrics_get(&m.log_dropped), 1);
}
END_TEST

START_TEST(reopening_follows_a_renamed_file)
{
    char text[100], old[520];
    struct request_log *l = open_log(in_tmp("rotated"), 0);
    request_log_put(l, REQUEST_LOG_FILE, STR("one"));
    request_log_flush(l);
    (void)snprintf(old, sizeof old, "%s.1", path);
    ck_assert_int_eq(rename(path, old), 0);
    request_log_put(l, REQUEST_LOG_FILE, STR("two"));
    request_log_flush(l);
    request_log_reopen(l);
    request_log_flush(l);
    request_log_put(l, REQUEST_LOG_FILE, STR("three"));
    request_log_close(l);
    (void)slurp(old, text, sizeof text);
    ck_assert_str_eq(text, "one\ntwo\n");
    (void)slurp(path, text, sizeof text);
    ck_assert_str_eq(text, "three\n");
}
END_TEST

static size_t lines_in(const char *file)
{
    FILE *f = fopen(file, "r");
    size_t n = 0;
    ck_assert_ptr_nonnull(f);
    for (int c; (c = fgetc(f)) != EOF;) n += c == '\n';
    (void)fclose(f);
    return n;
}

START_TEST(rotating_under_load_loses_nothing)
{
    enum { ROTATIONS = 8 };
    char old[560];
    struct request_log *l = open_log(in_tmp("busy"), THREADS * LINES * TEXT);
    struct putter putters[THREADS];
    pthread_t threads[THREADS];
    size_t total = 0;
    for (int i = 0; i < THREADS; i++) {
        putters[i] = (struct putter){l, i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_many, &putters[i]), 0);
    }
    for (int i = 0; i < ROTATIONS; i++) {
        (void)snprintf(old, sizeof old, "%s.%d", path, i);
        ck_assert_int_eq(rename(path, old), 0);
        request_log_reopen(l);
        request_log_flush(l); /* from here on nobody writes to the old one */
        total += lines_in(old);
    }
    for (int i = 0; i < THREADS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    request_log_close(l);
    ck_assert_uint_eq(total + lines_in(path), THREADS * LINES);
}
END_TEST

START_TEST(half_a_line_stays_a_line_of_its_own)
{
    char text[200];
    struct rlimit limit, small;
    struct request_log *l = open_log(in_tmp("half"), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){25, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 1; i <= 5; i++) {
        (void)snprintf(text, sizeof text, "line-00%d", i);
        request_log_put(l, REQUEST_LOG_FILE, str_from_c(text));
    }
    request_log_flush(l);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    request_log_put(l, REQUEST_LOG_FILE, STR("line-006"));
    request_log_close(l);
    (void)slurp(path, text, sizeof text);
    ck_assert_str_eq(text, "line-001\nline-002\nline-00\nline-006\n");
    ck_assert_uint_eq(metrics_get(&m.log_dropped), 3);
    ck_assert_uint_eq(metrics_get(&m.log_lines), 3);
}
END_TEST

START_TEST(a_file_that_cannot_be_reopened_is_written_on)
{
    char text[100], dir[300], moved[400];
    (void)snprintf(dir, sizeof dir, "%s/dir", tmp_dir());
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/log", dir);
    struct request_log *l = open_log(path, 0);
    (void)snprintf(moved, sizeof moved, "%s.moved", dir);
    ck_assert_int_eq(rename(dir, moved), 0);
    request_log_reopen(l);
    request_log_put(l, REQUEST_LOG_FILE, STR("still here"));
    request_log_close(l);
    (void)snprintf(moved, sizeof moved, "%s.moved/log", dir);
    (void)slurp(moved, text, sizeof text);
    ck_assert_str_eq(text, "still here\n");
}
END_TEST

START_TEST(a_full_disk_is_counted)
{
    struct request_log *l = open_log("/dev/full", 0);
    for (int i = 0; i < 10; i++) request_log_put(l, REQUEST_LOG_FILE, STR("lost"));
    request_log_close(l);
    ck_assert_uint_eq(metrics_get(&m.log_dropped), 10);
    ck_assert_uint_eq(metrics_get(&m.log_lines), 0);
}
END_TEST

START_TEST(a_place_that_is_no_file_is_refused)
{
    struct request_log *l = NULL;
    struct errmsg em = {{0}};
    const struct request_log_options o = {.path = "/nowhere/at/all", .metrics = &m};
    ck_assert_int_ne(request_log_open(&l, &o, &em), ERR_OK);
    ck_assert_ptr_null(l);
    ck_assert_ptr_nonnull(strstr(em.text, "/nowhere/at/all"));
}
END_TEST

/* ------------------------------------------------------------------------------------------------ lines */

/* One line of this request, checked to be JSON and nothing else. */
static const char *line_of(const struct api_request *r, const struct request_line *l)
{
    static char text[1 << 14];
    struct buf b = {0};
    struct arena a = {0};
    struct json_reader j;
    request_line_begin(&b, r, l);
    request_line_end(&b, 1234567, true);
    ck_assert_int_eq(b.err, ERR_OK);
    ck_assert_uint_lt(b.n, sizeof text);
    json_reader_init(&j, buf_view(&b), &a);
    ck_assert(json_skip(&j) && json_finish(&j));
    ck_assert_ptr_null(memchr(b.p, '\n', b.n));
    memcpy(text, b.p, b.n);
    text[b.n] = '\0';
    arena_free(&a);
    buf_free(&b);
    return text;
}

START_TEST(a_line_has_what_is_known)
{
    const struct api_request r = {
        .method = STR("POST"),
        .path = STR("/api/v2/x"),
        .query = STR("limit=5&offset=3"),
        .trace_id = "0123456789abcdef0123456789abcdef",
        .operation_name = "collection_query",
        .n_scope = 3,
        .params = {STR("acme"), STR("db"), STR("id")},
        .user_name = STR("bob"),
        .n_records = 7,
        .did = {.plans = {[EXEC_EXACT] = 2}, .n_candidates = 20, .n_measured = 10, .n_documents = 4},
    };
    const struct request_line l = {.received = {1795556689, 123456789},
                                   .remote = "127.0.0.1:5",
                                   .status = 400,
                                   .error = "InvalidArgumentError",
                                   .was_queued = true,
                                   .queued_ns = 5000,
                                   .run_ns = 7999,
                                   .bytes_in = 11,
                                   .bytes_out = 13};
    ck_assert_str_eq(
        line_of(&r, &l),
        "{\"time\":\"2026-11-24T21:44:49.123456Z\",\"trace_id\":\"0123456789abcdef0123456789abcdef\","
        "\"remote\":\"127.0.0.1:5\",\"method\":\"POST\",\"path\":\"/api/v2/x\",\"query\":\"limit=5&offset=3\","
        "\"operation\":\"collection_query\",\"status\":400,\"error\":\"InvalidArgumentError\",\"user\":\"bob\","
        "\"tenant\":\"acme\",\"database\":\"db\",\"collection\":\"id\",\"bytes_in\":11,\"bytes_out\":13,"
        "\"records\":7,\"documents\":4,\"plan_exact\":2,\"candidates\":20,\"measured\":10,\"queue_us\":5,\"run_us\":7,"
        "\"duration_us\":1234,\"sent\":true}");
}
END_TEST

START_TEST(a_line_has_nothing_that_is_not_known)
{
    const struct api_request r = {.method = STR("GET"), .path = STR("/")};
    const struct request_line l = {.received = {0, 0}, .remote = "", .status = 404};
    ck_assert_str_eq(line_of(&r, &l),
                     "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"method\":\"GET\",\"path\":\"/\","
                     "\"status\":404,\"bytes_in\":0,\"bytes_out\":0,\"duration_us\":1234,\"sent\":true}");
}
END_TEST

START_TEST(of_a_query_string_only_what_is_understood_is_shown)
{
    static const char *const queries[][2] = {
        {"", NULL},
        {"token=s3cret", NULL},
        {"s3cret", NULL},
        {"limit=s3cret", NULL},
        {"limit=12345678901", NULL}, /* as long as a number cannot be */
        {"limit=5&api_key=s3cret&offset=1", "\"query\":\"limit=5&offset=1\""},
        {"&&limit=&read_level=index_only&read_level=s3cret&", "\"query\":\"read_level=index_only\""},
        {"collections=true&Limit=5", "\"query\":\"collections=true\""},
    };
    const struct request_line l = {.remote = "", .status = 200};
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        const struct api_request r = {.method = STR("GET"), .path = STR("/p"), .query = str_from_c(queries[i][0])};
        const char *line = line_of(&r, &l), *at = strstr(line, "\"query\"");
        ck_assert_ptr_null(strstr(line, "s3cret"));
        if (queries[i][1] == NULL)
            ck_assert_ptr_null(at);
        else
            ck_assert_msg(at != NULL && strncmp(at, queries[i][1], strlen(queries[i][1])) == 0, "%s", line);
    }
}
END_TEST

START_TEST(a_line_is_json_whatever_is_sent)
{
    struct rng rng = {UINT64_C(0x1095eed)};
    static char bytes[3000];
    const struct request_line l = {.remote = "", .status = 200};
    for (int round = 0; round < suite_share(400); round++) {
        size_t n = rng_below(&rng, sizeof bytes);
        bool is_text = rng_below(&rng, 2) == 0;
        for (size_t i = 0; i < n; i++) bytes[i] = (char)(is_text ? 1 + rng_below(&rng, 127) : rng_below(&rng, 256));
        struct str s = str_of(bytes, n);
        const struct api_request r = {.method = s,
                                      .path = s,
                                      .query = s,
                                      .n_scope = 3,
                                      .params = {s, s, s},
                                      .user_name = s,
                                      .authorization = STR("Bearer s3cret"),
                                      .chroma_token = STR("s3cret")};
        const char *line = line_of(&r, &l); /* checks */
        ck_assert_ptr_null(strstr(line, "s3cret"));
        ck_assert_uint_lt(strlen(line), 12000); /* cut, also where every byte needs six */
    }
}
END_TEST

START_TEST(a_cut_does_not_split_a_character)
{
    static char text[1203];
    const struct request_line l = {.remote = "", .status = 200};
    for (size_t shift = 0; shift < 3; shift++) { /* the place of the cut falls on each byte of a character once */
        memset(text, 'a', sizeof text);
        for (size_t i = shift; i + 3 <= sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
        const struct api_request r = {.method = STR("GET"), .path = str_of(text, shift + 1200)};
        const char *line = line_of(&r, &l);
        ck_assert_ptr_nonnull(strstr(line, "\xe2\x82\xac...\""));
        ck_assert_ptr_null(strchr(line, '?'));
    }
}
END_TEST

TESTS(request_log, nothing_is_lost_below_the_bound, what_does_not_fit_is_dropped_and_counted,
      a_line_beyond_the_bound_is_dropped, reopening_follows_a_renamed_file, rotating_under_load_loses_nothing,
      half_a_line_stays_a_line_of_its_own, a_file_that_cannot_be_reopened_is_written_on, a_full_disk_is_counted,
      a_place_that_is_no_file_is_refused, a_line_has_what_is_known, a_line_has_nothing_that_is_not_known,
      of_a_query_string_only_what_is_understood_is_shown, a_line_is_json_whatever_is_sent,
      a_cut_does_not_split_a_character)
