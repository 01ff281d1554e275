"""Backup, restore and compaction of a running server and of one that is stopped, through the command line and the Python client."""
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest

from chroma_server import BINARY, Server, wait_until
from plain_rows import DIM, connect, fill

ROUNDS = int(os.environ.get("BACKUP_ROUNDS", "2"))  # of what is repeated: `make backup-check` takes more


def chroma(*args, status=0):
    done = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=300)
    assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def everything(client):
    found = {}
    for name in (x.name for x in client.list_collections()):
        c = client.get_collection(name)
        got = c.get(include=["documents", "metadatas", "embeddings", "uris"])
        rows = zip(got["ids"], got["documents"], got["metadatas"], [tuple(e) for e in got["embeddings"]])
        assert c.count() == len(got["ids"])
        found[name] = (str(c.id), c.configuration_json, [(i, d, tuple(sorted(m.items())), e) for i, d, m, e in rows])
    return found


def restored(tmp_path, backup, name="restored"):
    path = str(tmp_path / name)
    chroma("restore", "--from", backup, "--path", path)
    return Server(path)


def sample(client):
    c = client.create_collection("source", metadata={"of": "fruit"}, configuration={"hnsw": {"space": "cosine"}})
    fill(c, 0, 600)
    fill(c, 50, 20, "again")
    c.delete(ids=["r3", "r199"])
    c.fork("branch").add(ids=["new"], embeddings=[[0.5] * DIM], documents=["new"], metadatas=[{"i": -1}])
    client.create_collection("empty")
    client.create_collection("gone").fork("left")
    client.delete_collection("gone")
    return c


def test_a_running_server_is_backed_up(server, client, tmp_path):
    sample(client)
    before = everything(client)
    backup = str(tmp_path / "backup")
    assert "collections=4" in chroma("backup", "--path", server.path, "--to", backup)
    fill(client.get_collection("source"), 1000, 50)  # is in no backup
    client.delete_collection("branch")
    with restored(tmp_path, backup) as copy:
        assert everything(connect(copy)) == before
        names = {x.name for x in connect(copy).list_collections()}
        c = connect(copy).create_collection("another")  # with a number that nobody had
        fill(c, 0, 10)
        copy.kill()
        copy.start()
        assert {x.name for x in connect(copy).list_collections()} == names | {"another"}
        assert connect(copy).get_collection("another").count() == 10
    q = [[1.0] * DIM]
    assert client.get_collection("source").query(query_embeddings=q, n_results=3)["ids"]
    # a stopped one, by the command alone
    now = everything(client)
    assert server.stop() == 0
    second = str(tmp_path / "second")
    chroma("backup", "--path", server.path, "--to", second)
    with restored(tmp_path, second, "two") as copy:
        assert everything(connect(copy)) == now
    server.start()


def test_a_killed_server_is_backed_up(server, client, tmp_path):
    sample(client)
    before = everything(client)
    server.kill()
    assert os.path.exists(os.path.join(server.path, "control"))  # stale
    chroma("backup", "--path", server.path, "--to", str(tmp_path / "backup"))
    with restored(tmp_path, str(tmp_path / "backup")) as copy:
        assert everything(connect(copy)) == before
    server.start()
    chroma("backup", "--path", server.path, "--to", str(tmp_path / "again"))
    assert server.stop() == 0
    assert not os.path.exists(os.path.join(server.path, "control"))
    server.start()


def test_backups_amid_writers(server, client, tmp_path):
    """Each writer adds rows one after another; a backup has a prefix of them, at least those answered before."""
    n_writers, rounds = 3, ROUNDS
    names = [f"writer{w}" for w in range(n_writers)]
    for name in names:
        client.create_collection(name)
    sent, done, stop, errors = [0] * n_writers, [0] * n_writers, threading.Event(), []

    def write(w):
        try:
            mine = connect(server).get_collection(names[w])
            while not stop.is_set():
                k = sent[w]
                sent[w] = k + 1
                mine.upsert(ids=["state", f"r{k}"], embeddings=[[float(k)] * DIM] * 2, metadatas=[{"k": k}] * 2)
                done[w] = k + 1
        except Exception as e:  # noqa: BLE001
            errors.append(e)

    writers = [threading.Thread(target=write, args=(w,)) for w in range(n_writers)]
    for t in writers:
        t.start()
    try:
        for i in range(rounds):
            before = list(done)
            chroma("backup", "--path", server.path, "--to", str(tmp_path / f"backup{i}"))
            after = list(sent)
            if i % 2 == 1:
                chroma("compact", "--path", server.path)
            with restored(tmp_path, str(tmp_path / f"backup{i}"), f"restored{i}") as copy:
                c = connect(copy)
                for w, name in enumerate(names):
                    got = c.get_collection(name).get()
                    rows = dict(zip(got["ids"], got["metadatas"]))
                    n = max(len(rows) - 1, 0)
                    assert before[w] <= n <= after[w]
                    if n:
                        assert rows.pop("state") == {"k": n - 1}
                    assert rows == {f"r{k}": {"k": k} for k in range(n)}
    finally:
        stop.set()
        for t in writers:
            t.join()
    assert not errors
    for w, name in enumerate(names):
        assert client.get_collection(name).count() == done[w] + 1


def test_what_is_refused(server, client, tmp_path):
    sample(client)
    data, backup, other = server.path, str(tmp_path / "backup"), str(tmp_path / "other")
    chroma("backup", "--path", data, "--to", backup)
    before = everything(client)
    assert "not empty" in chroma("backup", "--path", data, "--to", backup, status=1)
    assert "inside" in chroma("backup", "--path", data, "--to", os.path.join(data, "x"), status=1)
    assert "holds no data" in chroma("backup", "--path", os.path.dirname(__file__), "--to", other, status=1)
    assert "no directory" in chroma("backup", "--path", data, "--to", str(tmp_path / "x" / "y"), status=1)
    assert "no collection" in chroma("compact", "--path", data, "--collection", "nobody", status=1)
    assert "in use" in chroma("restore", "--from", backup, "--path", data, "--replace", status=1)
    assert "not empty" in chroma("restore", "--from", backup, "--path", data, status=1)
    assert "no backup" in chroma("restore", "--from", str(tmp_path), "--path", other, status=1)
    for command in (["backup"], ["backup", "--path", data], ["restore", "--from", backup], ["compact"],
                    ["compact", "--path"], ["backup", "--what"], ["restore", "--replace=1"]):
        chroma(*command, status=2)
    assert "Usage: chroma restore" in chroma("restore", "--help")
    assert everything(client) == before
    victims = [os.path.join(f, x) for f, _, xs in os.walk(backup) for x in xs]
    assert len(victims) > 5
    for victim in victims:
        whole = open(victim, "rb").read()
        damaged = bytearray(whole)
        damaged[len(whole) // 2] ^= 1
        os.rename(victim, victim + ".good")  # its bytes may be those of the server's file
        open(victim, "wb").write(damaged)
        said = chroma("restore", "--from", backup, "--path", other, status=1)
        assert os.path.basename(victim) in said
        assert not os.path.exists(other)
        os.remove(victim)
        chroma("restore", "--from", backup, "--path", other, status=1)
        os.rename(victim + ".good", victim)
    assert not [x for x in os.listdir(tmp_path) if "restoring" in x]
    chroma("restore", "--from", backup, "--path", other)


def test_a_restore_moves_the_old_aside(server, client, tmp_path):
    sample(client)
    before = everything(client)
    backup = str(tmp_path / "backup")
    chroma("backup", "--path", server.path, "--to", backup)
    client.delete_collection("source")
    after = everything(client)
    assert server.stop() == 0
    said = chroma("restore", "--from", backup, "--path", server.path + "/", "--replace")
    aside = said.split("is now in ")[1].strip()
    server.start()
    assert everything(connect(server)) == before
    with Server(aside) as old:
        assert everything(connect(old)) == after


def test_the_control_socket(server, client):
    path = os.path.join(server.path, "control")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    def ask(line, end=True):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(path)
            try:
                s.sendall(line)
                if end:
                    s.shutdown(socket.SHUT_WR)
                return s.makefile("rb").read()
            except (BrokenPipeError, ConnectionResetError):
                return b""

    assert ask(b"compact\n", end=False).startswith(b"ok compacted: ")
    assert ask(b"what\n", end=False) == b"error no such request\n"
    assert ask(b"backup relative\n", end=False) == b"error a backup wants an absolute path\n"
    assert ask(b"") == ask(b"compact") == ask(b"comp\0act\n", end=False) == b""
    assert ask(b"x" * 100000, end=False) == b""
    many = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    for s in many:  # of which the server keeps a few
        s.connect(path)
    for s in many:
        s.close()
    assert client.heartbeat()
    wait_until(lambda: ask(b"compact\n", end=False).startswith(b"ok compacted: "))


def test_a_long_path(tmp_path):
    path = str(tmp_path / ("d" * 120))
    with Server(path) as server:
        connect(server).create_collection("ccc")
        assert os.path.exists(os.path.join(path, "control"))
        chroma("backup", "--path", path, "--to", str(tmp_path / "backup"))
        assert "control: 'backup" in server.output().decode()


def test_compaction_drops_what_was_deleted(server, client):
    c = client.create_collection("ccc")
    secret = "zyzzogeton-" * 3
    for i in range(6):
        fill(c, 100 * i, 100)
        c.add(ids=[f"s{i}"], embeddings=[[1.0] * DIM], documents=[secret + str(i)])
        chroma("compact", "--path", server.path)
    c.delete(where_document={"$contains": secret})
    before = everything(client)
    said = chroma("compact", "--path", server.path, "--collection", "ccc")
    assert "fragments=" in said and "->1" in said
    assert everything(client) == before
    assert server.stop() == 0
    chroma("compact", "--path", server.path)
    folder = os.path.join(server.path, "collections")
    files = [os.path.join(f, x) for f, _, xs in os.walk(folder) for x in xs]
    assert len([f for f in files if f.endswith(".fragment")]) == 1
    assert not [f for f in files if secret.encode() in open(f, "rb").read()]
    server.start()
    assert everything(connect(server)) == before


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_stop_during_backups(tmp_path, sign):
    """What a backup that was cut off has left is none, or a whole one; the server comes back with everything."""
    data = str(tmp_path / "data")
    with Server(data) as server:
        client = connect(server)
        for i in range(30):
            fill(client.create_collection(f"ccc{i}"), 0, 50)
        before = everything(client)
        for k in range(ROUNDS):
            backup = str(tmp_path / f"backup{k}")
            asked = subprocess.Popen([BINARY, "backup", "--path", data, "--to", backup], stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT)
            if k:
                threading.Event().wait(0.02 * (k % 7))
            server.process.send_signal(sign)
            server.process.wait(30)
            asked.communicate(timeout=60)
            server.start()
            assert everything(connect(server)) == before
            if os.path.exists(os.path.join(backup, "BACKUP")):
                chroma("restore", "--from", backup, "--path", str(tmp_path / f"restored{k}"))
                shutil.rmtree(str(tmp_path / f"restored{k}"))
            else:
                assert asked.returncode != 0
            shutil.rmtree(backup, ignore_errors=True)
