"""Several clients at once create, fill, query, change and delete collections and databases, with tails so small that flushes
and merges never stop. STRESS_SECONDS and STRESS_SEED repeat or lengthen a run.

First everything is shared and reset now and then: nothing can be said about the data, but every answer must be one that a
client can cause. Then each client also has collections of its own, beside the shared ones, and knows exactly what they
hold: compared now and then, at the end, and after a restart."""
import http.client
import json
import os
import random
import threading
import time

from chroma_server import Server

SECONDS = float(os.environ.get("STRESS_SECONDS", "16"))
SEED = int(os.environ.get("STRESS_SEED", str(random.SystemRandom().randrange(1 << 30))))
CLIENTS, DIM = 6, 16
TENANT = "/api/v2/tenants/default_tenant/databases"
WORDS = ["red", "green", "blue", "white", "black"]


class Client:
    def __init__(self, port, number, seed):
        self.c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.number, self.rng = number, random.Random(seed)

    def call(self, method, path, body=None, allowed=(200, 201)):
        self.c.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
        answer = self.c.getresponse()
        data = answer.read()
        assert answer.status in allowed, f"{method} {path}: {answer.status} {data[:300]}"
        return answer.status, json.loads(data) if data else None

    def vector(self):
        return [round(self.rng.gauss(0, 1), 3) for _ in range(DIM)]

    def rows(self, ids, parts=("embeddings", "documents", "metadatas")):
        r = self.rng
        make = {"embeddings": self.vector, "documents": lambda: f"{r.choice(WORDS)} {r.choice(WORDS)} {r.randrange(99)}",
                "metadatas": lambda: {"n": r.randrange(20), "word": r.choice(WORDS)}}
        return {"ids": ids, **{p: [make[p]() for _ in ids] for p in parts}}


class Shared(Client):
    """Works on what others work on too: any collection may be gone at any moment."""
    GONE = (200, 201, 404, 409)

    def step(self):
        r = self.rng
        db = f"{TENANT}/shared{r.randrange(3)}"
        kind = r.choices(["database", "drop database", "drop", "write", "read"], [2, 1, 4, 40, 30])[0]
        if kind == "database":
            self.call("POST", TENANT, {"name": db[len(TENANT) + 1:]}, self.GONE)
        elif kind == "drop database":
            self.call("DELETE", db, None, self.GONE)
        elif kind == "drop":
            self.call("DELETE", f"{db}/collections/col{r.randrange(3)}", None, self.GONE)
        else:
            status, col = self.call("POST", f"{db}/collections", {"name": f"col{r.randrange(3)}", "get_or_create": True},
                                    (400, *self.GONE))  # 400: no such database
            if status == 200:
                (self.write if kind == "write" else self.read)(f"{db}/collections/{col['id']}")

    def write(self, col):
        r = self.rng
        ids = [f"id{i}" for i in r.sample(range(400), r.choice([1, 5, 40]))]
        what = r.choice(["add", "upsert", "update", "delete", "where"])
        if what == "where":
            self.call("POST", col + "/delete", {"where": {"n": r.randrange(20)}}, self.GONE)
        elif what == "delete":
            self.call("POST", col + "/delete", {"ids": ids}, self.GONE)
        else:
            self.call("POST", f"{col}/{what}", self.rows(ids), self.GONE)

    def read(self, col):
        status, found = self.call("POST", col + "/query", {
            "query_embeddings": [self.vector()], "n_results": 7,
            **self.rng.choice([{}, {"where": {"word": "red"}}, {"where_document": {"$contains": "blue"}}])}, self.GONE)
        if status == 200:
            assert len(set(found["ids"][0])) == len(found["ids"][0]) <= 7
            assert found["distances"][0] == sorted(found["distances"][0])
        status, all_of_it = self.call("POST", col + "/get", {"include": ["metadatas"]}, self.GONE)
        if status == 200:
            assert len(set(all_of_it["ids"])) == len(all_of_it["ids"])


class Owner(Shared):
    """Has a database of its own beside the shared ones, and a model of it: name -> (id, {record: (document, meta)})."""

    def __init__(self, *args):
        super().__init__(*args)
        self.db, self.model, self.n_made = f"{TENANT}/own{self.number}", {}, 0

    def begin(self):
        self.call("POST", TENANT, {"name": f"own{self.number}"})

    def step(self):
        r = self.rng
        if r.random() < 0.3:
            return super().step()
        if len(self.model) < 2 or r.random() < 0.02:
            self.n_made += 1
            _, col = self.call("POST", f"{self.db}/collections", {"name": f"own-{self.n_made}"})
            self.model[col["name"]] = (col["id"], {})
        if len(self.model) > 3:
            name = r.choice(sorted(self.model))
            self.call("DELETE", f"{self.db}/collections/{name}")
            gone = self.model.pop(name)[0]
            self.call("POST", f"{self.db}/collections/{gone}/get", {}, (404,))
        name = r.choice(sorted(self.model))
        self.change(*self.model[name])
        if r.random() < 0.1:
            self.compare(name)

    def change(self, col, model):
        r, path = self.rng, f"{self.db}/collections/{col}"
        ids = [f"id{i}" for i in r.sample(range(300), r.choice([1, 3, 30]))]
        what = r.choice(["add", "upsert", "update", "delete", "where"])
        if what == "delete":
            self.call("POST", path + "/delete", {"ids": ids})
            for i in ids:
                model.pop(i, None)
        elif what == "where":
            n = r.randrange(20)
            doomed = [i for i, (_, meta) in model.items() if meta["n"] == n]
            _, answer = self.call("POST", path + "/delete", {"where": {"n": n}})
            assert answer["deleted"] == len(doomed), (answer, doomed)
            for i in doomed:
                del model[i]
        else:
            rows = self.rows(ids)
            self.call("POST", f"{path}/{what}", rows)
            for i, document, meta in zip(ids, rows["documents"], rows["metadatas"]):
                if (i in model) != (what == "add") and (what != "update" or i in model) or what == "upsert":
                    model[i] = (document, meta)

    def compare(self, name):
        col, model = self.model[name]
        path = f"{self.db}/collections/{col}"
        _, found = self.call("POST", path + "/get", {})
        assert dict(zip(found["ids"], zip(found["documents"], found["metadatas"]))) == model, f"{self.db} {name}"
        assert len(found["ids"]) == len(model)
        assert self.call("GET", path + "/count")[1] == len(model)
        _, red = self.call("POST", path + "/get", {"where": {"word": "red"}, "where_document": {"$contains": "blue"}})
        assert set(red["ids"]) == {i for i, (d, m) in model.items() if m["word"] == "red" and "blue" in d}
        if model:
            _, near = self.call("POST", path + "/query", {"query_embeddings": [self.vector()], "n_results": 1000})
            assert sorted(near["ids"][0]) == sorted(model)

    def compare_all(self):
        _, listed = self.call("GET", f"{self.db}/collections")
        assert {c["name"]: c["id"] for c in listed} == {name: col for name, (col, _) in self.model.items()}
        for name in self.model:
            self.compare(name)


def run_all(clients, seconds, extra=None):
    until, faults = time.monotonic() + seconds, []

    def work(client):
        try:
            while time.monotonic() < until and not faults:
                client.step()
        except Exception as e:  # noqa: BLE001 - told by the main thread
            faults.append(e)

    threads = [threading.Thread(target=work, args=(c,)) for c in clients]
    for t in threads:
        t.start()
    while extra and time.monotonic() < until and not faults:
        extra()
    for t in threads:
        t.join()
    assert not faults, f"seed {SEED}: {faults[0]!r}"


def test_stress(tmp_path):
    print(f"seed {SEED}")
    with Server(str(tmp_path / "data"), config="flush_rows: 64\nclose_after_s: 1\nmemory_budget_bytes: 4000000") as server:
        resetter = Client(server.port_now, -1, SEED)

        def reset():
            time.sleep(resetter.rng.random())
            resetter.call("POST", "/api/v2/reset")

        run_all([Shared(server.port_now, i, SEED + i) for i in range(CLIENTS)], SECONDS / 4, reset)
        resetter.call("POST", "/api/v2/reset")
        owners = [Owner(server.port_now, i, SEED + 100 + i) for i in range(CLIENTS)]
        for o in owners:
            o.begin()
        for _ in range(2):
            run_all(owners, SECONDS * 3 / 8)
            for o in owners:
                o.compare_all()
            server.restart()
            for o in owners:
                o.c = http.client.HTTPConnection("127.0.0.1", server.port_now, timeout=120)
                o.compare_all()
