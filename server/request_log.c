/* request_log.c - see request_log.h.
 *
 * HAPPY PATH  1. put appends an entry (places, length, text) to `waiting` and wakes the writer if it sleeps
 *             2. the writer lets entries gather for LINGER_MS, since waking it and writing cost more than a line does;
 *                then it exchanges `waiting` for its own empty block, and lets go of the lock
 *             3. it gathers the lines for the file, writes them with one call, and tells the others to the logger
 *             Both blocks are made at the start, so that putting allocates nothing.
 * FAILURE     a write that fails loses the lines it was for; they are counted. After half a line the next write begins
 *             with a line's end, so that no two lines become one.
 * INVARIANTS  the lock is held for copies of memory only. `waiting.n` never exceeds queue_bytes.
 *
 * The file is reached with plain system calls: it is no part of the data, others rename and truncate it while it is
 * open (O_APPEND is right then), and it may be a pipe or a terminal.
 */
#include "server/request_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/logger.h"
#include "core/mem.h"

struct block {
    char *p;
    size_t n;
};

struct request_log {
    struct request_log_options options; /* immutable */
    pthread_t writer;

    /* the writer's */
    int fd;          /* -1: no file */
    bool is_torn;    /* the last write ended within a line */
    bool is_failing; /* told once, until a write succeeds */
    struct block taken;
    struct buf gathered;

    pthread_mutex_t mu;
    pthread_cond_t work; /* to the writer */
    pthread_cond_t idle; /* from the writer, after each round */
    /* guarded by mu */
    struct block waiting;
    bool sleeps;  /* the writer waits for work: any entry wakes it */
    bool lingers; /* it lets entries gather: only what is urgent wakes it */
    bool wants_reopen, is_closing;
    unsigned n_flushes;        /* calls of request_log_flush under way */
    uint64_t n_put, n_settled; /* entries */
};

enum { ENTRY_HEAD = 1 + sizeof(uint32_t), LINGER_MS = 20 };

static const size_t QUEUE_BYTES = 4 << 20;

/* --- the writer --------------------------------------------------------------------------------------------------- */

static void drop(struct request_log *l, uint64_t n_lines)
{
    metrics_add(&l->options.metrics->log_dropped, n_lines);
}

static enum err open_file(const char *path, int *fd, struct errmsg *em)
{
    *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    return *fd >= 0 ? ERR_OK : errmsg_errno(em, errno, "open the request log %s", path);
}

static bool is_file(const struct request_log *l)
{
    return l->fd >= 0 && l->fd != STDERR_FILENO;
}

static void reopen(struct request_log *l)
{
    struct errmsg em = {{0}};
    int fd;
    if (!is_file(l)) return;
    if (open_file(l->options.path, &fd, &em) != ERR_OK) {
        log_error("%s; the former file is written on", em.text);
        return;
    }
    (void)close(l->fd);
    l->fd = fd;
    l->is_torn = false;
}

/* Bytes written; fewer than n only after a failure, with errno. */
static size_t write_all(int fd, const char *p, size_t n)
{
    size_t at = 0;
    while (at < n) {
        ssize_t got = write(fd, p + at, n - at);
        if (got > 0)
            at += (size_t)got;
        else if (got == 0 || errno != EINTR)
            break;
    }
    return at;
}

static uint64_t count_lines(const char *p, size_t n)
{
    uint64_t lines = 0;
    for (const char *end = p + n; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++) lines++;
    return lines;
}

static void write_gathered(struct request_log *l)
{
    struct buf *b = &l->gathered;
    if (b->n == 0) return;
    if (l->is_torn && write_all(l->fd, "\n", 1) == 1) l->is_torn = false;
    size_t done = l->is_torn ? 0 : write_all(l->fd, b->p, b->n);
    uint64_t n_done = count_lines(b->p, done), n_lost = count_lines(b->p + done, b->n - done);
    if (done > 0) l->is_torn = b->p[done - 1] != '\n';
    metrics_add(&l->options.metrics->log_lines, n_done);
    if (n_lost > 0) drop(l, n_lost);
    if (n_lost > 0 && !l->is_failing) log_error("write the request log: %s; lines are lost", strerror(errno));
    l->is_failing = n_lost > 0;
    b->n = 0;
}

static void settle(struct request_log *l, const struct block *entries)
{
    uint64_t n_unkept = 0;
    for (size_t at = 0; at < entries->n;) {
        unsigned places = (uint8_t)entries->p[at];
        struct str line = str_of(entries->p + at + ENTRY_HEAD, le32_get(entries->p + at + 1));
        at += ENTRY_HEAD + line.n;
        if ((places & REQUEST_LOG_FILE) != 0 && l->fd >= 0) {
            char *to = buf_room(&l->gathered, line.n + 1);
            l->gathered.err = ERR_OK; /* a line that found no memory is lost, later ones may find some */
            n_unkept += to == NULL;
            if (to != NULL) {
                memcpy(to, line.p, line.n);
                to[line.n] = '\n';
                l->gathered.n += line.n + 1;
            }
        }
        if ((places & REQUEST_LOG_WARN) != 0) log_warn("request: " STR_FMT, STR_ARG(line));
        if ((places & REQUEST_LOG_ERROR) != 0) log_error("request: " STR_FMT, STR_ARG(line));
    }
    if (n_unkept > 0) drop(l, n_unkept);
    write_gathered(l);
}

static bool is_urgent(const struct request_log *l)
{
    bool is_filling = l->waiting.n > l->options.queue_bytes / 2;
    return is_filling || l->is_closing || l->wants_reopen || l->n_flushes > 0;
}

/* The lock is held before and after, not meanwhile. */
static void linger(struct request_log *l)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LINGER_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    l->lingers = true;
    for (int rc = 0; rc == 0 && !is_urgent(l);) rc = pthread_cond_timedwait(&l->work, &l->mu, &until);
    l->lingers = false;
}

static void *writer_main(void *arg)
{
    struct request_log *l = arg;
    (void)pthread_mutex_lock(&l->mu);
    for (;;) {
        if (l->waiting.n == 0 && !l->wants_reopen) {
            if (l->is_closing) break;
            l->sleeps = true;
            (void)pthread_cond_wait(&l->work, &l->mu);
            l->sleeps = false;
            continue;
        }
        linger(l);
        struct block entries = l->waiting;
        l->waiting = l->taken;
        uint64_t n_put = l->n_put;
        bool reopens = l->wants_reopen;
        l->wants_reopen = false;
        (void)pthread_mutex_unlock(&l->mu);
        if (reopens) reopen(l);
        settle(l, &entries);
        (void)pthread_mutex_lock(&l->mu);
        l->taken = (struct block){entries.p, 0};
        l->n_settled = n_put;
        (void)pthread_cond_broadcast(&l->idle);
    }
    (void)pthread_mutex_unlock(&l->mu);
    return NULL;
}

/* --- everybody's -------------------------------------------------------------------------------------------------- */

static void wake(struct request_log *l)
{
    if (l->sleeps || (l->lingers && is_urgent(l))) (void)pthread_cond_signal(&l->work);
}

void request_log_put(struct request_log *l, unsigned places, struct str line)
{
    size_t n;
    CHECK(places != 0 && places < 8 && "at least one of the places");
    bool fits = line.n <= UINT32_MAX && ck_add(line.n, ENTRY_HEAD, &n);
    (void)pthread_mutex_lock(&l->mu);
    fits = fits && n <= l->options.queue_bytes - l->waiting.n;
    if (fits) {
        char *to = l->waiting.p + l->waiting.n;
        to[0] = (char)places;
        le32_put(to + 1, (uint32_t)line.n);
        if (line.n > 0) memcpy(to + ENTRY_HEAD, line.p, line.n);
        l->waiting.n += n;
        l->n_put++;
        wake(l);
    }
    (void)pthread_mutex_unlock(&l->mu);
    if (!fits) drop(l, 1);
}

void request_log_reopen(struct request_log *l)
{
    (void)pthread_mutex_lock(&l->mu);
    l->wants_reopen = true;
    l->n_put++; /* so that a flush waits for it */
    wake(l);
    (void)pthread_mutex_unlock(&l->mu);
}

void request_log_flush(struct request_log *l)
{
    (void)pthread_mutex_lock(&l->mu);
    uint64_t target = l->n_put;
    l->n_flushes++;
    wake(l);
    while (l->n_settled < target) (void)pthread_cond_wait(&l->idle, &l->mu);
    l->n_flushes--;
    (void)pthread_mutex_unlock(&l->mu);
}

static void log_free(struct request_log *l)
{
    if (is_file(l)) (void)close(l->fd);
    (void)pthread_mutex_destroy(&l->mu);
    (void)pthread_cond_destroy(&l->work);
    (void)pthread_cond_destroy(&l->idle);
    mem_free(l->waiting.p);
    mem_free(l->taken.p);
    buf_free(&l->gathered);
    mem_free(l);
}

enum err request_log_open(struct request_log **out, const struct request_log_options *o, struct errmsg *em)
{
    struct request_log *l = mem_zalloc(sizeof *l);
    enum err e = ERR_OK;
    if (l == NULL) return errmsg_set(em, ERR_NOMEM, "open the request log");
    l->options = *o;
    if (l->options.queue_bytes == 0) l->options.queue_bytes = QUEUE_BYTES;
    l->fd = -1;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&l->mu, NULL);
    (void)pthread_cond_init(&l->work, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_cond_init(&l->idle, NULL);
    l->waiting.p = mem_alloc(l->options.queue_bytes);
    l->taken.p = mem_alloc(l->options.queue_bytes);
    if (l->waiting.p == NULL || l->taken.p == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "open the request log");
        goto fail;
    }
    if (o->path != NULL && strcmp(o->path, "-") == 0)
        l->fd = STDERR_FILENO;
    else if (o->path != NULL && (e = open_file(o->path, &l->fd, em)) != ERR_OK)
        goto fail;
    int rc = pthread_create(&l->writer, NULL, writer_main, l);
    if (rc != 0) {
        e = errmsg_errno(em, rc, "start the thread of the request log");
        goto fail;
    }
    (void)pthread_setname_np(l->writer, "request-log");
    *out = l;
    return ERR_OK;

fail:
    log_free(l);
    return e;
}

void request_log_close(struct request_log *l)
{
    if (l == NULL) return;
    (void)pthread_mutex_lock(&l->mu);
    l->is_closing = true;
    wake(l);
    (void)pthread_mutex_unlock(&l->mu);
    (void)pthread_join(l->writer, NULL);
    log_free(l);
}
