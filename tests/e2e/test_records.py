"""Sixty thousand real records go in through the Python client; filters and text search are compared with a plain scan,
queries with exact search, while they go in and after they are compacted."""
import re
import threading

import chromadb
import numpy as np
import pytest

from chroma_server import Server, wait_until

BATCH = 1000


def facts(docs, i):
    name, version, month, rank, text = docs[i]
    return {"month": month, "year": int(month[:4]) if month[:4].isdigit() else 0, "letter": name[:1].lower(),
            "len": len(text), "score": (i * 2654435761 % 1000003) / 1000003, "hot": i % 100 == 0, "bucket": i % 1000}


FILTERS = {
    "half": ({"score": {"$lt": 0.5}}, lambda m: m["score"] < 0.5),
    "tenth": ({"score": {"$gte": 0.9}}, lambda m: m["score"] >= 0.9),
    "hundredth": ({"hot": True}, lambda m: m["hot"]),
    "thousandth": ({"bucket": 7}, lambda m: m["bucket"] == 7),
    "year and letters": ({"$and": [{"year": {"$gte": 2020}}, {"$or": [{"letter": "a"}, {"letter": {"$in": ["p", "d"]}}]}]},
                         lambda m: m["year"] >= 2020 and m["letter"] in "apd"),
    "not in": ({"letter": {"$nin": ["a", "b", "c", "p"]}}, lambda m: m["letter"] not in ("a", "b", "c", "p")),
    "range of ints": ({"$and": [{"len": {"$gt": 40}}, {"len": {"$lte": 45}}]}, lambda m: 40 < m["len"] <= 45),
    "no such": ({"absent": 1}, lambda m: False),
}
TEXTS = [({"$contains": "Python"}, lambda t: "Python" in t), ({"$contains": "quaternion"}, lambda t: "quaternion" in t),
         ({"$contains": "zzyzxq"}, lambda t: "zzyzxq" in t), ({"$contains": "a "}, lambda t: "a " in t),
         ({"$not_contains": "e"}, lambda t: "e" not in t),
         ({"$regex": r"[Qq]uatern\w+s"}, lambda t: re.search(r"[Qq]uatern\w+s", t) is not None),
         ({"$regex": r"^A (simple|small) .*\.$"}, lambda t: re.search(r"^A (simple|small) .*\.\Z", t) is not None),
         ({"$and": [{"$contains": "data"}, {"$not_contains": "base"}]}, lambda t: "data" in t and "base" not in t)]


def exact(x, q, rows, k):
    """Row numbers of the k best by cosine among `rows`, and the k-th score."""
    scores = x[rows] @ q
    best = np.argsort(-scores, kind="stable")[:k]
    return rows[best], scores[best[-1]] if len(best) else 0


def recall(c, x, queries, rows, where=None, k=10):
    got = total = 0
    for q in queries:
        ids = c.query(query_embeddings=[q], n_results=k, where=where, include=[])["ids"][0]
        want = min(k, len(rows))
        assert len(ids) == want
        if want:
            _, kth = exact(x, q, rows, k)
            got += sum(float(x[int(i)] @ q) >= kth - 1e-5 for i in ids)
            total += want
    return got / total if total else 1.0


def check_everything(c, docs, x, metas, n, queries):
    texts = [d[4] for d in docs[:n]]
    for name, (where, test) in FILTERS.items():
        want = [i for i in range(n) if test(metas[i])]
        assert [int(i) for i in c.get(where=where, include=[])["ids"]] == want, name
        assert recall(c, x, queries[:30], np.array(want, dtype=int), where) >= 0.99, name
    for where, test in TEXTS:
        want = [i for i in range(n) if test(texts[i])]
        assert [int(i) for i in c.get(where_document=where, include=[])["ids"]] == want, where
    assert recall(c, x, queries, np.arange(n)) >= 0.99


def test_sixty_thousand_records(tmp_path, records):
    docs, x = records
    n, queries = len(docs) - 500, x[-200:]
    metas = [facts(docs, i) for i in range(n)]
    with Server(str(tmp_path / "data")) as server:
        c = chromadb.HttpClient(host="127.0.0.1", port=server.port_now).create_collection(
            "records", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
        for lo in range(0, n, BATCH):
            hi = min(n, lo + BATCH)
            c.add(ids=[str(i) for i in range(lo, hi)], embeddings=x[lo:hi], documents=[docs[i][4] for i in range(lo, hi)],
                  metadatas=metas[lo:hi])
            if lo % 15000 == 0:  # whatever is indexed by now, the answers are those of a scan
                want = [i for i in range(hi) if metas[i]["hot"]]
                assert [int(i) for i in c.get(where={"hot": True}, include=[])["ids"]] == want
        assert c.count() == n
        check_everything(c, docs, x, metas, n, queries)  # part of it still in the tail
        server.restart()
        c = chromadb.HttpClient(host="127.0.0.1", port=server.port_now).get_collection("records")
        c.get(limit=1, include=[])  # it is opened, and merged if it was not when the server stopped, once somebody uses it
        wait_until(lambda: len(list((tmp_path / "data" / "collections").glob("*/*.fragment"))) <= 3, 120,
                   "the merge of a quiet collection")
        check_everything(c, docs, x, metas, n, queries)
        page = c.get(limit=100, offset=40_000, include=["documents", "metadatas", "embeddings"])
        assert page["ids"] == [str(i) for i in range(40_000, 40_100)]
        assert page["documents"][5] == docs[40_005][4] and page["metadatas"][5] == metas[40_005]
        assert np.array_equal(page["embeddings"].astype(np.float32), x[40_000:40_100])
        c.delete(where={"score": {"$lt": 0.1}})
        left = [i for i in range(n) if metas[i]["score"] >= 0.1]
        assert c.count() == len(left)
        assert [int(i) for i in c.get(include=[])["ids"]] == left
        assert recall(c, x, queries[:50], np.array(left)) >= 0.99


@pytest.mark.parametrize("space", ["l2", "ip"])
def test_other_spaces(tmp_path, records, space):
    docs, x = records
    n = 20_000
    scale = 0.5 + np.random.default_rng(1).random((n, 1), dtype=np.float32)
    y = x[:n] * scale
    with Server(str(tmp_path / "data"), config="flush_rows: 4096") as server:
        c = chromadb.HttpClient(host="127.0.0.1", port=server.port_now).create_collection(
            "other", configuration={"hnsw": {"space": space}}, embedding_function=None)
        for lo in range(0, n, BATCH):
            c.add(ids=[str(i) for i in range(lo, lo + BATCH)], embeddings=y[lo:lo + BATCH])
        hit = 0
        for q in x[-100:]:
            d = ((y - q) ** 2).sum(1) if space == "l2" else 1 - y @ q
            kth = np.sort(d)[9]
            got = c.query(query_embeddings=[q], n_results=10, include=["distances"])
            hit += sum(d[int(i)] <= kth + 1e-5 for i in got["ids"][0])
            assert np.allclose(got["distances"][0], [d[int(i)] for i in got["ids"][0]], rtol=1e-4, atol=1e-5)
        assert hit / 1000 >= 0.99


def test_read_your_writes(tmp_path, records):
    """While four writers go on, each looks for every row right after it was acknowledged, by id, filter and query."""
    docs, x = records
    errors = []
    with Server(str(tmp_path / "data"), config="flush_rows: 500") as server:
        chromadb.HttpClient(host="127.0.0.1", port=server.port_now).create_collection("read-write", embedding_function=None)

        def work(w):
            try:
                c = chromadb.HttpClient(host="127.0.0.1", port=server.port_now).get_collection("read-write")
                for b in range(40):
                    rows = [w * 10_000 + b * 25 + i for i in range(25)]
                    ids = [f"{w}-{b}-{i}" for i in range(25)]
                    c.add(ids=ids, embeddings=x[rows], metadatas=[{"w": w, "b": b}] * 25,
                          documents=[f"writer {w} batch {b}." for _ in rows])
                    assert len(c.get(ids=ids, include=[])["ids"]) == 25
                    assert len(c.get(where={"$and": [{"w": w}, {"b": b}]}, include=[])["ids"]) == 25
                    assert len(c.get(where_document={"$contains": f"writer {w} batch {b}."}, include=[])["ids"]) == 25
                    assert c.query(query_embeddings=[x[rows[3]]], n_results=1)["distances"][0][0] < 1e-6
                    c.update(ids=ids[:5], metadatas=[{"b": -1 - b}] * 5)
                    assert len(c.get(where={"$and": [{"w": w}, {"b": b}]}, include=[])["ids"]) == 20
                    assert len(c.get(where={"$and": [{"w": w}, {"b": -1 - b}]}, include=[])["ids"]) == 5
                    c.delete(ids=ids[:2])
                    assert len(c.get(ids=ids, include=[])["ids"]) == 23
                    assert len(c.get(where={"w": w}, include=[])["ids"]) == 23 * (b + 1)
            except BaseException as e:  # noqa: BLE001 - reported by the main thread
                errors.append((w, repr(e)))

        threads = [threading.Thread(target=work, args=(w,)) for w in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert errors == []
        c = chromadb.HttpClient(host="127.0.0.1", port=server.port_now).get_collection("read-write")
        assert c.count() == 4 * 40 * 23
