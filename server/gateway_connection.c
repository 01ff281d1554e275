/* gateway_connection.c - connections come and go; who is too slow is cut off.
 *
 * libmicrohttpd's own time-out only knows silence: a client that sends a byte now and then keeps it away for ever. So
 * every connection also has a deadline of ours, by what is expected of the client:
 *
 *   headers   idle_timeout and half a minute (or request_timeout, if that is shorter) after the connection was made or
 *             the previous answer was sent (the first byte of a request is not told to us, so waiting and sending
 *             cannot be told apart)
 *   body      request_timeout after the headers
 *   receiving request_timeout, and a second for each 64 KiB of the answer
 *   (the server works)  none
 *
 * It also misses the end of a client's stream when that arrives together with the last data: it waits for edges, takes a
 * short read for an empty socket, and there is no further edge. Such a connection would stay half-closed until it times
 * out. So the sweep asks the kernel which clients that owe us something have closed their side.
 *
 * And it can come to a stand with its buffer full and nothing it understands in it (the extension of a chunk, longer than the
 * buffer): then it reads no further, sees no end and no time-out of its own, and tries again without a pause. A connection
 * whose body does not advance for some sweeps although bytes lie there to be read is cut off.
 *
 * A sweep once a second compares; a few thousand connections take microseconds. Cutting is shutdown(2): libmicrohttpd
 * then finds the connection closed, tells on_completed, and closes it in its own way.
 */
#include "server/gateway_internal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/logger.h"
#include "core/mem.h"

enum { SLOWEST_BYTES_PER_S = 64 << 10, HEADERS_MAX_S = 30, POLL_BATCH = 64, STUCK_SWEEPS = 3 };

static struct connection *connection_new(struct gateway *g, struct MHD_Connection *mhd, int fd)
{
    struct connection *c = mem_zalloc(sizeof *c);
    if (c == NULL) return NULL;
    c->gateway = g;
    c->mhd = mhd;
    c->fd = fd;
    c->x.connection = c;
    c->next = g->connections;
    if (c->next != NULL) c->next->prev = c;
    g->connections = c;
    g->n_connections++;
    connection_expect(c, STAGE_IDLE, 0);
    return c;
}

static void connection_free(struct connection *c)
{
    struct gateway *g = c->gateway;
    CHECK(c->x.stage != STAGE_WORK && !c->x.is_begun && "a connection that is worked for stays");
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        g->connections = c->next;
    if (c->next != NULL) c->next->prev = c->prev;
    g->n_connections--;
    mem_free(c);
}

void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_ctx, enum MHD_ConnectionNotificationCode code)
{
    ((struct gateway *)cls)->has_called = true;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = (int)MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *socket_ctx = connection_new(cls, mhd, fd);
        if (*socket_ctx == NULL) (void)shutdown(fd, SHUT_RDWR); /* memory is short: it finds itself closed */
    } else if (*socket_ctx != NULL) {
        connection_free(*socket_ctx);
        *socket_ctx = NULL;
    }
}

void connection_expect(struct connection *c, enum stage stage, uint64_t answer_bytes)
{
    const struct gateway_options *o = &c->gateway->options;
    uint64_t seconds = o->request_timeout_s;
    c->x.stage = stage;
    if (stage == STAGE_IDLE) seconds = o->idle_timeout_s + (seconds < HEADERS_MAX_S ? seconds : HEADERS_MAX_S);
    if (stage == STAGE_SENDING) seconds += answer_bytes / SLOWEST_BYTES_PER_S;
    bool is_our_turn = stage == STAGE_READY || stage == STAGE_WORK || stage == STAGE_ANSWER;
    c->deadline_ms = is_our_turn ? 0 : uv_now(c->gateway->loop) + seconds * 1000;
}

void connection_cut(struct connection *c)
{
    if (c->is_cut) return;
    c->is_cut = true;
    (void)shutdown(c->fd, SHUT_RDWR);
}

/* Between two sweeps, however near, libmicrohttpd has run, and has taken what it could. */
static bool is_stuck(struct connection *c, bool has_unread)
{
    bool is_body = c->x.stage == STAGE_BODY || c->x.stage == STAGE_DISCARD;
    bool stands = is_body && has_unread && c->x.received_bytes == c->swept_bytes;
    c->swept_bytes = c->x.received_bytes;
    c->n_stuck = stands ? c->n_stuck + 1 : 0;
    return c->n_stuck >= STUCK_SWEEPS;
}

/* Cuts off those of the batch that can send nothing more and have nothing left to be read, or that stand still. */
static void cut_hopeless(struct connection *const *batch, struct pollfd *fds, nfds_t n)
{
    if (n == 0 || poll(fds, n, 0) < 0) return;
    for (nfds_t i = 0; i < n; i++) {
        int unread = 0;
        bool has_ended = (fds[i].revents & POLLRDHUP) != 0, is_readable = (fds[i].revents & POLLIN) != 0;
        if ((has_ended || is_readable) && ioctl(fds[i].fd, FIONREAD, &unread) != 0) continue;
        if (is_stuck(batch[i], unread > 0)) {
            log_debug("http: a connection whose body cannot be understood is cut off");
            connection_cut(batch[i]);
        } else if (has_ended && unread == 0) {
            connection_cut(batch[i]);
        }
    }
}

static bool owes_us(enum stage stage)
{
    return stage == STAGE_IDLE || stage == STAGE_HEAD || stage == STAGE_BODY || stage == STAGE_DISCARD;
}

void gateway_sweep(struct gateway *g)
{
    static const char *const doing[] = {[STAGE_IDLE] = "sending headers",
                                        [STAGE_HEAD] = "sending headers",
                                        [STAGE_BODY] = "sending the body",
                                        [STAGE_DISCARD] = "sending the body",
                                        [STAGE_SENDING] = "receiving the answer"};
    struct connection *batch[POLL_BATCH];
    struct pollfd fds[POLL_BATCH];
    nfds_t n = 0;
    uint64_t now = uv_now(g->loop);
    g->swept_ms = now;
    for (struct connection *c = g->connections; c != NULL; c = c->next) {
        if (c->is_cut) continue;
        if (c->deadline_ms != 0 && now >= c->deadline_ms) {
            log_debug("http: a client was too slow %s and is cut off", doing[c->x.stage]);
            connection_cut(c);
        } else if (owes_us(c->x.stage)) {
            batch[n] = c;
            fds[n++] = (struct pollfd){.fd = c->fd, .events = POLLRDHUP | POLLIN};
            if (n == POLL_BATCH) {
                cut_hopeless(batch, fds, n);
                n = 0;
            }
        }
    }
    cut_hopeless(batch, fds, n);
}
