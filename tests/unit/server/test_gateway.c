/* test_gateway.c - how requests reach the api and answers the client: over real sockets, in any slices. */
#include "tests/unit/server/gateway_rig.h"

START_TEST(answers_from_loop_and_pool_on_one_connection)
{
    start((struct gateway_options){0});
    int fd = dial();
    for (int i = 0; i < 50; i++) {
        say(fd, "GET /here?a=1&b=%20 HTTP/1.1\r\nHost: x\r\n\r\n");
        expect(fd, 200, "GET /here [a=1&b=%20] [] 0 00000000");
        ck_assert_ptr_nonnull(strcasestr(an.head, "content-type: application/json\r\n"));
        ck_assert_ptr_nonnull(strcasestr(an.head, "\r\ndate: "));
        ck_assert_ptr_null(strcasestr(an.head, "chroma-trace-id"));
        say(fd, "POST /pool HTTP/1.1\r\nHost: x\r\nContent-Type: a/b; c=d\r\nContent-Length: 9\r\n\r\n123456789");
        expect(fd, 200, "POST /pool [] [a/b; c=d] 9 e3069283");
    }
    (void)close(fd);
    stop();
    ck_assert_uint_eq(at_stop.n_answered, 100);
}
END_TEST

START_TEST(a_whole_request_may_be_refused_before_the_pool)
{
    start((struct gateway_options){0});
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        say(fd, "POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd");
        expect(fd, 503, "late 4");
        say(fd, "POST /pool HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); /* the connection lives */
        expect(fd, 200, "POST /pool [] [] 0 00000000");
    }
    (void)close(fd);
    stop();
    ck_assert_uint_eq(at_stop.n_in_flight, 0);
}
END_TEST

START_TEST(credentials_reach_the_api_and_two_are_none)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, 200, "[-] [-]");
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\nauthorization: Bearer a b\r\nX-CHROMA-TOKEN: t\r\n\r\n");
    expect(fd, 200, "[Bearer a b] [t]");
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer a\r\n\r\n");
    expect(fd, 200, "[] [-]");
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\nX-Chroma-Token: a\r\nx-chroma-token: b\r\nx-chroma-token: c\r\n\r\n");
    expect(fd, 200, "[-] []");
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n"); /* nothing stays from the request before */
    expect(fd, 200, "[-] [-]");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(empty_answers_carry_their_headers)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "GET /nothing HTTP/1.1\r\n\r\n"); /* without Host */
    expect(fd, 404, "");
    ck_assert_ptr_nonnull(strcasestr(an.head, "chroma-trace-id: 00000000000000000000000000000000\r\n"));
    ck_assert_ptr_nonnull(strcasestr(an.head, "vary: origin\r\n"));
    ck_assert_ptr_nonnull(strcasestr(an.head, "access-control-allow-origin: *\r\n"));
    ck_assert_ptr_null(strcasestr(an.head, "content-type"));
    say(fd, "PUT /allow HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"); /* the body is read and thrown away */
    expect(fd, 405, "");
    ck_assert_ptr_nonnull(strcasestr(an.head, "allow: GET,HEAD\r\n"));
    say(fd, "GET /docs HTTP/1.1\r\n\r\n");
    expect(fd, 303, "");
    ck_assert_ptr_nonnull(strcasestr(an.head, "location: /docs/\r\n"));
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(targets_arrive_as_they_were_sent)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "GET /p%2Fq?x=%zz+1?y HTTP/1.1\r\n\r\n");
    expect(fd, 200, "GET /p%2Fq [x=%zz+1?y] [] 0 00000000");
    say(fd, "GET //here HTTP/1.1\r\n\r\n");
    expect(fd, 404, "");
    say(fd, "GET /x/../here HTTP/1.1\r\n\r\n");
    expect(fd, 404, "");
    say(fd, "GET http://name:80/here?q HTTP/1.1\r\nHost: name\r\n\r\n");
    expect(fd, 200, "GET /here [q] [] 0 00000000");
    say(fd, "get /here HTTP/1.1\r\n\r\n");
    expect(fd, 200, "get /here [] [] 0 00000000");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(head_has_the_length_and_no_body)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "HEAD /here HTTP/1.1\r\n\r\nHEAD /pool HTTP/1.1\r\n\r\nGET /here HTTP/1.1\r\n\r\n");
    for (int i = 0; i < 2; i++) {
        hear(fd, true);
        ck_assert_uint_eq(an.status, 200);
        ck_assert_ptr_nonnull(strcasestr(an.head, "content-length: 27\r\n"));
    }
    expect(fd, 200, "GET /here [] [] 0 00000000");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(http_1_0_closes_unless_asked)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "GET /here HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(fd, 200, "GET /here [] [] 0 00000000");
    say(fd, "POST /pool HTTP/1.0\r\nContent-Length: 1\r\n\r\nx");
    hear(fd, false);
    ck_assert_uint_eq(an.status, 200);
    expect_closed(fd);
    stop();
}
END_TEST

START_TEST(half_closed_clients_get_their_answers)
{
    start((struct gateway_options){0});
    static const char *const requests[] = {"GET /here HTTP/1.1\r\n\r\n", "GET /pool HTTP/1.1\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        say(fd, requests[i]);
        ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
        hear(fd, false);
        ck_assert_uint_eq(an.status, 200);
        expect_closed(fd);
    }
    int fd = dial(); /* while it is worked on */
    say(fd, "GET /held HTTP/1.1\r\n\r\nGET /here HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    (void)sem_post(&sv->api.release);
    hear(fd, false);
    ck_assert_uint_eq(an.status, 200);
    expect(fd, 200, "GET /here [] [] 0 00000000");
    expect_closed(fd);
    fd = dial(); /* in the middle of a body: nothing to answer */
    say(fd, "POST /pool HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    expect_closed(fd);
    stop();
}
END_TEST

/* While the loop is held, data and the end of the stream arrive as one: libmicrohttpd does not see the end. */
START_TEST(an_end_that_comes_with_the_data_is_noticed)
{
    start((struct gateway_options){.idle_timeout_s = 86400, .request_timeout_s = 86400});
    static const char *const requests[] = {"GET /here HTTP/1.1\r\n\r\n", "GET /pool HTTP/1.1\r\n\r\n",
                                           "POST /pool HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345", "GET /he"};
    int stuck = dial(), fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = dial();
        say(fds[i], "GET /here HTTP/1.1\r\n\r\n"); /* so that it is known to the server */
        hear(fds[i], false);
    }
    say(stuck, "GET /stuck HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    for (int i = 0; i < 4; i++) {
        say(fds[i], requests[i]);
        ck_assert_int_eq(shutdown(fds[i], SHUT_WR), 0);
    }
    (void)sem_post(&sv->api.release);
    hear(stuck, false);
    for (int i = 0; i < 4; i++) {
        if (i < 2) hear(fds[i], false);
        if (i < 2) ck_assert_msg(an.status == 200, "request %d: %u", i, an.status);
        expect_closed(fds[i]);
    }
    (void)close(stuck);
    stop();
}
END_TEST

START_TEST(bodies_over_the_limit_leave_the_connection_usable)
{
    start((struct gateway_options){.discard_max_bytes = 1000});
    char body[1200];
    memset(body, 'b', sizeof body);
    int fd = dial();
    say(fd, "POST /small HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
    ck_assert(put(fd, body, 100));
    hear(fd, false);
    ck_assert_uint_eq(an.status, 200);
    say(fd, "POST /small HTTP/1.1\r\nContent-Length: 101\r\n\r\n");
    ck_assert(put(fd, body, 101));
    expect(fd, 413, "{\"error\":\"ChromaError\"}");
    say(fd, "POST /small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n");
    ck_assert(put(fd, body, 64));
    say(fd, "\r\n25\r\n");
    ck_assert(put(fd, body, 37));
    say(fd, "\r\n0\r\n\r\n");
    expect(fd, 413, "{\"error\":\"ChromaError\"}");
    say(fd, "POST /small HTTP/1.1\r\nContent-Length: 101\r\nExpect: 100-continue\r\n\r\n");
    expect(fd, 413, "{\"error\":\"ChromaError\"}"); /* no 100 before it */
    expect_closed(fd);
    fd = dial(); /* longer than what is thrown away: answered before it is read */
    say(fd, "POST /small HTTP/1.1\r\nContent-Length: 1200\r\n\r\n");
    expect(fd, 413, "{\"error\":\"ChromaError\"}");
    expect_closed(fd);
    fd = dial(); /* chunked, without end: cut off */
    say(fd, "POST /small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 1000000; i++)
        if (!put(fd, "40\r\n", 4) || !put(fd, body, 64) || !put(fd, "\r\n", 2)) break;
    expect_closed(fd);
    stop();
}
END_TEST

START_TEST(bodies_that_nobody_wants_are_thrown_away)
{
    start((struct gateway_options){.discard_max_bytes = 1000, .body_memory_bytes = 10});
    char body[1000];
    memset(body, 'b', sizeof body);
    int fd = dial();
    static const char *const where[] = {"/small", "/here", "/pool"};
    for (size_t i = 0; i < 3; i++) { /* beyond the route's limit and the budget, and yet */
        char head[100], whole[100];
        (void)snprintf(head, sizeof head, "POST %s?ignore HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", where[i]);
        (void)snprintf(whole, sizeof whole, "POST %s [ignore] [] 0 00000000", where[i]);
        say(fd, head);
        ck_assert(put(fd, body, sizeof body));
        expect(fd, 200, whole);
        (void)snprintf(head, sizeof head, "POST %s?ignore HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
                       where[i]);
        say(fd, head);
        ck_assert(put(fd, body, sizeof body));
        say(fd, "\r\n0\r\n\r\n");
        expect(fd, 200, whole);
    }
    say(fd, "POST /here?ignore HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"); /* more than is read for nothing */
    expect(fd, 413, "{\"error\":\"ChromaError\"}");
    expect_closed(fd);
    stop();
}
END_TEST

START_TEST(malformed_heads_are_refused_and_close)
{
    start((struct gateway_options){0});
    static const struct {
        const char *head;
        unsigned status;
    } bad[] = {{"GET /here x HTTP/1.1\r\n\r\n", 400},
               {"GET /here\001 HTTP/1.1\r\n\r\n", 400},
               {"GET here/x HTTP/1.1\r\n\r\n", 400},
               {"GET /here HTTP/1.2\r\n\r\n", 400},
               {"G@T /here HTTP/1.1\r\n\r\n", 400},
               {"GET /here HTTP/1.1\r\nX : a\r\n\r\n", 400},
               {"GET /here HTTP/1.1\r\nX: \001\r\n\r\n", 400},
               {"POST /here HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", 400},
               {"POST /here HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 400},
               {"POST /here HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = dial();
        say(fd, bad[i].head);
        expect(fd, bad[i].status, "");
        expect_closed(fd);
    }
    stop();
}
END_TEST

START_TEST(headers_and_targets_have_upstreams_limits)
{
    start((struct gateway_options){0});
    for (unsigned n = 100; n <= 101; n++) {
        int fd = dial();
        say(fd, "GET /here HTTP/1.1\r\n");
        for (unsigned i = 0; i < n; i++) say(fd, "X: y\r\n");
        say(fd, "\r\n");
        hear(fd, false);
        ck_assert_uint_eq(an.status, n > 100 ? 431 : 200);
        if (n > 100)
            expect_closed(fd);
        else
            (void)close(fd);
    }
    static char target[65536];
    memset(target, 'a', sizeof target);
    memcpy(target, "/who?", 5);
    for (size_t n = 65534; n <= 65535; n++) {
        int fd = dial();
        say(fd, "GET ");
        ck_assert(put(fd, target, n));
        say(fd, " HTTP/1.1\r\n\r\n");
        hear(fd, false);
        ck_assert_uint_eq(an.status, n > 65534 ? 414 : 200);
        if (n > 65534)
            expect_closed(fd);
        else
            (void)close(fd);
    }
    stop();
}
END_TEST

START_TEST(expect_continue_is_answered_and_the_body_taken)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "POST /pool HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    hear(fd, false);
    ck_assert_uint_eq(an.status, 100);
    say(fd, "123456789");
    expect(fd, 200, "POST /pool [] [] 9 e3069283");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(ambiguous_ends_of_messages_are_refused)
{
    start((struct gateway_options){0});
    static const struct {
        const char *headers;
        unsigned status;
    } cases[] = {{"Content-Length: 1\r\nContent-Length: 2\r\n", 400},
                 {"Content-Length: 1x\r\n", 400},
                 {"Content-Length: -1\r\n", 400},
                 {"Content-Length: 1, 1\r\n", 400},
                 {"Transfer-Encoding: gzip, chunked\r\n", 501},
                 {"Transfer-Encoding: identity\r\n", 400}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = dial();
        say(fd, "POST /pool HTTP/1.1\r\n");
        say(fd, cases[i].headers);
        say(fd, "\r\n");
        hear(fd, false);
        ck_assert_uint_eq(an.status, cases[i].status);
        char c; /* libmicrohttpd 0.9.75 repeats the headers of its own refusal behind them */
        while (recv(fd, &c, 1, 0) > 0) continue;
        (void)close(fd);
    }
    int fd = dial(); /* chunked wins over a length, and the connection ends behind it */
    say(fd,
        "POST /pool HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n");
    expect(fd, 200, "POST /pool [] [] 9 e3069283");
    expect_closed(fd);
    stop();
}
END_TEST

static uint64_t loop_cpu_ns(void)
{
    clockid_t clock;
    struct timespec t;
    ck_assert_int_eq(pthread_getcpuclockid(sv->thread, &clock), 0);
    ck_assert_int_eq(clock_gettime(clock, &t), 0);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* It looks for work after work, not for ever. Of two seconds' processor time it may use a tenth. */
START_TEST(an_idle_loop_sleeps)
{
    start((struct gateway_options){0});
    int fd = dial();
    for (int i = 0; i < 200; i++) {
        say(fd, "POST /pool HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        expect(fd, 200, "POST /pool [] [] 0 00000000");
    }
    uint64_t before_ns = loop_cpu_ns();
    (void)usleep(2000000);
    ck_assert_uint_lt(loop_cpu_ns() - before_ns, UINT64_C(200000000));
    (void)close(fd);
    stop();
}
END_TEST

TESTS(gateway, answers_from_loop_and_pool_on_one_connection, an_idle_loop_sleeps,
      a_whole_request_may_be_refused_before_the_pool, credentials_reach_the_api_and_two_are_none,
      empty_answers_carry_their_headers, targets_arrive_as_they_were_sent, head_has_the_length_and_no_body,
      http_1_0_closes_unless_asked, half_closed_clients_get_their_answers, an_end_that_comes_with_the_data_is_noticed,
      bodies_over_the_limit_leave_the_connection_usable, bodies_that_nobody_wants_are_thrown_away,
      malformed_heads_are_refused_and_close, headers_and_targets_have_upstreams_limits,
      expect_continue_is_answered_and_the_body_taken, ambiguous_ends_of_messages_are_refused)
