"""One flipped bit anywhere in any file is found by `chroma verify`, or changes no answer.

The directory is the newest golden one (tests/golden), and another that a killed server left, with a -wal file beside the
catalog. FLIPS in the environment: how many bits a kind of file (`make flips`: every byte of small files, thousands of large
ones); FLIPS_SEED: which.
"""
import json
import os
import random
import shutil
import subprocess

import pytest

from chroma_server import BINARY, Server
from test_golden import NEWEST, content, unpack

FLIPS = int(os.environ.get("FLIPS") or 12)
SEED = int(os.environ.get("FLIPS_SEED") or 1)


def verify(data):
    found = subprocess.run([BINARY, "verify", "--path", str(data), "--json"], capture_output=True, text=True, timeout=60)
    assert found.returncode in (0, 1) and "panic" not in found.stderr, found.stderr
    return found.returncode == 0


def answers_of(data, where):
    """Of a server on a copy; None: it refused to start, or to answer. It must end well either way."""
    copy = where / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("control"))  # a socket
    server = Server(str(copy))
    try:
        server.start()
    except RuntimeError as e:
        assert "ended with 1" in str(e), str(e)
        return None
    try:
        return json.loads(json.dumps(content.ask(content.Server(server.port_now), True)))
    except OSError as e:  # urllib's errors: an answer of 500
        assert "500" in str(e) or "503" in str(e), e
        return None
    finally:
        assert server.stop() == 0
        os.unlink(server.log.name)


def flip(path, offset, bit):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 1 << bit]))


def offsets(path, rng):
    """All of a small file; of a large one some of its content, its head, and the zeros of a log."""
    size = path.stat().st_size
    if size <= FLIPS:
        return range(size)
    content_ends = len(path.read_bytes().rstrip(b"\0"))
    chosen = {rng.randrange(content_ends) for _ in range(FLIPS)}
    chosen |= {rng.randrange(min(size, 128)) for _ in range(FLIPS // 6 + 1)}
    if content_ends < size:
        chosen |= {rng.randrange(content_ends, size) for _ in range(2)}
    return sorted(chosen)


def check_file(data, path, expected, tmp_path, rng):
    """(found, harmless): how many flips were which."""
    found = harmless = 0
    for offset in offsets(path, rng):
        bit = rng.randrange(8)
        flip(path, offset, bit)
        what = f"{path.relative_to(data)}: byte {offset}, bit {bit} (seed {SEED})"
        try:
            if not verify(data):
                found += 1
                if found % 16 == 1:  # a server ends well, and answers as before or not at all
                    assert answers_of(data, tmp_path) in (None, expected), what
            else:
                harmless += 1
                if harmless % max(1, FLIPS // 60) == 0:
                    assert answers_of(data, tmp_path) == expected, what
        finally:
            flip(path, offset, bit)
    return found, harmless


def check(data, files, tmp_path):
    rng = random.Random(SEED)
    expected = answers_of(data, tmp_path)
    assert expected is not None and verify(data)
    totals = {}
    for path in sorted(files):
        totals[path.name] = check_file(data, path, expected, tmp_path, rng)
    print("found, harmless:", totals)
    return totals


@pytest.mark.parametrize("kind", ["catalog.sqlite3", "wal/*.log", "collections/*/*.manifest", "collections/*/*.fragment"])
def test_a_flipped_bit_is_found_or_harmless(kind, tmp_path):
    data = unpack(NEWEST, tmp_path)
    files = list(data.glob(kind))
    if kind.endswith(".fragment"):
        files = [p for p in files if p.parent.name != "4"]  # the fork's are second names of the first one's
    assert files
    totals = check(data, files, tmp_path)
    if kind.endswith((".fragment", ".manifest")):
        assert all(found > harmless for found, harmless in totals.values()), totals


def test_a_flipped_bit_beside_the_catalog_is_found_or_harmless(tmp_path):
    data = tmp_path / "killed"
    server = Server(str(data))
    server.start()
    api = content.Server(server.port_now)
    api.call("POST", "/tenants", {"name": content.TENANT})
    api.call("POST", f"/tenants/{content.TENANT}/databases".replace(" ", "%20"), {"name": content.DATABASE})
    for i in range(4):
        api.in_database("POST", "/collections", {"name": f"made{i}", "metadata": {"i": i}})
        path = f"/collections/{api.collection(f'made{i}')}"
        api.in_database("POST", path + "/add", content.rows(0, 5, i))
    server.kill()
    wal, mark = data / "catalog.sqlite3-wal", data / "catalog.sqlite3-mark"
    assert wal.stat().st_size > 8192
    totals = check(data, [wal, mark], tmp_path)
    assert totals[wal.name][1] == 0 and totals[mark.name][0] == 0, totals
