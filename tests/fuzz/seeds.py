#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: tests/fuzz/corpus/NAME/seed-NN. What fuzzing found stays beside them.

    tests/fuzz/seeds.py [CORPUS_DIRECTORY]

The forms of inputs stand at the top of each tests/fuzz/fuzz_NAME.c.
"""
import json
import pathlib
import struct
import sys

corpus = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus")


def put(name, seeds):
    directory = corpus / name
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("seed-*"):
        old.unlink()
    for i, seed in enumerate(seeds):
        (directory / f"seed-{i:02d}").write_bytes(seed if isinstance(seed, bytes) else seed.encode())


def text(value):
    return json.dumps(value, separators=(",", ":"))


def change(where, how, place, value, at_front=True):
    """One change of image.h behind the byte that says which part."""
    at = struct.pack("<H", place) if at_front else struct.pack("<I", place)
    how = how & ~1 if at_front else how | 1
    return (b"" if where is None else bytes([where])) + bytes([how]) + at + value


# --- texts

WHERES = [
    {"a": 1}, {"num": {"$gt": 0.5}}, {"num": {"$lte": 9007199254740993}}, {"ab": {"$ne": "ab"}}, {"a": {"$in": [1, 2, 3]}},
    {"tags": {"$nin": ["a", "b"]}}, {"tags": {"$contains": 2}}, {"tags": {"$not_contains": True}}, {"\u00fc": False},
    {"$and": [{"a": 1}, {"$or": [{"num": {"$lt": 2}}, {"a\0b": {"$gte": -5}}]}]}, {"$or": []}, {"#id": "id-3"},
    {"#id": {"$nin": ["id-1", "id-2"]}}, {"#document": {"$contains": "abc"}}, {"#document": {"$not_regex": "a.c"}}, {},
]
DOCUMENTS = [
    {"$contains": "abc"}, {"$not_contains": "\u00fc"}, {"$regex": "ab+c"}, {"$regex": "(?i)ABC|xyz$"}, {"$not_regex": "^a"},
    {"$and": [{"$contains": "a"}, {"$or": [{"$contains": "xyz"}, {"$regex": "[bc]abc"}]}]}, {"$contains": ""},
]
PATTERNS = [
    "abc", "a.c", "^a|b$", "(a|b)*c", "[a-c]+x{2,3}", r"\d+\.\d*", r"\bword\b", "(?:ab)?c+?", "(?i)straSSe", r"\p{Greek}", "[^a-z]",
    r"[\w&&[^\d]]", "(?s).*", "(?P<name>x)y", r"\x{1F600}|\u00e9", "a{0,50}b{3}", "((a|b)(c|d)){2}", "[[:alpha:]]", "(?x) a b # c",
    "", "(a*)*b", r"(?-u:\xff)", "a**", "x{1000}{1000}", "(?R)", r"\b{start}a", "[a-",
]
CONFIGURATIONS = [
    {"embedding_function": {"type": "legacy"}}, {"hnsw": {"space": "cosine", "ef_construction": 100}},
    {"spann": {"space": "l2"}}, {"hnsw": None}, {},
]
RANKS = [
    {"$knn": {"query": [1, 2, 3], "limit": 5}}, {"$knn": {"query": [1, 0, 0], "return_rank": True, "default": 3.5}},
    {"$knn": {"query": {"indices": [1, 5, 11], "values": [1, 2, 0.5]}, "key": "s"}},
    {"$sum": [{"$knn": {"query": [1, 0, 0]}}, {"$val": 2}]}, {"$mul": [{"$val": 0.5}, {"$knn": {"query": [0, 0, 1]}}]},
    {"$div": {"left": {"$val": 1}, "right": {"$sum": [{"$val": 60}, {"$knn": {"query": [1, 2, 3], "return_rank": True}}]}}},
    {"$sub": {"left": {"$val": 1}, "right": {"$abs": {"$val": -2}}}}, {"$exp": {"$log": {"$knn": {"query": [1, 1, 1]}}}},
    {"$max": [{"$val": 1}, {"$knn": {"query": [2, 2, 2]}}]}, {"$min": [{"$val": 1e39}]},
]
SELECTS = [{"keys": ["#score", "#document", "n", "l"]}, {"keys": ["#metadata", "#embedding", "#uri"]}]
GROUPS = [
    {"keys": ["n"], "aggregate": {"$min_k": {"keys": ["#score"], "k": 2}}},
    {"keys": ["b", "t"], "aggregate": {"$max_k": {"keys": ["f", "n"], "k": 1}}},
]


def searches():
    for i, rank in enumerate(RANKS):
        payload = {"rank": rank, "select": SELECTS[i % 2], "limit": {"limit": 7, "offset": i % 3}}
        if i % 2 == 0:
            payload["filter"] = {"where_clause": {"n": {"$gt": 1}}} if i % 4 == 0 else {"b": True}
        if i % 3 == 0:
            payload["group_by"] = GROUPS[i % 2]
        yield "s" + text({"searches": [payload], "read_level": "index_and_wal"})
    yield "s" + text({"searches": [{}, {"filter": {"query_ids": ["r1", "r2"]}}, {"limit": {"limit": 3}}]})
    for include in (["documents", "metadatas", "distances"], ["embeddings", "uris"], []):
        yield "q" + text({"query_embeddings": [[1, 2, 3], [0, 0, 0.5]], "n_results": 4, "include": include,
                          "where": {"n": {"$in": [1, 2]}}})
        yield "g" + text({"ids": ["r1", "r7", "r7"], "include": include})
        yield "g" + text({"where": {"t": "a"}, "where_document": {"$regex": "pie .*1"}, "limit": 5, "offset": 1})


RECORDS = {"ids": ["a", "b", "c"], "embeddings": [[1, 2], [0, 0.5], [3, 3]], "documents": ["one", None, "three"],
           "metadatas": [{"n": 1, "l": [1, 2]}, None, {"s": {"#type": "sparse_vector", "indices": [1], "values": [2]}}],
           "uris": ["u", None, None]}
MAKE = "POST $D/collections\n" + text({"name": "ccc", "metadata": {"k": 1}})


def requests():
    def session(how, *lines):
        return chr(how) + "\0".join(lines)

    add = "POST $0/add\n" + text(RECORDS)
    yield session(0, MAKE, add, "COMPACT $0/get\n" + text({"include": ["embeddings", "metadatas", "documents", "uris"]}),
                  "COMPACT $0/query\n" + text({"query_embeddings": [[1, 1]], "n_results": 2}))
    yield session(0, MAKE, add, "POST $0/update\n" + text({"ids": ["a", "x"], "metadatas": [{"n": None, "m": "t"}, None]}),
                  "POST $0/upsert\n" + text({"ids": ["a", "d"], "embeddings": [[9, 9], [1, 1]]}),
                  "POST $0/delete\n" + text({"where": {"n": 1}}), "GET $0/count", "POST $0/get\n{}")
    yield session(0, MAKE, add, "POST $0/fork\n" + text({"new_name": "fork"}), "GET $0/fork_count", "GET $D/collections?limit=1&offset=1",
                  "PUT $0\n" + text({"new_name": "other", "new_metadata": {"a": [1]},
                                     "new_configuration": {"hnsw": {"ef_search": 5}}}), "DELETE $D/collections/other")
    yield session(0, "POST $D/collections\n" + text({"name": "wsc", "get_or_create": True, "configuration": CONFIGURATIONS[1]}),
                  "+POST $0/query\n" + text({"query_embeddings": [[1, 1]], "include": ["distances"]}), "GET $0/indexing_status",
                  "GET $D/collections/wsc", "GET $D/collections_count")
    yield session(0, "POST $D/collections\n" + text({"name": "sch", "schema": {"defaults": {"string": {"fts_index": {
        "enabled": True, "config": {}}}}, "keys": {"s": {"sparse_vector": {"sparse_vector_index": {"enabled": True, "config": {
            "bm25": True}}}}}}}), add, "COMPACT $0/search\n" + text({"searches": [{"rank": RANKS[2]}]}))
    yield session(0, "POST /api/v2/tenants\n" + text({"name": "t"}), "POST /api/v2/tenants/t/databases\n" + text({"name": "ddd"}),
                  "GET /api/v2/tenants/t/databases?limit=2", "GET /api/v2/tenants/t", "GET /api/v2/tenants/t/databases/ddd",
                  "DELETE /api/v2/tenants/t/databases/ddd", "POST /api/v2/reset", "GET /api/v2/heartbeat")
    for path in ("/api/v2", "/api/v2/version", "/api/v2/healthcheck", "/api/v2/pre-flight-checks", "/api/v2/auth/identity", "/metrics",
                 "/openapi.json", "/docs/", "/api/v1/heartbeat", "/api/v2/usage", "/api/v2/collections/default_tenant%3Ax%3Ay"):
        yield session(0, "GET " + path, "HEAD " + path, "OPTIONS " + path, "-POST " + path + "\nx")
    yield session(1, MAKE, add, "POST $0/get\n" + text({"limit": 3, "where": {"$and": [{"a": 1}, {"b": 2}, {"c": 3}]}}),
                  "POST $0/query\n" + text({"query_embeddings": [[1, 1]], "n_results": 4}),
                  "GET /api/v2/tenants/default_tenant/usage")
    yield session(2, MAKE + "", "POST $D/collections Bearer r\n" + text({"name": "ccc"}), "POST $0/add Bearer r\n" + text(RECORDS),
                  "POST $0/get Bearer g\n{}", "POST $0/delete Bearer g\n{}", "GET /api/v2/auth/identity Bearer g")
    yield session(3, MAKE, "POST /api/v2/reset", "POST $0/functions/attach\n" + text({"name": "f", "function_id": "x",
                                                                                    "output_collection": "o"}))


def main():
    numbers = ["[1,2.5,-3e5]", "[ 0.1 , 1e-45,16777217]", "[-0.0,123456789012345678901234567890,1E+38]", "[]", "[1e400]", "[1,\"a\"]",
               "[0.30000001192092896,3.4028235677973366e38,1.1754943e-38]"]
    trees = ['{"a":[1,true,null,"x\\u00e9\\n"],"b":{"c":-0.5e-3}}', '"\\ud83d\\ude00"', " [ { } , [ ] ] ", '{"a":1,"a":2,"":3}',
             "18446744073709551615", '{"k\\u0000":"v\\u0000"}', '["\u00fc\u20ac\U0001F600"]', "[" * 60 + "]" * 60, '"\\x"', "01"]
    put("json", [b"\0" + n.encode() for n in numbers] + [b"\1" + struct.pack("<8f", 1, 0.1, -0.0, 1e-45, 3e38, 16777216, 1e16, 123.456)] +
        [b"\2" + t.encode() for t in ("\u00fc\"\\\n\0", '"a\\u0041"')] + [b"\3" + t.encode() for t in trees])
    put("base64", ["", "AACAPw==", "AACAPwAAAEA=", "AACAPwAAAEAAAEBA", "A", "AA==", "AB==", "AA=A", "====", "AA#A", "+/+/"])
    put("regex", [bytes([len(p.encode())]) + p.encode() + t.encode() for p in PATTERNS
                  for t in ("abc xaxx 12.5 word", "\u00fcSTRASSE \u03b1\U0001F600\n")])
    put("filter", [text(w) + "\n" for w in WHERES] + ["\n" + text(d) for d in DOCUMENTS] +
        [text(WHERES[9]) + "\n" + text(DOCUMENTS[5])])
    put("search", list(searches()))
    put("http", list(requests()))

    sections = range(13)
    put("fragment", [bytes([f, 3, 0]) for f in range(4)] +
        [bytes([f, 9, 1]) + change(s, how << 2 | kind << 4, 4 * at, b"\5\0\0\0") for f in (0, 1, 3) for s in sections
         for how, kind, at in ((2, 0, 0), (2, 2, 2), (0, 1, 9))])
    put("codes", [bytes([s, 5]) + change(None, 2 << 2 | kind << 4 | 2, at, b"\1\0\0\0") for s in range(6)
                  for kind, at in ((0, 0), (2, 40), (1, 44), (3, 360))])
    manifest = struct.pack("<QIIQ", 1, 130, 1, 32 + 24) + struct.pack("<QQQ", 4, 0, 0)
    put("manifest", [b"\0", b"\0CHRMANI\n\1\0\0\0", b"\1\1" + manifest, b"\2"] +
        [b"\2" + change(None, 2 << 2 | kind << 4 | 2, at, b"\1\0\0\0") for kind in (0, 1, 2) for at in (8, 12, 40, 44, 48, 104)])
    header = b"CHRLOG\0\0" + bytes(56)
    put("wal", [b"\0"] + [bytes([mend]) + change(which, 2 << 2 | kind << 4, at, b"\1\0\0\0") for mend in (0, 2) for kind in (0, 2)
                          for which, at in ((0, 48), (1, 8), (0x80, 16), (0x81, 32), (0x82, 40), (2, 200))] +
        [b"\0\x7f" + struct.pack("<I", 5000), b"\1\x41" + struct.pack("<H", 64) + header, b"\1\x11" + struct.pack("<H", 0)])
    put("batch", [b"\0", b"\1\1k\2" + struct.pack("<q", 5), b"\1\1k\6\2" + struct.pack("<qq", 1, 2), b"\1\1a\4\1x\1b\x09\1" + bytes(9),
                  b"\2\1" + bytes(40)] +
        [bytes([5 + kind]) + change(None, 2 << 2 | what << 4 | 2, at, b"\1\0\0\0") for kind in range(5) for what in (0, 2)
         for at in (4, 8, 16, 112, 120)])
    put("catalog", [b"\0", b"\0SQLite format 3\0", b"\3"] +
        [bytes([how]) + bytes([page] if how == 2 else []) + change(None, kind << 4, at, b"\1\0\0\0")
         for how, page in ((1, 0), (2, 0), (2, 3), (2, 7)) for kind in (0, 2) for at in (0, 5, 20, 100)] +
        [bytes([3, column, row, kind]) + value for column in range(28) for row, kind, value in
         ((0, 0, struct.pack("<q", -1)), (1, 1, b"\4name"), (0, 2, b"\x10" + bytes(16)), (1, 4, b""))])
    put("config", [
        "yport: 9001\nlisten_address: \"127.0.0.1\"\nallow_reset: True\ncors_allow_origins: [\"http://a\", http://b]\n",
        "ycircuit_breaker:\n  requests: 7\nlog_level: WARN\nmax_payload_size_bytes:\nwrong: {a: [1, 2]}\n",
        "yrate_limit: {reads_per_second: 7}\nquota: {num_records: 11}\nauth: {provider: token, token: x}\n", "y- &a [*a, *a]\n", "y--- !x\n",
        "yscorecard_enabled: true\nscorecard:\n  - {patterns: ['op:*'], score: 3}\n", "s[{patterns: [a, 'b*'], score: 1}]",
        "ltenants:\n  acme:\n    rate_limit: {writes_per_second: 5}\n    quota: {num_records: 0}\n", "ltenants: {}\n",
        "uusers:\n  - {id: u, tokens: [t], tenant: a, databases: [x], role: r}\nroles_mapping:\n  r: {actions: ['db:get_database']}\n",
        "hname:$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde\n", "ePORT=1\0CHROMA_PORT=8001\0CHROMA_QUOTA__NUM_RECORDS=5",
        "eCHROMA_CORS_ALLOW_ORIGINS=[a, b]\0CHROMA_SERVER_AUTHN_PROVIDER=x.TokenAuthenticationServerProvider\0CHROMA_SERVER_AUTHN_CREDENTIALS=t",
        "f--port\0" "8001\0--host=::1", "f--ephemeral", "f--help", "t/api/v2?x=1#y", "thttp://a:80/b?c", "t*", "t/\u00fc%2F", "tHTTP/1.1", "tGET",
    ])


main()
