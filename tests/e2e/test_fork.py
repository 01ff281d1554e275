"""Forks through the Python client: what they hold, that neither side sees the other, how they are counted, and that an
answered fork is there after a restart and after SIGKILL."""
import os
import threading
import urllib.error
import urllib.request
import uuid

import pytest

from chroma_server import Server
from plain_rows import DIM, connect, fill


def everything(collection):
    got = collection.get(include=["documents", "metadatas", "embeddings", "uris"])
    rows = zip(got["ids"], got["documents"], got["metadatas"], [tuple(e) for e in got["embeddings"]])
    assert collection.count() == len(got["ids"])
    return [(i, d, tuple(sorted(m.items())), e) for i, d, m, e in rows]


def source(client, name="source"):
    c = client.create_collection(name, metadata={"of": "fruit"}, embedding_function=None,
                                 configuration={"hnsw": {"space": "cosine", "ef_search": 77}})
    fill(c, 0, 200)
    fill(c, 50, 20, "again")  # in the places that they have
    c.delete(ids=["r3", "r199"])
    return c


def test_a_fork_is_what_its_source_is(client):
    c = source(client)
    f = c.fork("branch")
    assert f.name == "branch" and f.id != c.id
    assert f.metadata == {"of": "fruit"}
    assert f.configuration_json == c.configuration_json
    assert f.schema.serialize_to_json() == client.get_collection("source").schema.serialize_to_json()
    assert everything(f) == everything(c)
    assert len(everything(f)) == 198
    q = [[1.0] * DIM]
    assert f.query(query_embeddings=q, n_results=10) == c.query(query_embeddings=q, n_results=10)
    assert f.get(where={"tag": "again"})["ids"] == [f"r{i}" for i in range(50, 70)]
    assert f.get(where_document={"$contains": "again 5"})["ids"] == [f"r{i}" for i in range(50, 60)]
    assert {x.name for x in client.list_collections()} == {"source", "branch"}
    status = f.get_indexing_status()
    assert (status.num_unindexed_ops, status.num_indexed_ops, status.total_ops) == (0, 198, 198)


def test_neither_sees_the_other(client):
    c = source(client)
    before = everything(c)
    f = c.fork("branch")
    fill(c, 1000, 10)
    c.update(ids=["r1"], documents=["of the source"], embeddings=[[1.0] * DIM])
    c.delete(ids=["r2"])
    assert everything(f) == before
    after = everything(c)
    f.update(ids=["r1"], documents=["of the fork"], embeddings=[[2.0] * DIM])
    f.delete(where={"tag": "again"})
    f.modify(name="bough", metadata={"of": "wood"})
    assert everything(c) == after
    assert client.get_collection("source").metadata == {"of": "fruit"}
    ids = [r[0] for r in before if r[0] not in {f"r{i}" for i in range(50, 70)}]
    assert f.get()["ids"] == ids  # in the order of creation
    assert f.get(ids=["r1"])["documents"] == ["of the fork"]
    client.delete_collection("source")
    assert f.get()["ids"] == ids
    g = f.fork("twig")
    client.delete_collection("bough")
    assert g.get()["ids"] == ids


def test_an_empty_collection_has_forks_too(client):
    c = client.create_collection("source", embedding_function=None)
    f = c.fork("branch")
    assert f.count() == 0
    fill(f, 0, 3)
    c.add(ids=["a"], embeddings=[[1.0, 2.0]])  # another dimension: none was fixed
    assert (c.count(), f.count()) == (1, 3)


def test_the_tree_is_counted(client):
    c = client.create_collection("root")
    assert c.fork_count() == 0
    a = c.fork("aaa")
    b = a.fork("bbb")
    c.fork("ccc")
    assert [x.fork_count() for x in (c, a, b)] == [3, 3, 3]
    client.delete_collection("aaa")
    assert [x.fork_count() for x in (c, b)] == [3, 3]
    client.delete_collection("root")
    assert b.fork_count() == 3
    assert client.create_collection("root").fork_count() == 0


def call(server, method, path, body=None):
    request = urllib.request.Request(f"{server.base}/api/v2/tenants/default_tenant/databases/{path}", method=method,
                                     data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def test_what_is_refused(server, client):
    c = source(client)
    here, absent = f"default_database/collections/{c.id}", uuid.uuid4()
    assert call(server, "POST", f"{here}/fork", b'{"new_name":"source"}') == \
        (409, '{"error":"ChromaError","message":"Collection [source] already exists"}')
    for name in ("x", "", "-abc", "a b c", "x" * 600):
        status, text = call(server, "POST", f"{here}/fork", b'{"new_name":"%s"}' % name.encode())
        assert status == 400 and '"Validation error: new_name: Expected a name containing' in text
    assert call(server, "POST", f"{here}/fork", b"{}")[0] == 422
    assert call(server, "POST", f"{here}/fork", b'{"new_name":null}')[0] == 422
    gone = (404, '{"error":"NotFoundError","message":"Collection [%s] does not exist."}' % absent)
    assert call(server, "POST", f"default_database/collections/{absent}/fork", b'{"new_name":"branch"}') == gone
    assert call(server, "GET", f"default_database/collections/{absent}/fork_count") == gone
    assert call(server, "POST", f"a+b/collections/{c.id}/fork", b'{"new_name":"branch"}')[0] == 400
    assert call(server, "GET", f"{here}/fork_count") == (200, '{"count":0}')
    assert [x.name for x in client.list_collections()] == ["source"]


def size_of(path):
    seen, total = set(), 0
    for folder, _, files in os.walk(os.path.join(path, "collections")):
        for name in files:
            st = os.stat(os.path.join(folder, name))
            if st.st_ino not in seen:
                total += st.st_size
            seen.add(st.st_ino)
    return total


def test_a_fork_takes_no_space(server, client):
    c = client.create_collection("source")
    fill(c, 0, 5000)
    first = c.fork("branch0")  # flushed now
    before = size_of(server.path)
    for i in range(1, 10):
        first.fork(f"branch{i}")
    # merges of the one fragment there is cannot happen: what is added are manifests
    assert size_of(server.path) - before < 10000
    client.delete_collection("source")
    assert client.get_collection("branch9").count() == 5000


def test_after_a_restart(server, client):
    c = source(client)
    c.fork("branch").add(ids=["new"], embeddings=[[0.5] * DIM], documents=["new"], metadatas=[{"i": -1}])
    fill(c, 500, 5)
    expected = {name: everything(client.get_collection(name)) for name in ("source", "branch")}
    server.restart()
    client = connect(server)
    assert {name: everything(client.get_collection(name)) for name in expected} == expected
    client.delete_collection("source")
    server.restart()
    client = connect(server)
    branch = client.get_collection("branch")
    assert everything(branch) == expected["branch"]
    assert branch.fork_count() == 1
    assert len(os.listdir(os.path.join(server.path, "collections"))) == 1


def test_killed_right_after_the_answer(server, client):
    c = source(client)
    expected = {}
    for i in range(8):
        name = f"branch{i}"
        parent = client.get_collection(f"branch{i - 1}") if i % 2 else client.get_collection("source")
        parent.fork(name)
        server.kill()
        server.start()
        client = connect(server)
        expected[name] = everything(client.get_collection("source" if i % 2 == 0 else f"branch{i - 1}"))
        assert {n: everything(client.get_collection(n)) for n in expected} == expected
        assert client.get_collection(name).fork_count() == i + 1
        fill(client.get_collection("source"), 1000 + 10 * i, 5, f"round {i}")


@pytest.mark.parametrize("rounds", [10])
def test_forks_amid_writers(server, client, rounds):
    """A writer adds rows one after another; a fork has a prefix of them, at least those answered before."""
    c = client.create_collection("source")
    sent, done, stop = [0], [0], threading.Event()

    def write():
        mine = connect(server).get_collection("source")
        while not stop.is_set():
            k = sent[0]
            sent[0] = k + 1
            mine.upsert(ids=["state", f"r{k}"], embeddings=[[float(k)] * DIM] * 2, metadatas=[{"k": k}] * 2)
            done[0] = k + 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {}
        for i in range(rounds):
            before = done[0]
            f = c.fork(f"branch{i}")
            got = f.get()
            n = len(got["ids"]) - 1 if got["ids"] else 0
            assert before <= n <= sent[0]
            if n:
                rows = dict(zip(got["ids"], got["metadatas"]))
                assert rows.pop("state") == {"k": n - 1}
                assert rows == {f"r{k}": {"k": k} for k in range(n)}
            seen[f.name] = n
    finally:
        stop.set()
        writer.join()
    server.kill()
    server.start()
    client = connect(server)
    for name, n in seen.items():
        assert client.get_collection(name).count() == (n + 1 if n else 0)


def test_ephemeral():
    with Server() as server:
        client = connect(server)
        c = source(client)
        f = c.fork("branch")
        client.delete_collection("source")
        assert len(everything(f)) == 198
        assert f.fork("twig").fork_count() == 2
