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
 * A sweep once a second compares; a few thousand connections take microseconds. Cutting is shutdown(2): libmicrohttpd
 * then finds the connection closed, tells on_completed, and closes it in its own way; if it does not look, because its
 * buffer is full, its time-out does the same a second later.
 */
#include "server/gateway_internal.h"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "core/logger.h"
#include "core/mem.h"
#include "server/taken.h"

enum { SLOWEST_BYTES_PER_S = 64 << 10, HEADERS_MAX_S = 30, POLL_BATCH = 64 };

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
    CHECK(c->x.stage != STAGE_WORK && !c->x.is_begun && c->held_in == NULL && "a connection that is suspended stays");
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        g->connections = c->next;
    if (c->next != NULL) c->next->prev = c->prev;
    g->n_connections--;
    if (g->looked_at == c) g->looked_at = c->next;
    if (g->turned == c) g->turned = NULL;
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
    (void)recv(c->fd, NULL, INT_MAX, MSG_TRUNC | MSG_DONTWAIT); /* throws away, so that the end is seen next */
    (void)MHD_set_connection_option(c->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 1U);
    connection_go_on(c);
}

/* Cuts off those of the batch that can send nothing more and have nothing left to be read. */
static void cut_hopeless(struct connection *const *batch, struct pollfd *fds, nfds_t n)
{
    if (n == 0 || poll(fds, n, 0) < 0) return;
    for (nfds_t i = 0; i < n; i++) {
        if ((fds[i].revents & POLLRDHUP) != 0 && socket_unread(fds[i].fd) == 0) connection_cut(batch[i]);
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
    for (struct connection *c = g->connections; c != NULL; c = c->next) {
        if (c->is_cut) continue;
        if (c->deadline_ms != 0 && now >= c->deadline_ms) {
            log_debug("http: a client was too slow %s and is cut off", doing[c->x.stage]);
            connection_cut(c);
        } else if (owes_us(c->x.stage)) {
            batch[n] = c;
            fds[n++] = (struct pollfd){.fd = c->fd, .events = POLLRDHUP};
            if (n == POLL_BATCH) {
                cut_hopeless(batch, fds, n);
                n = 0;
            }
        }
    }
    cut_hopeless(batch, fds, n);
}
