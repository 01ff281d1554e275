/* control.c - the server's side of the control socket. See control.h.
 *
 * HAPPY PATH  a connection sends its line; the line becomes the job, a thread is started for it; when it is done, the thread
 *             leaves the answer and wakes the loop, which joins it, answers, and closes the connection.
 * FAILURE     a client that goes away does not stop the work it asked for; how it ended is in the log. Lines that are too long,
 *             connections beyond CONNECTIONS_MAX: closed.
 * INVARIANTS  at most one job; `job` belongs to its thread while has_thread, else to the loop. The handle `done` is not
 *             touched by the thread once is_stopped is set, under `mu`.
 */
#include "server/control.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/logger.h"
#include "core/mem.h"
#include "core/slice.h"

enum { CONNECTIONS_MAX = 8, BACKLOG = 8 };

struct connection {
    uv_pipe_t pipe;
    uv_write_t write;
    struct connection *next;
    struct control *control;
    bool has_line, is_closing;
    size_t n;
    char line[WORK_LINE_MAX];
    char answer[WORK_ANSWER_MAX + 16];
};

struct control {
    /* the loop's */
    struct store *store;
    uv_pipe_t listener;
    uv_async_t done;
    struct connection *connections;
    struct connection *asker; /* who gets the job's answer; NULL: nobody any more */
    unsigned n_connections;
    bool has_thread;
    pthread_t thread;
    char path[4096];

    struct {
        char line[WORK_LINE_MAX], answer[WORK_ANSWER_MAX];
        struct errmsg em;
        enum err e;
    } job;

    pthread_mutex_t mu;
    bool is_stopped; /* guarded by mu */
    bool is_done;    /* guarded by mu: the job's thread has ended, but for its last instructions */
};

/* --- connections ------------------------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct connection *n = handle->data;
    mem_free(n);
}

static void close_connection(struct connection *n)
{
    struct control *c = n->control;
    if (n->is_closing) return;
    n->is_closing = true;
    struct connection **link = &c->connections;
    while (*link != n) link = &(*link)->next;
    *link = n->next;
    c->n_connections--;
    if (c->asker == n) c->asker = NULL;
    uv_close((uv_handle_t *)&n->pipe, on_closed);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    close_connection(write->data);
}

static void answer(struct connection *n, const char *word, const char *text)
{
    int length = snprintf(n->answer, sizeof n->answer, "%s %s", word, text);
    size_t size = length > 0 && (size_t)length < sizeof n->answer - 1 ? (size_t)length : sizeof n->answer - 2;
    for (size_t i = 0; i < size; i++)
        if (n->answer[i] == '\n') n->answer[i] = ' ';
    n->answer[size] = '\n';
    const uv_buf_t b = uv_buf_init(n->answer, (unsigned)size + 1);
    n->write.data = n;
    if (uv_write(&n->write, (uv_stream_t *)&n->pipe, &b, 1, on_written) != 0) close_connection(n);
}

/* --- the job ----------------------------------------------------------------------------------------------------- */

static void *job_main(void *arg)
{
    struct control *c = arg;
    slice_set(0, SLICE_LONG); /* the thread that starts it has short ones */
    c->job.e = work_run(c->store, c->job.line, c->job.answer, &c->job.em);
    (void)pthread_mutex_lock(&c->mu);
    c->is_done = true;
    if (!c->is_stopped) (void)uv_async_send(&c->done);
    (void)pthread_mutex_unlock(&c->mu);
    return NULL;
}

static void finish_job(struct control *c)
{
    (void)pthread_join(c->thread, NULL);
    c->has_thread = false;
    if (c->job.e == ERR_OK)
        log_info("control: '%.200s': %s", c->job.line, c->job.answer);
    else
        log_error("control: '%.200s': %s", c->job.line, c->job.em.text);
}

static void on_done(uv_async_t *handle)
{
    struct control *c = handle->data;
    (void)pthread_mutex_lock(&c->mu);
    bool is_done = c->is_done;
    c->is_done = false;
    (void)pthread_mutex_unlock(&c->mu);
    if (!is_done || !c->has_thread) return;
    finish_job(c);
    struct connection *asker = c->asker;
    c->asker = NULL;
    if (asker != NULL)
        answer(asker, c->job.e == ERR_OK ? "ok" : "error",
               c->job.e == ERR_OK ? c->job.answer : errmsg_plain(&c->job.em));
}

static void start_job(struct connection *n)
{
    struct control *c = n->control;
    if (c->has_thread) {
        answer(n, "error", "the server is busy with another such request");
        return;
    }
    memcpy(c->job.line, n->line, n->n + 1);
    c->job.em = (struct errmsg){{0}};
    c->asker = n;
    int rc = pthread_create(&c->thread, NULL, job_main, c);
    if (rc != 0) {
        c->asker = NULL;
        answer(n, "error", "the server cannot start a thread");
        return;
    }
    (void)pthread_setname_np(c->thread, "control");
    c->has_thread = true;
    log_info("control: '%.200s' begins", c->job.line);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
    struct connection *n = handle->data;
    (void)suggested;
    *b = uv_buf_init(n->line + n->n, (unsigned)(sizeof n->line - n->n));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *b)
{
    struct connection *n = stream->data;
    if (got == 0) return;
    if (got < 0 || n->has_line) { /* gone, or it says more than it may */
        close_connection(n);
        return;
    }
    char *end = memchr(b->base, '\n', (size_t)got);
    n->n += (size_t)got;
    if (end == NULL && n->n < sizeof n->line) return;
    if (end == NULL || memchr(n->line, '\0', n->n) != NULL) {
        close_connection(n);
        return;
    }
    *end = '\0';
    n->n = (size_t)(end - n->line);
    n->has_line = true;
    start_job(n);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct control *c = listener->data;
    if (status != 0) return;
    struct connection *n = mem_zalloc(sizeof *n);
    if (n == NULL || uv_pipe_init(listener->loop, &n->pipe, 0) != 0) {
        mem_free(n);
        return;
    }
    n->control = c;
    n->pipe.data = n;
    n->next = c->connections;
    c->connections = n;
    c->n_connections++;
    if (uv_accept(listener, (uv_stream_t *)&n->pipe) != 0 || c->n_connections > CONNECTIONS_MAX ||
        uv_read_start((uv_stream_t *)&n->pipe, on_alloc, on_read) != 0)
        close_connection(n);
}

/* --- opening and closing ----------------------------------------------------------------------------------------- */

/* A bound socket with mode 0600 from its first moment on: Linux gives the file the mode of the descriptor. */
static enum err bind_socket(const struct control *c, const char *dir, int *out, struct errmsg *em)
{
    struct sockaddr_un address;
    int dir_fd = -1;
    enum err e = vfs_posix()->remove(NULL, c->path, em); /* of a server that was killed: this one has the lock */
    if (e != ERR_OK && e != ERR_NOT_FOUND) return e;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errmsg_errno(em, errno, "make a socket");
    e = control_address(dir, &address, &dir_fd, em);
    if (e == ERR_OK && (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
                        listen(fd, BACKLOG) != 0))
        e = errmsg_errno(em, errno, "listen on %s", c->path);
    if (dir_fd >= 0) (void)close(dir_fd);
    if (e == ERR_OK)
        *out = fd;
    else
        (void)close(fd);
    return e;
}

static void on_handle_closed(uv_handle_t *handle)
{
    (void)handle; /* they are members of the control, which outlives the loop */
}

enum err control_open(struct control **out, uv_loop_t *loop, struct store *s, const char *dir, struct errmsg *em)
{
    int fd = -1;
    struct control *c = mem_zalloc(sizeof *c);
    if (c == NULL) return errmsg_set(em, ERR_NOMEM, "make the control socket");
    c->store = s;
    (void)pthread_mutex_init(&c->mu, NULL);
    enum err e = ERR_OK;
    if (!vfs_join(c->path, sizeof c->path, dir, "control")) e = errmsg_set(em, ERR_INVALID, "the path is too long");
    if (e == ERR_OK) e = bind_socket(c, dir, &fd, em);
    if (e == ERR_OK) {
        int rc = uv_async_init(loop, &c->done, on_done);
        if (rc != 0) e = errmsg_set(em, ERR_IO, "watch %s: %s", c->path, uv_strerror(rc));
    }
    if (e != ERR_OK) {
        if (fd >= 0) (void)close(fd);
        control_free(c);
        return e;
    }
    int rc = uv_pipe_init(loop, &c->listener, 0);
    if (rc == 0) rc = uv_pipe_open(&c->listener, fd);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&c->listener, BACKLOG, on_connection);
    CHECK(rc == 0 && "a socket that listens can be watched");
    c->done.data = c->listener.data = c;
    *out = c;
    return ERR_OK;
}

void control_stop(struct control *c)
{
    if (c == NULL) return;
    (void)pthread_mutex_lock(&c->mu);
    bool is_first = !c->is_stopped;
    c->is_stopped = true;
    (void)pthread_mutex_unlock(&c->mu);
    if (!is_first) return;
    (void)vfs_posix()->remove(NULL, c->path, NULL);
    while (c->connections != NULL) close_connection(c->connections);
    uv_close((uv_handle_t *)&c->listener, on_handle_closed);
    uv_close((uv_handle_t *)&c->done, on_handle_closed);
}

void control_free(struct control *c)
{
    if (c == NULL) return;
    if (c->has_thread) finish_job(c);
    (void)pthread_mutex_destroy(&c->mu);
    mem_free(c);
}
