#!/usr/bin/env python3
"""How the server grows: the same measurements at several sizes, and by what factor each figure changes.

usage: scale.py [--rows 100000,1000000] [--seconds 5] [--data X.npy --docs X.json.gz] [--out R.json] [--server ours]
       (make bench-scale ROWS=... SECONDS=... DATA=... DOCS=... OUT=...)

Rows are made in blocks and never all in memory. A first pass over them finds the exact neighbours and writes the bodies
of the requests to a temporary folder (some 2.8 kB a row), so that making them costs nothing while the server is
measured; a file is removed when it has been sent. The server gets a fresh directory and default settings for each size.
"""
import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time
import urllib.request

import numpy as np

import bench_data
from bench_data import BLOCK, FILTERS
from bench_load import COLLECTIONS, Client, Exact, add_body, measure_recall, query_body, run_wrk, send_all
from bench_server import MemoryWatch, Server, describe_machine, dump, load_average, versions

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 500

# key: (what the table calls it, digits)
FIGURES = {
    "rows": ("rows", 0),
    "ingest_s": ("ingest, records/s, 4 clients, from the first request to the last answer", 0),
    "ingest_last": ("of this, the last tenth, records/s", 0),
    "indexed_rate": ("ingest until nothing is left to flush or merge, records/s", 0),
    "behind_s": ("after the last answer, until nothing is left to flush or merge, s", 1),
    "indexed_s": ("after the last answer, until `indexing_status` says 1.0, s", 3),
    "fragments": ("fragments then", 0),
    "anonymous_peak_mb": ("anonymous memory, most seen until idle, MB", 0),
    "anonymous_mb": ("anonymous memory when idle, MB", 0),
    "disk_mb": ("disk when idle, MB", 0),
    "row_mb": ("of this, what the rows are (vectors, ids, documents, metadata), MB", 0),
    "amplification": ("bytes written to the disk for each byte of rows", 2),
    "flush_s": ("flushing, s of one thread", 1),
    "merge_s": ("merging, s of another", 1),
    "start_ms": ("start to first correct answer, ms", 0),
    "query_1": ("query, k = 10, 1 connection, a second", 0),
    "query_1_p99": ("p99, ms", 2),
    "query_1_cpu": ("processor time a query, ms", 3),
    "recall": ("recall@10", 4),
    "measured": ("rows measured exactly, a query", 0),
    "strangers": ("query of another kind than the rows, 1 connection, a second", 0),
    "strangers_cpu": ("processor time a query, ms", 3),
    "strangers_recall": ("recall@10", 4),
    "query_8": ("query, 8 connections, a second", 0),
    "query_8_p99": ("p99, ms", 2),
    "query_8_cpu": ("processor time a query, ms", 3),
}
for _name, _text in (("half", "half of the rows match"), ("tenth", "a tenth"), ("hundredth", "1 %"),
                     ("thousandth", "0.1 %"), ("and_or", "and-or-in over three keys")):
    FIGURES[_name] = (f"query, {_text}, 1 connection, a second", 0)
    FIGURES[_name + "_cpu"] = ("processor time a query, ms", 3)
    FIGURES[_name + "_recall"] = ("recall@10", 4)
    FIGURES[_name + "_measured"] = ("rows measured exactly, a query", 0)


class Prepared:
    """Rows written down as requests, and their exact neighbours."""

    def __init__(self, source, n, n_queries, folder):
        self.n, self.files, self.row_bytes = n, [], 0
        self.queries = source.queries(n_queries, n)
        self.exact = Exact(self.queries, ["all", *FILTERS])
        strangers = source.strangers(n_queries, n)
        self.strangers = None if strangers is None else Exact(strangers, ["all"])
        for block in range((n + BLOCK - 1) // BLOCK):
            lo = block * BLOCK
            vectors, documents = source.block(block, min(BLOCK, n - lo))
            rows = [bench_data.metadata(lo + k, t) for k, t in enumerate(documents)]
            masks = {name: np.array([test(m) for m in rows]) for name, (_, test) in FILTERS.items()}
            self.exact.add(vectors, {"all": None, **masks})
            if self.strangers is not None:
                self.strangers.add(vectors, {"all": None})
            self.row_bytes += vectors.nbytes + sum(
                len(t.encode()) + len(bench_data.row_id(0)) + metadata_bytes(m) for t, m in zip(documents, rows))
            path = pathlib.Path(folder) / f"{block:06d}"
            with open(path, "wb") as f:
                for k in range(0, len(documents), BATCH):
                    f.write(add_body(lo + k, vectors[k:k + BATCH], documents[k:k + BATCH]) + b"\n")
            self.files.append(path)
            if block == n // BLOCK // 2:
                self.known = (vectors[0], bench_data.row_id(lo))
            if block % 20 == 19:
                progress(f"  prepared {lo + BLOCK:,} rows")

    def bodies(self):
        """One after the other; a file is gone when it has been read."""
        for path in self.files:
            lines = path.read_bytes().splitlines()
            path.unlink()
            yield from lines


def metadata_bytes(m):
    """Keys, and 8 bytes a number, 1 a boolean, or the text."""
    return sum(len(k) + (1 if isinstance(v, bool) else len(v) if isinstance(v, str) else 8) for k, v in m.items())


def progress(text):
    print(text, file=sys.stderr, flush=True)


def metric(server, name):
    """Its value; the sum over its labels."""
    with urllib.request.urlopen(server.base + "/metrics", timeout=60) as r:
        found = [float(line.split()[-1]) for line in r.read().decode().splitlines()
                 if line.startswith((name + " ", name + "{"))]
    if not found:
        raise SystemExit(f"/metrics has no {name}")
    return sum(found)


def measured_rows(client, path, queries, more):
    """What ours says of itself: exact distances a query, on average. None: nothing is said."""
    total = 0
    for v in queries:
        told = client.explained(path + "/query", query_body(v, include=(), **more))
        if told is None:
            return None
        total += told["queries"][0]["measured"]
    return total / len(queries)


class Watched:
    """Bodies as they are sent: notes when each begins."""

    def __init__(self, server, bodies, n):
        self.server, self.bodies, self.n = server, bodies, n
        self.times = []

    def __iter__(self):
        for i, body in enumerate(self.bodies):
            self.times.append(time.monotonic())
            if i % max(1, self.n // 10) == 0:
                progress(f"  sent {i * BATCH:,} rows, {self.server.anonymous_mb():.0f} MB")
            yield body


def is_behind(server):
    return server.side == "ours" and metric(server, "chroma_tail_rows") + metric(server, "chroma_compactor_running") > 0


def catch_up(server, limit_s):
    """Until no row waits in a tail and the process is idle, which a merge that waits for the disk is not; seconds."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        while is_behind(server) and time.monotonic() - began < limit_s:
            time.sleep(0.2)
        server.settle(limit_s)
        if not is_behind(server):
            break
    return max(0.0, time.monotonic() - began - 1)  # the last second found it idle


def measure_size(source, n, a):
    """The figures of one size."""
    f = {"rows": n}
    with tempfile.TemporaryDirectory(prefix="chroma-bench-bodies-") as folder:
        prepared = Prepared(source, n, a.queries, folder)
        f["row_mb"] = prepared.row_bytes / 1e6
        server = Server(a.server, ROOT)
        try:
            server.start()
            client = Client(server.port)
            made = client.call("POST", COLLECTIONS, {"name": "bench", "configuration": {"hnsw": {"space": "cosine"}}})
            path = f"{COLLECTIONS}/{made['id']}"
            with MemoryWatch(server) as watch:
                ingest(f, server, client, path, prepared, a)
            f["anonymous_peak_mb"] = watch.peak_mb
            restart(f, server, path, prepared)
            client.close()
            ask(f, server, path, prepared, a)
        finally:
            server.remove()
    return f


def ingest(f, server, client, path, prepared, a):
    n_bodies = (prepared.n + BATCH - 1) // BATCH
    watched = Watched(server, prepared.bodies(), n_bodies)
    seconds = send_all(server.port, path + "/add", watched, 4)
    ended = time.monotonic()
    f["ingest_s"] = prepared.n / seconds
    last = n_bodies - n_bodies // 10
    f["ingest_last"] = (n_bodies - last) * BATCH / (ended - watched.times[last])
    if a.server == "ours":
        while client.call("GET", path + "/indexing_status")["op_indexing_progress"] < 1:
            time.sleep(0.05)
        f["indexed_s"] = time.monotonic() - ended
    f["behind_s"] = catch_up(server, a.settle)
    f["indexed_rate"] = prepared.n / (seconds + f["behind_s"])
    if a.server == "ours":
        f["flush_s"] = metric(server, "chroma_compactor_flush_seconds_total")
        f["merge_s"] = metric(server, "chroma_compactor_merge_seconds_total")
    f["anonymous_mb"] = server.anonymous_mb()
    f["disk_mb"] = server.disk_mb()
    f["amplification"] = server.written_bytes() / prepared.row_bytes
    count = client.call("GET", path + "/count")
    if count != prepared.n:
        raise SystemExit(f"{count} of {prepared.n} records")
    progress(f"  {f}")


def restart(f, server, path, prepared):
    vector, wanted = prepared.known
    server.stop()
    began = time.monotonic()
    server.start()
    client = Client(server.port)
    while client.call("POST", path + "/query", query_body(vector, 1, ["distances"]))["ids"][0] != [wanted]:
        if time.monotonic() - began > 600:
            raise SystemExit("the rows are not found again")
    f["start_ms"] = (time.monotonic() - began) * 1e3
    client.close()


def ask(f, server, path, prepared, a):
    client = Client(server.port)
    q = prepared.queries
    f["recall"] = measure_recall(client, path, prepared.exact, "all", len(q), {})
    f["measured"] = measured_rows(client, path, q, {})
    if a.server == "ours":
        f["fragments"] = metric(server, "chroma_fragments")  # of open collections: not of one that has been idle
    found = run_wrk(server, path + "/query", [query_body(v) for v in q], 1, a.seconds)
    f["query_1"], f["query_1_p99"], f["query_1_cpu"] = found["rate"], found["p99_ms"], found["cpu_ms"]
    found = run_wrk(server, path + "/query", [query_body(v) for v in q], 8, a.seconds)
    f["query_8"], f["query_8_p99"], f["query_8_cpu"] = found["rate"], found["p99_ms"], found["cpu_ms"]
    if prepared.strangers is not None:
        ask_strangers(f, server, client, path, prepared.strangers, a)
    for name, (where, _) in FILTERS.items():
        f[name + "_recall"] = measure_recall(client, path, prepared.exact, name, 100, {"where": where})
        f[name + "_measured"] = measured_rows(client, path, q[:100], {"where": where})
        found = run_wrk(server, path + "/query", [query_body(v, where=where) for v in q], 1, a.seconds)
        f[name], f[name + "_cpu"] = found["rate"], found["cpu_ms"]
    client.close()
    progress(f"  {f}")


def ask_strangers(f, server, client, path, exact, a):
    f["strangers_recall"] = measure_recall(client, path, exact, "all", len(exact.queries), {})
    found = run_wrk(server, path + "/query", [query_body(v) for v in exact.queries], 1, a.seconds)
    f["strangers"], f["strangers_cpu"] = found["rate"], found["cpu_ms"]


def write_table(out, sizes):
    titles = [f"{f['rows']:,}" for f in sizes] + [f"x{f['rows'] / sizes[0]['rows']:.3g}" for f in sizes[1:]]
    out.write(f"| | {' | '.join(titles)} |\n| --- |{' --- |' * len(titles)}\n")
    for key, (name, digits) in FIGURES.items():
        values = [f.get(key) for f in sizes]
        if key == "rows" or all(v is None for v in values):
            continue
        cells = ["" if v is None else f"{v:,.{digits}f}" for v in values]
        cells += [f"{v / values[0]:.3g}" if v is not None and values[0] else "" for v in values[1:]]
        out.write(f"| {name} | {' | '.join(cells)} |\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", default="100000,1000000", help="sizes, the smallest first")
    p.add_argument("--seconds", type=int, default=5, help="for each rate")
    p.add_argument("--queries", type=int, default=200)
    p.add_argument("--settle", type=float, default=1800, help="longest wait for an idle server after ingest, seconds")
    p.add_argument("--server", default="ours", choices=("ours", "upstream"))
    p.add_argument("--data", help=".npy, one vector a row; with --docs. Further rows are blends of these. Without: made up")
    p.add_argument("--docs", help="JSON list of texts, or of lists that end with the text; may be .gz")
    p.add_argument("--out", help="the figures as JSON; rewritten after each size")
    a = p.parse_args()
    rows = [int(r) for r in a.rows.split(",")]
    if min(rows) < 5000:
        p.error("sizes from 5,000 rows")
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: make deps-dev")
    need = max(rows) * 5500
    if shutil.disk_usage(tempfile.gettempdir()).free < need:
        raise SystemExit(f"{tempfile.gettempdir()}: {need / 1e9:.1f} GB are needed for {max(rows):,} rows (set TMPDIR)")
    facts = describe_machine() + versions([a.server], ROOT) + [("load average before", load_average())]
    source = bench_data.source_of(a.data, a.docs, a.queries)
    sizes = []
    for n in rows:
        progress(f"{n:,} rows")
        sizes.append(measure_size(source, n, a))
        if a.out:
            dump(a.out, {"facts": facts, "sizes": sizes})
    facts.append(("load average after", load_average()))
    facts.append(("rows", f"{source.name} data, {source.dim} dimensions, cosine; one run, {a.seconds} s a rate"))
    for what, value in facts:
        print(f"* {what}: {value}")
    print()
    write_table(sys.stdout, sizes)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")
    main()
