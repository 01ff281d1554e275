#!/usr/bin/env python3
"""migrating.py ROWS [GETS] [SEED] - fills the real server, migrates its directory, and compares the two servers.

Every collection is compared record by record (ids, documents, metadatas, uris, embeddings bit by bit, in order), then GETS
generated gets and filters (1,200) are sent to both. ROWS records are those of ../shared/data where it is, else made up. Also the
helpers of test_migrate.py. Ends with "N passed, N failed".
"""
import gzip
import hashlib
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import httpx
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "differential"))
from chroma_server import BINARY, Server  # noqa: E402
from exchange import upstream_binary  # noqa: E402

DEFAULT = "/api/v2/tenants/default_tenant/databases/default_database"
EVERYTHING = ["documents", "embeddings", "metadatas", "uris"]


class Upstream:
    """The real server on a directory that stays."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        os.makedirs(self.path, exist_ok=True)
        with socket.socket() as s:  # it cannot say which port it took, so one is chosen here
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.log = tempfile.NamedTemporaryFile("w+b", prefix="chroma-upstream-")
        self.process = subprocess.Popen([upstream_binary(), "run", "--path", self.path, "--port", str(self.port),
                                         "--host", "127.0.0.1"], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx.get(self.base + "/api/v2/heartbeat")
                return self
            except httpx.HTTPError:
                time.sleep(0.05)
        self.__exit__()
        raise RuntimeError("the real server does not come up")

    def end(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def __exit__(self, *_):
        self.end(signal.SIGTERM)
        self.log.close()


class Caller:
    """Requests to one server that must succeed."""

    def __init__(self, base):
        self.base, self.client = base, httpx.Client(timeout=120)

    def ask(self, method, path, body=None):
        r = self.client.request(method, self.base + path, json=body)
        assert r.status_code in (200, 201), f"{method} {path}: {r.status_code} {r.text[:300]}"
        return r.json()

    def post(self, path, body):
        return self.ask("POST", path, body)

    def get(self, path):
        return self.ask("GET", path)


# ------------------------------------------------------------------------------------------------ filling

def vectors(rng, n, dim):
    return rng.normal(size=(n, dim)).astype(np.float32).tolist()


def fact(i):
    """The metadata of record i: every type, keys that are there and keys that are not."""
    m = {"n": i, "k": f"v{i % 7}", "f": i / 8, "b": i % 3 == 0}
    if i % 4 == 0:
        m["tags"] = [f"t{i % 5}", f"t{i % 3}"]
    if i % 5 == 0:
        m["nums"] = [i % 10, 7]
    if i % 6 == 0:
        m["floats"] = [0.5, i % 4 / 2]
    if i % 9 == 0:
        m["flags"] = [True, i % 2 == 0]
    if i % 11 == 0:
        m["big"] = 2**53 + i
        m["schlüssel"] = "straße\U0001f600\u0000x"
    return m


def text(i):
    return None if i % 10 == 3 else "" if i % 10 == 4 else f"document {i} about {'apples' if i % 2 else 'Straßen'} no. {i % 13}"


def add(c, path, ids, embeddings, at, n=None):
    n = len(ids)
    c.post(path + "/add", {"ids": ids, "embeddings": embeddings, "documents": [text(at + i) for i in range(n)],
                           "uris": [f"file://{at + i}" if i % 3 else None for i in range(n)],
                           "metadatas": [fact(at + i) if (at + i) % 17 else None for i in range(n)]})


def change(c, path, rng, dim, ids):
    """Deletes, updates, upserts and adds of what is there already, so that the index and the log must be read together."""
    some = ids[::9]
    c.post(path + "/delete", {"ids": some[:20]})
    c.post(path + "/update", {"ids": some[20:30], "embeddings": vectors(rng, 10, dim)})
    c.post(path + "/update", {"ids": some[30:40], "metadatas": [{"n": None, "k": "updated", "f": 0.1}] * 10,
                              "documents": ["updated"] * 10})
    c.post(path + "/upsert", {"ids": some[40:45] + ["new 1", "new 2"], "embeddings": vectors(rng, 7, dim),
                              "uris": ["upserted"] * 7})
    c.post(path + "/add", {"ids": some[:3] + some[50:53], "embeddings": vectors(rng, 6, dim)})  # three are there
    c.post(path + "/delete", {"where": {"n": {"$in": [101, 102, 103]}}})
    c.post(path + "/update", {"ids": ["nobody"], "embeddings": vectors(rng, 1, dim)})


def fill(c, n=1150, dim=8, seed=1):
    """Collections of every kind; those of three spaces are synced to index files several times."""
    rng = np.random.default_rng(seed)
    d = DEFAULT + "/collections"

    def make(name, base=d, **more):
        return base + "/" + c.post(base, {"name": name, **more})["id"]

    for space in ("l2", "cosine", "ip"):
        p = make(f"synced-{space}", configuration={"hnsw": {"space": space, "sync_threshold": 200, "batch_size": 50}},
                 metadata={"s": space, "i": 3, "f": 0.25, "b": True})
        ids = [f"{space} {i}" for i in range(n)]
        for at in range(0, n, 130):
            part = ids[at:at + 130]
            add(c, p, part, vectors(rng, len(part), dim), at)
            if at == 520:
                change(c, p, rng, dim, ids[:500])
        change(c, p, rng, dim, ids[-500:])
    p = make("default-threshold")
    for at in range(0, 1100, 275):
        add(c, p, [f"r{i}" for i in range(at, at + 275)], vectors(rng, 275, 5), at)
    make("without-records", metadata={"x": "y"})
    p = make("log-only", configuration={"hnsw": {"space": "cosine"}})
    ids = [f"é{i}" for i in range(300)]
    add(c, p, ids, vectors(rng, 300, 3), 0)
    change(c, p, rng, 3, ids + ids)
    p = make("emptied")
    add(c, p, ["a", "b"], vectors(rng, 2, 4), 0)
    c.post(p + "/delete", {"ids": ["a", "b"]})
    p = make("to-be-renamed", metadata={"old": 1})
    add(c, p, ["x"], vectors(rng, 1, 2), 5)
    c.ask("PUT", p, {"new_name": "renamed", "new_metadata": {"new": "m"}, "new_configuration": {"hnsw": {"ef_search": 77}}})
    p = make("types-change")
    kinds = ["x", 1, 1.5, True, ["a"], [1], [0.5], [False]]
    ids = [f"{a} {b}" for a in range(8) for b in range(8)]
    c.post(p + "/add", {"ids": ids, "embeddings": vectors(rng, 64, 2), "metadatas": [{"m": kinds[i // 8]} for i in range(64)]})
    c.post(p + "/update", {"ids": ids, "metadatas": [{"m": kinds[i % 8]} for i in range(64)]})
    make("spann", configuration={"spann": {"space": "cosine"}})
    make("legacy-metadata", metadata={"hnsw:space": "ip", "hnsw:M": 5})
    make("function", configuration={"embedding_function": {"type": "known", "name": "default", "config": {"a": [1.5, "x"]}}})
    make("function-and-hnsw", configuration={"hnsw": {"ef_search": 3}, "embedding_function": {"type": "legacy"}})
    make("schema", schema={"defaults": {}, "keys": {"k": {"string": {"string_inverted_index": {"enabled": False, "config": {}}}}}})
    c.post("/api/v2/tenants", {"name": "acme"})
    c.post("/api/v2/tenants", {"name": "without databases"})
    for name in ("sales", "stock"):
        c.post("/api/v2/tenants/acme/databases", {"name": name})
        p = make("same-name", base=f"/api/v2/tenants/acme/databases/{name}/collections", metadata={"of": name})
        add(c, p, ["1", "2"], vectors(rng, 2, 6), 20)


def fill_with_facts(c, rows):
    """ROWS records of the shared data in three collections, each synced to index files many times and changed after."""
    base = os.path.join(os.environ.get("CHROMA_SHARED") or os.path.join(HERE, "..", "..", "..", "shared"), "data", "summaries-60k")
    rng = np.random.default_rng(7)
    facts, x = None, None
    if os.path.exists(base + ".f16.npy"):
        facts = json.load(gzip.open(base + ".json.gz", "rt"))
        x = np.load(base + ".f16.npy").astype(np.float32)
    at = 0
    for space, share in (("l2", 0.4), ("cosine", 0.3), ("ip", 0.3)):
        p = DEFAULT + "/collections/" + c.post(DEFAULT + "/collections", {
            "name": f"facts-{space}", "configuration": {"hnsw": {"space": space, "ef_construction": 20, "max_neighbors": 8}}})["id"]
        n, ids = int(rows * share), []
        for start in range(0, n, 1000):
            some = range(at + start, at + min(start + 1000, n))
            body = {"ids": [f"s{i}" for i in some], "metadatas": [fact(i) for i in some]}
            if facts:
                body["embeddings"] = (x[[i % len(x) for i in some]] * np.float32(1.5)).tolist()
                body["documents"] = [facts[i % len(facts)][4] for i in some]
            else:
                body["embeddings"] = vectors(rng, len(some), 32)
                body["documents"] = [text(i) for i in some]
            c.post(p + "/add", body)
            ids += body["ids"]
        change(c, p, rng, len(body["embeddings"][0]), ids[-1000:])
        at += n


# ------------------------------------------------------------------------------------------------ migrating

def migrate(source, target):
    return subprocess.run([BINARY, "migrate", "--from", source, "--path", target], capture_output=True, text=True, timeout=600)


def fingerprint(directory):
    """Every file with its bytes and its time of change."""
    out = {}
    for base, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                out[os.path.relpath(path, directory)] = (hashlib.sha256(f.read()).hexdigest(), os.stat(path).st_mtime_ns)
    return out


# ------------------------------------------------------------------------------------------------ comparing

def same_vector(a, b, space):
    if a == b or space != "cosine":
        return a == b
    na, nb = math.hypot(*a), math.hypot(*b)
    return len(a) == len(b) and all(math.isclose(x / na, y / nb, abs_tol=1e-6) for x, y in zip(a, b))


def exact(a, b):
    """Equal as JSON texts are: 1 and 1.0 are not, True and 1 are not. The order of keys means nothing."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def compare_answers(a, b, space, what):
    for key in a:
        if key == "embeddings" and a[key] is not None:
            assert len(a[key]) == len(b[key]), what
            for i, (x, y) in enumerate(zip(a[key], b[key])):
                assert same_vector(x, y, space), f"{what}: embedding of {a['ids'][i]}: {x[:4]} {y[:4]}"
        elif not exact(a[key], b[key]):
            first = next((i for i, (x, y) in enumerate(zip(a[key] or [], b[key] or [])) if not exact(x, y)), None)
            place = f"{first}: {a[key][first]!r} {b[key][first]!r}" if first is not None else f"{len(a[key] or [])} {len(b[key] or [])}"
            raise AssertionError(f"{what}: {key} at {place}")
    assert a.keys() == b.keys(), what


def databases(theirs, tenants):
    return [f"/api/v2/tenants/{t}/databases/{d['name']}" for t in tenants
            for d in theirs.get(f"/api/v2/tenants/{t}/databases")]


def collections(theirs, tenants):
    return [(base, col) for base in databases(theirs, tenants) for col in theirs.get(base + "/collections")]


def is_without_vectors(theirs, path):
    """Upstream answers embeddings of a collection whose records are all deleted with 500."""
    return theirs.get(path + "/count") == 0


def compare_catalogs(theirs, ours, tenants):
    n = 0
    for t in tenants:
        path = f"/api/v2/tenants/{t}"
        assert theirs.get(path) == ours.get(path)
        assert exact(theirs.get(path + "/databases"), ours.get(path + "/databases"))
        n += 2
    for base in databases(theirs, tenants):
        a, b = theirs.get(base + "/collections"), ours.get(base + "/collections")
        assert [x["name"] for x in a] == [x["name"] for x in b]
        for x, y in zip(a, b):
            for key in x:
                assert exact(x[key], y[key]), f"{x['name']}: {key}: {x[key]!r}\n{y[key]!r}"
            n += 1
    return n


def compare_records(theirs, ours, base, col, page=2000):
    path, space = f"{base}/collections/{col['id']}", col["configuration_json"]["hnsw"]["space"]
    n = theirs.get(path + "/count")
    assert ours.get(path + "/count") == n, col["name"]
    include = EVERYTHING if n > 0 else ["documents", "metadatas", "uris"]
    for at in range(0, max(n, 1), page):
        body = {"include": include, "limit": page, "offset": at}
        compare_answers(theirs.post(path + "/get", body), ours.post(path + "/get", body), space, f"{col['name']} from {at}")
    return n


def condition(rng, n):
    key = rng.choice(["n", "k", "f", "b", "tags", "nums", "absent", "big"])
    value = {"n": rng.randrange(n), "k": f"v{rng.randrange(8)}", "f": rng.randrange(2 * n) / 16, "b": rng.random() < 0.5,
             "tags": f"t{rng.randrange(6)}", "nums": rng.randrange(10), "absent": 1, "big": 2**53 + rng.randrange(n)}[key]
    if key in ("tags", "nums"):
        return {key: {rng.choice(["$contains", "$not_contains"]): value}}
    if key == "f" and value == int(value):
        value += 0.0625
    ops = ["$eq", "$ne", "$in", "$nin"] + (["$gt", "$gte", "$lt", "$lte"] if key in ("n", "f", "big") else [])
    op = rng.choice(ops)
    return {key: {op: [value, value] if op in ("$in", "$nin") else value}}


def where(rng, n, depth=0):
    if depth < 3 and rng.random() < 0.4:
        return {rng.choice(["$and", "$or"]): [where(rng, n, depth + 1) for _ in range(rng.choice([2, 2, 3]))]}
    return condition(rng, n)


def where_document(rng, depth=0):
    if depth < 2 and rng.random() < 0.3:
        return {rng.choice(["$and", "$or"]): [where_document(rng, depth + 1) for _ in range(2)]}
    word = rng.choice(["apples", "Straßen", "document 1", "no. 7", "updated", "the", "API", "absent word", "11 about"])
    return rng.choice([{"$contains": word}, {"$not_contains": word}, {"$regex": word.replace("1", "[12]")}])


def compare_gets(theirs, ours, found, n_gets, seed):
    """Generated gets with ids, filters, pages. *found: what collections() gave."""
    rng = random.Random(seed)
    filled = [(base, col) for base, col in found if theirs.get(f"{base}/collections/{col['id']}/count") > 0
              and col["name"] != "types-change"]  # upstream's filters also match what a key was before
    known = {}
    for i in range(n_gets):
        base, col = rng.choice(filled)
        path, space = f"{base}/collections/{col['id']}", col["configuration_json"]["hnsw"]["space"]
        if path not in known:
            known[path] = theirs.post(path + "/get", {"include": [], "limit": 20000})["ids"]
        ids = known[path]
        body = {"include": rng.choice([EVERYTHING, ["documents", "metadatas"], []])}
        if rng.random() < 0.8:
            body["where"] = where(rng, len(ids))
        if rng.random() < 0.4:
            body["where_document"] = where_document(rng)
        if rng.random() < 0.2:
            body["ids"] = rng.sample(ids, min(len(ids), 30)) + ["nobody"]
        body["limit"] = rng.choice([1, 10, 100, 1000])
        if rng.random() < 0.4:
            body["offset"] = rng.randrange(100)
        compare_answers(theirs.post(path + "/get", body), ours.post(path + "/get", body), space, f"get {i} (seed {seed}) {body}")
    return n_gets


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 60000
    n_gets = int(sys.argv[2]) if len(sys.argv) > 2 else 1200
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="chroma-migrate-") as d:
        source, copy, target = (os.path.join(d, name) for name in ("theirs", "copy", "ours"))
        begun = time.monotonic()
        with Upstream(source) as u:
            c = Caller(u.base)
            fill(c)
            fill_with_facts(c, rows)
        print(f"filled the real server with {rows} records and more: {time.monotonic() - begun:.0f} s", flush=True)
        before = fingerprint(source)
        shutil.copytree(source, copy)
        begun = time.monotonic()
        r = migrate(source, target)
        print(r.stderr + r.stdout + f"migrated: {time.monotonic() - begun:.1f} s, status {r.returncode}", flush=True)
        checks = [("the migration succeeds", lambda: r.returncode == 0 or 1 / 0),
                  ("the source is as it was", lambda: before == fingerprint(source) or 1 / 0)]
        with Upstream(copy) as u, Server(target) as s:
            theirs, ours = Caller(u.base), Caller(s.base)
            tenants = ["default_tenant", "acme", "without databases"]
            found = collections(theirs, tenants)
            checks.append(("the catalog", lambda: compare_catalogs(theirs, ours, tenants)))
            checks += [(f"records of {col['name']}", lambda b=base, c=col: compare_records(theirs, ours, b, c)) for base, col in found]
            checks += [(f"gets, part {i}", lambda i=i: compare_gets(theirs, ours, found, n_gets // 10, seed * 100 + i)) for i in range(10)]
            for name, check in checks:
                try:
                    print(f"{name}: {check()}", flush=True)
                    passed += 1
                except Exception as e:  # noqa: BLE001
                    print(f"FAILED {name}: {type(e).__name__}: {str(e)[:1500]}", flush=True)
                    failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
