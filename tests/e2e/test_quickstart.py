"""What a new user does first, through the real Python clients."""
import asyncio
import math

import chromadb
import numpy as np
import pytest
from chromadb.errors import NotFoundError

DOCS = ["apples are red", "bananas are yellow", "cherries are red too", "dates are brown"]
VECTORS = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]
FACTS = [{"color": "red", "n": 1}, {"color": "yellow", "n": 2}, {"color": "red", "n": 3}, {"color": "brown", "n": 4.5}]
IDS = ["a", "b", "c", "d"]


def fill(c):
    c.add(ids=IDS, embeddings=VECTORS, documents=DOCS, metadatas=FACTS)


def test_create_add_query(client):
    assert client.heartbeat() > 0
    c = client.create_collection("fruit", metadata={"about": "fruit"}, embedding_function=None)
    fill(c)
    assert c.count() == 4
    got = c.query(query_embeddings=[[1.0, 0.0, 0.0]], n_results=2)
    assert got["ids"] == [["a", "c"]]
    assert got["distances"][0][0] == 0.0
    assert math.isclose(got["distances"][0][1], 0.02, rel_tol=1e-4)
    assert got["documents"][0] == [DOCS[0], DOCS[2]]
    assert got["metadatas"][0][1] == FACTS[2]


def test_filters(client):
    c = client.create_collection("fruit", embedding_function=None)
    fill(c)
    q = dict(query_embeddings=[[0.0, 1.0, 0.0]], n_results=10)
    assert set(c.query(where={"color": "red"}, **q)["ids"][0]) == {"a", "c"}
    assert c.get(where={"n": {"$gt": 2}})["ids"] == ["c", "d"]
    assert c.get(where={"$or": [{"n": 4.5}, {"color": {"$in": ["yellow"]}}]})["ids"] == ["b", "d"]
    assert c.get(where_document={"$contains": "red"})["ids"] == ["a", "c"]
    assert c.get(where_document={"$regex": r"^\w+s are (yellow|brown)$"})["ids"] == ["b", "d"]
    assert c.get(where={"color": {"$ne": "red"}}, where_document={"$not_contains": "dates"})["ids"] == ["b"]
    assert c.query(ids=["b", "d"], **q)["ids"] == [["b", "d"]]


def test_update_upsert_delete(client):
    c = client.create_collection("fruit", embedding_function=None)
    fill(c)
    c.update(ids=["a"], metadatas=[{"n": 10, "color": None}], documents=["green apples"], embeddings=[VECTORS[0]])
    got = c.get(ids=["a"], include=["documents", "metadatas", "embeddings"])
    assert got["documents"] == ["green apples"] and got["metadatas"] == [{"n": 10}]
    assert np.array_equal(np.float32(got["embeddings"][0]), np.array(VECTORS[0], dtype=np.float32))
    c.upsert(ids=["d", "e"], embeddings=[[0, 0, 2], [1, 1, 1]], documents=["D", "E"])
    assert c.get()["ids"] == ["a", "b", "c", "d", "e"]
    c.delete(ids=["b"])
    c.delete(where={"n": {"$gte": 10}})
    assert c.get()["ids"] == ["c", "d", "e"]


def test_collections_and_reset(client):
    for name in ("one", "two", "three"):
        client.create_collection(name, embedding_function=None)
    assert sorted(c.name for c in client.list_collections()) == ["one", "three", "two"]
    assert client.get_or_create_collection("one").name == "one"
    client.get_collection("two").modify(name="zwei")
    client.delete_collection("three")
    assert client.count_collections() == 2
    with pytest.raises(NotFoundError):
        client.get_collection("three")
    assert client.reset()
    assert client.list_collections() == []


def test_cosine_and_exact_embeddings(client):
    c = client.create_collection("cos", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((50, 17)).astype(np.float32) * 7
    c.add(ids=[str(i) for i in range(50)], embeddings=x)
    back = c.get(include=["embeddings"])
    assert np.array_equal(back["embeddings"].astype(np.float32), x), "embeddings come back as they were sent"
    q = x[7]
    want = 1 - (x @ q) / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))
    got = c.query(query_embeddings=[q], n_results=50)
    assert got["ids"][0] == [str(i) for i in np.argsort(want, kind="stable")]
    assert np.allclose(got["distances"][0], np.sort(want), atol=1e-5)


def test_data_survive_a_restart(server, client):
    c = client.create_collection("kept", embedding_function=None, metadata={"k": 1})
    fill(c)
    c.update(ids=["b"], metadatas=[{"extra": True}])
    c.delete(ids=["d"])
    before = c.get(include=["documents", "metadatas", "embeddings"])
    server.restart()
    again = chromadb.HttpClient(host="127.0.0.1", port=server.port_now).get_collection("kept")
    after = again.get(include=["documents", "metadatas", "embeddings"])
    assert again.metadata == {"k": 1}
    assert np.array_equal(before.pop("embeddings"), after.pop("embeddings"))
    assert before == after


def test_big_batches_and_gets(client):
    c = client.create_collection("big", embedding_function=None)
    assert client.get_max_batch_size() >= 100_000
    n = 41_665
    x = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
    c.add(ids=[f"r{i}" for i in range(n)], embeddings=x)
    got = c.get(include=[])
    assert len(got["ids"]) == n and got["ids"][0] == "r0" and got["ids"][-1] == f"r{n - 1}"
    assert len(c.get(ids=[f"r{i}" for i in range(40_000)], include=[])["ids"]) == 40_000


def test_async_client(server):
    async def run():
        client = await chromadb.AsyncHttpClient(host="127.0.0.1", port=server.port_now)
        assert await client.heartbeat() > 0
        c = await client.create_collection("fruit", embedding_function=None)
        await c.add(ids=IDS, embeddings=VECTORS, documents=DOCS, metadatas=FACTS)
        await asyncio.gather(*[c.upsert(ids=[f"x{i}"], embeddings=[[i, 1, 1]]) for i in range(20)])
        assert await c.count() == 24
        got = await c.query(query_embeddings=[[1.0, 0.0, 0.0]], n_results=1, where={"color": "red"})
        assert got["ids"] == [["a"]]
        await c.update(ids=["a"], documents=["new"], embeddings=[VECTORS[0]])
        assert (await c.get(ids=["a"]))["documents"] == ["new"]
        await c.delete(ids=["a"])
        assert await c.count() == 23
        assert [x.name for x in await client.list_collections()] == ["fruit"]
        await client.reset()
        assert await client.count_collections() == 0
    asyncio.run(run())
