"""What a golden data directory holds, and the questions whose answers it must go on giving.

make_golden.py fills a server of some version with it and keeps the answers; tests/e2e/test_golden.py asks today's server the
same. All vectors are small whole numbers and halves, so distances are exact in any order of adding.
"""

import json
import random
import urllib.error
import urllib.request

ROWS, DIM = 330, 64
TENANT, DATABASE = "golden tenant", "golden-database"


class Server:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}/api/v2"

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as e:
            e.msg += f" to {method} {path}: {e.read().decode()}"
            raise

    def in_database(self, method, path, body=None):
        root = f"/tenants/{TENANT}/databases/{DATABASE}".replace(" ", "%20")
        return self.call(method, root + path, body)

    def collection(self, name):
        return self.in_database("GET", f"/collections/{name}")["id"]


def vector(rng):
    return [rng.randint(-8, 8) / 2 for _ in range(DIM)]


def document(i):
    if i % 7 == 0:
        return None
    if i % 50 == 1:
        return "xy"
    subject = ("cats", "dogs", "birds", "Löwen")[i % 4]
    return f"Document {i} is about {subject}." + " It goes on and on." * (i % 60)


def metadata(i):
    if i % 11 == 0:
        return None
    return {
        "number": i,
        "third": i / 3,
        "name": f"name {i % 10}",
        "even": i % 2 == 0,
        "tags": ["a", f"t{i % 3}"],
        "numbers": [i % 5, 7],
        "sparse": {"#type": "sparse_vector", "indices": [i % 5, 7 + i % 3], "values": [0.5, 1.5]},
    }


def rows(first, n, seed):
    rng = random.Random(seed)
    numbers = range(first, first + n)
    return {
        "ids": [f"id {i}" for i in numbers],
        "embeddings": [vector(rng) for _ in numbers],
        "documents": [document(i) for i in numbers],
        "metadatas": [metadata(i) for i in numbers],
        "uris": [f"file:///{i}" if i % 3 == 0 and metadata(i) else None for i in numbers],
    }


def try_fork(server, name, new_name):
    """Versions before forks answer 404."""
    try:
        server.in_database("POST", f"/collections/{server.collection(name)}/fork", {"new_name": new_name})
    except urllib.error.HTTPError:
        pass


def fill(server, wait_for_flush):
    server.call("POST", "/tenants", {"name": TENANT})
    server.call("POST", f"/tenants/{TENANT}/databases".replace(" ", "%20"), {"name": DATABASE})
    for name, space in (("first", "l2"), ("second", "ip"), ("gone", "cosine")):
        made = {"name": name, "metadata": {"about": name, "n": 3}, "configuration": {"hnsw": {"space": space}}}
        server.in_database("POST", "/collections", made)
        path = f"/collections/{server.collection(name)}"
        server.in_database("POST", path + "/add", rows(0, ROWS, name))
    wait_for_flush()
    server.in_database("DELETE", "/collections/gone")
    first = f"/collections/{server.collection('first')}"
    server.in_database("POST", first + "/delete", {"where": {"number": {"$lt": 20}}})
    server.in_database("POST", first + "/upsert", rows(ROWS - 10, 270, "again"))
    wait_for_flush()
    try_fork(server, "first", "fork")
    # what follows is in the log only
    server.in_database("POST", first + "/add", rows(1000, 5, "tail"))
    server.in_database("POST", first + "/update", {"ids": ["id 100"], "documents": ["changed at the end"]})
    server.in_database("POST", first + "/delete", {"ids": ["id 101", "id 1001"]})


INCLUDE = ["documents", "metadatas", "uris", "embeddings"]
FILTERS = [
    {"where": {"number": {"$gte": 300}}},
    {"where": {"name": "name 3"}},
    {"where": {"$or": [{"third": {"$lt": 8}}, {"even": True}]}},
    {"where_document": {"$contains": "Löwen"}},
    {"where_document": {"$contains": "xy"}},
    {"where_document": {"$regex": "Document [0-9]*5 is"}},
    {"where": {"name": {"$nin": ["name 1", "name 2"]}}, "where_document": {"$not_contains": "cats"}},
]


def questions():
    rng = random.Random("question")
    return [(f, [vector(rng)]) for f in [{}, *FILTERS]]


EXACT = 2  # so many of the questions are compared with distances computed here, which takes a while


def exact(all_rows, space, allowed, query, n):
    """The n smallest distances, computed here."""
    found = []
    for id_, v in zip(all_rows["ids"], all_rows["embeddings"]):
        if id_ in allowed:
            pairs = zip(v, query)
            found.append(sum((a - b) ** 2 for a, b in pairs) if space == "l2" else 1 - sum(a * b for a, b in pairs))
    return sorted(found)[:n]


def ask(server, is_same_program=False):
    """What a server answers. The nearest rows may get better with versions: they are part of the answers of the same program
    only, and else compared with exact ones here."""
    answers = {}
    for made in server.in_database("GET", "/collections"):
        name, path = made["name"], f"/collections/{made['id']}"
        space = made["configuration_json"]["hnsw"]["space"]
        rows = server.in_database("POST", path + "/get", {"include": INCLUDE})
        filtered = [server.in_database("POST", path + "/get", {**f, "include": []})["ids"] for f in FILTERS]
        answers[name] = {
            "metadata": made["metadata"],
            "dimension": made["dimension"],
            "count": server.in_database("GET", path + "/count"),
            "all": {part: rows[part] for part in ("ids", *INCLUDE)},
            "filters": filtered,
        }
        asked = questions() if is_same_program else questions()[:EXACT]
        for (f, vectors), ids in zip(asked, [rows["ids"], *filtered]):
            body = {"query_embeddings": vectors, "n_results": 7, "include": ["distances"], **f}
            found = server.in_database("POST", path + "/query", body)
            if is_same_program:
                answers[name].setdefault("nearest", []).append([found["ids"], found["distances"]])
                continue
            for query, got, distances in zip(vectors, found["ids"], found["distances"]):
                best = exact(rows, space, set(ids), query, 7)
                assert set(got) <= set(ids) and len(got) == len(best) and distances == sorted(distances)
                assert sum(distances) <= sum(best) + 0.05 * sum(map(abs, best)), (name, f, distances, best)
    return answers
