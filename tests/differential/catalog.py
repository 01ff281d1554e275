"""Requests about tenants, databases, collections, and the wire itself."""
import json
from urllib.parse import quote

from jsontext import BROKEN, Obj, Raw, break_text, dump, mutate, number, obj, odd, scalar, string
from request import ABSENT_ID, ROOT, Request, collections_path, database_path, post, tenant_path

TENANTS = ["default_tenant", "acme", "t é", "ab", "absent", "a/b", "", "AcMe", "..", "+++", "x" * 300]
DATABASES = ["default_database", "db_one", "Zdb", "adb", "ab", "absent_db", "a+db1", "db.two", "", "1.2.3.4", "db..x", "-db",
             "x" * 513, "é" * 3, "a" * 512, "by-id", "abc+ab", "aaa+bbb+ccc"]
NAMES = ["first", "second", "third", "Abc", "abc", "ab", "", "a b c", "aé1", "..a", "a..b", "a.b", "a-b_c", "-ab", "ab-", "1.2.3.4",
         "::1", "abcd::1", "1.2.3", "256.1.1.1", "x" * 512, "x" * 513, "a+bcd", "abc+def", "abc+de", "a" * 300 + "+" + "b" * 211,
         "a" * 300 + "+" + "b" * 212, "+abc", "abc+", "a+b+c", "abc\n", " abc", "abc ", "日本語", "count", "by-id", ABSENT_ID,
         "00000000-0000-0000-0000-000000000000", "name\u0000x", "a.b.c.d", "1.2.3.4.5", "01.2.3.4", "fe80.1", "0x7f.1",
         "127.1", "aaa..bbb", "...", "a..", "___", "a__", "0aa", "aa0", "1e5", "nul\\u0000"]
IDS = [ABSENT_ID, ABSENT_ID.upper(), ABSENT_ID.replace("-", ""), "{" + ABSENT_ID + "}", "urn:uuid:" + ABSENT_ID, "abc", "",
       ABSENT_ID[:-1], ABSENT_ID + "0", " " + ABSENT_ID, "00000000-0000-0000-0000-000000000000", ABSENT_ID.replace("-", "_"),
       "(" + ABSENT_ID + ")", "URN:UUID:" + ABSENT_ID, "1111111122224333-8444-555555555555", "g" + ABSENT_ID[1:], "%zz", "é"]


def a_tenant(rng):
    return "default_tenant" if rng.random() < 0.6 else rng.choice(TENANTS)


def a_database(rng):
    return "default_database" if rng.random() < 0.6 else rng.choice(DATABASES)


def a_name(rng):
    return rng.choice(NAMES[:6]) if rng.random() < 0.4 else rng.choice(NAMES)


def body(rng, value):
    """Mostly the value, at times changed or damaged."""
    k = rng.random()
    if k < 0.4:
        for _ in range(rng.choice([1, 1, 2])):
            value = mutate(rng, value)
    text = dump(value, rng)
    return break_text(rng, text) if k > 0.94 else text


def window(rng):
    def one():
        return rng.choice(["0", "1", "2", "3", "100", "-1", "abc", "", "4294967295", "4294967296", "1.0", "+1", "01", "%31", "%201", "1&limit=2",
                           "1e1", "0x1", "%20", "%zz", "-0", "1%00", "18446744073709551616"])
    k = rng.random()
    if k < 0.4:
        return ""
    parts = [f"limit={one()}"] if rng.random() < 0.7 else []
    parts += [f"offset={one()}"] if rng.random() < 0.5 else []
    parts += [rng.choice(["x=1", "limit", "offset", "=", "&", "Limit=1", "limit[]=1", "l%69mit=1", "%ff=1", "a=%ff"])] if rng.random() < 0.2 else []
    rng.shuffle(parts)
    return "?" + "&".join(parts)


def tenants(rng, world):
    name = a_tenant(rng)
    k = rng.randrange(4)
    if k == 0:
        return Request("tenant", "POST", ROOT + "/tenants", body(rng, obj(name=rng.choice([name, string(rng), a_name(rng)]))))
    if k == 1:
        return Request("tenant", "GET", tenant_path(name))
    if k == 2:
        return Request("tenant", "PATCH", tenant_path(name), body(rng, obj(resource_name=string(rng))))
    return Request("databases", "GET", tenant_path(name) + "/databases" + window(rng))


def databases(rng, world):
    t, d = a_tenant(rng), a_database(rng)
    k = rng.randrange(6)
    if k < 2:
        return Request("database", "POST", tenant_path(t) + "/databases", body(rng, obj(name=rng.choice([d, a_name(rng)]))))
    if k == 2:
        return Request("database", "GET", database_path(t, d))
    if k == 3 and (t, d) != ("default_tenant", "default_database"):
        return Request("database", "DELETE", database_path(t, d))
    if k == 4:
        return Request("count collections", "GET", database_path(t, d) + "/collections_count")
    return Request("databases", "GET", tenant_path(t) + "/databases" + window(rng))


# ------------------------------------------------------------------------------------------------ collections

def metadata(rng):
    keys = ["a", "b", "topic", "é", "chroma:x", "hnsw:space", "hnsw:M", "hnsw:construction_ef", "hnsw:search_ef", "hnsw:foo",
            "hnsw:batch_size", "hnsw:sync_threshold", "hnsw:resize_factor", "hnsw:num_threads", "HNSW:space", "", "#x", "$x", "a b"]
    out = Obj()
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        key = rng.choice(keys[:5] if rng.random() < 0.6 else keys)
        value = scalar(rng)
        if key == "hnsw:space":
            value = rng.choice(["l2", "cosine", "ip", "L2", 1, "euclid"])
        elif key.startswith("hnsw:") and rng.random() < 0.8:
            value = rng.choice([1, 2, 16, 100, 0, -1, 1.5, Raw("2.0"), "16", True, 2**63 - 1, 2**40])
        out.append((key, value))
    return out


def embedding_function(rng):
    return rng.choice([None, obj(type="legacy"), obj(type="unknown"), obj(type="legacy", x=1),
                       obj(type="known", name="default", config=Obj()),
                       obj(type="known", name="openai", config=obj(z=1, a=[1, 2.5, None, obj(b="x", a=2**60)])),
                       obj(type="known", name="", config=None), obj(config=1, name="x", type="known"),
                       obj(type="known", name="x"), obj(type="foo"), Obj(), "known", obj(type=None)])


def number_or_small(rng):
    return number(rng) if rng.random() < 0.2 else rng.choice([0, 1, 2, 3, 16, 50, 100, 1000, None])


def hnsw(rng, fields=("ef_construction", "ef_search", "max_neighbors", "num_threads", "sync_threshold", "batch_size")):
    out = Obj((f, number_or_small(rng)) for f in fields if rng.random() < 0.2)
    if rng.random() < 0.3:
        out.append(("resize_factor", rng.choice([1.2, 2, 0, -1, Raw("1e2"), None, 1.5])))
    if rng.random() < 0.5:
        out.append(("space", rng.choice(["l2", "cosine", "ip", "L2", None])))
    if rng.random() < 0.05:
        out.append((rng.choice(["foo", "Space", "M", "", "ef"]), 1))
    return out


def spann(rng):
    fields = ("search_nprobe", "write_nprobe", "ef_construction", "ef_search", "max_neighbors", "reassign_neighbor_count",
              "split_threshold", "merge_threshold")
    out = Obj((f, number_or_small(rng)) for f in fields if rng.random() < 0.2)
    if rng.random() < 0.5:
        out.append(("space", rng.choice(["l2", "cosine", "ip", None])))
    return out


def configuration(rng):
    out = Obj()
    if rng.random() < 0.6:
        out.append(("hnsw", hnsw(rng) if rng.random() < 0.85 else None))
    if rng.random() < 0.15:
        out.append(("spann", spann(rng) if rng.random() < 0.8 else None))
    if rng.random() < 0.5:
        out.append(("embedding_function", embedding_function(rng)))
    return out


def index(rng, config=None, enabled=None):
    return obj(enabled=rng.random() < 0.5 if enabled is None else enabled, config=Obj() if config is None else config)


def vector_config(rng):
    out = Obj()
    if rng.random() < 0.5:
        out.append(("space", rng.choice(["l2", "cosine", "ip"])))
    if rng.random() < 0.3:
        out.append(("embedding_function", embedding_function(rng)))
    if rng.random() < 0.3:
        out.append(("source_key", rng.choice(["#document", "foo", "", "#x", None])))
    if rng.random() < 0.4:
        out.append(("hnsw", Obj((k, v) for k, v in hnsw(rng) if k != "space" or rng.random() < 0.05)))
    if rng.random() < 0.15:
        out.append(("spann", Obj((k, v) for k, v in spann(rng) if k != "space" or rng.random() < 0.05)))
    return out


def value_type(rng, name, is_default):
    d = "$" if rng.random() < 0.05 else ""
    enabled = False if is_default and rng.random() < 0.9 else None
    if name == "string":
        parts = [(d + "fts_index", index(rng, enabled=enabled)), (d + "string_inverted_index", index(rng))]
    elif name == "float_list":
        parts = [(d + "vector_index", index(rng, vector_config(rng), enabled))]
    elif name == "sparse_vector":  # enabled ones are accepted here, deliberately: known.py
        config = Obj([("embedding_function", embedding_function(rng))] if rng.random() < 0.4 else [])
        if rng.random() < 0.3:
            config.append(("source_key", rng.choice(["#document", "foo", "#x", None])))
        if rng.random() < 0.3:
            config.append(("bm25", rng.choice([True, False, None])))
        parts = [(d + "sparse_vector_index", index(rng, config, False if rng.random() < 0.9 else None))]
    else:
        parts = [(d + name + "_inverted_index", index(rng))]
    return Obj(p for p in parts if rng.random() < 0.8)


TYPES = ["string", "float_list", "sparse_vector", "int", "float", "bool"]


def types(rng, names, is_default=False):
    out = Obj()
    for n in names:
        out.append(("#" + n if rng.random() < 0.05 else n, value_type(rng, n, is_default)))
    return out


def schema(rng):
    keys = Obj()
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        key = rng.choice(["#document", "#embedding", "foo", "bar", "é", "#foo", "", "$x"])
        few = {"#document": ["string"], "#embedding": ["float_list"]}.get(key, TYPES[:1] + TYPES[2:])
        names = few if rng.random() < 0.8 else TYPES
        keys.append((key, types(rng, rng.sample(names, rng.randrange(0, len(names) + 1)))))
    out = obj(defaults=types(rng, rng.sample(TYPES, rng.choice([0, 0, 1, 2, 6])), True))
    out.append((rng.choice(["keys"] * 9 + ["key_overrides"]), keys))
    if rng.random() < 0.06:
        out.append(("cmek", rng.choice([None, obj(gcp="projects/P/locations/L/keyRings/R/cryptoKeys/K"), obj(gcp="nope"),
                                        obj(aws="x"), "gcp", Obj()])))
    return out


def create(rng, world):
    t, d = (a_tenant(rng), a_database(rng)) if rng.random() < 0.3 else ("default_tenant", "default_database")
    name = a_name(rng) if rng.random() < 0.7 else f"c{rng.randrange(1000)}"
    value = obj(name=name)
    if rng.random() < 0.4:
        value.append(("metadata", metadata(rng) if rng.random() < 0.9 else None))
    if rng.random() < 0.4:
        value.append(("configuration", configuration(rng) if rng.random() < 0.9 else None))
    if rng.random() < 0.35:
        value.append(("schema", schema(rng) if rng.random() < 0.95 else None))
    if rng.random() < 0.3:
        value.append(("get_or_create", rng.choice([True, True, False, None])))
    if rng.random() < 0.05:
        value.append(("id", ABSENT_ID))
    return Request("create", "POST", collections_path(t, d), body(rng, value) if rng.random() < 0.5 else dump(value, rng),
                   creates=(t, d))


def collections(rng, world):
    handle = world.any_handle(rng)
    t, d = (a_tenant(rng), a_database(rng)) if rng.random() < 0.25 else ("default_tenant", "default_database")
    path, name = collections_path(t, d), quote(a_name(rng), safe="")
    k = rng.random()
    if k < 0.12:
        return Request("collections", "GET", path + window(rng))
    if k < 0.2:
        return Request("get", "GET", path + "/" + (quote(handle.name, safe="") if handle and rng.random() < 0.5 else name))
    if k < 0.3:
        bad = quote(rng.choice(IDS), safe="%")
        own = handle is not None and rng.random() < 0.5
        return Request("by-id", "GET", f"{path}/by-id/{f'@@{handle.number}@@' if own else bad}")
    if k < 0.33:
        crn = rng.choice(["a:b", "a:b:c:d", ":b:c", "a::c", "a:b:", "abc", "::", "%3A", "a%3Ab", "default_tenant:default_database:first"])
        return Request("crn", "GET", f"{ROOT}/collections/{crn}")
    if k < 0.4 and (handle is None or handle.name.startswith(("first", "second", "c"))):
        return Request("delete collection", "DELETE", path + "/" + name)
    if k < 0.5:
        verb = rng.choice(["fork", "fork_count", "functions/attach", "functions/f", "attached_functions/f/detach"])
        is_get = verb in ("fork_count", "functions/f")
        cid = f"@@{handle.number}@@" if handle and rng.random() < 0.4 else quote(rng.choice(IDS), safe="%")
        # upstream's single node does not fork: a name that ours refuses leaves both with the same collections
        new_name = rng.choice(["x", "", "-a-", "a b c"]) if cid.startswith("@@") else a_name(rng)
        value = {"fork": obj(new_name=new_name), "attached_functions/f/detach": obj(delete_output=True)}.get(
            verb, obj(name="f", function_id="g", output_collection="out", params=odd(rng)))
        return Request("fork and functions", "GET" if is_get else "POST", f"{path}/{cid}/{verb}",
                       None if is_get else body(rng, value), is_foreign=True)
    value = Obj()
    if rng.random() < 0.4:
        other = world.any_handle(rng)
        value.append(("new_name", rng.choice([a_name(rng), f"c{rng.randrange(1000)}", None, other.name if other else "x"])))
    if rng.random() < 0.5:
        value.append(("new_metadata", metadata(rng) if rng.random() < 0.9 else None))
    if rng.random() < 0.4:
        config = Obj()
        if rng.random() < 0.6:
            config.append(("hnsw", hnsw(rng, ("ef_search", "max_neighbors", "num_threads", "sync_threshold", "batch_size"))
                           if rng.random() < 0.9 else None))
            if rng.random() < 0.8 and config[0][1]:
                config[0] = ("hnsw", Obj((k2, v) for k2, v in config[0][1] if k2 != "space"))
        if rng.random() < 0.2:
            config.append(("spann", rng.choice([None, Obj(), obj(search_nprobe=1), obj(ef_search=2), obj(space="l2")])))
        if rng.random() < 0.4:
            config.append(("embedding_function", embedding_function(rng)))
        value.append(("new_configuration", config))
    if handle is None or rng.random() < 0.15:
        return Request("update collection", "PUT", f"{path}/{quote(rng.choice(IDS), safe='%')}", body(rng, value))
    return Request("update collection", "PUT", handle.base, body(rng, value), handle=handle, is_write=True)


# ------------------------------------------------------------------------------------------------ the wire

ROUTES = ["", "/heartbeat", "/healthcheck", "/version", "/pre-flight-checks", "/auth/identity", "/reset", "/tenants",
          "/tenants/default_tenant", "/tenants/default_tenant/databases", "/tenants/default_tenant/databases/default_database",
          "/tenants/default_tenant/databases/default_database/collections",
          "/tenants/default_tenant/databases/default_database/collections_count",
          "/tenants/default_tenant/databases/default_database/collections/first",
          "/tenants/default_tenant/databases/default_database/collections/by-id/" + ABSENT_ID, "/collections/a:b"] + \
    ["/tenants/default_tenant/databases/default_database/collections/" + ABSENT_ID + "/" + x for x in
     ("add", "update", "upsert", "delete", "get", "query", "search", "count", "fork", "fork_count", "indexing_status",
      "functions/attach", "functions/f", "attached_functions/f/detach", "nope", "Get", "conditional/get")]
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "FOO"]
TYPES_OF_CONTENT = ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/foo+json", "text/plain",
                    "", "application/x-www-form-urlencoded", "application", "json", "application/json;", "text/json",
                    "application/jsonx", "application/+json", "application/ld+JSON", " application/json ", "application/json, text/plain",
                    "application/json;charset", "multipart/form-data", "*/*", "application/json+x", "image/svg+json"]


def wire(rng, world):
    k = rng.random()
    path = rng.choice(ROUTES)
    if k < 0.45:
        method = rng.choice(METHODS)
        if path == "/reset" and method == "POST":
            method = "PUT"
        value = rng.choice([None, None, "{}", "", "[", "null"]) if method not in ("GET", "HEAD") else None
        if method == "DELETE" and path.endswith("default_database"):
            method = "OPTIONS"
        return Request("method", method, ROOT + path, value)
    if k < 0.6:
        i = rng.randrange(len(path) + 1)
        change = rng.choice(["/", "//", "/.", "/..", "%2F", "%zz", "%", "%c3", "%C3%A9", "+", "é".encode().decode("latin-1"), "%00", "?x=1",
                             ";a", "%25", "%2", "%41", "?", "&", "=", "%7e", "~", ":", "@", "!", "*", "%e9"])
        return Request("odd path", rng.choice(["GET", "GET", "DELETE" if "default" not in path else "GET"]), ROOT + path[:i] + change + path[i:])
    if k < 0.68:
        return Request("odd path", rng.choice(METHODS), rng.choice([
            "/", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/x", "/api/v1/collections/a/b", "/api/v3", "/docs", "/docs/nope",
            "/API/v2", "//api/v2", "/api/v2/", "/api//v2", "/api/v2?x", "/api/v2/?", "/favicon.ico", "/api/v2/..", "/metrics", "*"]))
    if k < 0.72:
        return Request("preflight", "GET", ROOT + "/pre-flight-checks")
    if k < 0.85:
        handle = world.any_handle(rng)
        cid = handle.base if handle else collections_path("default_tenant", "default_database") + "/" + ABSENT_ID
        target, value = rng.choice([(ROOT + "/tenants", '{"name":"ab"}'), (cid + "/get", "{}"), (cid + "/query", '{"query_embeddings":[]}'),
                                    (cid + "/add", '{"ids":[],"embeddings":[]}'), (cid + "/delete", "{}"), (cid + "/search", "{}")])
        headers = [("content-type", rng.choice(TYPES_OF_CONTENT))] if rng.random() < 0.85 else []
        if rng.random() < 0.15:
            headers.append(("transfer-encoding", "chunked"))
        if rng.random() < 0.1:
            headers.append(("expect", "100-continue"))
        return Request("content type", "POST", target, value, headers)
    target = rng.choice([r for r in ROUTES if r.endswith(("tenants", "databases", "collections", "add", "update", "upsert", "delete",
                                                           "get", "query", "attach", "fork", "detach", "search"))])
    value = rng.choice([b for b in BROKEN] + [Raw(dump(odd(rng))) for _ in range(10)])
    text = rng.choice([str(value), '{"name":%s}' % value, '{"ids":%s}' % value, "[%s]" % value, '{"ids":["a"],"embeddings":%s}' % value])
    return Request("broken body", "POST", ROOT + target, text, creates=("default_tenant", "default_database") if target.endswith("collections") else None)


__all__ = ["collections", "create", "databases", "json", "post", "tenants", "wire"]
