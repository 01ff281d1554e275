"""What the server holds, and that it gives back what it does not need: many idle collections, dropped collections, deleted rows, a
memory budget, and a mixed load that goes on. Numbers are of memory, files and mappings, with wide margins; nothing is timed but
how long is waited.

    python3 test_memory.py SECONDS      the mixed load alone (make steady: 600), a line every ten seconds"""
import http.client
import json
import os
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from chroma_server import Server, wait_until  # noqa: E402

BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"
SEED = int(os.environ.get("MEMORY_SEED", "1"))
MIB = 1 << 20


class Client:
    def __init__(self, server):
        self.c = http.client.HTTPConnection("127.0.0.1", server.port_now, timeout=120)

    def ask(self, method, path, body=None, allowed=(200, 201)):
        self.c.request(method, BASE + path, None if body is None else json.dumps(body),
                       {"content-type": "application/json"})
        answer = self.c.getresponse()
        data = answer.read()
        assert answer.status in allowed, f"{method} {path}: {answer.status} {data[:300]}"
        return json.loads(data) if answer.status < 300 else answer.status

    def make(self, name):
        return self.ask("POST", "", {"name": name})["id"]

    def metrics(self):
        self.c.request("GET", "/metrics")
        lines = self.c.getresponse().read().decode().splitlines()
        return {w[0]: float(w[1]) for w in (line.split() for line in lines if not line.startswith("#"))}


def rows(rng, ids, dim, words=8):
    return {"ids": ids, "embeddings": [[round(rng.gauss(0, 1), 3) for _ in range(dim)] for _ in ids],
            "documents": [" ".join(rng.choice(["red", "green", "blue", "white"]) for _ in range(words)) for _ in ids],
            "metadatas": [{"n": rng.randrange(1000)} for _ in ids]}


def anonymous(server):
    with open(f"/proc/{server.process.pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Anonymous:"))


def open_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def mappings(server):
    with open(f"/proc/{server.process.pid}/maps") as f:
        return sum(1 for _ in f)


def disk(path):
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:  # just removed
                pass
    return total


def test_a_thousand_idle_collections(tmp_path):
    n, rng = 1000, random.Random(SEED)
    server = Server(str(tmp_path / "data"), config="close_after_s: 2")
    with server:
        client = Client(server)
        empty = anonymous(server), mappings(server), open_files(server)
        ids = []
        for i in range(n):
            ids.append(client.make(f"col{i}"))
            client.ask("POST", f"/{ids[-1]}/add", rows(rng, [f"r{k}" for k in range(20)], 64))
        # all of it reaches index files, and the collections are closed
        wait_until(lambda: client.metrics()["chroma_open_collections"] == 0, 240, "all collections are closed")
        assert client.metrics()["chroma_tail_bytes"] == 0
        assert mappings(server) < empty[1] + 100 and open_files(server) <= empty[2] + 4
        server.restart()
        client = Client(server)
        assert client.metrics()["chroma_open_collections"] == 0
        assert mappings(server) < empty[1] + 100 and open_files(server) <= empty[2] + 4
        assert anonymous(server) < empty[0] + 20 * MIB
        for i in rng.sample(range(n), 20):
            assert client.ask("GET", f"/{ids[i]}/count") == 20
        assert client.metrics()["chroma_open_collections"] == 0  # they are counted without
        for i in rng.sample(range(n), 20):
            assert len(client.ask("POST", f"/{ids[i]}/get", {})["ids"]) == 20
        assert client.metrics()["chroma_open_collections"] >= 15  # the first may be closed again
        wait_until(lambda: client.metrics()["chroma_open_collections"] == 0, 120, "they are closed again")


def test_dropped_and_deleted_gives_disk_back(tmp_path):
    path, rng = str(tmp_path / "data"), random.Random(SEED)
    with Server(path, config="flush_rows: 500") as server:
        client = Client(server)
        kept, dropped = client.make("kept"), client.make("dropped")
        for col in kept, dropped:
            for start in range(0, 5000, 500):
                client.ask("POST", f"/{col}/add", rows(rng, [f"{start + i}" for i in range(500)], 128, words=30))
        collections = os.path.join(path, "collections")
        # quiet: all is in files, merged, and the log is down to a small file
        wait_until(lambda: disk(os.path.join(path, "wal")) <= MIB, 120, "the log is given back")
        wait_until(lambda: client.metrics()["chroma_tail_rows"] == 0, 60, "everything is in files")
        before = disk(collections)
        client.ask("DELETE", "/dropped")
        wait_until(lambda: len(os.listdir(collections)) == 1, 60, "the files of the dropped collection go")
        wait_until(lambda: disk(collections) < before * 0.6, 60, "its space comes back")
        before = disk(collections)
        client.ask("POST", f"/{kept}/delete", {"ids": [f"{i}" for i in range(4500)]})
        assert client.ask("GET", f"/{kept}/count") == 500
        wait_until(lambda: disk(collections) < before * 0.3, 120, "deleted rows leave the files")
        got = client.ask("POST", f"/{kept}/get", {"include": ["documents"]})
        assert sorted(got["ids"], key=int) == [f"{i}" for i in range(4500, 5000)]


def test_the_budget_holds_while_many_collections_are_written(tmp_path):
    budget, rng = 24 * MIB, random.Random(SEED)
    with Server(str(tmp_path / "data"), config=f"memory_budget_bytes: {budget}") as server:
        client = Client(server)
        ids = [client.make(f"col{i}") for i in range(50)]
        block = rows(rng, [f"{i}" for i in range(60)], 256)
        written = {col: 0 for col in ids}
        highest = 0
        for turn in range(16):  # 48,000 rows of 1 KiB and more: twice the budget, four times the tails' share
            for col in ids:
                block["ids"] = [f"{turn}-{i}" for i in range(60)]
                client.ask("POST", f"/{col}/add", block)
                written[col] += 60
            m = client.metrics()
            highest = max(highest, m["chroma_tail_bytes"])
            assert m["chroma_tail_bytes"] < budget
        assert highest > 0
        wait_until(lambda: client.metrics()["chroma_mapped_bytes"] <= budget * 3 / 4, 120, "the rest is closed")
        for col in ids:
            assert client.ask("GET", f"/{col}/count") == written[col]
        assert client.metrics()["chroma_memory_budget_bytes"] == budget


# --- mixed load ------------------------------------------------------------------------------------------------------

def mixed_load(path, seconds, say=lambda line: None):
    """Writes, replaces, deletes, queries, makes and drops, with about the same number of rows in the end as after the first
    quarter. Memory, disk and open files of the last third must not be above those of the second."""
    rng = random.Random(SEED)
    dim, n_ids, samples = 96, 600, []
    with Server(path, config="flush_rows: 400\nclose_after_s: 5") as server:
        client = Client(server)
        standing = [client.make(f"standing{i}") for i in range(8)]
        made, began, n_requests = 0, time.monotonic(), 0
        next_sample = 2.0 if seconds < 120 else 10.0
        step, ends = next_sample, began + seconds
        short_lived = []
        while time.monotonic() < ends:
            col = rng.choice(standing)
            kind = rng.random()
            ids = list({f"{rng.randrange(n_ids)}" for _ in range(30)})
            if kind < 0.45:
                client.ask("POST", f"/{col}/upsert", rows(rng, ids, dim))
            elif kind < 0.6:
                client.ask("POST", f"/{col}/delete", {"ids": ids})
            elif kind < 0.85:
                client.ask("POST", f"/{col}/query",
                           {"query_embeddings": rows(rng, ["x"], dim)["embeddings"], "n_results": 5}, (200, 400))
            elif kind < 0.93:
                client.ask("POST", f"/{col}/get", {"where": {"n": {"$lt": 100}}, "limit": 50})
            else:
                short_lived.append((f"short{made}", client.make(f"short{made}")))
                made += 1
                client.ask("POST", f"/{short_lived[-1][1]}/add", rows(rng, [f"{i}" for i in range(20)], dim))
                if len(short_lived) > 10:
                    client.ask("DELETE", "/" + short_lived.pop(0)[0])
            n_requests += 1
            if time.monotonic() - began >= next_sample:
                samples.append((anonymous(server), disk(path), open_files(server), mappings(server)))
                say(f"{next_sample:5.0f} s  requests {n_requests:7}  anonymous {samples[-1][0] / MIB:6.1f} MiB  "
                    f"disk {samples[-1][1] / MIB:6.1f} MiB  files {samples[-1][2]:3}  mappings {samples[-1][3]}")
                next_sample += step
        third = len(samples) // 3
        assert third >= 3, "too short to say anything"
        for i, (name, slack) in enumerate([("anonymous memory", 4 * MIB), ("disk", 24 * MIB), ("open files", 8),
                                           ("mappings", 100)]):
            before = max(s[i] for s in samples[third:2 * third])
            after = max(s[i] for s in samples[2 * third:])
            assert after <= before * 1.15 + slack, f"{name} grows: {before} in the second third, {after} in the last"
        # and when it is over, hardly more than the data is left
        wait_until(lambda: disk(os.path.join(path, "wal")) <= MIB, 120, "the log is given back")
        wait_until(lambda: client.metrics()["chroma_tail_rows"] == 0, 120, "everything is in files")
        say(f"quiet    anonymous {anonymous(server) / MIB:6.1f} MiB  disk {disk(path) / MIB:6.1f} MiB")


def test_a_mixed_load_does_not_grow(tmp_path):
    mixed_load(str(tmp_path / "data"), float(os.environ.get("STEADY_SECONDS", "60")))


if __name__ == "__main__":
    place = tempfile.mkdtemp(prefix="chroma-steady-")
    try:
        mixed_load(place, float(sys.argv[1]) if len(sys.argv) > 1 else 600.0, lambda line: print(line, flush=True))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print("steady: ok")
