"""Sends the bodies of the recorded contract, mutated, to every route that takes one. Whatever comes, the server answers with
something else than its own failure, and goes on. HOSTILE_REQUESTS and HOSTILE_SEED repeat or lengthen a run."""
import http.client
import json
import os
import random

import pytest

from chroma_server import Server
from conftest import SHARED

REQUESTS = int(os.environ.get("HOSTILE_REQUESTS", "3000"))
SEED = int(os.environ.get("HOSTILE_SEED", str(random.SystemRandom().randrange(1 << 30))))
LISTED = {501}  # attached functions: not on a single node
STRANGE = [None, True, -1, 0, 1, 4294967295, 4294967296, -9223372036854775808, 18446744073709551616, 1e308, 1e39, 5e-324, "",
           "\0", "\ud800", "x" * 5000, [], {}, [[]], [None], {"$and": []}, {"$or": [{}]}, {"$eq": None}, {"": 1}, {"$not": 1},
           {"a": {"$in": []}}, {"$contains": ""}, {"$regex": "(((("}, {"$regex": "(a*)*b{1000}"}, "chroma:document",
           [1.5, "a"], [[1, 2], [3]], "AAAA", "=", {"#": 1}, {"type": "sparse_vector", "indices": [1], "values": [1]}]
PIECES = [b"", b"\0", b"\xff", b"\xc3\x28", b"\"", b"\\u", b"\\ud800", b"[", b"{", b"}", b"]", b",", b":", b"1e999999999", b"-",
          b"0.", b"9" * 400, b"[" * 3000, b"{\"a\":" * 3000, b"null", b"NaN", b"\\", b"\xed\xa0\x80", b" " * 2000]


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for k, v in value.items():
            yield from places(v, (*path, k))
    elif isinstance(value, list):
        for i, v in enumerate(value[:50]):
            yield from places(v, (*path, i))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def mutate(rng, text):
    try:
        value = json.loads(text)
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            value = replaced(value, rng.choice(list(places(value))), rng.choice(STRANGE))
        body = json.dumps(value).encode()
    except (ValueError, RecursionError):
        body = text.encode("utf-8", "surrogatepass")
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        at = rng.randrange(len(body) + 1)
        body = body[:at] + rng.choice(PIECES) + body[at + rng.choice([0, 0, 1, 7]):]
    return body[:rng.randrange(len(body) + 1)] if rng.random() < 0.05 else body


def test_hostile_bodies(tmp_path):
    path = os.path.join(SHARED, "contract", "cases-records.jsonl")
    if not os.path.exists(path):
        pytest.skip("../shared/contract is not here")
    with open(path, encoding="utf-8") as f:
        cases = [c for c in map(json.loads, f) if c["method"] in ("POST", "PUT") and isinstance(c["body"], str)]
    rng, ids, n_failed = random.Random(SEED), {}, 0
    with Server(str(tmp_path / "data"), config="flush_rows: 64") as server:
        c = http.client.HTTPConnection("127.0.0.1", server.port_now, timeout=120)
        for i in range(REQUESTS):
            case = cases[i] if i < 400 else rng.choice(cases)  # the first ones fill collections
            target = case["path"]
            for name in case.get("captures", {}):
                ids.setdefault(name, None)
            for name, known in ids.items():
                target = target.replace("{{" + name + "}}", known or "00000000-0000-4000-8000-000000000000")
            if "{{" in target:
                target = target.split("{{")[0] + "00000000-0000-4000-8000-000000000000/" + target.rsplit("/", 1)[1]
            body = case["body"].encode() if case.get("captures") and rng.random() < 0.8 else mutate(rng, case["body"])
            try:
                c.request(case["method"], target, body, {"content-type": "application/json"})
                answer = c.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException) as e:
                raise AssertionError(f"seed {SEED}, request {i}: {e!r}\n{server.output()[-2000:].decode()}\n{target}\n{body[:2000]!r}")
            assert answer.status < 500 or answer.status in LISTED, f"seed {SEED}, {i}: {answer.status} {data[:300]} {target} {body[:2000]!r}"
            if answer.status == 200 and case.get("captures"):
                for name, where in case["captures"].items():
                    if where == "$.id":
                        ids[name] = json.loads(data)["id"]
            n_failed += answer.status >= 400
        assert 0 < n_failed < REQUESTS
        server.restart()
        server.heartbeat()
