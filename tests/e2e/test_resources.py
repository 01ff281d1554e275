"""What the machine has too little of: space on the disk, file descriptors, threads, address space. The server says so to those
who ask for what it cannot do, goes on with the rest, and does everything again when there is enough again, without a
restart. Or it does not start, and says why."""
import errno
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from chroma_server import BINARY, Server, wait_until
from raw_http import COLLECTIONS, DATABASE, ROOT, Connection

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system or become somebody else")
DIM = 64


class Client:
    """Adds records of one collection and knows which of them were acknowledged."""

    def __init__(self, server, name="docs"):
        self.c = Connection(server.port_now)
        self.known = set()
        self.next = 0
        answer = self.post(COLLECTIONS, {"name": name, "get_or_create": True})
        assert answer.status == 200, answer
        self.path = f"{COLLECTIONS}/{answer.json()['id']}"

    def post(self, path, body):
        return self.c.request("POST", path, body, [("Content-Type", "application/json")])

    def add(self, n=100, text=200):
        ids = [f"r{self.next + i}" for i in range(n)]
        self.next += n
        vectors = [[(int(i[1:]) * 7 + k) % 11 / 10 + 0.05 for k in range(DIM)] for i in ids]
        answer = self.post(self.path + "/add", {"ids": ids, "embeddings": vectors,
                                                "documents": [f"{i} {os.urandom(text // 2).hex()}" for i in ids]})
        if answer.status == 201:
            self.known.update(ids)
        return answer

    def check(self, may_have=()):
        """Everything that was acknowledged is there, and nothing else but `may_have`."""
        answer = self.post(self.path + "/get", {"include": ["documents"], "limit": 1 << 20})
        assert answer.status == 200, answer
        got = set(answer.json()["ids"])
        assert self.known <= got, f"{len(self.known - got)} are lost"
        assert got - self.known <= set(may_have), f"{len(got - self.known)} that were refused"
        answer = self.post(self.path + "/query", {"query_embeddings": [[0.5] * DIM], "n_results": 5})
        assert answer.status == 200 and len(answer.json()["ids"][0]) == min(5, len(got)), answer


# ------------------------------------------------------------------------------------------------ the disk

@pytest.fixture
def small_disk(request):
    path = tempfile.mkdtemp(prefix="chroma-disk-")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", path], capture_output=True).returncode != 0:
        os.rmdir(path)
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", "-l", path], check=True)
    os.rmdir(path)


def fill(path, leave=0):
    """Takes what is left of the file system but `leave` bytes; the server may be taking some meanwhile."""
    with open(path + "/ballast", "ab") as f:
        for _ in range(100):
            left = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize - leave
            try:
                if left > 0:
                    os.posix_fallocate(f.fileno(), f.tell(), left)
                return
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise
    raise AssertionError("the file system does not come to rest")


def is_full(answer):
    return answer.status == 507 and re.search("space|disk is full", answer.json()["message"])


@needs_root
@pytest.mark.parametrize("small_disk", [16], indirect=True)
def test_disk_full_of_records(small_disk):
    """Ingestion until the log's next segment has no place."""
    with Server(small_disk + "/data", config="flush_rows: 2000") as server:
        client = Client(server)
        for _ in range(1000):
            answer = client.add(100, text=2000)
            if answer.status != 201:
                break
        assert is_full(answer), answer
        for _ in range(20):
            answer = client.add(100)
            assert answer.status == 201 or is_full(answer), answer
        client.check()
        assert client.c.request("GET", ROOT + "/healthcheck").status == 200  # it is not read-only: it waits for space
        server.restart()  # a full disk does not keep it from starting
        client.c = Connection(server.port_now)
        client.check()
        assert client.c.request("DELETE", f"{COLLECTIONS}/docs").status in (200, 507)


@needs_root
@pytest.mark.parametrize("small_disk", [40], indirect=True)
def test_space_comes_back(small_disk):
    """No space for the log, a flush, a merge and the catalog; then there is."""
    with Server(small_disk + "/data", config="flush_rows: 300") as server:
        client = Client(server)
        for _ in range(10):
            assert client.add(100).status == 201
        fill(small_disk)
        n_refused = 0
        for i in range(60):
            fill(small_disk)  # what a flush has given back as well
            answer = client.add(100, text=2000)
            assert answer.status == 201 or is_full(answer), answer
            n_refused += answer.status == 507
        assert n_refused > 0
        client.check()
        n_refused = 0
        for i in range(300):  # the catalog's log has room for some
            fill(small_disk)
            answer = client.post(COLLECTIONS, {"name": f"other-{i}", "metadata": {"text": "y" * 3000}})
            assert answer.status == 200 or is_full(answer), answer
            n_refused += answer.status == 507
            if n_refused > 3:
                break
        assert n_refused > 0
        for method, path, body in (("POST", DATABASE + "s", {"name": "another"}), ("POST", f"{client.path}/fork", {"new_name": "fork"}),
                                   ("PUT", client.path, {"new_name": "docs2"}), ("POST", ROOT + "/tenants", {"name": "tenant"})):
            path = path.replace("databases/default_databases", "databases")
            answer = client.c.request(method, path, body, [("Content-Type", "application/json")])
            assert answer.status < 300 or is_full(answer), (path, answer)
        client.check()
        os.remove(small_disk + "/ballast")
        wait_until(lambda: client.add(10).status == 201, 20, "a write after space came back")
        assert client.post(COLLECTIONS, {"name": "late"}).status == 200
        for _ in range(5):
            assert client.add(100).status == 201
        client.check()
        assert b"panic" not in server.output() and b"broken invariant" not in server.output()
        server.restart()
        client.c = Connection(server.port_now)
        client.check()


# ------------------------------------------------------------------------------------------------ descriptors

class Limited(Server):
    """A server that starts under a limit of setrlimit, perhaps as somebody else."""

    def __init__(self, path, kind, value, uid=None, **more):
        super().__init__(path, **more)
        self.command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid is not None else []
        self.command = ["prlimit", f"--{kind}={value}", *self.command, BINARY]

    def start(self, wait=60.0):
        popen = subprocess.Popen

        def start_limited(command, **more):
            os.chmod(command[2], 0o644)  # the configuration
            return popen([*self.command, *command[1:]], **more)

        try:
            subprocess.Popen = start_limited
            return super().start(wait)
        finally:
            subprocess.Popen = popen


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


@pytest.mark.own_memory
def test_too_few_files_to_start(tmp_path):
    """From none to enough: each time it says what is missing, or serves."""
    n_started, last = 0, None
    for n in (4, 6, 8, 10, 12, 14, 16, 18, 22, 26, 30, 48):
        server = Limited(str(tmp_path / "data"), "nofile", n)
        try:
            server.start(20)
        except RuntimeError as e:
            last = str(e)
            assert n_started == 0 and "ended with 1" in last and re.search("open", last) or n < 6, (n, last)
            continue
        n_started += 1
        client = Client(server)
        assert client.add(10).status == 201
        client.check(may_have=[f"r{i}" for i in range(10)])
        assert server.stop() == 0
    assert n_started > 0 and "raise its limit" in last


def test_no_descriptor_is_left(tmp_path):
    """While it runs. Who is connected is served; who comes waits; nothing spins; everything goes on afterwards."""
    with Server(str(tmp_path / "data"), config="flush_rows: 500") as server:
        pid = server.process.pid
        client = Client(server)
        assert client.add(100).status == 201
        old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(server), old[1]))
        client.check()
        statuses = set()
        for i in range(60):  # more than the log's present segments hold
            statuses.add(client.add(200, text=2000).status)
        assert statuses <= {201, 503}, statuses
        assert client.post(COLLECTIONS, {"name": "another"}).status in (200, 503)
        client.check()
        client.c.socket.close()
        time.sleep(0.3)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(server), old[1]))
        waiting = socket.create_connection(("127.0.0.1", server.port_now))  # the kernel's queue has a place
        before = cpu_seconds(pid)
        time.sleep(2)
        assert cpu_seconds(pid) - before < 0.5
        wait_until(lambda: b"connection cannot be accepted" in server.output(), 10, "a line in the log")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
        waiting.settimeout(20)
        waiting.sendall(b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: a\r\n\r\n")
        assert waiting.recv(100).startswith(b"HTTP/1.1 200")
        waiting.close()
        client.c = Connection(server.port_now)
        wait_until(lambda: client.add(10).status == 201, 20, "a write after descriptors came back")
        client.check()
        assert client.c.request("GET", ROOT + "/healthcheck").status == 200
        server.restart()
        client.c = Connection(server.port_now)
        client.check()


# ------------------------------------------------------------------------------------------------ threads

@needs_root
def test_too_few_threads_to_start(monkeypatch):
    """As a user with few processes left; root is not bound by that limit. All threads are started at the start."""
    uid = 47013  # nobody's
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # $TMPDIR may be closed to others
    path = tempfile.mkdtemp(prefix="chroma-threads-")
    try:
        os.chmod(path, 0o777)
        if not os.access(BINARY, os.X_OK) or subprocess.run(
                ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", BINARY, "--version"],
                capture_output=True).returncode != 0:
            pytest.skip("another user cannot run the program here")
        n_started = 0
        for n in (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48):
            server = Limited(path + "/data", "nproc", n, uid=uid)
            os.chmod(path, 0o777)
            try:
                server.start(20)
            except RuntimeError as e:
                assert n_started == 0 and "ended with 1" in str(e) and "start" in str(e), (n, str(e))
                continue
            n_started += 1
            client = Client(server)
            assert client.add(10).status == 201
            n_threads = len(os.listdir(f"/proc/{server.process.pid}/task"))
            for _ in range(5):
                assert client.add(100).status == 201
            assert len(os.listdir(f"/proc/{server.process.pid}/task")) == n_threads  # none is started later
            assert server.stop() == 0
            if n_started == 2:
                break
        assert n_started > 0
    finally:
        shutil.rmtree(path, ignore_errors=True)


# ------------------------------------------------------------------------------------------------ memory

@pytest.mark.own_memory
def test_address_space_ends(tmp_path):
    """Maps and allocations fail while it serves. What was acknowledged stays, and it goes on when there is room again."""
    with Server(str(tmp_path / "data"), config="flush_rows: 300") as server:
        pid = server.process.pid
        client = Client(server)
        for _ in range(5):
            assert client.add(100).status == 201
        with open(f"/proc/{pid}/statm") as f:
            now = int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        old = resource.prlimit(pid, resource.RLIMIT_AS)
        resource.prlimit(pid, resource.RLIMIT_AS, (now + (1 << 20), old[1]))
        refused = []
        for _ in range(60):
            ids = [f"r{client.next + i}" for i in range(200)]
            try:
                status = client.add(200, text=2000).status
            except (EOFError, ConnectionError):  # no room for the request itself
                client.c = Connection(server.port_now)
                status = 503
            assert status in (201, 503), status
            if status == 503:
                refused += ids
            if len(refused) >= 1000:
                break
        assert refused and server.process.poll() is None, server.output()[-2000:]
        resource.prlimit(pid, resource.RLIMIT_AS, old)
        client.c = Connection(server.port_now)
        client.check(may_have=refused)
        answer = client.add(10)
        # a write that was durable and could not be applied: docs/architecture.md
        assert answer.status == 201 or (answer.status == 503 and "read only" in answer.json()["message"]), answer
        server.restart()
        client.c = Connection(server.port_now)
        client.check(may_have=refused)
        assert client.add(10).status == 201
        assert b"broken invariant" not in server.output()
