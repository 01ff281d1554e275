#!/usr/bin/env python3
"""Measures the vector codes and hnswlib (M 16, efConstruction 100) on the same rows in the same minutes, one thread each.

usage: compare_hnswlib.py BENCH_CODES FILE.f16.npy [-n ROWS] [-q QUERIES] [--index PATH] [--ef 20,40,...]

BENCH_CODES is the program that tests/bench/bench_codes.c says how to make. The first ROWS of FILE are searched, the last
QUERIES are the queries, cosine distance, k = 10. Times are of the processor, the best of three runs. Prints rows built a
second, bytes a row, and recall@10 with queries a second of both, then the ratio at equal recall: for each line of ours
the rate of hnswlib between its two neighbouring lines. Needs numpy and hnswlib 0.8 (pip install, outside the tree).
--index keeps hnswlib's index there, and takes it from there if the file is there.
"""
import argparse
import os
import re
import subprocess
import time

import hnswlib
import numpy as np


def resident_bytes():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ours(program, args):
    """Rows built a second, bytes a row, and [(recall, queries a second)] as bench_codes prints them."""
    command = [program, "-n", str(args.n), "-q", str(args.q), args.file]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    built = re.search(r"built (\d+) rows/s .*?, ([\d.]+) bytes a row", text)
    lines = re.findall(r"(ef_search \d+) .*?: recall@10 ([\d.]+), (\d+) queries/s", text)
    return float(built[1]), float(built[2]), [(float(r), float(q), what) for what, r, q in lines]


def build(rows, args):
    index = hnswlib.Index("cosine", rows.shape[1])
    if args.index and os.path.exists(args.index):
        index.load_index(args.index, max_elements=len(rows))
        return index, None, None
    before = resident_bytes()
    index.init_index(len(rows), M=16, ef_construction=100)
    start = time.process_time()
    index.add_items(rows, num_threads=1)
    seconds = time.process_time() - start
    size = resident_bytes() - before
    if args.index:
        index.save_index(args.index)
    return index, len(rows) / seconds, size / len(rows)


def theirs(index, rows, queries, efs):
    """[(recall, queries a second)] for each ef; of ties any counts, as in bench_codes."""
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    best = np.full((len(queries), 10), -2, np.float32)
    for low in range(0, len(rows), 100000):
        part = rows[low:low + 100000]
        cosines = unit @ (part / np.linalg.norm(part, axis=1, keepdims=True)).T
        best = np.sort(np.concatenate([best, np.partition(cosines, -10, axis=1)[:, -10:]], axis=1), axis=1)[:, -10:]
    result = []
    for ef in efs:
        index.set_ef(ef)
        seconds = float("inf")
        for _ in range(3):
            start = time.process_time()
            labels, _ = index.knn_query(queries, 10, num_threads=1)
            seconds = min(seconds, time.process_time() - start)
        found = rows[labels]
        cosines = np.einsum("qd,qkd->qk", unit, found / np.linalg.norm(found, axis=2, keepdims=True))
        result.append((float((cosines >= best[:, :1] - 1e-6).mean()), len(queries) / seconds, f"ef {ef}"))
    return result


def rate_at(lines, recall):
    """Queries a second at this recall, on the line between its neighbours; None outside of what was measured."""
    lines = sorted(lines)
    for (r0, q0, _), (r1, q1, _) in zip(lines, lines[1:]):
        if r0 <= recall <= r1:
            return q0 if r1 == r0 else q0 + (q1 - q0) * (recall - r0) / (r1 - r0)
    return None


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("file")
    p.add_argument("-n", type=int, default=50000)
    p.add_argument("-q", type=int, default=1000)
    p.add_argument("--index")
    p.add_argument("--ef", default="20,40,60,80,100,150,200,300,500,800")
    args = p.parse_args()
    vectors = np.load(args.file, mmap_mode="r")
    args.n = min(args.n, len(vectors) - args.q)
    rows = np.asarray(vectors[:args.n], np.float32)
    queries = np.asarray(vectors[-args.q:], np.float32)
    index, rate, size = build(rows, args)
    our_rate, our_size, our_lines = ours(args.program, args)
    their_lines = theirs(index, rows, queries, [int(e) for e in args.ef.split(",")])
    if rate:
        print(f"hnswlib: built {rate:.0f} rows/s, {size:.0f} bytes a row")
        print(f"codes:   built {our_rate:.0f} rows/s ({our_rate / rate:.1f} x), {our_size:.1f} bytes a row "
              f"({our_size / size:.3f} x)")
    else:
        print(f"codes:   built {our_rate:.0f} rows/s, {our_size:.1f} bytes a row")
    for recall, queries_a_second, what in their_lines:
        print(f"hnswlib, {what}: recall@10 {recall:.4f}, {queries_a_second:.0f} queries/s")
    for recall, queries_a_second, what in our_lines:
        other = rate_at(their_lines, recall)
        ratio = f"{queries_a_second / other:.1f} x hnswlib" if other else "beyond what hnswlib reached"
        print(f"codes, {what}: recall@10 {recall:.4f}, {queries_a_second:.0f} queries/s, {ratio}")


if __name__ == "__main__":
    main()
