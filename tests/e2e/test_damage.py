"""Damaged index files under a real server: answers stay right without a damaged index, which is made again; damaged records are
refused with a message that names them, and everything else is served. `chroma check` sees the same. The same query has the same
answer before and after a restart and a compaction."""
import os
import random
import struct
import subprocess

from chroma_server import BINARY, Server, wait_until
from test_memory import Client

SECTIONS = {"vectors": 1, "ordinals": 2, "born": 3, "norms": 4, "ids": 5, "id hash": 6, "metadata": 8, "documents": 9, "codes": 10,
            "metadata index": 11, "text index": 12}
N, DIM = 1500, 48
SCRUB = "scrub_bytes_per_s: 100000000\nscrub_interval_s: 1\n"
WORDS = ["red", "green", "blue", "white", "black", "yellow"]


def make_rows(seed):
    rng = random.Random(seed)
    return {"ids": [f"id-{i}" for i in range(N)],
            "embeddings": [[round(rng.gauss(0, 1), 3) for _ in range(DIM)] for _ in range(N)],
            "documents": [" ".join(rng.choice(WORDS) for _ in range(6)) for _ in range(N)],
            "metadatas": [{"n": rng.randrange(50), "w": rng.choice(WORDS)} for _ in range(N)]}


def fill(client, name, rows):
    client.ask("POST", "", {"name": name, "configuration": {"hnsw": {"space": "cosine"}}})
    col = client.ask("GET", f"/{name}")["id"]
    client.ask("POST", f"/{col}/add", rows)
    return col


def flushed(client, files=1):
    """Rows leave memory when they are written, not yet when it is decided."""
    def done():
        m = client.metrics()
        return m["chroma_tail_rows"] == 0 and m["chroma_fragments"] >= files
    wait_until(done, what="a flush")


def fragments(data, number=None):
    base = os.path.join(data, "collections")
    found = [os.path.join(base, d, f) for d in sorted(os.listdir(base), key=int) for f in os.listdir(os.path.join(base, d))
             if f.endswith(".fragment") and number in (None, int(d))]
    assert found
    return found


def flip(path, section, seed=1):
    """Turns one bit of a section, in place: also for whoever has the file mapped."""
    with open(path, "r+b") as f:
        header = f.read(4096)
        n = struct.unpack_from("<I", header, 12)[0]
        entries = [struct.unpack_from("<IIQQQ", header, 64 + 32 * i) for i in range(n)]
        at, length = next((e[2], e[3]) for e in entries if e[0] == SECTIONS[section])
        at += random.Random(seed).randrange(length)
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 16]))


def answers(client, col, rows):
    """What must not depend on any index: gets, filters, texts."""
    ask = lambda path, body: client.ask("POST", f"/{col}/{path}", body)  # noqa: E731
    all_of_it = ["documents", "metadatas", "embeddings"]
    return [ask("get", {"ids": ["id-7", "id-1499", "id-3", "nobody"], "include": all_of_it}),
            ask("get", {"where": {"$and": [{"n": {"$gte": 40}}, {"w": {"$ne": "red"}}]}, "include": ["metadatas"]}),
            ask("get", {"where_document": {"$contains": "red white bl"}, "include": ["documents"]}),
            ask("get", {"where_document": {"$regex": "^(red )+green"}, "limit": 20, "offset": 3}),
            ask("get", {"limit": 30, "offset": 700}),
            ask("query", {"query_embeddings": rows["embeddings"][:3], "n_results": 10, "where": {"n": {"$lt": 10}}}),
            client.ask("GET", f"/{col}/count")]


def nearest(rows, q):
    """The ids of the ten nearest, by cosine, in exact arithmetic."""
    length = lambda v: sum(x * x for x in v) ** 0.5  # noqa: E731
    near = lambda v: sum(x * y for x, y in zip(v, q)) / length(v)  # noqa: E731
    order = sorted(range(N), key=lambda i: -near(rows["embeddings"][i]))
    return [rows["ids"][i] for i in order[:10]]


def query(client, col, q):
    return client.ask("POST", f"/{col}/query", {"query_embeddings": [q], "n_results": 10})


def check(data, *more):
    p = subprocess.run([BINARY, "check", "--path", data, *more], capture_output=True, text=True, timeout=120)
    return p.returncode, p.stdout + p.stderr


def healed(client, n=1):
    def done():
        m = client.metrics()
        return m["chroma_rebuilt_fragments_total"] >= n and m['chroma_damaged_fragments{kind="index"}'] == 0
    return done


def test_a_damaged_index_is_done_without_and_made_again(tmp_path):
    data = str(tmp_path / "data")
    rows = make_rows(1)
    sections = ["id hash", "codes", "metadata index", "text index", "norms"]
    server = Server(data)
    with server:
        client = Client(server)
        cols = [fill(client, section.replace(" ", "-"), rows) for section in sections]
        flushed(client, len(cols))
        before = answers(client, cols[0], rows)
        assert server.stop() == 0
        for path, section in zip(fragments(data), sections):  # a file each, in the order of the collections
            flip(path, section)
        server.start()
        client = Client(server)
        for col in cols:
            assert answers(client, col, rows) == before
            q = rows["embeddings"][5]
            got = query(client, col, q)["ids"][0]
            assert len(set(got) & set(nearest(rows, q))) >= 9
        wait_until(healed(client, len(cols)), what="the indexes are made again")
        m = client.metrics()
        assert m['chroma_damaged_sections_total{kind="index"}'] == len(cols)
        assert m['chroma_damaged_sections_total{kind="rows"}'] == 0
        for col in cols:
            assert answers(client, col, rows) == before
        for section in sections:
            name = "vector codes" if section == "codes" else section
            assert f"({name}): it is done without".encode() in server.output()
        assert server.stop() == 0
        status, text = check(data, "--full")
        assert status == 0 and text.count("damaged=0") == len(cols), text


def test_damage_under_a_running_server_is_found_by_the_scrub(tmp_path):
    data = str(tmp_path / "data")
    rows = make_rows(2)
    with Server(data, SCRUB) as server:
        client = Client(server)
        col = fill(client, "docs", rows)
        flushed(client)
        before = answers(client, col, rows)
        wait_until(lambda: client.metrics()["chroma_scrub_passes_total"] >= 1, what="a pass")
        for path in fragments(data):
            flip(path, "metadata index")
            flip(path, "codes")
        wait_until(healed(client), what="the index is made again")
        assert answers(client, col, rows) == before
        passes = client.metrics()["chroma_scrub_passes_total"]
        wait_until(lambda: client.metrics()["chroma_scrub_passes_total"] >= passes + 2, what="two passes")
        m = client.metrics()
        assert m['chroma_damaged_fragments{kind="index"}'] == 0 and m["chroma_damaged_files_total"] == 0
        assert m['chroma_damaged_sections_total{kind="index"}'] == 2


def test_damaged_records_are_refused_and_others_served(tmp_path):
    data = str(tmp_path / "data")
    rows = make_rows(3)
    server = Server(data, SCRUB)
    with server:
        client = Client(server)
        whole = fill(client, "whole", rows)
        flushed(client)
        before = answers(client, whole, rows)
        (first,) = {int(os.path.basename(os.path.dirname(p))) for p in fragments(data)}
        col = fill(client, "hurt", rows)
        flushed(client, 2)
        number = max(int(os.path.basename(os.path.dirname(p))) for p in fragments(data))
        assert number != first
        assert server.stop() == 0
        for path in fragments(data, number):
            flip(path, "documents")
        server.start()
        client = Client(server)
        assert client.ask("POST", f"/{col}/get", {"limit": 3}, allowed=(500,)) == 500
        client.c.request("POST", "/api/v2/tenants/default_tenant/databases/default_database/collections/" + col + "/get",
                         '{"ids": ["id-1"]}', {"content-type": "application/json"})
        message = client.c.getresponse().read().decode()
        assert col in message and ".fragment" in message and "documents" in message, message
        got = client.ask("POST", f"/{col}/get", {"where": {"n": 7}, "include": ["metadatas", "embeddings"]})
        assert got["ids"] == [i for i, m in zip(rows["ids"], rows["metadatas"]) if m["n"] == 7]
        assert client.ask("GET", f"/{col}/count") == N
        # an update that keeps its document cannot be made; one that brings a new one can; a delete can
        update = {"ids": ["id-1"], "metadatas": [{"n": 1}]}
        assert client.ask("POST", f"/{col}/update", update, allowed=(500,)) == 500
        client.ask("POST", f"/{col}/update", dict(update, documents=["new"]))
        client.ask("POST", f"/{col}/delete", {"ids": ["id-2"]})
        assert client.ask("POST", f"/{col}/get", {"ids": ["id-1"]})["documents"] == ["new"]
        assert client.ask("GET", f"/{col}/count") == N - 1
        assert answers(client, whole, rows) == before
        assert client.metrics()['chroma_damaged_fragments{kind="rows"}'] == 1
        assert server.stop() == 0
        assert check(data, "--full")[0] == 1
        status, text = check(data)
        assert status == 1 and "BAD" in text and "damaged=1" in text and "documents" in text, text
        server.start()
        client = Client(server)
        assert client.ask("POST", f"/{col}/get", {"ids": ["id-1"]})["documents"] == ["new"]
        assert client.ask("POST", f"/{col}/get", {"ids": ["id-3"]}, allowed=(500,)) == 500
        client.ask("DELETE", "/hurt")
        assert answers(client, whole, rows) == before
        assert server.stop() == 0
        status, text = check(data)
        assert status == 0, text


def test_the_same_query_has_the_same_answer_after_a_restart_and_a_compaction(tmp_path):
    data = str(tmp_path / "data")
    rng = random.Random(4)
    rows = make_rows(4)
    for i in range(0, N, 3):  # many at equal distances: the order of creation decides
        rows["embeddings"][i] = rows["embeddings"][i % 30]
    requests = [{"query_embeddings": [rows["embeddings"][rng.randrange(N)] for _ in range(3)], "n_results": 25},
                {"query_embeddings": [rows["embeddings"][3]], "n_results": 60, "where": {"w": "blue"}},
                {"query_embeddings": [[0.5] * DIM], "n_results": 10, "where_document": {"$contains": "red"}}]
    ask = lambda: [client.ask("POST", f"/{col}/query", r) for r in requests]  # noqa: E731
    server = Server(data, "flush_rows: 128\n")
    with server:
        client = Client(server)
        client.ask("POST", "", {"name": "docs"})
        col = client.ask("GET", "/docs")["id"]
        for at in range(0, N, 300):  # several files, and rows in memory
            client.ask("POST", f"/{col}/add", {k: v[at:at + 300] for k, v in rows.items()})
        in_memory = ask()
        server.restart()
        client = Client(server)
        assert ask() == in_memory
        flushed(client)
        assert ask() == in_memory
        wait_until(lambda: client.metrics()["chroma_fragments"] == 1, what="a merge")
        merged = ask()
        assert merged == in_memory
        server.restart()
        client = Client(server)
        assert ask() == merged
        # replaced rows keep their place in the order
        client.ask("POST", f"/{col}/upsert", {k: v[30:60] for k, v in rows.items()})
        assert ask() == merged
        server.kill()
        server.start()
        client = Client(server)
        assert ask() == merged


def test_recall_is_sampled_and_checked(tmp_path):
    data = str(tmp_path / "data")
    rows = make_rows(5)
    with Server(data, "recall_sample_s: 1\n") as server:
        client = Client(server)
        col = fill(client, "docs", rows)
        wait_until(lambda: query(client, col, rows["embeddings"][1]) and
                   client.metrics()["chroma_recall_samples_total"] >= 3, what="three samples")
        assert client.metrics()["chroma_recall"] >= 0.8
        client.c.request("GET", "/metrics?collections=true")
        assert "chroma_collection_recall{" in client.c.getresponse().read().decode()
        assert check(data)[0] == 1  # the directory is in use
    status, text = check(data, "--samples", "30", "--min-recall", "0.9")
    assert status == 0 and "queries=30" in text, text
    status, text = check(data, "--collection", "nobody")
    assert status == 0 and "0 collections" in text
    assert check(str(tmp_path / "absent"))[0] == 1 and not os.path.exists(tmp_path / "absent")
    assert check(data, "--samples")[0] == 2 and check(data, "--min-recall", "2")[0] == 2
