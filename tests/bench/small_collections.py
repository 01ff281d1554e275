#!/usr/bin/env python3
"""What many small collections cost: N collections of 20 records each (384 dimensions, a document, metadata).

    tests/bench/small_collections.py [N ...]          default 1000 5000; CHROMA_BINARY names the server

For each N: the time to make them, then, after the server was left alone for SETTLE seconds (default 15) and again after a
restart: start until the first correct answer, anonymous memory, resident memory, open files, mappings, disk, processor time
of ten idle seconds. One line each, so that two runs can be compared with diff.
"""
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from chroma_server import Server  # noqa: E402

ROWS, DIM = 20, 384
BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"
SETTLE = float(os.environ.get("SETTLE", "15"))


class Client:
    def __init__(self, server):
        self.http = http.client.HTTPConnection("127.0.0.1", server.port_now)

    def ask(self, method, path, body=None):
        self.http.request(method, BASE + path, None if body is None else json.dumps(body),
                          {"content-type": "application/json"})
        answer = self.http.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        return json.loads(text)


def smaps(pid):
    sums = {}
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            words = line.split()
            if words[0].endswith(":") and words[-1] == "kB":
                sums[words[0][:-1]] = int(words[1])
    return sums


def costs(server):
    pid = server.process.pid
    memory = smaps(pid)
    maps = sum(1 for _ in open(f"/proc/{pid}/maps"))
    disk = int(subprocess.run(["du", "-sk", server.path], capture_output=True, text=True, check=True).stdout.split()[0])
    return (f"anonymous={memory['Anonymous'] / 1024:.1f}MiB resident={memory['Rss'] / 1024:.1f}MiB "
            f"files={len(os.listdir(f'/proc/{pid}/fd'))} maps={maps} disk={disk / 1024:.1f}MiB")


def cpu_ms(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def idle(server, seconds=10):
    before = cpu_ms(server.process.pid)
    time.sleep(seconds)
    return f"idle_cpu={(cpu_ms(server.process.pid) - before) / seconds:.2f}ms/s"


def measure(n):
    rng = random.Random(1)
    path = tempfile.mkdtemp(prefix="chroma-collections-")
    vectors = [[round(rng.gauss(0, 1), 4) for _ in range(DIM)] for _ in range(ROWS)]
    server = Server(path).start()
    print(f"{n} collections, empty directory: {costs(server)}")
    client = Client(server)
    began, ids = time.monotonic(), []
    for i in range(n):
        made = client.ask("POST", "", {"name": f"c{i:05}"})
        ids.append(made["id"])
        client.ask("POST", f"/{made['id']}/add", {
            "ids": [f"r{k}" for k in range(ROWS)], "embeddings": vectors,
            "documents": [f"text {k} of collection {i}" for k in range(ROWS)],
            "metadatas": [{"k": k} for k in range(ROWS)]})
    print(f"{n} collections, made in {time.monotonic() - began:.1f} s: {costs(server)}")
    time.sleep(SETTLE)
    print(f"{n} collections, after {SETTLE:.0f} s: {costs(server)} {idle(server)}")
    assert server.stop() == 0
    began = time.monotonic()
    server.start()
    first = Client(server)
    assert first.ask("GET", f"/{ids[n // 2]}/count") == ROWS
    counted = time.monotonic() - began
    got = first.ask("POST", f"/{ids[n // 2]}/query", {"query_embeddings": [vectors[3]], "n_results": 1})
    assert got["ids"] == [["r3"]], got
    print(f"{n} collections, restarted: count={counted * 1000:.0f}ms query={(time.monotonic() - began) * 1000:.0f}ms "
          f"{costs(server)}")
    print(f"{n} collections, idle after the restart: {idle(server)} {costs(server)}")
    assert server.stop() == 0
    subprocess.run(["rm", "-rf", path], check=True)


if __name__ == "__main__":
    for count in [int(a) for a in sys.argv[1:]] or [1000, 5000]:
        measure(count)
