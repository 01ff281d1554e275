"""What the soak's clients believe that the server holds, and how they ask it.

A client owns a tenant (databases, collections, records) and, in a collection that all share, the records whose ids begin
with its number. Nobody else changes those, so that it knows exactly what has to be there. Embeddings are small whole
numbers: distances are exact in float32 and can be compared without a tolerance."""
import http.client
import json
import math
import random

DIM = 8
WORDS = ["red", "green", "blue", "white", "black"]
ROOT = "/api/v2/tenants"
SHARED = f"{ROOT}/default_tenant/databases/default_database/collections"


class Refused(Exception):
    """An answer that is neither yes nor the end of the connection: (status, text)."""


class Disagreement(Exception):
    pass


class Collection:
    def __init__(self, id, space, metadata, rows=None):
        self.id, self.space, self.metadata = id, space, metadata
        self.rows = rows if rows is not None else {}  # id -> (embedding, document, metadata), in the order of creation

    def copy(self, id=None):
        return Collection(id or self.id, self.space, self.metadata, dict(self.rows))

    def view(self):
        return [self.metadata, [[i, *row] for i, row in self.rows.items()]]


class Model:
    def __init__(self):
        self.databases = {}  # name -> {collection's name: Collection}
        self.mine = Collection(None, "l2", None)  # in the shared collection

    def copy(self):
        m = Model()
        m.databases = {d: {n: c.copy() for n, c in cs.items()} for d, cs in self.databases.items()}
        m.mine = self.mine.copy()
        return m

    def view(self):
        return {"tenant": {d: {n: c.view() for n, c in sorted(cs.items())} for d, cs in sorted(self.databases.items())},
                "shared": self.mine.view()[1]}


def distance(space, a, b):
    if space == "ip":
        return 1.0 - sum(x * y for x, y in zip(a, b))
    if space == "cosine":
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
        return 1.0 - (sum(x * y for x, y in zip(a, b)) / norms if norms > 0 else 0.0)
    return float(sum((x - y) ** 2 for x, y in zip(a, b)))


class Asker:
    def __init__(self, port):
        self.c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def call(self, method, path, body=None):
        self.c.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
        answer = self.c.getresponse()
        data = answer.read()
        if answer.status not in (200, 201):
            raise Refused(answer.status, f"{method} {path}: {data[:300]!r}")
        return json.loads(data) if data else None


def read_rows(asker, path, where=None):
    body = {"include": ["embeddings", "documents", "metadatas"]}
    got = asker.call("POST", f"{path}/get", {**body, "where": where} if where else body)
    rows = [[i, e, d, m] for i, e, d, m in zip(got["ids"], got["embeddings"], got["documents"], got["metadatas"])]
    if len({r[0] for r in rows}) != len(rows):
        raise Disagreement(f"{path}: an id twice")
    return rows


def read_tenant(asker, tenant):
    """All of it, and the ids of its collections."""
    databases, ids = {}, {}
    for database in asker.call("GET", f"{ROOT}/{tenant}/databases"):
        path = f"{ROOT}/{tenant}/databases/{database['name']}/collections"
        collections = {}
        for c in asker.call("GET", path):
            rows = read_rows(asker, f"{path}/{c['id']}")
            n = asker.call("GET", f"{path}/{c['id']}/count")
            if n != len(rows):
                raise Disagreement(f"{path}/{c['id']}: count says {n}, get gives {len(rows)}")
            collections[c["name"]] = [c["metadata"], rows]
            ids[database["name"], c["name"]] = c["id"]
        databases[database["name"]] = dict(sorted(collections.items()))
    return dict(sorted(databases.items())), ids


def difference(expected, found):
    """The first place where two views differ, in words."""
    for part in ("tenant", "shared"):
        if expected[part] == found[part]:
            continue
        if part == "shared":
            return "shared: " + rows_difference(expected[part], found[part])
        for d in sorted(set(expected[part]) | set(found[part])):
            a, b = expected[part].get(d), found[part].get(d)
            if a == b:
                continue
            if a is None or b is None:
                return f"database {d} is {'lost' if b is None else 'there again'}"
            for n in sorted(set(a) | set(b)):
                if a.get(n) == b.get(n):
                    continue
                if n not in a or n not in b:
                    return f"collection {d}/{n} is {'lost' if n not in b else 'there again'}"
                if a[n][0] != b[n][0]:
                    return f"metadata of {d}/{n}: expected {a[n][0]}, found {b[n][0]}"
                return f"{d}/{n}: " + rows_difference(a[n][1], b[n][1])
    return "none"


def rows_difference(expected, found):
    a, b = {r[0]: r for r in expected}, {r[0]: r for r in found}
    lost, extra = [i for i in a if i not in b], [i for i in b if i not in a]
    changed = [(a[i], b[i]) for i in a if i in b and a[i] != b[i]]
    if lost or extra or changed:
        return (f"{len(expected)} expected, {len(found)} found; lost {lost[:5]} ({len(lost)}), extra {extra[:5]} "
                f"({len(extra)}), changed {changed[:2]} ({len(changed)})")
    return "the same records in another order"


class Random(random.Random):
    def vector(self):
        return [self.randrange(-9, 10) for _ in range(DIM)]

    def metadata(self, owner):
        m = {"owner": owner, "n": self.randrange(20), "word": self.choice(WORDS)}
        if self.random() < 0.3:
            m[f"extra{self.randrange(4)}"] = self.choice([True, 0.5, "x" * self.randrange(40)])
        return m

    def document(self):
        return f"{self.choice(WORDS)} {self.choice(WORDS)} {self.randrange(99)} " + "y" * self.choice([0, 0, 40, 400])
