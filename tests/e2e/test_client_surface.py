"""Every public method of the Python clients and of their collections is called here and its answer looked at.

CALLS has a row for each; `test_no_method_is_missing` compares its keys with what the installed package has, so a method
that a later version adds fails until it has a row. The synchronous and the asynchronous class share a row: `w.do` waits
for what is a coroutine.
"""
import asyncio
import inspect

import chromadb
import numpy as np
import pytest
from chromadb.api.async_client import AsyncAdminClient, AsyncClient
from chromadb.api.client import AdminClient, Client
from chromadb.api.functions import STATISTICS_FUNCTION
from chromadb.api.models.AsyncCollection import AsyncCollection
from chromadb.api.models.Collection import Collection
from chromadb.api.types import ReadLevel, Schema
from chromadb.config import Settings
from chromadb.errors import ChromaError, InvalidArgumentError, NotFoundError
from chromadb.execution.expression import K, Knn, Search

from chroma_server import Server

IDS = ["a", "b", "c"]
VECTORS = [[1.0, 0.0], [0.0, 1.0], [0.75, 0.25]]
DOCS = ["apples are red", "bananas are yellow", "cherries are red"]
FACTS = [{"n": 1, "color": "red"}, {"n": 2, "color": "yellow"}, {"n": 3, "color": "red"}]


class World:
    """A client of one kind, its administrator and a collection with three records, on an empty server."""

    def __init__(self, kind, port):
        self.port, self.is_async = port, kind == "async"
        self.loop = asyncio.new_event_loop() if self.is_async else None
        settings = Settings(chroma_api_impl="chromadb.api.%s" % ("async_fastapi.AsyncFastAPI" if self.is_async
                                                                 else "fastapi.FastAPI"),
                            chroma_server_host="127.0.0.1", chroma_server_http_port=port, anonymized_telemetry=False)
        make = chromadb.AsyncHttpClient if self.is_async else chromadb.HttpClient
        self.client = self.do(make(host="127.0.0.1", port=port, settings=settings))
        self.do(self.client.reset())
        self.admin = (AsyncAdminClient if self.is_async else AdminClient).from_system(self.client._system)
        self.fruit = self.do(self.client.create_collection("fruit", metadata={"about": "fruit"},
                                                           embedding_function=None))
        self.do(self.fruit.add(ids=IDS, embeddings=VECTORS, documents=DOCS, metadatas=FACTS))

    def do(self, result):
        return self.loop.run_until_complete(result) if inspect.isawaitable(result) else result

    def ids(self, **how):
        return self.do(self.fruit.get(**how))["ids"]

    def close(self):
        if self.is_async:
            self.loop.close()


# ------------------------------------------------------------------------------------------------------- clients


def heartbeat(w):
    assert w.do(w.client.heartbeat()) > 1_600_000_000 * 10**9


def get_version(w):
    assert w.do(w.client.get_version()).count(".") == 2


def get_max_batch_size(w):
    assert w.do(w.client.get_max_batch_size()) >= 100_000


def get_user_identity(w):
    who = w.do(w.client.get_user_identity())
    assert who.tenant == "default_tenant" and who.databases == ["default_database"]


def get_settings(w):
    assert w.client.get_settings().chroma_server_http_port == w.port


def create_collection(w):
    c = w.do(w.client.create_collection("second", metadata={"x": 1}, embedding_function=None,
                                        configuration={"hnsw": {"space": "ip", "ef_search": 44}}))
    assert c.name == "second" and c.configuration["hnsw"]["space"] == "ip"
    assert c.configuration["hnsw"]["ef_search"] == 44
    with pytest.raises(ChromaError, match="already exists"):
        w.do(w.client.create_collection("second"))


def get_collection(w):
    assert w.do(w.client.get_collection("fruit")).id == w.fruit.id
    with pytest.raises(NotFoundError):
        w.do(w.client.get_collection("vegetables"))


def get_collection_by_id(w):
    assert w.do(w.client.get_collection_by_id(w.fruit.id)).name == "fruit"
    with pytest.raises(ChromaError):
        w.do(w.client.get_collection_by_id("00000000-0000-4000-8000-000000000000"))


def get_or_create_collection(w):
    assert w.do(w.client.get_or_create_collection("fruit", metadata={"about": "else"})).metadata == {"about": "fruit"}
    assert w.do(w.client.get_or_create_collection("new", embedding_function=None)).name == "new"


def list_collections(w):
    w.do(w.client.create_collection("second", embedding_function=None))
    assert sorted(c.name for c in w.do(w.client.list_collections())) == ["fruit", "second"]
    pages = [w.do(w.client.list_collections(limit=1, offset=i)) for i in range(3)]
    assert [len(p) for p in pages] == [1, 1, 0] and pages[0][0].id != pages[1][0].id


def count_collections(w):
    assert w.do(w.client.count_collections()) == 1


def delete_collection(w):
    w.do(w.client.delete_collection("fruit"))
    assert w.do(w.client.count_collections()) == 0
    with pytest.raises(NotFoundError):
        w.do(w.client.delete_collection("fruit"))
    with pytest.raises(NotFoundError):
        w.do(w.fruit.count())


def reset(w):
    assert w.do(w.client.reset()) is True
    assert w.do(w.client.list_collections()) == []


def set_database(w):
    w.do(w.admin.create_database("other"))
    w.do(w.client.set_database("other"))
    assert w.client.database == "other" and w.do(w.client.count_collections()) == 0
    with pytest.raises((NotFoundError, ValueError)):
        w.do(w.client.set_database("nowhere"))


def set_tenant(w):
    w.do(w.admin.create_tenant("acme"))
    w.do(w.admin.create_database("own", tenant="acme"))
    w.do(w.client.set_tenant("acme", "own"))
    assert w.client.tenant == "acme" and w.do(w.client.count_collections()) == 0
    with pytest.raises((NotFoundError, ValueError)):
        w.do(w.client.set_tenant("nobody"))


def from_system(w):
    if w.is_async:
        with pytest.raises(NotImplementedError):
            AsyncClient.from_system(w.client._system)
    else:
        assert Client.from_system(w.client._system).count_collections() == 1


def from_system_async(w):
    assert w.do(w.do(AsyncClient.from_system_async(w.client._system)).count_collections()) == 1


def create(w):
    other = w.do(AsyncClient.create(settings=w.client.get_settings()))
    assert w.do(other.count_collections()) == 1


def close(w):
    other = chromadb.HttpClient(host="127.0.0.1", port=w.port)
    assert other.count_collections() == 1
    other.close()
    other.close()
    assert w.client.count_collections() == 1


def clear_system_cache(w):
    w.client.clear_system_cache()
    assert w.do(w.client.count_collections()) == 1


def get_chroma_cloud_api_key_from_clients(w):
    assert w.client.get_chroma_cloud_api_key_from_clients() is None


# ------------------------------------------------------------------------------------------------ administrators


def create_tenant(w):
    w.do(w.admin.create_tenant("acme"))
    with pytest.raises(ChromaError, match="already exists"):
        w.do(w.admin.create_tenant("acme"))


def get_tenant(w):
    assert w.do(w.admin.get_tenant("default_tenant"))["name"] == "default_tenant"
    with pytest.raises(NotFoundError):
        w.do(w.admin.get_tenant("nobody"))


def create_database(w):
    w.do(w.admin.create_database("one"))
    with pytest.raises(ChromaError, match="already exists"):
        w.do(w.admin.create_database("one"))
    with pytest.raises(InvalidArgumentError):
        w.do(w.admin.create_database("x"))


def get_database(w):
    got = w.do(w.admin.get_database("default_database"))
    assert got["name"] == "default_database" and got["tenant"] == "default_tenant" and got["id"]
    with pytest.raises(NotFoundError):
        w.do(w.admin.get_database("nowhere"))


def list_databases(w):
    w.do(w.admin.create_database("one"))
    assert [d["name"] for d in w.do(w.admin.list_databases())] == ["default_database", "one"]
    assert [d["name"] for d in w.do(w.admin.list_databases(limit=1, offset=1))] == ["one"]


def delete_database(w):
    w.do(w.admin.create_database("one"))
    w.do(w.admin.delete_database("one"))
    with pytest.raises(NotFoundError):
        w.do(w.admin.delete_database("one"))


def admin_from_system(w):
    other = (AsyncAdminClient if w.is_async else AdminClient).from_system(w.client._system)
    assert w.do(other.get_tenant("default_tenant"))["name"] == "default_tenant"


def admin_clear_system_cache(w):
    w.admin.clear_system_cache()
    assert w.do(w.admin.get_tenant("default_tenant"))["name"] == "default_tenant"


def admin_cloud_key(w):
    assert w.admin.get_chroma_cloud_api_key_from_clients() is None


# --------------------------------------------------------------------------------------------------- collections


def add(w):
    w.do(w.fruit.add(ids=["a", "d"], embeddings=[[9, 9], [5, 5]], documents=["not this", "dates"]))
    got = w.do(w.fruit.get(ids=["a", "d"], include=["documents", "embeddings"]))
    assert got["documents"] == [DOCS[0], "dates"] and np.array_equal(got["embeddings"], [VECTORS[0], [5, 5]])
    with pytest.raises(InvalidArgumentError):
        w.do(w.fruit.add(ids=["e"], embeddings=[[1, 2, 3]]))


def count(w):
    for level in ReadLevel:
        assert w.do(w.fruit.count(read_level=level)) == 3


def get(w):
    assert w.ids() == IDS and w.ids(ids=["c", "a", "zz"]) == ["a", "c"] and w.ids(limit=1, offset=1) == ["b"]
    assert w.ids(where={"n": {"$gt": 1}}, where_document={"$contains": "red"}) == ["c"]
    got = w.do(w.fruit.get(include=["documents", "metadatas", "embeddings", "uris"]))
    assert got["documents"] == DOCS and got["metadatas"] == FACTS and got["uris"] == [None] * 3
    assert np.array_equal(got["embeddings"], VECTORS)


def peek(w):
    assert w.do(w.fruit.peek(limit=2))["ids"] == ["a", "b"]


def query(w):
    got = w.do(w.fruit.query(query_embeddings=[[1, 0], [0, 1]], n_results=2,
                             include=["distances", "documents", "metadatas", "embeddings"]))
    assert [r[0] for r in got["ids"]] == ["a", "b"] and got["distances"][0] == [0, 0.125]
    assert got["documents"][0] == [DOCS[0], DOCS[2]] and got["metadatas"][1][0] == FACTS[1]
    got = w.do(w.fruit.query(query_embeddings=[[1, 0]], where={"color": "red"}, where_document={"$contains": "che"}))
    assert got["ids"] == [["c"]]
    assert w.do(w.fruit.query(query_embeddings=[[1, 0]], ids=["b", "c"], n_results=1))["ids"] == [["c"]]


def update(w):
    w.do(w.fruit.update(ids=["a", "zz"], embeddings=[[7, 7], [0, 0]], documents=["green apples", "nobody"],
                        metadatas=[{"color": None, "new": True}, {"n": 0}]))
    got = w.do(w.fruit.get(include=["documents", "metadatas", "embeddings"]))
    assert got["ids"] == IDS and got["documents"][0] == "green apples"
    assert got["metadatas"][0] == {"n": 1, "new": True} and list(got["embeddings"][0]) == [7, 7]


def upsert(w):
    w.do(w.fruit.upsert(ids=["c", "d"], embeddings=[[3, 3], [4, 4]], documents=["C", "D"]))
    got = w.do(w.fruit.get(ids=["c", "d"]))
    assert got["ids"] == ["c", "d"] and got["documents"] == ["C", "D"] and got["metadatas"] == [FACTS[2], None]


def delete(w):
    assert w.do(w.fruit.delete(ids=["a"]))["deleted"] == 1
    assert w.do(w.fruit.delete(where={"n": {"$gt": 1}}, limit=1))["deleted"] == 1
    assert w.ids() == ["c"]
    w.do(w.fruit.delete(where_document={"$contains": "cherries"}))
    assert w.do(w.fruit.count()) == 0


def modify(w):
    w.do(w.fruit.modify(name="obst", metadata={"k": 1.5}))
    w.do(w.fruit.modify(configuration={"hnsw": {"ef_search": 77}}))
    again = w.do(w.client.get_collection("obst"))
    assert again.id == w.fruit.id and again.metadata == {"k": 1.5} and again.configuration["hnsw"]["ef_search"] == 77


def search(w):
    plan = Search().where(K("color") == "red").rank(Knn(query=[1.0, 0.0], limit=3)).limit(2).select(K.DOCUMENT, K.SCORE)
    for level in ReadLevel:
        got = w.do(w.fruit.search(plan, read_level=level))
        assert got["ids"] == [["a", "c"]] and got["documents"] == [[DOCS[0], DOCS[2]]] and got["scores"] == [[0, 0.125]]
    assert w.do(w.fruit.search([plan, Search().limit(1)]))["ids"] == [["a", "c"], ["a"]]


def get_indexing_status(w):
    status = w.do(w.fruit.get_indexing_status())
    assert (status.num_indexed_ops, status.num_unindexed_ops, status.total_ops) == (3, 0, 3)
    assert status.op_indexing_progress == 1.0


def get_model(w):
    model = w.fruit.get_model()
    assert model["name"] == "fruit" and model["dimension"] is None and model["tenant"] == "default_tenant"
    assert w.do(w.client.get_collection("fruit")).get_model()["dimension"] == 2


def fork(w):
    copy = w.do(w.fruit.fork("copy"))
    assert copy.name == "copy" and copy.id != w.fruit.id and copy.metadata == {"about": "fruit"}
    w.do(copy.delete(ids=["a"]))
    assert w.do(copy.get())["ids"] == ["b", "c"] and w.ids() == IDS


def fork_count(w):
    assert w.do(w.fruit.fork_count()) == 0
    w.do(w.fruit.fork("copy"))
    assert w.do(w.fruit.fork_count()) == 1


def attach_function(w):
    with pytest.raises(ChromaError):
        w.fruit.attach_function(STATISTICS_FUNCTION, name="counts", output_collection="numbers")
    assert w.fruit.count() == 3


def get_attached_function(w):
    with pytest.raises(ChromaError):
        w.fruit.get_attached_function("counts")


def detach_function(w):
    with pytest.raises(ChromaError):
        w.fruit.detach_function("counts")


def properties(w):
    again = w.do(w.client.get_collection("fruit"))
    assert (again.name, again.id, again.tenant, again.database) == ("fruit", w.fruit.id, "default_tenant",
                                                                    "default_database")
    assert again.metadata == {"about": "fruit"} and isinstance(again.schema, Schema)
    assert again.configuration["hnsw"]["space"] == "l2" == again.configuration_json["hnsw"]["space"]


ADMIN = {"create_tenant": create_tenant, "get_tenant": get_tenant, "create_database": create_database,
         "get_database": get_database, "list_databases": list_databases, "delete_database": delete_database,
         "from_system": admin_from_system, "clear_system_cache": admin_clear_system_cache,
         "get_chroma_cloud_api_key_from_clients": admin_cloud_key}
CLIENT = {f.__name__: f for f in (
    heartbeat, get_version, get_max_batch_size, get_user_identity, get_settings, create_collection, get_collection,
    get_collection_by_id, get_or_create_collection, list_collections, count_collections, delete_collection, reset,
    set_database, set_tenant, from_system, clear_system_cache, get_chroma_cloud_api_key_from_clients)}
COLLECTION = {f.__name__: f for f in (
    add, count, get, peek, query, update, upsert, delete, modify, search, fork, fork_count, get_indexing_status,
    get_model)}
FUNCTIONS = {f.__name__: f for f in (attach_function, get_attached_function, detach_function)}
CALLS = {Client: {**CLIENT, "close": close},
         AsyncClient: {**CLIENT, "from_system_async": from_system_async, "create": create},
         AdminClient: ADMIN, AsyncAdminClient: ADMIN,
         Collection: {**COLLECTION, **FUNCTIONS}, AsyncCollection: COLLECTION}


@pytest.fixture(scope="module")
def port():
    with Server() as server:
        yield server.port_now


@pytest.mark.parametrize("cls", CALLS, ids=lambda c: c.__name__)
def test_no_method_is_missing(cls):
    methods = {n for n, f in inspect.getmembers(cls) if not n.startswith("_") and callable(f)}
    assert methods == set(CALLS[cls])


@pytest.mark.parametrize("cls, name", [(c, n) for c, rows in CALLS.items() for n in rows],
                         ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_method(cls, name, port):
    w = World("async" if cls.__name__.startswith("Async") else "sync", port)
    try:
        CALLS[cls][name](w)
    finally:
        w.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_properties(kind, port):
    w = World(kind, port)
    try:
        properties(w)
    finally:
        w.close()
