#!/usr/bin/env python3
"""Ours beside upstream's wheel, on one machine in one run: a table in Markdown.

usage: bench.py [-n 20000] [--seconds 2] [--rounds 3] [--sides upstream,ours] [--out R.json]
                [--data X.npy --docs X.json.gz]
       (make bench N=20000 SECONDS=2 ROUNDS=3 DATA=... DOCS=... OUT=...; needs wrk: make deps-dev)

Each round starts each server on an empty directory with default settings, one after the other (the other one first in
every second round), fills it and goes through the rows; figures are medians of the rounds. A row of which a server
answers next to nothing in the given time gets 15 seconds. wrk runs on the same cores as the server, one thread of it:
at tens of thousands of requests a second it takes a good part of a core, so such rows tell what both did together.
`cpu` is the server's own processor time a request, which wrk and other work on the machine touch least.
"""
import argparse
import pathlib
import random
import shutil
import statistics
import sys
import time

import numpy as np

import bench_data
from bench_data import FILTERS
from bench_load import (COLLECTIONS, Client, Exact, Wrk, add_body, encode, measure_recall, query_body, run_wrk,
                        send_all)
from bench_server import Server, describe_machine, dump, load_average, versions

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 500
SLOW_SECONDS = 15

# key: what the table calls it, in its order. Rows measured in requests a second.
RATES = {
    "ingest_1": "ingest, 1 client, batches of 500 in base64 (records/s)",
    "ingest_4": "the same, 4 clients (records/s)",
    "query_1": "query, k = 10, documents and metadata, 1 connection",
    "query_8": "the same, 8 connections",
    "half": "query, half of the rows match",
    "tenth": "query, a tenth",
    "hundredth": "query, 1 %",
    "thousandth": "query, 0.1 %",
    "and_or": "query, and-or-in over three keys",
    "get_common": "get, `$contains`, common word, limit 10",
    "get_rare": "get, `$contains`, rare word, limit 10",
    "get_absent": "get, `$contains`, absent word, limit 10",
    "query_common": "query, `$contains`, common word",
    "query_rare": "query, `$contains`, rare word",
    "get_regex": "get, `$regex`, limit 10",
    "get_ids": "get 10 ids, 8 connections",
    "get_where": "get with where, limit 100",
    "get_page": "get, page of 100 at a deep offset",
    "get_embeddings": "get 100 embeddings as JSON",
    "count": "count, 8 connections",
    "heartbeat": "heartbeat, 8 connections",
    "upsert_1": "upsert of one record, 1 connection",
    "upsert_32": "the same, 32 connections",
    "query_beside": "query, 1 connection, while 4 upsert",
    "query_beside_1": "query, 1 connection, while upserts run: one record a request, 1 connection",
    "query_beside_100": "the same: batches of 100 in base64, 1 connection",
}
# Other figures: less is better.
AMOUNTS = {
    "delete_s": "delete of a tenth by filter, s",
    "anonymous_mb": "anonymous memory after ingest and settling, MB",
    "anonymous_end_mb": "anonymous memory at the end, MB",
    "start_ms": "start to first correct answer, ms",
    "disk_mb": "disk after ingest and settling, MB",
}


class Workload:
    """The rows and the requests of a run; the same for both sides and all rounds."""

    def __init__(self, a):
        source = bench_data.source_of(a.data, a.docs, a.queries)
        self.n = a.n
        self.vectors, self.documents = bench_data.load(source, a.n)
        self.queries = source.queries(a.queries, a.n)
        self.metadata = [bench_data.metadata(i, t) for i, t in enumerate(self.documents)]
        self.words = dict(zip(("common", "rare", "absent"), bench_data.choose_words(self.documents)))
        masks = {"all": None}
        for name, (_, test) in FILTERS.items():
            masks[name] = np.array([test(m) for m in self.metadata])
        for name in ("common", "rare"):
            masks[name] = np.array([self.words[name] in t for t in self.documents])
        self.exact = Exact(self.queries, list(masks))
        for lo in range(0, a.n, 10000):
            self.exact.add(self.vectors[lo:lo + 10000],
                           {k: None if m is None else m[lo:lo + 10000] for k, m in masks.items()})
        self.bodies = [add_body(lo, self.vectors[lo:lo + BATCH], self.documents[lo:lo + BATCH])
                       for lo in range(0, a.n, BATCH)]

    def query_bodies(self, **more):
        return [query_body(v, **more) for v in self.queries]

    def upserts(self, rng, n=1000, size=1):
        """n bodies of `size` different records each."""
        return [{"ids": [bench_data.row_id(i) for i in rows], "embeddings": [encode(self.vectors[i]) for i in rows],
                 "documents": [self.documents[i] for i in rows], "metadatas": [self.metadata[i] for i in rows]}
                for rows in (rng.sample(range(self.n), size) for _ in range(n))]


class Side:
    """One server in one round."""

    def __init__(self, side, workload, a):
        self.w, self.a, self.rng = workload, a, random.Random(3)
        self.server = Server(side, ROOT)
        self.figures = {}

    def note(self, key, **figures):
        self.figures[key] = figures
        print(f"  {self.server.side:9}{key:18}" +
              "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()),
              file=sys.stderr, flush=True)

    def measure(self, key, route, bodies, connections=1, method="POST", recall=None, path=None):
        seconds = self.a.seconds
        found = run_wrk(self.server, path or f"{self.path}/{route}", bodies, connections, seconds, method)
        if found["n"] < 3 * connections and seconds < SLOW_SECONDS:  # too few answers to call it a rate
            self.server.settle(SLOW_SECONDS)
            found = run_wrk(self.server, path or f"{self.path}/{route}", bodies, connections, SLOW_SECONDS, method)
        found = {k: found[k] for k in ("rate", "p99_ms", "cpu_ms")}
        if recall is not None:
            found["recall"] = recall
        self.note(key, **found)

    def recall(self, name, n=100, **more):
        return measure_recall(self.client, self.path, self.w.exact, name, n, more)

    def run(self):
        self.server.start()
        try:
            self.client = Client(self.server.port)
            made = self.client.call("POST", COLLECTIONS,
                                    {"name": "bench", "configuration": {"hnsw": {"space": "cosine"}}})
            self.path = f"{COLLECTIONS}/{made['id']}"
            self.ingest()
            self.queries()
            self.gets()
            self.small()
            self.restart()
            self.writes()
        finally:
            self.server.remove()
        return self.figures

    def ingest(self):
        half = len(self.w.bodies) // 2
        for key, bodies, n_clients in (("ingest_1", self.w.bodies[:half], 1), ("ingest_4", self.w.bodies[half:], 4)):
            n = BATCH * half if n_clients == 1 else self.w.n - BATCH * half
            cpu = self.server.cpu_s()
            seconds = send_all(self.server.port, self.path + "/add", bodies, n_clients)
            self.note(key, rate=n / seconds, cpu_ms=(self.server.cpu_s() - cpu) * 1e3 / n)
        count = self.client.call("GET", self.path + "/count")
        if count != self.w.n:
            raise SystemExit(f"{self.server.side} counts {count} of {self.w.n} records")
        waited = self.server.settle(self.a.settle)
        self.note("anonymous_mb", value=self.server.anonymous_mb(), settled_s=waited)
        self.note("disk_mb", value=self.server.disk_mb())

    def queries(self):
        w = self.w
        self.measure("query_1", "query", w.query_bodies(), recall=self.recall("all", 200))
        self.measure("query_8", "query", w.query_bodies(), 8)
        for name, (where, _) in FILTERS.items():
            self.measure(name, "query", w.query_bodies(where=where), recall=self.recall(name, where=where))
        for name in ("common", "rare"):
            clause = {"$contains": w.words[name]}
            self.measure(f"query_{name}", "query", w.query_bodies(where_document=clause),
                         recall=self.recall(name, 50, where_document=clause))

    def gets(self):
        w, rng = self.w, self.rng
        for name in ("common", "rare", "absent"):
            self.measure(f"get_{name}", "get", [{"where_document": {"$contains": w.words[name]}, "limit": 10,
                                                 "include": ["documents"]}])
        word = w.words["rare"]
        pattern = f"[{word[0].upper()}{word[0].lower()}]{word[1:-1]}\\w+"
        self.measure("get_regex", "get", [{"where_document": {"$regex": pattern}, "limit": 10,
                                           "include": ["documents"]}])
        ids = [[bench_data.row_id(i) for i in rng.sample(range(w.n), 10)] for _ in range(500)]
        self.measure("get_ids", "get", [{"ids": i, "include": ["documents", "metadatas"]} for i in ids], 8)
        self.measure("get_where", "get", [{"where": {"year": y}, "limit": 100, "include": ["metadatas"]}
                                          for y in range(2005, 2026)])
        deep = [rng.randrange(w.n // 2, w.n - 100) for _ in range(200)]
        self.measure("get_page", "get", [{"limit": 100, "offset": o, "include": ["metadatas", "documents"]}
                                         for o in deep])
        self.measure("get_embeddings", "get", [{"limit": 100, "offset": o, "include": ["embeddings"]} for o in deep])

    def small(self):
        self.measure("count", "count", [{}], 8, "GET")
        self.measure("heartbeat", "", [{}], 8, "GET", path="/api/v2/heartbeat")

    def beside(self, key, upserts, connections):
        """Queries on one connection while wrk upserts; then a rest, so that the next row begins with an idle server."""
        writer = Wrk(self.server, self.path + "/upsert", upserts, connections, self.a.seconds)
        found = run_wrk(self.server, self.path + "/query", self.w.query_bodies(), 1, self.a.seconds)
        written = writer.result()
        self.server.settle(SLOW_SECONDS)
        self.note(key, rate=found["rate"], p50_ms=found["p50_ms"], p99_ms=found["p99_ms"], upserts_s=written["rate"],
                  upsert_p99_ms=written["p99_ms"])

    def restart(self):
        """From the start of the process over the filled directory to the first answer that is right."""
        body = query_body(self.w.vectors[self.w.n // 2], 1, ["distances"])
        wanted = bench_data.row_id(self.w.n // 2)
        self.client.close()
        self.server.stop()
        began = time.monotonic()
        self.server.start()
        self.client = Client(self.server.port)
        while self.client.call("POST", self.path + "/query", body)["ids"][0] != [wanted]:
            if time.monotonic() - began > 600:
                raise SystemExit(f"{self.server.side} does not find its rows again")
        self.note("start_ms", value=(time.monotonic() - began) * 1e3)

    def writes(self):
        w = self.w
        self.measure("upsert_1", "upsert", w.upserts(self.rng))
        self.measure("upsert_32", "upsert", w.upserts(self.rng), 32)
        self.server.settle(SLOW_SECONDS)  # what wrk left unanswered is not the next row's burden
        self.beside("query_beside", w.upserts(self.rng), 4)
        self.beside("query_beside_1", w.upserts(self.rng), 1)
        self.beside("query_beside_100", w.upserts(self.rng, 50, 100), 1)
        began = time.monotonic()
        self.client.call("POST", self.path + "/delete", {"where": {"score": {"$lt": 0.1}}})
        self.note("delete_s", value=time.monotonic() - began)
        left = self.client.call("GET", self.path + "/count")
        wanted = sum(m["score"] >= 0.1 for m in w.metadata)
        if left != wanted:
            raise SystemExit(f"{self.server.side} keeps {left} records, not {wanted}")
        self.note("anonymous_end_mb", value=self.server.anonymous_mb())


# ---------------------------------------------------------------------------------------------- the table

def median(rounds, key, figure):
    values = [r[key][figure] for r in rounds if key in r and figure in r[key]]
    return statistics.median(values) if values else None


def short(x):
    if x is None:
        return ""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.3g}"


def pair(values, digits):
    if all(v is None for v in values):
        return ""
    return " / ".join("" if v is None else f"{v:.{digits}f}" for v in values)


def write_table(out, rounds, sides):
    def of(key, figure):
        return [median(rounds[s], key, figure) for s in sides]

    out.write(f"| requests a second, unless it says otherwise | {' | '.join(sides)} | ratio | p99, ms | recall@10 | "
              f"cpu, ms a request |\n| --- |{' --- |' * (len(sides) + 4)}\n")
    for key, name in RATES.items():
        rate = of(key, "rate")
        ratio = short(rate[1] / rate[0]) if len(sides) == 2 and rate[0] else ""
        out.write(f"| {name} | {' | '.join(short(v) for v in rate)} | {ratio} | {pair(of(key, 'p99_ms'), 2)} | "
                  f"{pair(of(key, 'recall'), 4)} | {pair(of(key, 'cpu_ms'), 3)} |\n")
    out.write(f"\n| | {' | '.join(sides)} | ratio |\n| --- |{' --- |' * (len(sides) + 1)}\n")
    for key, name in AMOUNTS.items():
        value = of(key, "value")
        ratio = short(value[0] / value[1]) if len(sides) == 2 and value[1] else ""
        out.write(f"| {name} | {' | '.join(short(v) for v in value)} | {ratio} |\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", type=int, default=20000, help="rows")
    p.add_argument("--seconds", type=int, default=2, help="for each row of the table")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--queries", type=int, default=200, help="different query vectors")
    p.add_argument("--settle", type=float, default=120, help="longest wait for an idle server after ingest, seconds")
    p.add_argument("--sides", default="upstream,ours")
    p.add_argument("--data", help=".npy, one vector a row; with --docs. Without: made up")
    p.add_argument("--docs", help="JSON list of texts, or of lists that end with the text; may be .gz")
    p.add_argument("--out", help="every figure of every round, as JSON")
    a = p.parse_args()
    sides = a.sides.split(",")
    if a.n < 2000 or sides not in (["upstream", "ours"], ["upstream"], ["ours"]):
        p.error("at least 2,000 rows; sides are upstream,ours or one of them")
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: make deps-dev")
    facts = describe_machine() + versions(sides, ROOT) + [("load average before", load_average())]
    workload = Workload(a)
    rounds = {s: [] for s in sides}
    for i in range(a.rounds):
        for s in sides if i % 2 == 0 else sides[::-1]:
            print(f"round {i + 1} of {a.rounds}: {s}", file=sys.stderr, flush=True)
            rounds[s].append(Side(s, workload, a).run())
    facts.append(("load average after", load_average()))
    kind, dim = "real" if a.data else "generated", workload.vectors.shape[1]
    facts.append(("rows", f"{a.n:,} of {kind} data, {dim} dimensions, cosine; medians of {a.rounds} round(s), "
                          f"{a.seconds} s a row"))
    if len(sides) == 2:
        facts.append(("ratio", "how many times better ours is, above 1; below 1, worse"))
    facts.append(("words", ", ".join(f"{k}: {w} ({sum(w in t for t in workload.documents)} documents)"
                                     for k, w in workload.words.items())))
    for what, value in facts:
        print(f"* {what}: {value}")
    print()
    write_table(sys.stdout, rounds, sides)
    if a.out:
        dump(a.out, {"facts": facts, "rounds": rounds})


if __name__ == "__main__":
    main()
