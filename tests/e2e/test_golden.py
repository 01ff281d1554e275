"""Data directories of former formats (tests/golden) open and answer as they did; files of later formats are refused and left
alone."""
import json
import lzma
import pathlib
import sqlite3
import struct
import subprocess
import sys
import tarfile

import pytest

from chroma_server import BINARY, Server

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
import content  # noqa: E402

# schema-N: the first with that schema of the catalog; schema-N-codes-M: the first with that version of vector codes, of those that
# a small directory has
VERSIONS = sorted((p.name for p in GOLDEN.iterdir() if (p / "data.tar.xz").exists()), key=lambda v: [int(n) for n in v.split("-")[1::2]])
NEWEST = VERSIONS[-1]


def unpack(version, where):
    with tarfile.open(GOLDEN / version / "data.tar.xz") as tar:
        tar.extractall(where)
    return where / "data"


def verify(data):
    return subprocess.run([BINARY, "verify", "--path", str(data), "--json"], capture_output=True, text=True, timeout=60)


def snapshot(data):
    """Every file but LOCK with its bytes; SQLite's shared memory and an empty -wal file mean nothing."""
    return {str(p.relative_to(data)): p.read_bytes() for p in sorted(data.rglob("*"))
            if p.is_file() and p.name != "LOCK" and not p.name.endswith("-shm")
            and not (p.name.endswith("-wal") and p.stat().st_size == 0)}


def ask(path):
    with Server(str(path)) as server:
        return content.ask(content.Server(server.port_now))


def test_there_is_one_of_every_format(tmp_path):
    schemas = [v for v in VERSIONS if "codes" not in v]
    assert schemas == [f"schema-{i}" for i in range(1, len(schemas) + 1)] and len(schemas) >= 5 and "schema-5-codes-4" in VERSIONS
    with Server(str(tmp_path)):
        pass
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as db:  # what this program makes
        assert str(db.execute("PRAGMA user_version").fetchone()[0]) == NEWEST.split("-")[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_former_format_opens_and_answers_as_it_did(version, tmp_path):
    with lzma.open(GOLDEN / version / "answers.json.xz", "rt") as f:
        expected = json.load(f)
    data = unpack(version, tmp_path)
    before = snapshot(data)
    found = verify(data)
    assert found.returncode == 0, found.stdout
    assert snapshot(data) == before, "verify changes nothing"
    assert {"first", "second"} <= expected.keys() and expected["first"]["count"] > 500
    for _ in range(2):  # as it is, and after a restart in today's formats
        answers = json.loads(json.dumps(ask(data)))
        assert answers.keys() == expected.keys()
        for name, own in expected.items():
            for part in own:
                assert answers[name][part] == own[part], f"{name}: {part}"
    assert verify(data).returncode == 0


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def raise_log(data):
    path = max((data / "wal").glob("*.log"))
    head = bytearray(path.read_bytes())
    struct.pack_into("<I", head, 8, 99)
    struct.pack_into("<I", head, 60, crc32c(head[:60]))
    path.write_bytes(head)


def raise_fragment(data):
    path = min((data / "collections").glob("*/*.fragment"))
    head = bytearray(path.read_bytes())
    struct.pack_into("<I", head, 8, 99)
    struct.pack_into("<I", head, 4092, crc32c(head[:4092]))
    path.write_bytes(head)


def raise_manifest(data):
    path = min((data / "collections").glob("*/*.manifest"))
    head = bytearray(path.read_bytes())
    struct.pack_into("<I", head, 8, 99)
    struct.pack_into("<I", head, 28, crc32c(head[:28]))
    path.write_bytes(head)


def raise_codes(data):
    """A section of a fragment has a version of its own."""
    path = min((data / "collections").glob("*/*.fragment"))
    whole = bytearray(path.read_bytes())
    for i in range(struct.unpack_from("<I", whole, 12)[0]):
        kind, _, at, n = struct.unpack_from("<IIQQ", whole, 64 + i * 32)
        if kind == 10:
            struct.pack_into("<I", whole, at + 4, 99)
            struct.pack_into("<I", whole, 64 + i * 32 + 4, crc32c(whole[at:at + n]))
    struct.pack_into("<I", whole, 4092, crc32c(whole[:4092]))
    path.write_bytes(whole)


def raise_catalog(data):
    with sqlite3.connect(data / "catalog.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


@pytest.mark.parametrize("raise_version", [raise_log, raise_catalog])
def test_a_later_format_is_refused_and_left_alone(raise_version, tmp_path):
    data = unpack(NEWEST, tmp_path)
    raise_version(data)
    before = snapshot(data)
    server = Server(str(data))
    with pytest.raises(RuntimeError) as why:
        server.start()
    assert "this program knows" in str(why.value)
    assert snapshot(data) == before
    found = verify(data)
    assert found.returncode == 1 and "later version" in found.stdout
    assert snapshot(data) == before


@pytest.mark.parametrize("raise_version", [raise_fragment, raise_manifest, raise_codes])
def test_a_collection_of_a_later_format_is_refused_alone(raise_version, tmp_path):
    data = unpack(NEWEST, tmp_path)
    raise_version(data)
    changed = {p: b for p, b in snapshot(data).items() if p.startswith("collections/1/")}
    assert changed
    with Server(str(data)) as server:
        api = content.Server(server.port_now)
        with pytest.raises(Exception) as why:
            api.in_database("POST", f"/collections/{api.collection('first')}/get", {"limit": 1})
        assert "500" in str(why.value)
        assert api.in_database("GET", f"/collections/{api.collection('second')}/count") == content.ROWS
        log = server.output().decode()
    assert "knows" in log or "version 99" in log, log
    after = snapshot(data)
    assert {p: after.get(p) for p in changed} == changed, "its files are as they were"
    found = verify(data)
    assert found.returncode == 1 and "later version" in found.stdout
