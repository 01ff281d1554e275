"""Ranked search through the Python client's builder: what it sends is understood, and what comes back is what an exact
evaluation in numpy gives, from tails and from fragments."""
import os
import sys

import httpx
import numpy as np
import pytest
from chromadb import K, Knn, Rrf, Schema, Search, SparseVector, SparseVectorIndexConfig
from chromadb.api.types import ReadLevel
from chromadb.execution.expression import GroupBy, MaxK, MinK, Val

from chroma_server import Server, wait_until
from conftest import SHARED

IDS = ["a", "b", "c", "d"]
VECTORS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 0.0]]
DOCS = ["red apples", "yellow bananas", "red cherries", "brown dates"]
FACTS = [{"color": "red", "n": 1, "tags": ["x", "y"]}, {"color": "yellow", "n": 2}, {"color": "red", "n": 3, "tags": ["y"]},
         {"color": "brown", "n": 4.5}]


@pytest.fixture
def fruit(client):
    c = client.create_collection("fruit", embedding_function=None)
    c.add(ids=IDS, embeddings=VECTORS, documents=DOCS, metadatas=FACTS)
    return c


def test_builder(fruit):
    got = fruit.search(Search().where((K("color") == "red") & (K("n") > 1)).rank(Knn(query=[1.0, 0.0])).limit(5)
                       .select(K.DOCUMENT, K.SCORE, "n"))
    assert got["ids"] == [["c"]] and got["scores"] == [[1.0]]
    assert got["documents"] == [["red cherries"]] and got["metadatas"] == [[{"n": 3}]]
    assert got["embeddings"] == [None] and got["select"] == [["#document", "#score", "n"]]
    rows = fruit.search(Search().rank(Knn(query=[1.0, 0.0])).limit(2).select_all()).rows()
    assert [r["id"] for r in rows[0]] == ["a", "c"]
    assert rows[0][0]["metadata"] == FACTS[0] and rows[0][1]["score"] == 1.0
    assert list(rows[0][1]["embedding"]) == VECTORS[2]


def test_filters(fruit):
    def ids(where):
        return fruit.search(Search().where(where))["ids"][0]
    assert ids(K.ID.is_in(["d", "a", "nope"])) == ["a", "d"]
    assert ids(K.ID.not_in(["d", "a"]) & (K("color") == "red")) == ["c"]
    assert ids(K.ID == "b") == ["b"]
    assert ids(K.DOCUMENT.contains("red") | (K("n") >= 4)) == ["a", "c", "d"]
    assert ids(K.DOCUMENT.regex(r"^\w+ (dates|bananas)$")) == ["b", "d"]
    assert ids(K.DOCUMENT.not_contains("red")) == ["b", "d"]
    assert ids(K("tags").contains("y")) == ["a", "c"]
    assert ids(K("tags").not_contains("x")) == ["b", "c", "d"]
    assert ids(K("color").not_in(["red"])) == ["b", "d"]
    assert ids(None) == IDS


def test_pages_and_batches(fruit):
    first, second, all_rows = (Search().limit(2), Search().limit(5, offset=3).select(K.SCORE), Search())
    got = fruit.search([first, second, all_rows], read_level=ReadLevel.INDEX_ONLY)
    assert got["ids"] == [["a", "b"], ["d"], IDS] and got["scores"] == [None, [0.0], None]


def test_arithmetic(fruit):
    def scores(rank):
        got = fruit.search(Search().rank(rank).select(K.SCORE))
        return dict(zip(got["ids"][0], got["scores"][0]))
    x, y = Knn(query=[1.0, 0.0]), Knn(query=[0.0, 1.0])           # squared distances 0 2 1 4 and 2 0 1 10
    assert scores(x + y) == {"a": 2, "b": 2, "c": 2, "d": 14}
    assert scores(0.5 * x - y / 2) == {"a": -1, "b": 1, "c": 0, "d": -3}
    assert scores((x - y).abs().max(1.5)) == {"a": 2, "b": 2, "c": 1.5, "d": 6}
    assert scores(x.min(y) * -1) == {"a": 0, "b": 0, "c": -1, "d": -4}
    assert scores((x + 1).log().exp()) == pytest.approx({"a": 1, "b": 3, "c": 2, "d": 5})
    assert scores(1 / x)["a"] is None, "infinity is null"
    assert scores(Val(3.0)) == {}, "a constant finds nothing"
    near = Knn(query=[1.0, 0.0], limit=1, default=100.0), Knn(query=[0.0, 1.0], limit=2, default=10.0)
    assert scores(near[0] + near[1]) == {"a": 10, "b": 100, "c": 101}


def test_group_by(fruit):
    knn = Search().rank(Knn(query=[1.0, 0.0])).select(K.SCORE)
    got = fruit.search(knn.group_by(GroupBy(keys=K("color"), aggregate=MinK(keys=K.SCORE, k=1))))
    assert got["ids"] == [["a", "b", "d"]]
    got = fruit.search(knn.group_by(GroupBy(keys=[K("color")], aggregate=MaxK(keys=[K("n"), K.SCORE], k=1))).limit(1))
    assert got["ids"] == [["c"]] and got["scores"] == [[1.0]]


def test_rrf(fruit):
    ranks = [Knn(query=[1.0, 0.0], return_rank=True), Knn(query=[0.0, 1.0], return_rank=True, limit=2, default=50)]
    got = fruit.search(Search().rank(Rrf(ranks, k=10, weights=[3.0, 1.0], normalize=True)).select(K.SCORE))
    places = {"a": (0, 50), "c": (1, 1), "b": (2, 0), "d": (3, 50)}
    want = {i: -(0.75 / (10 + p) + 0.25 / (10 + q)) for i, (p, q) in places.items()}
    assert got["ids"][0] == sorted(want, key=want.get)
    assert dict(zip(got["ids"][0], got["scores"][0])) == pytest.approx(want)


def sparse_schema(**configs):
    schema = Schema()
    for key, config in configs.items():
        schema.create_index(config=config, key=key)
    return schema


def test_sparse_and_hybrid(client):
    schema = sparse_schema(sparse=SparseVectorIndexConfig())
    c = client.create_collection("hybrid", schema=schema, embedding_function=None)
    vectors = [SparseVector(indices=[1, 5], values=[1.0, 2.0]), SparseVector(indices=[5], values=[0.5], labels=["five"]), None,
               SparseVector(indices=[7], values=[1.0])]
    c.add(ids=IDS, embeddings=VECTORS, metadatas=[{"n": i, **({"sparse": v} if v else {})} for i, v in enumerate(vectors)])
    back = c.get()["metadatas"]
    assert back[0]["sparse"] == vectors[0] and back[1]["sparse"].labels == ["five"] and "sparse" not in back[2]
    query = SparseVector(indices=[5, 9], values=[2.0, 1.0])
    got = c.search(Search().rank(Knn(query=query, key="sparse")).select(K.SCORE, "sparse"))
    assert got["ids"] == [["a", "b"]] and got["scores"] == [[-3.0, 0.0]]
    assert got["metadatas"][0][0]["sparse"] == vectors[0]
    hybrid = Knn(query=[1.0, 0.0]) + 0.5 * Knn(query=query, key="sparse", default=2.0)
    got = c.search(Search().rank(hybrid).select(K.SCORE))
    assert dict(zip(got["ids"][0], got["scores"][0])) == {"a": -1.5, "b": 2.0, "c": 2.0, "d": 5.0}
    rrf = Rrf([Knn(query=[1.0, 0.0], return_rank=True, default=1000),
               Knn(query=query, key="sparse", return_rank=True, default=1000)])
    assert c.search(Search().rank(rrf))["ids"] == [["a", "b", "c", "d"]]
    c.update(ids=["a"], metadatas=[{"sparse": SparseVector(indices=[7], values=[9.0])}])
    assert c.search(Search().rank(Knn(query=query, key="sparse")))["ids"] == [["b"]]
    with pytest.raises(Exception, match="Cannot filter using metadata key 'n' with type 'SparseVector'"):
        c.search(Search().rank(Knn(query=query, key="n")))


# --- random searches against the reference model of ../shared/contract ------------------------------------------------

N, DIM, WORDS = 400, 6, 40


@pytest.fixture
def model():
    if not os.path.exists(os.path.join(SHARED, "contract", "search_model.py")):
        pytest.skip("../shared/contract is not here")
    sys.path.insert(0, os.path.join(SHARED, "contract"))
    import search_model
    return search_model


def random_sparse(rng):
    indices = sorted(int(i) for i in rng.choice(WORDS, rng.integers(1, 6), replace=False))
    return {"#type": "sparse_vector", "indices": indices, "values": [float(v) for v in rng.integers(-8, 9, len(indices)) / 4]}


def random_record(rng):
    """Vectors of quarters: distances are exact in float32, whatever the order of summing."""
    m = {"n": int(rng.integers(0, 10)), "x": float(rng.integers(0, 5)) / 2, "hot": bool(rng.integers(0, 2)),
         "mixed": [1, 1.0, "1", True, [1, 2], ["a"]][rng.integers(0, 6)]}
    for key in ("sparse", "bm", "n", "hot"):
        if key in m and rng.random() < 0.1:
            del m[key]
        elif key not in m and rng.random() < 0.7:
            m[key] = random_sparse(rng)
    return [float(v) for v in rng.integers(-8, 9, DIM) / 4], f"w{rng.integers(0, 30)} w{rng.integers(0, 30)}", m


def random_leaf(rng):
    body = {"limit": int(rng.choice([1, 5, 30, 200, 5000]))}
    kind = rng.integers(0, 4)
    if kind < 2:
        body["query"] = [float(v) for v in rng.integers(-8, 9, DIM) / 4]
    else:
        body.update(query=random_sparse(rng), key=["sparse", "bm"][kind - 2])
    if rng.random() < 0.5:
        body["default"] = float(rng.integers(-20, 20))
    if rng.random() < 0.4:
        body["return_rank"] = True
    return {"$knn": body}


def random_rank(rng, depth):
    pick = rng.integers(0, 12) if depth else 0
    if pick < 4:
        return random_leaf(rng)
    if pick == 4:
        return {"$val": float(rng.integers(-4, 5))}
    if pick < 9:
        return {["$sum", "$mul", "$max", "$min"][pick - 5]: [random_rank(rng, depth - 1) for _ in range(rng.integers(1, 4))]}
    if pick == 9:
        return {"$sub": {"left": random_rank(rng, depth - 1), "right": random_rank(rng, depth - 1)}}
    return {"$abs": random_rank(rng, depth - 1)}


def random_payload(rng):
    filters = [None, {"n": {"$lt": 5}}, {"$or": [{"hot": True}, {"x": {"$in": [0.5, 1.0]}}]}, {"#document": {"$contains": "w1"}},
               {"#id": {"$in": [f"r{i}" for i in rng.integers(0, N, 50)]}}, {"n": {"$ne": 3}}]
    p = {"filter": filters[rng.integers(0, len(filters))], "rank": random_rank(rng, 2),
         "select": {"keys": ["#score", "n", "mixed"]}, "limit": {"limit": int(rng.integers(1, 60)), "offset": int(rng.integers(0, 5))}}
    if rng.random() < 0.3:
        p["group_by"] = {"keys": [["n"], ["mixed"], ["hot", "x"]][rng.integers(0, 3)],
                         "aggregate": {["$min_k", "$max_k"][rng.integers(0, 2)]:
                                       {"keys": [["#score"], ["x", "#score"], ["mixed"]][rng.integers(0, 3)], "k": int(rng.integers(1, 4))}}}
    return p


def is_close(reference):
    """Were two scores of the last search so near each other that rounding may order them either way?"""
    for ranked in reference.lists:
        s = np.array([float(score) for score, _ in ranked])
        s = s[np.isfinite(s)]
        gaps = np.diff(s)
        if np.any((gaps > 0) & (gaps < 1e-5 * (1 + np.abs(s[1:])))):
            return True
    return False


def test_random_searches(tmp_path, model):
    rng = np.random.default_rng(20261124)
    reference = model.Collection(space="l2", sparse={"sparse": False, "bm": True})
    with Server(str(tmp_path / "data"), config="flush_rows: 150") as server, httpx.Client(timeout=60) as http:
        base = f"{server.base}/api/v2/tenants/default_tenant/databases/default_database/collections"
        # two sparse indexes: the server takes them, the client's Schema does not
        keys = {key: {"sparse_vector": {"sparse_vector_index": {"enabled": True, "config": {"bm25": key == "bm"}}}}
                for key in ("sparse", "bm")}
        r = http.post(base, json={"name": "random", "schema": {"defaults": {}, "keys": keys}})
        assert r.status_code == 200, r.text
        base += "/" + r.json()["id"]

        def write(route, body):
            r = http.post(f"{base}/{route}", json=body)
            assert r.status_code in (200, 201), r.text

        def compare(n):
            same = 0
            for _ in range(n):
                p = random_payload(rng)
                r = http.post(f"{base}/search", json={"searches": [p]})
                assert r.status_code == 200, (r.text, p)
                got, want = r.json(), reference.respond([p])
                if is_close(reference):
                    continue
                scores, wanted = got.pop("scores")[0], want.pop("scores")[0]
                assert got == want, p
                assert [s is None for s in scores] == [s is None for s in wanted], p
                assert np.allclose([s for s in scores if s is not None], [s for s in wanted if s is not None], rtol=1e-5, atol=1e-5), p
                same += 1
            return same

        for first in range(0, N, 100):
            rows = [random_record(rng) for _ in range(100)]
            for i, (v, d, m) in enumerate(rows):
                reference.add(f"r{first + i}", v, document=d, metadata=m)
            write("add", {"ids": [f"r{first + i}" for i in range(100)], "embeddings": [r[0] for r in rows],
                          "documents": [r[1] for r in rows], "metadatas": [r[2] for r in rows]})
        assert compare(80) > 30
        wait_until(lambda: list((tmp_path / "data").glob("collections/*/*.fragment")), what="a fragment")
        for i in rng.choice(N, 60, replace=False):
            v, d, m = random_record(rng)
            if i % 2:
                reference.delete(f"r{i}")
                write("delete", {"ids": [f"r{i}"]})
            else:
                reference.update(f"r{i}", embedding=v, document=d, metadata=m)
                write("update", {"ids": [f"r{i}"], "embeddings": [v], "documents": [d], "metadatas": [m]})
        assert compare(80) > 30
