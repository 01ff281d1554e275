"""Clients that mean harm: slow, silent, half-gone, too many, too large. Each gets an error or is cut off, while a probe (another client
that asks for a small query and a get again and again) is answered about as fast as before, and the server's memory stays bounded.

HOSTILE_SCALE=1 is what CI runs; `make hostile` runs it larger and holds the probe's median to HOSTILE_RATIO times its quiet
value of the second before, with attackers that the system runs last and a probe that it runs first (as root), as if both were elsewhere. (A shared machine's speed halves from one
minute to the next; that the server itself stays as fast as it was is held at the end.) In CI that ratio is generous, because machines there
are slow and shared."""
import contextlib
import json
import os
import random
import resource
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

import pytest

from chroma_server import Server, wait_until
from raw_http import COLLECTIONS, Connection

SCALE = float(os.environ.get("HOSTILE_SCALE", "1"))
RATIO = float(os.environ.get("HOSTILE_RATIO", "10"))
FLOOR_MS = 100.0 if RATIO > 3 else 0.0  # in CI processors are shared by many: there only standing still is told apart
DIM = 16
MEMORY_MIB = 24


def raise_files():
    """As many open files as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def once(c, col):
    """One round of the harmless client, in milliseconds."""
    begun = time.monotonic()
    answer = c.request("POST", col + "/query", {"query_embeddings": [[0.5] * DIM], "n_results": 3})
    assert answer.status == 200 and len(answer.json()["ids"][0]) == 3, answer
    answer = c.request("POST", col + "/get", {"ids": ["p7"]})
    assert answer.status == 200 and answer.json()["ids"] == ["p7"], answer
    return (time.monotonic() - begun) * 1000


def measure(port, col):
    """The probe's process: measures until its input ends, and for at least ten rounds; prints the times."""
    if FLOOR_MS == 0:  # it has a machine of its own too: what it waits for is the server, not a processor for itself
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
    times, stop = [], threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    with Connection(port) as c:
        once(c, col)
        print("measuring", flush=True)
        while len(times) < 10 or not stop.is_set():
            times.append(once(c, col))
            time.sleep(0.002)
    print(json.dumps(times), flush=True)


class Probe:
    """Measures how long a harmless client waits."""

    def __init__(self, server):
        self.server = server
        with Connection(server.port_now) as c:
            self.col = COLLECTIONS + "/" + c.request("POST", COLLECTIONS, {"name": "probe"}).json()["id"]
            r = random.Random(1)
            rows = {"ids": [f"p{i}" for i in range(300)], "embeddings": [[r.random() for _ in range(DIM)] for _ in range(300)],
                    "documents": [f"text {i}" for i in range(300)]}
            assert c.request("POST", self.col + "/add", rows).status == 201
        self.first_quiet = self.quiet = self.median(100)

    def median(self, n):
        with self.measuring() as times:
            time.sleep(0.005 * n)
        return statistics.median(times)

    def during(self, attack, what):
        """Runs `attack` in threads of its own while measuring; `attack`: a list of functions that end by themselves."""
        faults = []
        self.quiet = self.median(100)

        def run(f):
            if FLOOR_MS == 0:  # attackers have machines of their own: here they get what the others leave, at once
                os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
            try:
                f()
            except Exception as e:  # told below
                faults.append(e)

        with self.measuring() as times:
            threads = [threading.Thread(target=run, args=(f,)) for f in attack]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        assert not faults, f"{what}: {faults[0]!r}"
        self.hold(times, what)

    @contextlib.contextmanager
    def measuring(self):
        """A list that is filled at the end. A process of its own measures: the attackers keep this one's interpreter busy."""
        times = []
        p = subprocess.Popen([sys.executable, __file__, str(self.server.port_now), self.col], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
        assert p.stdout.readline() == b"measuring\n"
        try:
            yield times
        finally:
            out, _ = p.communicate()
        assert p.returncode == 0, "the probe failed"
        times += json.loads(out)

    def hold(self, times, what):
        median, quiet = statistics.median(times), max(self.quiet, FLOOR_MS)
        print(f"{what}: median {median:.2f} ms of {len(times)}, slowest {max(times):.0f} ms, quiet {self.quiet:.2f} ms, "
              f"memory {memory(self.server) >> 20} MiB, at most {memory(self.server, 'VmHWM') >> 20}")
        assert median <= RATIO * quiet, f"{what}: {median:.2f} ms where {self.quiet:.2f} is usual"


TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def processor_time(server):
    """Seconds, in whole ticks."""
    with open(f"/proc/{server.process.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def memory(server, what="VmRSS"):
    with open(f"/proc/{server.process.pid}/status") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith(what))


def reset_peak(server):
    with open(f"/proc/{server.process.pid}/clear_refs", "w") as f:
        f.write("5")


def dial(server):
    return socket.create_connection(("127.0.0.1", server.port_now), timeout=60)


def reset(s):
    """Closes with RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def head(path, length, extra=""):
    return (f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{extra}\r\n").encode()


CONFIG = f"""connection_limit: 20000
idle_timeout_s: 1
request_timeout_s: 2
flush_rows: 1000
max_payload_size_bytes: {16 << 20}
body_memory_bytes: {32 << 20}
request_memory_bytes: {MEMORY_MIB << 20}
"""


@pytest.fixture(scope="module")
def sv(tmp_path_factory):
    raise_files()
    with Server(str(tmp_path_factory.mktemp("hostile") / "data"), config=CONFIG) as server:
        yield server
        assert server.process.poll() is None, server.output()[-3000:]


@pytest.fixture(scope="module")
def probe(sv):
    return Probe(sv)


@pytest.fixture(scope="module")
def big(sv):
    """A collection whose whole contents are larger than what requests may use."""
    with Connection(sv.port_now) as c:
        col = COLLECTIONS + "/" + c.request("POST", COLLECTIONS, {"name": "big"}).json()["id"]
        r, n = random.Random(2), 500
        for b in range(6):
            rows = {"ids": [f"{b}-{i}" for i in range(n)], "embeddings": [[r.random() for _ in range(DIM)] for _ in range(n)],
                    "documents": [f"{b} {i} " + "word " * 2000 for i in range(n)], "metadatas": [{"n": i} for i in range(n)]}
            answer = c.request("POST", col + "/add", rows)
            assert answer.status == 201, answer
    return col


# --- slow, silent, half-gone ---------------------------------------------------------------------------------------


def test_slow_senders(sv, probe):
    """Hundreds that send a byte now and then: in the request line, in headers, in the body. All are cut off."""
    whole = head(probe.col + "/get", 3000, "X-Pad: " + "a" * 2000 + "\r\n") + b" " * 3000
    starts = [0, 20, whole.index(b"X-Pad") + 20, whole.index(b"\r\n\r\n") + 20]
    cut = []

    def attack():
        socks = []
        for i in range(int(300 * SCALE)):
            s, at = dial(sv), starts[i % 4]
            s.sendall(whole[:at])
            s.setblocking(False)
            socks.append([s, at])
        until = time.monotonic() + 60
        while socks and time.monotonic() < until:
            time.sleep(0.3)
            for entry in list(socks):
                s, at = entry
                try:
                    try:
                        if s.recv(4096) == b"":
                            raise ConnectionError
                    except BlockingIOError:
                        pass
                    s.send(whole[at:at + 1])
                    entry[1] += 1
                except OSError:
                    cut.append(s)
                    s.close()
                    socks.remove(entry)
        assert not socks, f"{len(socks)} slow senders are still served"

    probe.during([attack], "slow senders")
    assert len(cut) == int(300 * SCALE)


def test_half_open_in_every_phase(sv, probe):
    """FIN or RST after each prefix of a request, and while the answer comes."""
    body = b'{"ids":["p1"]}'
    whole = head(probe.col + "/get", len(body)) + body

    def attack():
        for at in range(0, len(whole) + 1, max(1, int(3 / SCALE))):
            for end in (lambda s: s.shutdown(socket.SHUT_WR), reset, lambda s: s.close()):
                s = dial(sv)
                s.sendall(whole[:at])
                end(s)
                if s.fileno() >= 0:
                    s.settimeout(20)
                    data = b""
                    try:
                        while piece := s.recv(65536):
                            data += piece
                    except ConnectionError:
                        pass
                    assert data == b"" or data.startswith(b"HTTP/1.1 200" if at == len(whole) else b"HTTP/1.1 4"), (at, data)
                    assert at < len(whole) or data, "a complete request of a client that closed its sending side is answered"
                    s.close()

    probe.during([attack], "half-open")


@pytest.fixture
def patient(tmp_path):
    """A server that holds idle connections for longer than dialling them takes."""
    with Server(str(tmp_path / "data"), config=CONFIG.replace("idle_timeout_s: 1\n", "idle_timeout_s: 8\n")) as server:
        yield server


def test_idle_connections(patient):
    """10,000 that say nothing are held, cost little, and are closed when their time is over."""
    sv, probe = patient, Probe(patient)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    n = min(10000, hard - 200)
    before = memory(sv)
    socks = [dial(sv) for _ in range(n)]
    wait_until(lambda: len(os.listdir(f"/proc/{sv.process.pid}/fd")) > n, 20, "all are accepted")
    grown = memory(sv) - before
    with probe.measuring() as times:
        time.sleep(0.5)
    print(f"{n} idle connections: {grown / n:.0f} bytes each")
    probe.hold(times, f"{n} idle connections")
    assert grown < n * 16384, "an idle connection costs less than 16 KiB"

    def are_closed():
        for s in list(socks):
            s.setblocking(False)
            try:
                if s.recv(1) == b"":
                    s.close()
                    socks.remove(s)
            except BlockingIOError:
                return False
            except OSError:
                s.close()
                socks.remove(s)
        return True

    try:
        wait_until(are_closed, 60, "all idle connections are closed")
    finally:
        for s in socks:
            s.close()


def test_pipelining_with_reading(sv, probe):
    """Many clients that send all they want to ask at once: each gets all its answers, in its order, also those that end their stream
    then; so does another that asks one by one meanwhile."""
    n_asked = 40

    def ask_all(half_closes):
        with Connection(sv.port_now) as c:
            for i in range(n_asked):
                body = json.dumps({"ids": [f"p{i}"]}).encode()
                c.send(head(probe.col + "/get", len(body)) + body)
            if half_closes:
                c.socket.shutdown(socket.SHUT_WR)
            for i in range(n_asked):
                answer = c.read()
                assert answer.status == 200 and answer.json()["ids"] == [f"p{i}"], (i, answer)

    probe.during([lambda i=i: [ask_all(i % 2 == 0) for _ in range(int(5 * SCALE))] for i in range(12)], "pipelining")


@pytest.mark.own_memory
def test_pipelining_without_reading(sv, probe):
    """Requests without end by clients that never read: the server stops reading from them, and holds one answer each."""
    request = head(probe.col + "/get", 2) + b"{}"
    reset_peak(sv)
    before = memory(sv)

    def attack():
        s = dial(sv)
        s.settimeout(2)
        sent = 0
        try:
            while sent < 256 << 20:
                sent += s.send(request * 100)
        except OSError:
            pass
        assert sent < 64 << 20, "it went on reading"
        s.close()

    probe.during([attack] * int(8 * SCALE), "pipelining without reading")
    assert memory(sv, "VmHWM") - before < 96 << 20


@pytest.mark.own_memory
def test_slow_readers_of_large_answers(sv, probe, big):
    """Answers that nobody takes count against the memory of requests; the others are refused, and later served again."""
    reset_peak(sv)
    before = memory(sv)
    body = json.dumps({"limit": 500, "include": ["documents", "metadatas", "embeddings"]}).encode()  # some 5 MiB
    statuses = []

    def attack():
        s = dial(sv)
        s.settimeout(60)
        s.sendall(head(big + "/get", len(body)) + body)
        statuses.append(int(s.recv(12).split()[1]))
        time.sleep(1)
        s.close()

    probe.during([attack] * int(24 * SCALE), "slow readers")
    assert 200 in statuses and 503 in statuses, statuses
    assert set(statuses) == {200, 503}
    assert memory(sv, "VmHWM") - before < (3 * MEMORY_MIB) << 20
    with Connection(sv.port_now) as c:
        wait_until(lambda: c.request("POST", big + "/get", body).status == 200, 30, "the memory comes back")


def test_keys_by_the_hundred_thousand(sv, probe):
    """Metadata keys, members of JSON and ids, many and equal: no table of ours degrades. Tables that hash what clients choose do it
    with a seed that clients cannot know."""
    keys = {f"k{i}": i for i in range(100000)}
    row = {"ids": ["x"], "embeddings": [[0.5] * DIM], "documents": ["d"]}
    doubled = b'{"ids":["y"],"embeddings":[[' + b",".join([b"1"] * DIM) + b']],"metadatas":[{' + b",".join([b'"a":1'] * 100000) + b"}]}"
    many = {"ids": [f"m{i}" for i in range(20000)], "embeddings": [[0.5] * DIM] * 20000}
    col = []

    def attack():
        with Connection(sv.port_now) as c:
            col.append(c.request("POST", COLLECTIONS, {"name": "keys", "get_or_create": True, "metadata": keys}).json())
            path = COLLECTIONS + "/" + c.request("POST", COLLECTIONS, {"name": "keys2", "get_or_create": True}).json()["id"]
            for body in ({**row, "metadatas": [keys]}, doubled, many, {**many, "ids": ["same"] * 20000}):
                answer = c.request("POST", path + "/upsert", body)
                assert answer.status in (200, 400, 422), answer
            unknown = b"{" + b",".join(b'"u%d":1' % i for i in range(100000)) + b',"limit":1}'
            assert c.request("POST", path + "/get", unknown).status in (200, 400, 422)

    begun = time.monotonic()
    probe.during([attack], "many keys")
    print(f"many keys: {time.monotonic() - begun:.1f} s in all")


# --- malformed -----------------------------------------------------------------------------------------------------


def test_malformed_chunks(sv, probe):
    start = f"POST {probe.col}/get HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    wrong = [b"zz\r\n", b"-1\r\n", b"ffffffffffffffffffff\r\n", b"7fffffffffffffff\r\n{}", b"2\r\n{}XX", b"2 \r\n{}\r\n0\r\n\r\n",
             b"2;" + b"a" * 200000 + b"\r\n{}", b"0x2\r\n{}\r\n", b"\r\n\r\n", b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 50000, b"2\n{}\n0\n\n"]

    def attack():
        for pieces in wrong * int(2 * SCALE):
            s = dial(sv)
            s.settimeout(30)
            data = b""
            try:
                s.sendall(start + pieces)
                s.shutdown(socket.SHUT_WR)
                while piece := s.recv(65536):
                    data += piece
            except OSError:
                pass
            assert data == b"" or data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")), (pieces[:40], data[:200])
            s.close()

    probe.during([attack], "malformed chunks")


def test_a_chunk_that_cannot_be_read():
    """libmicrohttpd stands still with its buffer full of a chunk's extension, and would try again for ever."""
    start = b"POST /api/v2/tenants HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;"
    with Server(None) as server:
        s = dial(server)
        s.settimeout(50)
        begun, used = time.monotonic(), processor_time(server)
        with contextlib.suppress(OSError):
            s.sendall(start + b"a" * 200000)
            assert s.recv(1) == b"", "cut off, long before request_timeout_s"
        assert processor_time(server) - used < 0.6 * (time.monotonic() - begun) + TICK_S, "and meanwhile it is not asked all the time"
        full = [dial(server) for _ in range(3)]  # these fill the buffer to the last byte or nearly
        for at, f in enumerate(full):
            f.sendall(start + b"a" * (130900 + 80 * at))
        with Connection(server.port_now) as c:
            assert c.request("POST", COLLECTIONS, {"name": "beside"}).status == 200, "others are served by the pool meanwhile"
        assert server.stop() == 0, "signals are heard meanwhile"


def test_a_buffer_full_of_nothing_is_let_go():
    """On connections that were used before, or whose large body had to wait for others: in the end none of them is worked at."""
    with Server(None) as server:
        asked = b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: a\r\n\r\n"
        start = b"POST /api/v2/tenants HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        piece = b"80000\r\n" + b" " * 0x80000 + b"\r\n"
        endings = [b"2;" + b"a" * 300000, b"0\r\n" + b"A: b\r\n" * 60000, b"0\r\nA: " + b"b" * 300000]

        def attack(before, ending):
            s = dial(server)
            s.settimeout(60)
            with contextlib.suppress(OSError):
                if before:
                    s.sendall(asked)
                    assert s.recv(4096).startswith(b"HTTP/1.1 200")
                s.sendall(start + piece * before * 4 + ending)
                while s.recv(65536):
                    pass
            s.close()

        threads = [threading.Thread(target=attack, args=(before, ending)) for before in (0, 1, 1, 1) for ending in endings]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        time.sleep(1.5)
        used = processor_time(server)
        time.sleep(1)
        assert processor_time(server) - used < 0.3
        with Connection(server.port_now) as c:
            assert c.request("GET", "/api/v2/heartbeat").status == 200
        assert server.stop() == 0


def test_long_lines_wait_for_their_turn():
    """libmicrohttpd reads a line that has no end from its start whenever it runs. Such connections cost the server little, others are
    served meanwhile, and who does come to an end is answered."""
    with Server(None) as server:
        slow = [dial(server) for _ in range(30)]
        for s in slow:
            s.sendall(b"GET /api/v2/" + b"a" * 60000)
        used = processor_time(server)
        with Connection(server.port_now) as c:
            begun = time.monotonic()
            for _ in range(200):
                assert c.request("GET", "/api/v2/heartbeat").status == 200
                time.sleep(0.005)
            assert c.request("GET", "/api/v2/" + "b" * 65000).status == 404
            assert processor_time(server) - used < 0.5 * (time.monotonic() - begun)
        for s in slow:
            s.sendall(b"a HTTP/1.1\r\nHost: a\r\n\r\n")
            s.settimeout(60)
            assert s.recv(12) == b"HTTP/1.1 404"
        endless = dial(server)
        endless.settimeout(60)
        with contextlib.suppress(OSError):
            endless.sendall(b"GET /api/v2/" + b"a" * 1000000)
            while endless.recv(65536):
                pass
        assert server.stop() == 0


def test_a_busy_connection_is_not_taken_for_a_stuck_one():
    """Pieces of bodies on a connection that is kept, each a byte shorter than the one before, while others send long lines."""
    with Server(None) as server:
        slow = [dial(server) for _ in range(4)]
        for s in slow:
            s.sendall(b"GET /api/v2/" + b"a" * 60000)
        s = dial(server)
        s.settimeout(60)
        for i in range(150):
            body = b"{" + b" " * 7000
            at = 6000 - i
            s.sendall(head("/api/v2/tenants", len(body)) + body[:at])
            time.sleep(0.008)
            s.sendall(body[at:])
            assert s.recv(4096).startswith(b"HTTP/1.1 4"), i
        for other in slow:
            other.close()
        assert server.stop() == 0


def test_large_bodies_take_turns(sv, probe):
    """Many at once, with and without a length, by clients that close their side and such that do not: each is answered rightly."""
    body = json.dumps({"ids": ["p7"], "include": [], "x": "y" * (5 << 20)}).encode()
    answers = []

    def send(is_chunked, closes):
        s = dial(sv)
        start = head(probe.col + "/get", len(body))
        if is_chunked:
            start = f"POST {probe.col}/get HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        s.sendall(start)
        for at in range(0, len(body), 300000):
            piece = body[at:at + 300000]
            s.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
        if is_chunked:
            s.sendall(b"0\r\n\r\n")
        if closes:
            s.shutdown(socket.SHUT_WR)
        data = b""
        while not data.endswith(b"}"):
            piece = s.recv(65536)
            assert piece, data
            data += piece
        s.close()
        answers.append(data)

    threads = [threading.Thread(target=send, args=(i % 2 == 1, i % 4 >= 2)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 8
    for data in answers:
        assert data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")), data[:200]
        assert data.startswith(b"HTTP/1.1 503") or b'"ids":["p7"]' in data
    assert sum(a.startswith(b"HTTP/1.1 200") for a in answers) >= 4


def test_header_floods(sv, probe):
    def attack():
        for _ in range(int(10 * SCALE)):
            for flood in (b"A: b\r\n" * 20000, b"A: " + b"b" * 500000, b"\r\n" * 100000, b"A" * 500000,
                          b"".join(b"H%d: %d\r\n" % (i, i) for i in range(3000))):
                s = dial(sv)
                s.settimeout(30)
                try:
                    s.sendall(b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: a\r\n" + flood + b"\r\n\r\n")
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass
                s.close()

    probe.during([attack], "header floods")


# --- too large, too deep, too much ---------------------------------------------------------------------------------


def asks(sv, path, body, allowed, n=1):
    def attack():
        for _ in range(n):
            with Connection(sv.port_now) as c:
                answer = c.request("POST", path, body)
                assert answer.status in allowed, answer
                assert answer.status < 400 or answer.body, "a refusal says why"
    return attack


def nested(n):
    return b'{"where":' + b'{"$and":[' * n + b'{"a":1}' + b"]}" * n + b"}"


NUMBERS = [b"4294967295", b"4294967296", b"18446744073709551615", b"18446744073709551616", b"9" * 5000, b"1e999", b"-1",
           b"0." + b"0" * 5000 + b"1", b"1e-999999999999", b"3000000000"]


def test_deep_and_huge(sv, probe):
    where = [b"[" * 200000, b'{"a":' * 200000, nested(50000), nested(100),
             b'{"where":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"]
    attack = [asks(sv, probe.col + "/get", body, (400, 422)) for body in where]
    for number in NUMBERS:
        for name in (b"limit", b"offset"):
            attack.append(asks(sv, probe.col + "/get", b'{"%s":%s}' % (name, number), (200, 400, 422)))
        query = b'{"query_embeddings":[[%s]],"n_results":%s}' % (b",".join([b"0.5"] * DIM), number)
        attack.append(asks(sv, probe.col + "/query", query, (200, 400, 422)))
        attack.append(asks(sv, probe.col + "/get", b'{"limit":%s,"offset":%s,"where":{"n":%s}}' % (number, number, number),
                           (200, 400, 422)))
    probe.during([lambda: [f() for f in attack * int(5 * SCALE)]], "deep and huge")  # so often that the probe has its turn


def test_filters_of_100000_terms(sv, probe, big):
    many = [{"n": {"$ne": i}} for i in range(100000)]
    bodies = [{"where": {"$or": [{"n": i} for i in range(100000)]}, "limit": 1},
              {"where": {"$and": many}, "limit": 1},
              {"where": {"n": {"$in": list(range(100000))}}, "limit": 1},
              {"where_document": {"$or": [{"$contains": f"nothing{i}"} for i in range(100000)]}, "limit": 1},
              {"ids": [f"x{i}" for i in range(100000)], "limit": 1}]
    bodies = [json.dumps(b).encode() for b in bodies]
    probe.during([lambda: [asks(sv, big + "/get", b, (200, 400, 422, 503, 504))() for b in bodies * int(SCALE)]],
                 "filters of 100,000 terms")


def test_exploding_regular_expressions(sv, probe, big):
    patterns = ["(a*)*b{1000}", "(((((a{1,100}){1,100}){1,100}){1,100}){1,100})", "(w|wo|wor|word)*x", "(.*){200}z", "(.*.*.*.*.*)*=", "(?:(?:(?:w+)+)+)+$x",
                "[" + "a-z" * 5000 + "]", "(" * 5000 + ")" * 5000, "w{4294967295}", "|".join(["word"] * 20000)]
    bodies = [json.dumps({"where_document": {"$regex": p}, "limit": 1, "include": []}).encode() for p in patterns]
    probe.during([lambda: [asks(sv, big + "/get", b, (200, 400))() for b in bodies * int(2 * SCALE)]], "regular expressions")


@pytest.mark.own_memory
def test_more_than_the_memory(sv, probe, big):
    """Everything of everything, a query of 100,000 embeddings, the largest bodies by many at once: served or refused, within bounds."""
    reset_peak(sv)
    before = memory(sv)
    everything = json.dumps({"include": ["documents", "metadatas", "embeddings", "uris"]}).encode()
    queries = b'{"query_embeddings":[' + b",".join([b"[" + b",".join([b"1"] * DIM) + b"]"] * 100000) + b'],"n_results":4294967295,' \
              b'"include":["documents","distances"]}'
    few = b'{"query_embeddings":[' + b",".join([b"[" + b",".join([b"1"] * DIM) + b"]"] * 100) + b'],"n_results":4000000000,' \
          b'"include":["documents"]}'
    whole = b'{"ids":["' + b"x" * (15 << 20) + b'"]}'
    attack = [asks(sv, big + "/get", everything, (503,), int(2 * SCALE)), asks(sv, big + "/get", everything, (503,), int(2 * SCALE)),
              asks(sv, big + "/query", queries, (503,)), asks(sv, big + "/query", few, (503,)),
              *[asks(sv, big + "/get", whole, (200, 503), int(2 * SCALE))] * 6]
    probe.during(attack, "more than the memory")
    assert memory(sv, "VmHWM") - before < (3 * MEMORY_MIB) << 20
    last = probe.median(100)
    print(f"afterwards: median {last:.2f} ms, at first {probe.first_quiet:.2f} ms")
    assert last <= 2 * RATIO * max(probe.first_quiet, FLOOR_MS), "what was attacked stays slow"


if __name__ == "__main__":
    measure(int(sys.argv[1]), sys.argv[2])
