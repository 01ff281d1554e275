/* test_gateway_limits.c - what the gateway bounds and survives: memory, connections, time, its own end, bytes of any kind. */
#include "tests/unit/server/gateway_rig.h"

static void post(int fd, const char *body, size_t n, unsigned status)
{
    char head[128];
    (void)snprintf(head, sizeof head, "POST /pool HTTP/1.1\r\nContent-Length: %zu\r\n\r\n", n);
    say(fd, head);
    ck_assert(put(fd, body, n));
    hear(fd, false);
    ck_assert_uint_eq(an.status, status);
}

START_TEST(bodies_share_a_budget)
{
    start((struct gateway_options){.body_memory_bytes = 1000});
    char body[900];
    memset(body, 'b', sizeof body);
    int first = dial(), second = dial();
    say(first, "POST /held HTTP/1.1\r\nContent-Length: 900\r\n\r\n");
    ck_assert(put(first, body, 900));
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    post(second, body, 900, 503);
    say(second, "POST /pool HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n384\r\n");
    ck_assert(put(second, body, 900));
    say(second, "\r\n0\r\n\r\n");
    hear(second, false);
    ck_assert_uint_eq(an.status, 503);
    (void)sem_post(&sv->api.release);
    hear(first, false);
    ck_assert_uint_eq(an.status, 200);
    post(second, body, 900, 200);
    (void)close(first);
    (void)close(second);
    stop();
    ck_assert_uint_eq(at_stop.body_bytes, 0);
}
END_TEST

START_TEST(requests_over_the_caps_are_refused_at_once)
{
    start((struct gateway_options){.in_flight_max = 1, .breaker_requests = 2});
    int a = dial(), b = dial(), c = dial();
    say(a, "GET /held HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    say(b, "GET /pool HTTP/1.1\r\n\r\n");
    expect(b, 503, "{\"error\":\"ChromaError\",\"message\":\"The server is too busy; try again later\"}");
    say(b, "POST /pool HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345"); /* counts while its body arrives ... */
    int rounds = 0;
    do { /* ... which the server may learn a moment after c's request */
        say(c, "GET /here HTTP/1.1\r\n\r\n");
        hear(c, false);
        ck_assert(an.status == 429 || an.status == 200);
    } while (an.status == 200 && ++rounds < 100000);
    ck_assert_uint_eq(an.status, 429);
    ck_assert_str_eq(an.body, "You have been rate limited.");
    ck_assert_ptr_nonnull(strcasestr(an.head, "content-type: text/plain; charset=utf-8\r\n"));
    (void)sem_post(&sv->api.release);
    hear(a, false);
    ck_assert_uint_eq(an.status, 200);
    (void)close(a);
    (void)close(b);
    (void)close(c);
    stop();
}
END_TEST

/* Its bytes are in memory, whether or not they have come. */
START_TEST(a_kept_block_counts_as_a_whole_when_it_is_used)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    static char body[8 << 20];
    char got[sizeof go_on] = "";
    start((struct gateway_options){.body_memory_bytes = 12 << 20});
    int first = dial(), second = dial();
    post(first, body, sizeof body, 200);
    say(first, "POST /pool HTTP/1.1\r\nContent-Length: 6000000\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_int_eq(recv(first, got, sizeof got - 1, MSG_WAITALL), (ssize_t)sizeof got - 1);
    ck_assert_str_eq(got, go_on); /* it has its block */
    post(second, body, 5000000, 503);
    ck_assert(put(first, body, 6000000));
    hear(first, false);
    ck_assert_uint_eq(an.status, 200);
    post(second, body, 5000000, 200);
    (void)close(first);
    (void)close(second);
    stop();
}
END_TEST

/* In the block of a larger one before it, and beside others that take turns: each is answered with the checksum of its bytes. */
START_TEST(large_bodies_one_after_the_other)
{
    enum { N = 3, ROUNDS = 6 };
    static char body[7 << 20];
    struct rng rng = {.s = 20261127};
    int fds[N];
    start((struct gateway_options){.body_memory_bytes = 24 << 20});
    for (size_t i = 0; i < sizeof body; i++) body[i] = (char)rng_next(&rng);
    for (int c = 0; c < N; c++) fds[c] = dial();
    for (int round = 0; round < ROUNDS; round++) {
        size_t n[N], sent[N] = {0}, n_left = 0;
        for (int c = 0; c < N; c++) {
            char head[128];
            n[c] = sizeof body - rng_below(&rng, round % 2 == 0 ? 3 << 20 : 6 << 20);
            n_left += n[c];
            (void)snprintf(head, sizeof head, "POST /pool HTTP/1.1\r\nContent-Length: %zu\r\n\r\n", n[c]);
            say(fds[c], head);
        }
        while (n_left > 0) {
            int c = (int)rng_below(&rng, N);
            size_t piece = 1 + rng_below(&rng, 1 << 20);
            if (piece > n[c] - sent[c]) piece = n[c] - sent[c];
            ck_assert(put(fds[c], body + sent[c], piece));
            sent[c] += piece;
            n_left -= piece;
        }
        for (int c = 0; c < N; c++) {
            char want[128];
            (void)snprintf(want, sizeof want, "POST /pool [] [] %zu %08x", n[c], (unsigned)crc32c(0, body, n[c]));
            expect(fds[c], 200, want);
        }
    }
    for (int c = 0; c < N; c++) (void)close(fds[c]);
    stop();
}
END_TEST

/* Time-outs: the client only waits until it is cut off; a slow machine makes this slower, not wrong. */
START_TEST(slow_clients_are_cut_off)
{
    start((struct gateway_options){.idle_timeout_s = 1, .request_timeout_s = 1});
    static const char *const beginnings[] = {
        "", "GET /he", "POST /pool HTTP/1.1\r\nX: ", "POST /pool HTTP/1.1\r\nContent-Length: 100000\r\n\r\n",
        "POST /pool HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"};
    enum { N = sizeof beginnings / sizeof beginnings[0] };
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = dial();
        say(fds[i], beginnings[i]);
    }
    for (int open = N - 1; open > 0;) { /* the first stays silent, the others keep sending */
        open = 0;
        for (int i = 1; i < N; i++) {
            char c;
            if (fds[i] < 0) continue;
            if (put(fds[i], "x", 1) && recv(fds[i], &c, 1, MSG_DONTWAIT) != 0 && errno == EAGAIN) {
                open++;
                continue;
            }
            (void)close(fds[i]);
            fds[i] = -1;
        }
        (void)usleep(20000);
    }
    expect_closed(fds[0]);
    stop();
}
END_TEST

START_TEST(work_is_not_timed_out)
{
    start((struct gateway_options){.idle_timeout_s = 1, .request_timeout_s = 1});
    int fd = dial();
    say(fd, "GET /held HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    (void)usleep(2500000);
    (void)sem_post(&sv->api.release);
    hear(fd, false);
    ck_assert_uint_eq(an.status, 200);
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(draining_answers_what_is_in_flight)
{
    start((struct gateway_options){0});
    int busy = dial(), idle = dial(), partial = dial();
    say(idle, "GET /here HTTP/1.1\r\n\r\n");
    hear(idle, false);
    say(busy, "GET /held HTTP/1.1\r\n\r\n");
    say(partial, "POST /pool HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    hear(partial, false); /* its headers are in */
    ck_assert_uint_eq(an.status, 100);
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    begin_stop();
    expect_closed(idle);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(sv->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ne(connect(late, (struct sockaddr *)&a, sizeof a), 0);
    (void)close(late);
    say(partial, "123456789");
    expect(partial, 200, "POST /pool [] [] 9 e3069283");
    ck_assert_ptr_nonnull(strcasestr(an.head, "connection: close\r\n"));
    expect_closed(partial);
    (void)sem_post(&sv->api.release);
    hear(busy, false);
    ck_assert_uint_eq(an.status, 200);
    ck_assert_ptr_nonnull(strcasestr(an.head, "connection: close\r\n"));
    expect_closed(busy);
    end_stop();
}
END_TEST

START_TEST(draining_does_not_wait_for_slow_clients_for_ever)
{
    start((struct gateway_options){0});
    sv->grace_ms = 200;
    int fd = dial();
    say(fd, "POST /pool HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    hear(fd, false);
    stop(); /* returns: that is the test */
    expect_closed(fd);
}
END_TEST

START_TEST(clients_that_vanish_leave_nothing_behind)
{
    start((struct gateway_options){0});
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    static const char *const beginnings[] = {"GET /pool HTTP/1.1\r\n\r\n",
                                             "POST /pool HTTP/1.1\r\nContent-Length: 100\r\n\r\n12345",
                                             "POST /small HTTP/1.1\r\nContent-Length: 101\r\n\r\n12345",
                                             "POST /pool HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n123",
                                             "GET /pool HTTP/1.1\r\n\r\nGET /pool HTTP/1.1\r\n\r\nGET /po",
                                             "\r\n\r\n",
                                             "GARBAGE\r\n\r\n",
                                             ""};
    for (int i = 0; i < 200; i++) {
        int fd = dial();
        say(fd, beginnings[i % 8]);
        if (i % 3 == 0) ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0); /* RST */
        (void)close(fd);
    }
    int fd = dial();
    say(fd, "GET /held HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    (void)close(fd);
    (void)sem_post(&sv->api.release);
    fd = dial();
    say(fd, "GET /here HTTP/1.1\r\n\r\n");
    expect(fd, 200, "GET /here [] [] 0 00000000");
    (void)close(fd);
    stop();
}
END_TEST

/* Random requests, pipelined, bodies by length or in random chunks, sent in random slices over several connections:
 * each is answered in its turn with the checksum of exactly its body. */
START_TEST(any_slicing_gives_the_same_requests)
{
    enum { N_CONNECTIONS = 4, N_ROUNDS = 30, BODY_MAX = 20000 };
    static char body[BODY_MAX], out[N_CONNECTIONS][1 << 18];
    struct rng rng = {.s = 20261124};
    start((struct gateway_options){0});
    int fds[N_CONNECTIONS];
    for (int c = 0; c < N_CONNECTIONS; c++) fds[c] = dial();
    for (int round = 0; round < N_ROUNDS; round++) {
        static char want[N_CONNECTIONS][4][128];
        size_t n[N_CONNECTIONS] = {0}, sent[N_CONNECTIONS] = {0};
        for (int c = 0; c < N_CONNECTIONS; c++) {
            for (int i = 0; i < 4; i++) {
                size_t size = rng_below(&rng, rng_below(&rng, 4) == 0 ? BODY_MAX : 50);
                bool is_chunked = rng_below(&rng, 2) == 1;
                const char *path = rng_below(&rng, 2) == 1 ? "/here" : "/pool";
                for (size_t k = 0; k < size; k++) body[k] = (char)rng_next(&rng);
                (void)snprintf(want[c][i], sizeof want[c][i], "POST %s [%d] [] %zu %08x", path, i, size,
                               (unsigned)crc32c(0, body, size));
                char *p = out[c] + n[c];
                p += sprintf(p, "POST %s?%d HTTP/1.1\r\n", path, i);
                if (!is_chunked)
                    p += sprintf(p, "Content-Length: %zu\r\n\r\n", size);
                else
                    p += sprintf(p, "Transfer-Encoding: chunked\r\n\r\n");
                for (size_t at = 0; at < size;) {
                    size_t piece = is_chunked ? 1 + rng_below(&rng, (uint32_t)(size - at)) : size;
                    if (is_chunked) p += sprintf(p, "%zx\r\n", piece);
                    memcpy(p, body + at, piece);
                    p += piece;
                    at += piece;
                    if (is_chunked) p += sprintf(p, "\r\n");
                }
                if (is_chunked) p += sprintf(p, "0\r\n\r\n");
                n[c] = (size_t)(p - out[c]);
            }
        }
        for (bool is_more = true; is_more;) {
            is_more = false;
            for (int c = 0; c < N_CONNECTIONS; c++) {
                size_t left = n[c] - sent[c], piece = 1 + rng_below(&rng, 9000);
                if (piece > left) piece = left;
                ck_assert(put(fds[c], out[c] + sent[c], piece));
                sent[c] += piece;
                is_more = is_more || sent[c] < n[c];
            }
        }
        for (int c = 0; c < N_CONNECTIONS; c++)
            for (int i = 0; i < 4; i++) expect(fds[c], 200, want[c][i]);
    }
    for (int c = 0; c < N_CONNECTIONS; c++) (void)close(fds[c]);
    stop();
}
END_TEST

/* Good requests with some bytes changed, lost or doubled: whatever they now mean, the server goes on. */
START_TEST(mutated_requests_do_no_harm)
{
    static const char *const seeds[] = {
        "POST /pool?a=b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n123456789",
        "POST /here HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n1234\r\n5\r\n56789\r\n0\r\nT: 1\r\n\r\n",
        "GET /here HTTP/1.1\r\nCookie: a=b; c=\"d\"\r\nConnection: keep-alive, x\r\n\r\nHEAD /pool HTTP/1.0\r\n\r\n",
        "POST /small HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n folded\r\n\r\n123456789"};
    struct rng rng = {.s = 4711};
    start((struct gateway_options){.discard_max_bytes = 4096});
    for (int round = 0; round < 500; round++) {
        char text[512];
        size_t n = strlen(seeds[round % 4]);
        memcpy(text, seeds[round % 4], n);
        for (uint32_t edits = 1 + rng_below(&rng, 4); edits > 0; edits--) {
            static const char interesting[] = "\r\n\0 :;,%\t09afF-\xff\"=";
            size_t at = rng_below(&rng, (uint32_t)n);
            switch (rng_below(&rng, 4)) {
            case 0:
                text[at] = (char)rng_next(&rng);
                break;
            case 1:
                text[at] = interesting[rng_below(&rng, sizeof interesting - 1)];
                break;
            case 2:
                memmove(text + at, text + at + 1, --n - at);
                break;
            default:
                memmove(text + at + 1, text + at, n++ - at);
            }
        }
        int fd = dial();
        (void)put(fd, text, n);
        (void)shutdown(fd, SHUT_WR);
        while (recv(fd, text, sizeof text, 0) > 0) continue;
        (void)close(fd);
    }
    int fd = dial();
    say(fd, "GET /here HTTP/1.1\r\n\r\n");
    expect(fd, 200, "GET /here [] [] 0 00000000");
    (void)close(fd);
    stop();
}
END_TEST

/* Every n-th allocation fails: an answer, a 503 or a closed connection, never a leak or a hang. */
static struct {
    atomic_uint n, every;
} fault;

static bool fault_hook(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    unsigned every = atomic_load(&fault.every);
    return every == 0 || atomic_fetch_add(&fault.n, 1) % every != every - 1;
}

START_TEST(short_memory_is_answered_or_closed)
{
    mem_set_hook(fault_hook, NULL);
    atomic_store(&fault.every, 0);
    start((struct gateway_options){0});
    unsigned n_good = 0, n_bad = 0;
    for (unsigned every = 1; every < 12; every++) {
        atomic_store(&fault.every, every);
        for (int i = 0; i < 12; i++) {
            int fd = dial();
            say(fd, i % 2 == 0
                        ? "POST /pool HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789"
                        : "POST /here HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n");
            hear(fd, false);
            ck_assert_msg(an.status == 200 || an.status == 503 || an.status == 0, "status %u", an.status);
            if (an.status == 200)
                n_good++;
            else
                n_bad++;
            (void)close(fd);
        }
    }
    atomic_store(&fault.every, 0);
    ck_assert_uint_gt(n_good, 0);
    ck_assert_uint_gt(n_bad, 0);
    int fd = dial();
    say(fd, "GET /here HTTP/1.1\r\n\r\n");
    expect(fd, 200, "GET /here [] [] 0 00000000");
    (void)close(fd);
    stop();
    mem_set_hook(NULL, NULL);
}
END_TEST

TESTS(gateway_limits, bodies_share_a_budget, large_bodies_one_after_the_other,
      a_kept_block_counts_as_a_whole_when_it_is_used, requests_over_the_caps_are_refused_at_once,
      slow_clients_are_cut_off, work_is_not_timed_out, draining_answers_what_is_in_flight,
      draining_does_not_wait_for_slow_clients_for_ever, clients_that_vanish_leave_nothing_behind,
      any_slicing_gives_the_same_requests, mutated_requests_do_no_harm, short_memory_is_answered_or_closed)
