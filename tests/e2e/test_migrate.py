"""`chroma migrate`: the real server's directory, brought over and compared record by record (migrating.py)."""
import os
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from chroma_server import BINARY, Server
from migrating import (DEFAULT, Caller, Upstream, collections, compare_catalogs, compare_gets, compare_records, exact, fill,
                       fingerprint, migrate)

TENANTS = ["default_tenant", "acme", "without databases"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A directory of the real server's, which tests copy."""
    path = str(tmp_path_factory.mktemp("upstream") / "data")
    with Upstream(path) as u:
        fill(Caller(u.base), n=660)
    return path


@pytest.fixture
def copy(source, tmp_path):
    path = str(tmp_path / "theirs")
    shutil.copytree(source, path)
    return path


def names_of(result):
    return result.stderr + result.stdout


def compare_some(theirs, ours, names):
    found = [(base, col) for base, col in collections(theirs, TENANTS) if col["name"] in names]
    assert len(found) == len(names)
    for base, col in found:
        compare_records(theirs, ours, base, col)


def compare_all(theirs, ours, n_gets=0):
    found = collections(theirs, TENANTS)
    assert len(found) == 16
    assert compare_catalogs(theirs, ours, TENANTS) == 2 * len(TENANTS) + len(found)
    for base, col in found:
        compare_records(theirs, ours, base, col)
    if n_gets:
        compare_gets(theirs, ours, found, n_gets, seed=5)


def test_everything_is_brought_and_nothing_written(copy, tmp_path):
    target = str(tmp_path / "ours")
    before = fingerprint(copy)
    r = migrate(copy, target)
    assert r.returncode == 0, names_of(r)
    assert fingerprint(copy) == before
    assert "16 collections" in r.stdout and "collection emptied: 0 records" in r.stderr
    assert not os.path.exists(target + "/MIGRATION")
    with Upstream(copy) as u, Server(target) as s:
        theirs, ours = Caller(u.base), Caller(s.base)
        compare_all(theirs, ours, n_gets=150)
        s.restart()
        ours = Caller(s.base)
        compare_some(theirs, ours, ["synced-ip", "log-only"])
        # what was brought can be written to, under the ids that clients know
        p = f"{DEFAULT}/collections/{ours.get(DEFAULT + '/collections/emptied')['id']}"
        ours.post(p + "/add", {"ids": ["again"], "embeddings": [[1, 2, 3, 4]]})
        assert ours.get(p + "/count") == 1


def test_a_segment_that_is_behind_its_log(copy, tmp_path):
    """As after a crash: the log has writes that neither the records' tables nor the index have. Both servers catch up."""
    with Upstream(copy) as u:
        c = Caller(u.base)
        p = f"{DEFAULT}/collections/{c.get(DEFAULT + '/collections/default-threshold')['id']}"
        for i in range(4):
            c.post(p + "/upsert", {"ids": [f"late {i}", "r7"], "embeddings": [[i, 1, 2, 3, 4], [i, i, 3, 4, 5]],
                                   "documents": [f"late {i}", None]})
        u.end(signal.SIGKILL)
    db = sqlite3.connect(copy + "/chroma.sqlite3")
    for name, is_synced in (("log-only", False), ("renamed", False), ("types-change", False), ("synced-l2", True)):
        (collection,) = db.execute("SELECT id FROM collections WHERE name = ?", (name,)).fetchone()
        (metadata,) = db.execute("SELECT id FROM segments WHERE collection = ? AND scope = 'METADATA'", (collection,)).fetchone()
        (vector,) = db.execute("SELECT id FROM segments WHERE collection = ? AND scope = 'VECTOR'", (collection,)).fetchone()
        at = 0
        if is_synced:
            (at,) = db.execute("SELECT seq_id FROM max_seq_id WHERE segment_id = ?", (vector,)).fetchone()
        rows = f"(SELECT id FROM embeddings WHERE segment_id = '{metadata}' AND seq_id > {at})"
        assert db.execute(f"SELECT count(*) FROM {rows}").fetchone()[0] > 0
        for table, key in (("embedding_metadata", "id"), ("embedding_metadata_array", "id"), ("embedding_fulltext_search", "rowid"),
                           ("embeddings", "id")):
            db.execute(f"DELETE FROM {table} WHERE {key} IN {rows}")
        db.execute("UPDATE max_seq_id SET seq_id = ? WHERE segment_id = ?", (at, metadata))
    db.commit()
    db.close()
    target = str(tmp_path / "ours")
    r = migrate(copy, target)
    assert r.returncode == 0, names_of(r)
    with Upstream(copy) as u, Server(target) as s:
        compare_some(Caller(u.base), Caller(s.base), ["log-only", "renamed", "types-change", "synced-l2", "default-threshold"])


def test_a_write_ahead_log_beside_it(copy, tmp_path):
    """A journal is finished in a copy; the source stays as it is."""
    db = sqlite3.connect(copy + "/chroma.sqlite3")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("UPDATE collections SET name = 'in-the-wal' WHERE name = 'renamed'")
    db.commit()
    killed = copy + "-killed"
    shutil.copytree(copy, killed)  # with its -wal, which closing the connection removes
    db.close()
    assert os.path.getsize(killed + "/chroma.sqlite3-wal") > 0
    before = fingerprint(killed)
    target = str(tmp_path / "ours")
    r = migrate(killed, target)
    assert r.returncode == 0, names_of(r)
    assert "collection in-the-wal: 1 records" in r.stderr
    assert fingerprint(killed) == before
    assert sorted(os.listdir(target)) == ["LOCK", "catalog.sqlite3", "collections", "wal"]


def test_an_index_that_cannot_be_read(copy, tmp_path):
    """Its collection comes as far as the log goes, each record that is missing is named, the others are whole."""
    db = sqlite3.connect(copy + "/chroma.sqlite3")
    (vector,) = db.execute("SELECT s.id FROM segments s, collections c WHERE c.id = s.collection AND c.name = 'synced-ip' "
                           "AND s.scope = 'VECTOR'").fetchone()
    (n,) = db.execute("SELECT count(*) FROM embeddings e, segments s, collections c WHERE e.segment_id = s.id AND "
                      "s.collection = c.id AND c.name = 'synced-ip'").fetchone()
    db.close()
    with open(f"{copy}/{vector}/index_metadata.pickle", "r+b") as f:
        f.truncate(1000)
    target = str(tmp_path / "ours")
    r = migrate(copy, target)
    assert r.returncode == 1, names_of(r)
    assert "collection synced-ip: its index cannot be read (index_metadata.pickle" in r.stderr
    lost = r.stderr.count("collection synced-ip, record '")
    with Server(target) as s:
        ours = Caller(s.base)
        p = f"{DEFAULT}/collections/{ours.get(DEFAULT + '/collections/synced-ip')['id']}"
        assert 0 < ours.get(p + "/count") == n - lost
        other = f"{DEFAULT}/collections/{ours.get(DEFAULT + '/collections/synced-l2')['id']}"
        assert ours.get(other + "/count") > 600


def test_older_settings_give_the_space(copy, tmp_path):
    """Collections without a schema: upstream 1.5.9 takes l2 for most of them, whatever they were made with."""
    forms = {"synced-l2": ('{"hnsw":{"space":"ip","ef_search":44}}', "ip"),
             "synced-cosine": ('{"hnsw_configuration":{"space":"cosine","M":17},"_type":"x"}', "cosine"),
             "synced-ip": ('{"vector_index":{"spann":{"space":"ip"}},"embedding_function":{"type":"legacy"}}', "ip"),
             "legacy-metadata": (None, "ip"), "log-only": ("{}", "l2"), "emptied": ("{", "l2")}
    db = sqlite3.connect(copy + "/chroma.sqlite3")
    for name, (configuration, _) in forms.items():
        db.execute("UPDATE collections SET schema_str = NULL, config_json_str = ? WHERE name = ?", (configuration, name))
    db.commit()
    db.close()
    target = str(tmp_path / "ours")
    r = migrate(copy, target)
    assert r.returncode == 1 and "collection emptied: its configuration cannot be read" in r.stderr, names_of(r)
    with Server(target) as s:
        ours = Caller(s.base)
        for name, (_, space) in forms.items():
            col = ours.get(DEFAULT + "/collections/" + name)
            assert col["configuration_json"]["hnsw"]["space"] == space, name
            assert name == "legacy-metadata" or name == "emptied" or "tags" in col["schema"]["keys"], name
        col = ours.get(DEFAULT + "/collections/synced-cosine")
        assert col["configuration_json"]["hnsw"]["max_neighbors"] == 17


def test_an_interrupted_migration_is_refused_and_started_anew(copy, tmp_path):
    target = str(tmp_path / "ours")
    p = subprocess.Popen([BINARY, "migrate", "--from", copy, "--path", target], stderr=subprocess.PIPE)
    while not os.path.exists(target + "/collections") and p.poll() is None:
        time.sleep(0.002)
    assert p.poll() is None, "it ended before it could be interrupted"
    p.kill()
    p.wait()
    p.stderr.close()
    assert os.path.exists(target + "/MIGRATION")
    r = subprocess.run([BINARY, "run", "--path", target, "--port", "0"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 1 and "was not finished" in r.stderr and "chroma migrate" in r.stderr
    r = subprocess.run([BINARY, "verify", "--path", target], capture_output=True, text=True, timeout=60)
    assert r.returncode == 1 and "was not finished" in r.stdout + r.stderr
    r = migrate(copy, target)
    assert r.returncode == 0, names_of(r)
    other = migrate(copy, str(tmp_path / "other"))
    results = [[line for line in x.stderr.splitlines() if "..." not in line] for x in (r, other)]
    assert results[0] == results[1] and len(results[0]) >= 16  # the same records everywhere
    r = migrate(copy, target)  # it is complete: nothing of it is removed
    assert r.returncode == 1 and "is not empty" in r.stderr


def test_refusals_change_nothing(copy, tmp_path):
    def refused(source, target, *words):
        r = migrate(source, target)
        assert r.returncode == 1 and all(w in r.stderr for w in words), names_of(r)

    before = fingerprint(copy)
    refused(copy, copy, "--path must be another directory")
    refused(copy, copy + "/new", "is inside the data directory")
    (tmp_path / "nothing").mkdir()
    refused(str(tmp_path / "nothing"), str(tmp_path / "new"), "there is no chroma.sqlite3")
    assert not os.path.exists(tmp_path / "new")
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("x")
    refused(copy, str(full), "is not empty (file is in it)")
    assert os.listdir(full) == ["file"]
    (full / "MIGRATION").write_text("x")
    refused(copy, str(full), "file, which no migration has made")
    assert sorted(os.listdir(full)) == ["MIGRATION", "file"]
    old = tmp_path / "old"
    old.mkdir()
    db = sqlite3.connect(old / "chroma.sqlite3")
    db.executescript("CREATE TABLE collections(id, name, topic); CREATE TABLE embeddings_queue(seq_id, topic);")
    db.close()
    refused(str(old), str(tmp_path / "a"), "before 1.0")
    assert os.listdir(tmp_path / "a") == ["LOCK"]
    (old / "chroma.sqlite3").write_bytes(b"SQLite format 3\0 no database")
    refused(str(old), str(tmp_path / "b"), "chroma.sqlite3: ")
    assert fingerprint(copy) == before
    for arguments in ([], ["--from", copy], ["--path", "x"], ["--from", copy, "--path"], ["--from", copy, "--to", "x"]):
        r = subprocess.run([BINARY, "migrate", *arguments], capture_output=True, text=True, timeout=60)
        assert r.returncode == 2 and "Usage: chroma migrate" in r.stderr


def test_a_database_with_damaged_pages(copy, tmp_path):
    """Whatever the bytes are: an end with a message, or a migration that names what is missing."""
    import random
    rng = random.Random(3)
    path = copy + "/chroma.sqlite3"
    with open(path, "rb") as f:
        good = f.read()
    for i in range(8):
        bad = bytearray(good)
        for _ in range(rng.choice([1, 5, 50])):
            at = rng.randrange(100 if i % 2 else 4096, len(bad))
            bad[at:at + 40] = rng.randbytes(min(40, len(bad) - at))
        with open(path, "wb") as f:
            f.write(bad)
        r = migrate(copy, str(tmp_path / f"ours {i}"))
        assert r.returncode in (0, 1), (i, r.returncode, names_of(r)[-500:])
        assert r.returncode == 0 or "problem: " in r.stderr or "chroma: " in r.stderr


def test_a_folder_name_is_no_way_out(copy, tmp_path):
    """A doctored database cannot make the migration read index files elsewhere."""
    db = sqlite3.connect(copy + "/chroma.sqlite3")
    db.execute("UPDATE segments SET id = '../elsewhere' WHERE scope = 'VECTOR' AND collection = "
               "(SELECT id FROM collections WHERE name = 'synced-l2')")
    db.commit()
    db.close()
    r = migrate(copy, str(tmp_path / "ours"))
    assert r.returncode == 1 and "upstream has no embedding for it any more" in r.stderr
    assert exact(sorted(os.listdir(tmp_path)), sorted(["theirs", "ours"]))
