"""Mixed load with random kills for as long as asked, the whole store compared with a model.

    soak.py --seconds 3600 [--seed N] [--clients 4] [--binary build/chroma] [--dir DIR] [--kill-after 0.3,5]

Several clients add, upsert, update, delete (by id and by filter), get, query, count, and create, drop, rename, fork and modify collections
and databases. The server is killed (SIGKILL, sometimes SIGTERM) at random moments and started again. Every acknowledged
request is applied to the client's model; the one request that a client has without an answer may be there whole or not at
all. After each start, and now and then in between, everything that the server holds is read and compared with the
models, and queries are compared with an exact search. If the binary has `verify`, it looks at the directory after some of the kills.

Prints the seed, and how much was done. At the first disagreement it stops with status 1 and leaves the directory, the server's output
and what was expected and found where it says. The seed settles what clients ask; what the kills hit, the machine settles."""
import argparse
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import chroma_server  # noqa: E402
from model import (ROOT, SHARED, WORDS, Asker, Collection, Disagreement, Model, Random, Refused, difference,  # noqa: E402
                   distance, read_rows, read_tenant)

ROWS_MAX, COLLECTIONS_MAX, DATABASES_MAX = 500, 4, 3
CONFIG = "flush_rows: 64\nclose_after_s: 1\nlog_bytes: 2000000\nmemory_budget_bytes: 8000000\nusage.store_interval_s: 1\n"
BUSY = {503}  # refused, but perhaps only after it was begun


class Busy(Exception):
    """The connection is given up until the next start, and what is there is looked at then."""


class Client:
    def __init__(self, number, seed):
        self.number, self.rng = number, Random(seed)
        self.tenant, self.model, self.pending = f"soak{number}", Model(), None
        self.n_names = self.n_ids = self.n_done = self.n_compared = self.n_queries = self.n_busy = 0
        self.shared = None  # the shared collection's path

    # --- what it does

    def name(self, what):
        self.n_names += 1
        return f"{what}-{self.number}-{self.n_names}"

    def step(self, asker):
        r, m = self.rng, self.model
        if not m.databases:
            return self.create_database(asker)
        kind = r.choices(["write", "shared", "read", "collection", "database", "compare"], [50, 25, 20, 8, 0.7, 0.5])[0]
        places = [(d, n) for d, cs in sorted(m.databases.items()) for n in sorted(cs)]
        if kind == "compare":
            return self.compare(asker)
        if kind == "database":
            if len(m.databases) < DATABASES_MAX:
                return self.create_database(asker)
            return self.drop_database(asker, r.choice(sorted(m.databases)))
        if kind == "shared":
            return self.write(asker, self.shared, lambda model: model.mine)
        if kind == "collection" or not places:
            return self.change_collection(asker, places)
        d, n = r.choice(places)
        path = f"{ROOT}/{self.tenant}/databases/{d}/collections/{m.databases[d][n].id}"
        if kind == "write":
            return self.write(asker, path, lambda model: model.databases[d][n])
        return self.read(asker, path, m.databases[d][n])

    def do(self, asker, method, path, body, change):
        """`change(model, answer)`: what it does if it is done; answer None: it was, but the answer got lost."""
        self.pending = change
        try:
            answer = asker.call(method, path, body)
        except Refused as e:
            if e.args[0] in BUSY:
                raise Busy from e
            self.pending = None
            raise
        change(self.model, answer)
        self.pending = None
        self.n_done += 1
        return answer

    def create_database(self, asker):
        name = self.name("db")
        self.do(asker, "POST", f"{ROOT}/{self.tenant}/databases", {"name": name},
                lambda model, _: model.databases.update({name: {}}))

    def drop_database(self, asker, name):
        self.do(asker, "DELETE", f"{ROOT}/{self.tenant}/databases/{name}", None, lambda model, _: model.databases.pop(name))

    def change_collection(self, asker, places):
        r, m = self.rng, self.model
        d = r.choice(sorted(m.databases))
        path = f"{ROOT}/{self.tenant}/databases/{d}/collections"
        here = sorted(m.databases[d])
        kind = r.choices(["create", "drop", "fork", "rename", "modify"], [4, 3, 3, 2, 2])[0]
        if len(here) >= COLLECTIONS_MAX and kind in ("create", "fork"):
            kind = "drop"
        if not here:
            kind = "create"
        if kind == "create":
            name, space = self.name("col"), r.choice(["l2", "l2", "ip", "cosine"])
            metadata = r.choice([None, {"made": self.n_names}])

            def create(model, answer):
                model.databases[d][name] = Collection(answer and answer["id"], space, metadata)
            self.do(asker, "POST", path, {"name": name, "metadata": metadata, "configuration": {"hnsw": {"space": space}}}, create)
            return
        name = r.choice(here)
        col = m.databases[d][name]
        if kind == "drop":
            self.do(asker, "DELETE", f"{path}/{name}", None, lambda model, _: model.databases[d].pop(name))
        elif kind == "fork":
            fork = self.name("fork")

            def forked(model, answer):
                model.databases[d][fork] = model.databases[d][name].copy(answer["id"] if answer else "?")
            self.do(asker, "POST", f"{path}/{col.id}/fork", {"new_name": fork}, forked)
        elif kind == "rename":
            new = self.name("renamed")
            self.do(asker, "PUT", f"{path}/{col.id}", {"new_name": new},
                    lambda model, _: model.databases[d].update({new: model.databases[d].pop(name)}))
        else:
            metadata = {"modified": r.randrange(1000), "by": self.number}

            def modify(model, _):
                model.databases[d][name].metadata = metadata
            self.do(asker, "PUT", f"{path}/{col.id}", {"new_metadata": metadata}, modify)

    def write(self, asker, path, find):
        r, rows = self.rng, find(self.model).rows
        kind = r.choices(["add", "upsert", "update", "delete", "where"], [5, 3, 3, 2, 1])[0]
        n = r.choice([1, 1, 3, 10, 60])
        if len(rows) > ROWS_MAX:
            kind = "where"
        if kind == "where":
            return self.delete_where(asker, path, find)
        known = r.sample(list(rows), min(len(rows), n)) if rows else []
        fresh = []
        if kind == "add" or (kind == "upsert" and r.random() < 0.5) or not known:
            fresh = [f"{self.number}-{self.n_ids + i}" for i in range(n)]
            self.n_ids += n
        ids = fresh if kind == "add" and r.random() < 0.8 else known + fresh
        if kind == "delete":
            self.do(asker, "POST", f"{path}/delete", {"ids": ids}, lambda model, _: [find(model).rows.pop(i, None) for i in ids])
            return
        body = {"ids": ids}
        if kind != "update" or r.random() < 0.5:
            body["embeddings"] = [r.vector() for _ in ids]
        if kind != "update" or r.random() < 0.5:
            body["documents"] = [r.document() for _ in ids]
        body["metadatas"] = [r.metadata(self.number) for _ in ids]

        def change(model, _):
            rows = find(model).rows
            for at, i in enumerate(ids):
                old = rows.get(i)
                if (kind == "add" and old is not None) or (kind == "update" and old is None):
                    continue
                e, d, m = old or (None, None, {})
                rows[i] = (body["embeddings"][at] if "embeddings" in body else e,
                           body["documents"][at] if "documents" in body else d, {**m, **body["metadatas"][at]})
        self.do(asker, "POST", f"{path}/{kind}", body, change)

    def delete_where(self, asker, path, find):
        r = self.rng
        if len(find(self.model).rows) > ROWS_MAX:
            low, where = 8, {"$and": [{"owner": self.number}, {"n": {"$lt": 8}}]}
        else:
            low, where = None, {"$and": [{"owner": self.number}, {"n": r.randrange(20)}]}
        n = None if low else where["$and"][1]["n"]

        def doomed(rows):
            return [i for i, (_, _, m) in rows.items() if (m["n"] < low if low else m["n"] == n)]

        expected = len(doomed(find(self.model).rows))

        def change(model, answer):
            rows = find(model).rows
            for i in doomed(rows):
                del rows[i]
        answer = self.do(asker, "POST", f"{path}/delete", {"where": where}, change)
        if answer["deleted"] != expected:
            raise Disagreement(f"{path}: delete says {answer['deleted']} where {expected} were to go")

    # --- what it looks at

    def read(self, asker, path, col):
        r = self.rng
        kind = r.choice(["get", "query", "query", "count"])
        if kind == "count":
            n = asker.call("GET", f"{path}/count")
            if n != len(col.rows):
                raise Disagreement(f"{path}: count {n}, expected {len(col.rows)}")
        elif kind == "get":
            word, part = r.choice(WORDS), r.choice(WORDS)
            got = asker.call("POST", f"{path}/get", {"where": {"word": word}, "where_document": {"$contains": part}})
            expected = [i for i, (_, d, m) in col.rows.items() if m["word"] == word and part in d]
            if got["ids"] != expected:
                raise Disagreement(f"{path}: get {word} {part}: {got['ids']}, expected {expected}")
        else:
            self.query(asker, path, col)
        self.n_done += 1

    def query(self, asker, path, col):
        r = self.rng
        q, k, word = r.vector(), r.choice([1, 5, 20]), r.choice([None, None, *WORDS])
        body = {"query_embeddings": [q], "n_results": k, "include": ["distances"]}
        if word:
            body["where"] = {"word": word}
        got = asker.call("POST", f"{path}/query", body)
        rows = {i: distance(col.space, q, e) for i, (e, _, m) in col.rows.items() if word is None or m["word"] == word}
        expected = sorted(rows.values())[:k]
        ids, found = got["ids"][0], got["distances"][0]
        slack = 1e-5 if col.space == "cosine" else 0.0
        is_good = (len(found) == len(expected) == len(set(ids)) and all(abs(a - b) <= slack for a, b in zip(found, expected))
                   and all(i in rows and abs(rows[i] - d) <= slack for i, d in zip(ids, found)))
        if not is_good:
            raise Disagreement(f"{path}: query {body}: {list(zip(ids, found))}, expected {expected}")
        self.n_queries += 1

    def compare(self, asker, mine=None):
        """Everything. `mine`: its rows of the shared collection, if somebody has read them already."""
        if mine is None:
            mine = read_rows(asker, self.shared, {"owner": self.number})
        databases, ids = read_tenant(asker, self.tenant)
        found = json.loads(json.dumps({"tenant": databases, "shared": mine}))
        expected = json.loads(json.dumps(self.model.view()))
        if found != expected and self.pending is not None:
            with_it = self.model.copy()
            self.pending(with_it, None)
            also = json.loads(json.dumps(with_it.view()))
            if found == also:
                self.model = with_it
            else:
                raise Disagreement(f"client {self.number}: {difference(expected, found)}; if the request without an answer "
                                   f"was done: {difference(also, found)}", expected, found)
        elif found != expected:
            raise Disagreement(f"client {self.number}: {difference(expected, found)}", expected, found)
        self.pending = None
        for (d, n), id in ids.items():
            col = self.model.databases[d][n]
            if col.id not in (None, "?", id):
                raise Disagreement(f"collection {d}/{n} was {col.id} and is {id}")
            col.id = id
            if self.rng.random() < 0.3:
                self.query(asker, f"{ROOT}/{self.tenant}/databases/{d}/collections/{id}", col)
        self.n_compared += 1


class Soak:
    def __init__(self, options):
        self.o = options
        self.rng = random.Random(options.seed)
        self.dir = options.dir or tempfile.mkdtemp(prefix="chroma-soak-")
        chroma_server.BINARY = options.binary
        self.server = chroma_server.Server(os.path.join(self.dir, "data"), config=CONFIG)
        self.clients = [Client(i, self.rng.random()) for i in range(options.clients)]
        self.n_kills = self.n_terms = self.n_wholes = self.n_verified = 0
        self.faults = []
        self.has_verify = b"\n  verify " in subprocess.run([options.binary, "help"], capture_output=True).stdout

    def work(self, client, stop):
        """Until it is told to stop or the server is gone."""
        try:
            asker = Asker(self.server.port_now)
            while not stop.is_set():
                client.step(asker)
        except Busy:
            client.n_busy += 1
            self.look_whether_well()
        except (OSError, http.client.HTTPException):
            pass
        except Exception as e:  # told by the main thread
            self.faults.append(e)

    def look_whether_well(self):
        """A server that has become read-only would do nothing, and agree with the model."""
        try:
            Asker(self.server.port_now).call("GET", "/api/v2/healthcheck")
        except Refused as e:
            self.faults.append(Disagreement(f"the server is not well: {e}"))
        except (OSError, http.client.HTTPException):
            pass  # it was killed

    def round(self):
        stop = threading.Event()
        threads = [threading.Thread(target=self.work, args=(c, stop)) for c in self.clients]
        for t in threads:
            t.start()
        until = time.monotonic() + self.rng.uniform(*self.o.kill_after)
        while time.monotonic() < until and not self.faults:
            time.sleep(0.02)
        if self.server.process.poll() is not None:
            self.faults.append(Disagreement(f"the server ended by itself with {self.server.process.returncode}"))
        elif self.rng.random() < 0.15:
            code = self.server.stop(120)
            self.n_terms += 1
            if code != 0:
                self.faults.append(Disagreement(f"after SIGTERM the server ended with {code}"))
        else:
            self.server.kill()
            self.n_kills += 1
        stop.set()
        for t in threads:
            t.join()
        if self.faults:
            raise self.faults[0]
        if self.has_verify and self.rng.random() < 0.2:
            v = subprocess.run([self.o.binary, "verify", "--path", self.server.path], capture_output=True)
            if v.returncode != 0:
                raise Disagreement(f"verify: {v.returncode}: {(v.stdout + v.stderr).decode()[-2000:]}")
            self.n_verified += 1
        self.server.start(300)
        self.compare_all()

    def compare_all(self):
        asker = Asker(self.server.port_now)
        shared = read_rows(asker, self.clients[0].shared)
        n = asker.call("GET", self.clients[0].shared + "/count")
        if n != len(shared):
            raise Disagreement(f"shared: count {n}, get {len(shared)}")
        for c in self.clients:
            c.compare(asker, [row for row in shared if row[0].startswith(f"{c.number}-")])
        if len(shared) != sum(len(c.model.mine.rows) for c in self.clients):
            raise Disagreement("shared: records that are nobody's")
        self.n_wholes += 1

    def say(self, begun):
        seconds = time.monotonic() - begun
        n, compared = sum(c.n_done for c in self.clients), sum(c.n_compared for c in self.clients)
        print(f"soak: {seconds:.0f} s, {self.n_kills} SIGKILL, {self.n_terms} SIGTERM, {n} operations ({n / seconds:.0f}/s), "
              f"{self.n_wholes} comparisons of everything and {compared} of a client's, "
              f"{sum(c.n_queries for c in self.clients)} queries against exact search, {self.n_verified} verify, "
              f"{sum(c.n_busy for c in self.clients)} refused as busy", flush=True)

    def run(self):
        begun = told = time.monotonic()
        print(f"soak: seed {self.o.seed}, {self.o.seconds:.0f} s, {self.o.clients} clients, {self.o.binary}, {self.dir}", flush=True)
        try:
            self.server.start(60)
            asker = Asker(self.server.port_now)
            shared = asker.call("POST", SHARED, {"name": "shared"})["id"]
            for c in self.clients:
                asker.call("POST", ROOT, {"name": c.tenant})
                c.shared = f"{SHARED}/{shared}"
            while time.monotonic() - begun < self.o.seconds:
                self.round()
                if time.monotonic() - told > 60:
                    told = time.monotonic()
                    self.say(begun)
            if self.server.stop(120) != 0:
                raise Disagreement("the last stop failed")
            if not all(c.n_done for c in self.clients):
                raise Disagreement("a client did nothing")
            self.say(begun)
        except Exception as e:
            traceback.print_exc()
            self.keep(e)
            self.say(begun)
            return 1
        if not self.o.dir:
            shutil.rmtree(self.dir)
        os.unlink(self.server.log.name)
        return 0

    def keep(self, e):
        """Leaves what a disagreement has to be understood from. The directory as it was at the comparison, and stopped there."""
        if self.server.process is not None and self.server.process.poll() is None:
            self.server.kill()
        if isinstance(e, Disagreement) and len(e.args) == 3:
            with open(os.path.join(self.dir, "disagreement.json"), "w") as f:
                json.dump({"what": e.args[0], "expected": e.args[1], "found": e.args[2]}, f)
        print(f"soak: FAILED, seed {self.o.seed}: {str(e.args[0] if e.args else e)[:4000]}\n"
              f"soak: evidence in {self.dir}, the server's output in {self.server.log.name}", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=float, default=3600)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    p.add_argument("--clients", type=int, default=4)
    p.add_argument("--binary", default=chroma_server.BINARY)
    p.add_argument("--dir", help="made if absent, must not hold data; left behind (default: a temporary one)")
    p.add_argument("--kill-after", default="0.3,5", help="seconds between start and kill: from,to")
    o = p.parse_args()
    o.kill_after = [float(s) for s in o.kill_after.split(",")]
    if o.dir:
        os.makedirs(o.dir, exist_ok=True)
    return Soak(o).run()


if __name__ == "__main__":
    sys.exit(main())
