#!/usr/bin/env python3
"""Tortures the HTTP side and the start and stop of the server, with plain sockets.

    python3 tests/e2e/test_gateway.py build/chroma

Each test is a function test_*; those that take an argument get a running server. Ends with "N passed, N failed".
"""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

CHROMA = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else "build/chroma"
WAIT_S = 60  # for what must happen; a slow machine may take a while
HEARTBEAT = b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """`chroma run` on a free port; the data are removed with it."""

    def __init__(self, *args, env=None, directory=None, config=None):
        self.directory = directory or tempfile.mkdtemp(prefix="chroma-gateway-")
        self.owns_directory = directory is None
        command = [CHROMA, "run"]
        if config is not None:
            path = os.path.join(self.directory, "config.yaml")
            with open(path, "w", encoding="utf-8") as f:
                f.write(f"persist_path: {self.directory}/data\nlisten_address: 127.0.0.1\n{config}\n")
            command += [path]
        elif not any(a.startswith(("--path", "--ephemeral")) for a in args):
            command += ["--path", self.directory + "/data"]
        if config is None and not any(a.startswith("--port") for a in args):
            command += ["--port", "0"]
        self.stderr_path = os.path.join(self.directory, "stderr")
        self.stderr = open(self.stderr_path, "ab")
        self.process = subprocess.Popen(command + list(args), stdout=subprocess.PIPE, stderr=self.stderr,
                                        env=clean_environment(env), cwd=self.directory)
        self.lines = []
        self.port = None
        while self.port is None:
            line = self.process.stdout.readline().decode()
            if line == "":
                break
            self.lines.append(line.rstrip("\n"))
            m = re.match(r"Connect to Chroma at: http://(.*):(\d+)$", self.lines[-1])
            if m:
                self.port = int(m.group(2))

    def log(self):
        with open(self.stderr_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def dial(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)
        return s

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(timeout=WAIT_S)

    def stop(self):
        """SIGTERM; must end with status 0 within five seconds."""
        begun = time.monotonic()
        self.signal(signal.SIGTERM)
        status = self.wait()
        took = time.monotonic() - begun
        assert status == 0, f"exit status {status}\n{self.log()}"
        assert took < 5, f"stopping took {took:.1f} s"

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.stderr.close()
        if self.owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def clean_environment(extra):
    env = {k: v for k, v in os.environ.items() if not k.upper().startswith("CHROMA_")}
    env.update(extra or {})
    return env


def run(*args, env=None, cwd=None):
    return subprocess.run([CHROMA, *args], capture_output=True, text=True, env=clean_environment(env), cwd=cwd,
                          timeout=WAIT_S)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Reader:
    """Answers from a socket, one after the other."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def more(self):
        data = self.sock.recv(65536)
        if data == b"":
            raise EOFError(f"closed; unread: {self.rest[:200]!r}")
        self.rest += data

    def answer(self, is_head=False):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines[0]
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        status = int(lines[0].split()[1])
        n = 0 if is_head or status < 200 else int(headers["content-length"])
        while len(self.rest) < n:
            self.more()
        body, self.rest = self.rest[:n], self.rest[n:]
        return Answer(status, headers, body)

    def closed(self):
        """Whether the other side has closed, and sent nothing more."""
        try:
            return self.rest == b"" and self.sock.recv(1) == b""
        except ConnectionError:
            return True


def ask(sock, data, is_head=False):
    sock.sendall(data)
    return Reader(sock).answer(is_head)


def post(path, body, extra=""):
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def chunked(path, pieces):
    out = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for p in pieces:
        out += f"{len(p):x}\r\n".encode() + p + b"\r\n"
    return out + b"0\r\n\r\n"


counter = iter(range(1, 1 << 30))


def tenant():
    return json.dumps({"name": f"tenant-{os.getpid()}-{next(counter)}"}).encode()


def send_until_cut(sock, data, pause_s):
    """Keeps sending until the server has closed; fails after WAIT_S."""
    end = time.monotonic() + WAIT_S
    sock.settimeout(pause_s)
    while time.monotonic() < end:
        try:
            sock.sendall(data)
            if sock.recv(4096) == b"":
                return
        except socket.timeout:
            pass
        except OSError:
            return
    raise AssertionError("the server does not cut a slow client off")


# ------------------------------------------------------------------------------------------------ requests


def test_answers_have_the_right_headers(sv):
    with sv.dial() as s:
        a = ask(s, HEARTBEAT)
        assert a.status == 200 and a.headers["content-type"] == "application/json", a.headers
        assert "date" in a.headers and "chroma-trace-id" not in a.headers, a.headers
        assert isinstance(a.json()["nanosecond heartbeat"], int)


def test_unknown_route_is_an_empty_404(sv):
    with sv.dial() as s:
        for path in (b"/nothing", b"/api/v2/heartbeat/", b"//api/v2/heartbeat", b"/api/v2/x/../heartbeat",
                     b"/api/v2/heart%62eat", b"/API/v2/heartbeat", b"*"):
            a = ask(s, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (a.status, a.body) == (404, b""), (path, a.status, a.body)
            assert "content-type" not in a.headers, a.headers
            assert re.fullmatch("[0-9a-f]{32}", a.headers["chroma-trace-id"])


def test_wrong_method_is_an_empty_405(sv):
    with sv.dial() as s:
        for method in (b"POST", b"DELETE", b"get", b"FOO"):
            a = ask(s, method + b" /api/v2/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert (a.status, a.body, a.headers.get("allow")) == (405, b"", "GET,HEAD"), (method, a.status, a.headers)
        assert ask(s, HEARTBEAT).status == 200


def test_redirect(sv):
    with sv.dial() as s:
        a = ask(s, b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (a.status, a.headers.get("location"), a.body) == (303, "/docs/", b"")


def test_head_has_length_and_no_body(sv):
    with sv.dial() as s:
        length = ask(s, b"GET /api/v2/version HTTP/1.1\r\nHost: x\r\n\r\n").headers["content-length"]
        a = ask(s, b"HEAD /api/v2/version HTTP/1.1\r\nHost: x\r\n\r\n", is_head=True)
        assert (a.status, a.headers["content-length"]) == (200, length), a.headers
        assert ask(s, HEARTBEAT).status == 200


def test_host_may_be_absent_and_target_absolute(sv):
    with sv.dial() as s:
        assert ask(s, b"GET /api/v2/heartbeat HTTP/1.1\r\n\r\n").status == 200
        assert ask(s, b"GET http://any.host:1/api/v2/heartbeat?x=1 HTTP/1.1\r\nHost: x\r\n\r\n").status == 200


def test_http_1_0(sv):
    with sv.dial() as s:
        assert ask(s, b"GET /api/v2/heartbeat HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").status == 200
        s.sendall(b"GET /api/v2/heartbeat HTTP/1.0\r\n\r\n")
        r = Reader(s)
        assert r.answer().status == 200 and r.closed()


def test_connection_close_is_honoured(sv):
    with sv.dial() as s:
        s.sendall(b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        r = Reader(s)
        a = r.answer()
        assert a.status == 200 and a.headers["connection"].lower() == "close" and r.closed()


def test_keep_alive_is_reused(sv):
    with sv.dial() as s:
        for i in range(300):
            a = ask(s, HEARTBEAT if i % 3 else post("/api/v2/tenants", tenant()))
            assert a.status == 200, (a.status, a.body)


def test_pipelining(sv):
    with sv.dial() as s:
        names = [tenant() for _ in range(30)]
        data = b"".join(post("/api/v2/tenants", n) + HEARTBEAT + b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n" for n in names)
        threading.Thread(target=s.sendall, args=(data,)).start()
        r = Reader(s)
        for _ in names:
            assert [r.answer().status for _ in range(3)] == [200, 200, 404]


def test_a_byte_at_a_time(sv):
    with sv.dial() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for b in post("/api/v2/tenants", tenant()) + chunked("/api/v2/tenants", [tenant()]):
            s.sendall(bytes([b]))
        r = Reader(s)
        assert [r.answer().status, r.answer().status] == [200, 200]


def test_chunked_bodies(sv):
    with sv.dial() as s:
        name = tenant()
        assert ask(s, chunked("/api/v2/tenants", [name])).status == 200
        name = tenant()
        assert ask(s, chunked("/api/v2/tenants", [name[i:i + 1] for i in range(len(name))])).status == 200
        name = tenant()
        with_extension = (b"POST /api/v2/tenants HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x;ext=1\r\n" % len(name) +
                          name + b"\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert ask(s, with_extension).status == 200
        assert ask(s, HEARTBEAT).status == 200


def test_broken_chunks_close(sv):
    for bad in (b"zz\r\nabc\r\n", b"-1\r\n", b"3\r\nabcdef\r\n", b"ffffffffffffffffff\r\n"):
        with sv.dial() as s:
            s.sendall(b"POST /api/v2/tenants HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + bad)
            data = b""
            try:
                while chunk := s.recv(4096):
                    data += chunk
            except ConnectionError:
                pass
            assert data == b"" or re.match(rb"HTTP/1.1 4\d\d ", data), (bad, data)


def test_expect_continue(sv):
    with sv.dial() as s:
        name = tenant()
        a = ask(s, post("/api/v2/tenants", name, "Expect: 100-continue\r\n")[:-len(name)])
        assert a.status == 100, a.status
        assert ask(s, name).status == 200


def test_bodies_of_routes_that_read_none(sv):
    with sv.dial() as s:
        data = b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        for _ in range(3):
            assert ask(s, data).status == 200
        assert ask(s, data.replace(b"heartbeat", b"nothing")).status == 404
        assert ask(s, HEARTBEAT).status == 200


def test_ambiguous_messages_are_refused(sv):
    for header, status in ((b"Content-Length: 1\r\nContent-Length: 2", 400), (b"Content-Length: 1x", 400),
                           (b"Content-Length: -1", 400), (b"Content-Length: 99999999999999999999999", 413),
                           (b"Transfer-Encoding: gzip", 400), (b"Transfer-Encoding: gzip, chunked", 501)):
        with sv.dial() as s:
            s.sendall(b"POST /api/v2/tenants HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
            data = b""
            while chunk := s.recv(4096):
                data += chunk
            assert data.startswith(b"HTTP/1.1 %d " % status), (header, data)


def test_garbage_closes(sv):
    for data in (b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
                 b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with sv.dial() as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
    with sv.dial() as s:
        assert ask(s, HEARTBEAT).status == 200


def test_half_close(sv):
    for data in (HEARTBEAT, post("/api/v2/tenants", tenant())):
        with sv.dial() as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            r = Reader(s)
            assert r.answer().status == 200 and r.closed()
    with sv.dial() as s:
        s.sendall(post("/api/v2/tenants", tenant())[:-3])
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass


def test_reset_in_the_middle(sv):
    for i in range(100):
        s = sv.dial()
        data = [post("/api/v2/tenants", tenant()), chunked("/api/v2/tenants", [b"x" * 3000]), HEARTBEAT * 20][i % 3]
        s.sendall(data[:-5])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    with sv.dial() as s:
        assert ask(s, HEARTBEAT).status == 200


def test_large_headers(sv):
    with sv.dial() as s:
        big = b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: x\r\nX-Big: " + b"b" * 100_000 + b"\r\n\r\n"
        assert ask(s, big).status == 200
        assert ask(s, big).status == 200
    for head in (b"X-Big: " + b"b" * 500_000, b"\r\n".join(b"X-%d: %s" % (i, b"b" * 100) for i in range(5000))):
        with sv.dial() as s:
            data = b""
            try:
                s.sendall(b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
                while chunk := s.recv(4096):
                    data += chunk
            except ConnectionError:
                pass
            assert data == b"" or data.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 413 ")), data[:100]


def test_large_bodies(sv):
    with sv.dial() as s:
        body = json.dumps({"name": "x" * 20_000_000}).encode()
        for data in (post("/api/v2/tenants", body), chunked("/api/v2/tenants", [body[:7_000_000], body[7_000_000:]])):
            sender = threading.Thread(target=s.sendall, args=(data,))
            sender.start()
            a = Reader(s).answer()
            sender.join()
            assert a.status < 500, (a.status, a.body[:100])
        assert ask(s, HEARTBEAT).status == 200


def test_500_connections(sv):
    sockets = [sv.dial() for _ in range(500)]
    try:
        for _ in range(3):
            for s in sockets:
                s.sendall(HEARTBEAT)
            for s in sockets:
                assert Reader(s).answer().status == 200
        for s in sockets:
            s.sendall(post("/api/v2/tenants", tenant()))
        for s in sockets:
            assert Reader(s).answer().status == 200
    finally:
        for s in sockets:
            s.close()


def test_a_client_that_does_not_read_delays_nobody(sv):
    with sv.dial() as lazy, sv.dial() as s:
        lazy.settimeout(1)
        try:
            while True:
                lazy.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        except socket.timeout:
            pass
        for _ in range(50):
            assert ask(s, HEARTBEAT).status == 200


# ------------------------------------------------------------------------------------------------ limits


def test_413_by_length_and_by_chunks():
    with Server(config="port: 0\nmax_payload_size_bytes: 1000") as sv, sv.dial() as s:
        fits, over = b" " * 990 + b'{"a":1}' + b" " * 3, b" " * 1001
        assert ask(s, post("/api/v2/tenants", fits)).status == 422
        for data in (post("/api/v2/tenants", over), chunked("/api/v2/tenants", [over[:600], over[600:]])):
            a = ask(s, data)
            assert a.status == 413, (a.status, a.body)
            assert a.json() == {"error": "ChromaError",
                                "message": "Failed to buffer the request body: length limit exceeded"}
            assert ask(s, HEARTBEAT).status == 200  # the connection is still of use
        # one that waits for permission is told at once
        a = ask(s, b"POST /api/v2/tenants HTTP/1.1\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n")
        assert a.status == 413


def test_413_without_end():
    with Server(config="port: 0\nmax_payload_size_bytes: 1000") as sv, sv.dial() as s:
        s.sendall(b"POST /api/v2/tenants HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        try:
            for _ in range(1000):
                s.sendall(block)
            raise AssertionError("a gigabyte was taken")
        except ConnectionError:
            pass


def test_slow_clients_are_cut_off():
    with Server(config="port: 0\nidle_timeout_s: 1\nrequest_timeout_s: 1") as sv:
        with sv.dial() as s:  # says nothing
            assert Reader(s).closed()
        with sv.dial() as s:  # said something once
            assert ask(s, HEARTBEAT).status == 200
            assert Reader(s).closed()
        for beginning in (b"GET /api/v2/hea", b"GET / HTTP/1.1\r\nX: ", b"POST /api/v2/tenants HTTP/1.1\r\n"
                          b"Content-Length: 1000000\r\n\r\n", b"POST /api/v2/tenants HTTP/1.1\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"):
            with sv.dial() as s:
                s.sendall(beginning)
                send_until_cut(s, b"x", 0.05)
        with sv.dial() as s:
            assert ask(s, HEARTBEAT).status == 200


def test_connection_limit_makes_others_wait():
    with Server(config="port: 0\nconnection_limit: 5") as sv:
        first = [sv.dial() for _ in range(5)]
        assert all(ask(s, HEARTBEAT).status == 200 for s in first)
        with sv.dial() as late:
            late.sendall(HEARTBEAT)
            late.settimeout(0.3)
            try:
                Reader(late).more()
                raise AssertionError("answered beyond the limit")
            except socket.timeout:
                pass
            for s in first:
                s.close()
            late.settimeout(WAIT_S)
            assert Reader(late).answer().status == 200


def test_circuit_breaker():
    with Server(config="port: 0\ncircuit_breaker:\n  requests: 1") as sv, sv.dial() as busy, sv.dial() as s:
        name = tenant()
        a = ask(busy, post("/api/v2/tenants", name, "Expect: 100-continue\r\n")[:-len(name)])
        assert a.status == 100
        for data in (HEARTBEAT, b"GET /nothing HTTP/1.1\r\n\r\n", post("/api/v2/tenants", tenant())):
            a = ask(s, data)
            assert (a.status, a.body) == (429, b"You have been rate limited."), (a.status, a.body)
            assert a.headers["content-type"] == "text/plain; charset=utf-8"
            assert "chroma-trace-id" not in a.headers
        assert ask(busy, name).status == 200
        end = time.monotonic() + WAIT_S
        while ask(s, HEARTBEAT).status != 200:  # the end of the other answer may be noticed a moment later
            assert time.monotonic() < end


# ------------------------------------------------------------------------------------------------ start and stop


def test_says_where_it_is():
    with Server() as sv:
        assert sv.lines == [f"Saving data to: {sv.directory}/data", f"Connect to Chroma at: http://localhost:{sv.port}"]
        with sv.dial() as s:
            assert ask(s, HEARTBEAT).status == 200
        sv.stop()


def test_ephemeral_leaves_no_files():
    with Server("--ephemeral") as sv:
        with sv.dial() as s:
            assert ask(s, post("/api/v2/tenants", tenant())).status == 200
        assert sorted(os.listdir(sv.directory)) == ["stderr"], os.listdir(sv.directory)
        sv.stop()


def test_stops_with_idle_connections():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server() as sv:
            sockets = [sv.dial() for _ in range(50)]
            for s in sockets[::2]:
                assert ask(s, HEARTBEAT).status == 200
            begun = time.monotonic()
            sv.signal(number)
            assert sv.wait() == 0, sv.log()
            assert time.monotonic() - begun < 5
            assert all(Reader(s).closed() for s in sockets)
            for s in sockets:
                s.close()


def test_stop_answers_what_is_in_flight():
    with Server() as sv, sv.dial() as s, sv.dial() as idle:
        name = tenant()
        assert ask(s, post("/api/v2/tenants", name, "Expect: 100-continue\r\n")[:-len(name)]).status == 100
        assert ask(idle, HEARTBEAT).status == 200
        sv.signal(signal.SIGTERM)
        assert Reader(idle).closed()
        try:
            sv.dial().close()
            raise AssertionError("accepts connections while stopping")
        except ConnectionRefusedError:
            pass
        s.sendall(name)
        r = Reader(s)
        a = r.answer()
        assert a.status == 200 and a.headers["connection"].lower() == "close", (a.status, a.headers)
        assert r.closed()
        assert sv.wait() == 0, sv.log()


def test_stop_does_not_wait_for_ever():
    with Server() as sv, sv.dial() as s:
        assert ask(s, b"POST /api/v2/tenants HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n").status == 100
        sv.stop()


def test_second_signal_leaves_at_once():
    with Server() as sv, sv.dial() as s, sv.dial() as idle:
        assert ask(s, b"POST /api/v2/tenants HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n").status == 100
        assert ask(idle, HEARTBEAT).status == 200
        sv.signal(signal.SIGTERM)
        assert Reader(idle).closed()  # the first one was seen
        sv.signal(signal.SIGTERM)
        assert sv.wait() != 0


def test_hangup_is_ignored():
    with Server() as sv:
        sv.signal(signal.SIGHUP)
        with sv.dial() as s:
            assert ask(s, HEARTBEAT).status == 200
        sv.stop()


def test_restarts_on_the_same_port():
    with tempfile.TemporaryDirectory() as d:
        with Server(directory=d) as sv:
            port = sv.port
            with sv.dial() as s:
                assert ask(s, post("/api/v2/tenants", b'{"name":"kept-name"}')).status == 200
                sv.stop()  # with an open connection: the port lingers
        with Server("--port", str(port), directory=d) as sv:
            assert sv.port == port, sv.log()
            with sv.dial() as s:
                assert ask(s, b"GET /api/v2/tenants/kept-name HTTP/1.1\r\n\r\n").status == 200
            sv.stop()


def check_refused(result, *texts, status=1):
    assert result.returncode == status, (result.returncode, result.stderr)
    for text in texts:
        assert text in result.stderr, result.stderr
    assert "Connect to Chroma" not in result.stdout, result.stdout


def test_port_in_use():
    with Server() as sv, tempfile.TemporaryDirectory() as d:
        check_refused(run("run", "--path", d + "/other", "--port", str(sv.port)), f":{sv.port} is not available",
                      "Address already in use")
        assert os.listdir(d) == []  # no data directory was made
        with sv.dial() as s:
            assert ask(s, HEARTBEAT).status == 200


def test_closed_standard_descriptors():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with tempfile.TemporaryDirectory() as d:
        p = subprocess.Popen([CHROMA, "run", "--path", d + "/data", "--host", "127.0.0.1", "--port", str(port)],
                             env=clean_environment({"CHROMA_LOG_LEVEL": "debug"}),
                             preexec_fn=lambda: [os.close(i) for i in range(3)])
        try:
            end = time.monotonic() + WAIT_S
            while run("healthcheck", "--host", "127.0.0.1", "--port", str(port)).returncode != 0:
                assert time.monotonic() < end and p.poll() is None, p.poll()
                time.sleep(0.05)
            opened = {i: os.readlink(f"/proc/{p.pid}/fd/{i}") for i in range(3)}
            assert set(opened.values()) == {"/dev/null"}, opened
            p.send_signal(signal.SIGTERM)
            assert p.wait(timeout=WAIT_S) == 0
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()


def test_directory_in_use():
    with Server() as sv:
        check_refused(run("run", "--path", sv.directory + "/data", "--port", "0"), sv.directory + "/data")
        with sv.dial() as s:
            assert ask(s, post("/api/v2/tenants", tenant())).status == 200
        sv.stop()


def test_directory_that_cannot_be():
    with tempfile.NamedTemporaryFile() as f:
        check_refused(run("run", "--path", f.name, "--port", "0"), f.name)
        check_refused(run("run", "--path", f.name + "/below", "--port", "0"), f.name)


def test_data_of_the_other_server_are_not_touched():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "chroma.sqlite3")
        with open(path, "wb") as f:
            f.write(b"SQLite format 3\0 not ours")
        before = os.stat(path)
        check_refused(run("run", "--path", d, "--port", "0"), "Chroma's own server", f"chroma migrate --from {d} --path")
        assert os.listdir(d) == ["chroma.sqlite3"]
        assert os.stat(path).st_mtime_ns == before.st_mtime_ns and os.stat(path).st_size == before.st_size


def test_authentication_is_not_ignored():
    for name in ("CHROMA_SERVER_AUTHN_PROVIDER", "CHROMA_SERVER_AUTH_PROVIDER", "CHROMA_SERVER_SSL_CERTFILE"):
        with tempfile.TemporaryDirectory() as d:
            check_refused(run("run", "--path", d + "/x", "--port", "0", env={name: "x"}), name, "does not start")
            assert os.listdir(d) == []


def test_old_and_unknown_variables_warn():
    with Server(env={"IS_PERSISTENT": "TRUE", "CHROMA_TYPO": "1", "CHROMA_ALLOW_RESET": "true"}) as sv:
        with sv.dial() as s:
            assert ask(s, b"POST /api/v2/reset HTTP/1.1\r\nContent-Length: 0\r\n\r\n").status == 200
        sv.stop()
        assert "IS_PERSISTENT has no effect" in sv.log()
        assert "unknown settings are ignored: CHROMA_TYPO" in sv.log()


def test_wrong_configurations():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "c.yaml")
        check_refused(run("run", "absent.yaml", cwd=d), "absent.yaml does not exist")
        for text, says in (("port: abc", "c.yaml:1: port: expected a whole number from 0 to 65535"),
                           ("a: [", "not YAML"), ("cors_allow_origins: ['*', 'http://a']", "must stand alone")):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text + "\n")
            check_refused(run("run", path, cwd=d), says)
        check_refused(run("run", "--port", "0", cwd=d, env={"CHROMA_THREADS": "many"}), "CHROMA_THREADS")
        assert os.listdir(d) == ["c.yaml"]


def test_wrong_command_lines():
    check_refused(run("run", "--port", "99999"), "0 to 65535", status=2)
    check_refused(run("run", "--nonsense"), "--nonsense", status=2)
    check_refused(run("run", "c.yaml", "--port", "1"), "cannot be used with", status=2)
    check_refused(run("nonsense"), "Usage", status=2)
    check_refused(run(), "Usage", status=2)
    check_refused(run("healthcheck", "--port"), "--port", status=2)


def test_help_and_version():
    assert re.match(r"chroma \d+\.\d+\.\d+\n$", run("--version").stdout)
    assert "run" in run("--help").stdout and run("--help").returncode == 0
    assert "--port PORT" in run("run", "--help").stdout
    assert "persist_path: ./chroma" in run("help", "config").stdout


def test_healthcheck(sv):
    port = str(sv.port)
    assert run("healthcheck", "--port", port).returncode == 0
    assert run("healthcheck", "--url", f"http://127.0.0.1:{port}/").returncode == 0
    assert run("healthcheck", env={"CHROMA_PORT": port}).returncode == 0
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        assert run("healthcheck", "--host", "127.0.0.1", "--port", str(s.getsockname()[1])).returncode == 1


# ------------------------------------------------------------------------------------------------ all of it


def main():
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    tests = [f for name, f in globals().items() if name.startswith("test_") and only in name]
    passed = failed = 0
    with Server() as shared:
        if shared.port is None:
            print("the server does not start:", shared.log())
            tests = []
            failed = 1
        for test in tests:
            try:
                test(shared) if test.__code__.co_argcount else test()
                passed += 1
            except Exception:  # whatever it is, the next test is run
                failed += 1
                print(f"FAIL {test.__name__}")
                traceback.print_exc(file=sys.stdout)
        try:
            if shared.port is not None:
                shared.stop()
        except Exception:
            failed += 1
            print("FAIL the shared server does not stop well")
            traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
