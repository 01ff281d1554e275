"""Requests about records: odd bodies on scratch collections, and sequences whose state is compared in full."""
import base64
import struct

import filters
from jsontext import UNICODE, Obj, Raw, break_text, dump, mutate, number, obj, odd, scalar, string
from request import ABSENT_ID, Request, collections_path

IDS = filters.IDS
PARTS = ["documents", "metadatas", "embeddings", "uris", "distances"]


def vector(rng, dim):
    if rng.random() < 0.05:
        return [rng.choice([0, Raw("1e-46"), Raw("-0.0"), Raw("16777217"), Raw("1e-40"), Raw("0.1"), Raw("3e18")])
                for _ in range(dim - 1)] + [round(rng.uniform(0.1, 1), 4)]  # upstream's cosine loses what is tiny as a whole
    return [round(rng.uniform(-1, 1), 4) for _ in range(dim)]


def encoded(rng, dim):
    values = [rng.uniform(-1, 1) for _ in range(dim)]
    if rng.random() < 0.05:
        values[0] = rng.choice([float("nan"), float("inf"), -0.0, 1e-40])
    text = base64.b64encode(struct.pack(f"<{dim}f", *values)).decode()
    k = rng.random()
    if k < 0.75:
        return text
    i = rng.randrange(len(text) + 1)
    return rng.choice([text[:-1], text[:i], text[:i] + rng.choice("#-_ \n=é") + text[i:], text.rstrip("="), text + "=", "",
                       "AAAA", "AA==", "AAA=", "====", text[:-3] + "B==", text + text[:4]])


def embeddings(rng, n, dim, is_odd):
    k = rng.random()
    if k < 0.2:
        return [encoded(rng, dim) if is_odd else base64.b64encode(struct.pack(f"<{dim}f", *[rng.uniform(-1, 1) for _ in range(dim)])).decode()
                for _ in range(n)]
    out = [vector(rng, dim) for _ in range(n)]
    if is_odd and k > 0.9 and out:
        out[rng.randrange(n)] = rng.choice([None, [], [1], vector(rng, dim + 1), encoded(rng, dim), [number(rng)] * dim, [scalar(rng)] * dim])
    return out


def document(rng):
    return " ".join(rng.choice(filters.WORDS) for _ in range(rng.randrange(0, 4))) if rng.random() < 0.9 else rng.choice(UNICODE) * 2


def typed_metadata(rng, is_patch):
    """Each key keeps the type of its values, so that no filter meets what an update replaced by another type."""
    out = Obj()
    for key in rng.sample(["s", "i", "f", "b", "ls", "li", "lf", "lb", "a.b", "é"], rng.choice([0, 1, 2, 3, 5])):
        kind = key[-1] if key[-1] in "sifb" and key != "a.b" else "s"
        if is_patch and rng.random() < 0.2:
            out.append((key, None))
        elif key.startswith("l"):
            out.append((key, [filters.value_of(rng, kind) for _ in range(rng.choice([0, 1, 2, 3]))]))
        else:
            out.append((key, filters.value_of(rng, kind)))
    return out


def any_metadata(rng):
    out = Obj()
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        key = rng.choice(["s", "i", "f", "b", "n", "x", "é", "a b", "chroma:x", "chroma:document", "#x", "$x", "", "x#", "_"] + UNICODE)
        k = rng.random()
        if k < 0.6:
            value = scalar(rng)
        elif k < 0.85:
            kind = rng.choice("sifbn")
            value = [filters.value_of(rng, kind) if rng.random() < 0.95 else scalar(rng) for _ in range(rng.randrange(0, 4))]
        elif k < 0.93:
            value = obj(indices=[1, 2], values=[1.0, Raw("0.5"), 2][:rng.choice([1, 3])])  # never a good one: known.py
            if rng.random() < 0.5:
                value.append(("#type", rng.choice(["sparse_vector", "x", 1])))
        else:
            value = odd(rng)
        out.append((key, value))
    return out


def maybe(rng, p, make, n):
    """A list beside the ids with a null here and there."""
    return [make() if rng.random() < p else None for _ in range(n)]


def write_body(rng, verb, handle, is_odd):
    n = rng.choice([0, 1, 1, 2, 3, 5])
    ids = [rng.choice(IDS) if not is_odd or rng.random() < 0.9 else string(rng) for _ in range(n)]
    if rng.random() < 0.6:
        ids = list(dict.fromkeys(ids))
    has_vectors = verb != "update" or rng.random() < 0.4
    if verb == "update" and has_vectors and not is_odd:  # upstream may apply a vector for an unknown id later, to whoever gets it
        ids = [i for i in ids if i in handle.present]
    n, patch = len(ids), verb != "add"
    dim = handle.dim if rng.random() < 0.95 or not handle.present else rng.choice([1, 2, handle.dim + 1])
    body = obj(ids=ids)
    if has_vectors:
        body.append(("embeddings", embeddings(rng, n, dim, is_odd)))
    if rng.random() < 0.7:
        body.append(("documents", maybe(rng, 0.8, lambda: document(rng), n)))
    if rng.random() < 0.8:
        make = (lambda: any_metadata(rng)) if is_odd and rng.random() < 0.6 else (lambda: typed_metadata(rng, patch))
        body.append(("metadatas", maybe(rng, 0.85, make, n)))
    if rng.random() < 0.3:
        body.append(("uris", maybe(rng, 0.7, lambda: string(rng), n)))
    for i, (name, value) in enumerate(body):
        if is_odd and name != "ids" and rng.random() < 0.05:
            body[i] = (name, rng.choice([None, [], value[:-1], value + value[:1]]))
    rng.shuffle(body)
    return body


def ids_of(rng, is_odd):
    out = [rng.choice(IDS) if rng.random() < 0.9 else rng.choice(["zz", "", "A", "é"]) for _ in range(rng.choice([0, 1, 2, 4]))]
    return out + [odd(rng)] if is_odd and rng.random() < 0.1 else out


def add_filters(rng, body, p, broken):
    if rng.random() < p:
        body.append(("where", filters.broken_where(rng) if rng.random() < broken else filters.where(rng)))
    if rng.random() < p * 0.6:
        body.append(("where_document", filters.broken_document(rng) if rng.random() < broken else filters.document_clause(rng)))


def number_of(rng, is_odd):
    return rng.choice([0, 1, 2, 3, 10, 2**32 - 1]) if not is_odd or rng.random() < 0.6 else rng.choice([None, number(rng), scalar(rng)])


def get_body(rng, is_odd):
    body = Obj()
    if rng.random() < 0.3:
        body.append(("ids", ids_of(rng, is_odd)))
    add_filters(rng, body, 0.6, 0.3 if is_odd else 0.03)
    for name in ("limit", "offset"):
        if rng.random() < 0.25:
            body.append((name, number_of(rng, is_odd)))
    if rng.random() < 0.7:
        body.append(("include", [rng.choice(PARTS) for _ in range(rng.choice([0, 1, 2, 4]))]))
        if is_odd and rng.random() < 0.15:
            body[-1] = ("include", rng.choice([None, ["metadata"], ["documents", None], "documents", ["Documents"], [""], ["data"], [1]]))
    return body


def query_body(rng, handle, is_odd):
    n = rng.choice([0, 1, 1, 1, 2])
    body = obj(query_embeddings=[vector(rng, handle.dim if rng.random() < 0.97 else handle.dim + 1) for _ in range(n)])
    if is_odd and rng.random() < 0.15:
        body[0] = ("query_embeddings", rng.choice([None, [[]], [None], [encoded(rng, handle.dim)], [[number(rng)] * handle.dim], [["a"]], [1, 2, 3]]))
    if rng.random() < 0.15:
        body.append(("ids", ids_of(rng, is_odd)))
    add_filters(rng, body, 0.5, 0.3 if is_odd else 0.03)
    if rng.random() < 0.7:
        body.append(("n_results", number_of(rng, is_odd) if rng.random() < 0.9 or is_odd else 100))
        if body[-1][1] == 2**32 - 1:
            body[-1] = ("n_results", 50)
    include = ["distances"] + [rng.choice(PARTS) for _ in range(rng.choice([0, 1, 2, 3]))]
    if rng.random() < 0.8:
        body.append(("include", include))
        if is_odd and rng.random() < 0.1:
            body[-1] = ("include", rng.choice([None, ["metadata"], "documents", [1], ["distance"]]))
    return body


def delete_body(rng, is_odd):
    body = Obj()
    if rng.random() < 0.6:
        body.append(("ids", ids_of(rng, is_odd)[:2] if not is_odd else ids_of(rng, is_odd)))
    add_filters(rng, body, 0.3, 0.4 if is_odd else 0.0)
    if rng.random() < 0.2:
        body.append(("limit", number_of(rng, is_odd)))
    if is_odd and rng.random() < 0.1:
        body.append(("offset", number_of(rng, is_odd)))
    return body


def rank(rng, depth=0):
    k = rng.random()
    if k < 0.5 or depth > 3:
        query = vector(rng, 3) if rng.random() < 0.8 else obj(indices=[1, 2], values=[1.0, Raw("0.5")])
        knn = obj(query=query)
        for name, values in (("key", ["#embedding", "s", ""]), ("limit", [0, 1, 16, 2**32]), ("default", [1, Raw("2.5"), None]),
                             ("return_rank", [True, False, None])):
            if rng.random() < 0.3:
                knn.append((name, rng.choice(values)))
        return Obj([("$knn", knn)])
    if k < 0.6:
        return Obj([("$val", number(rng))])
    op = rng.choice(["$sum", "$mul", "$max", "$min", "$sub", "$div", "$abs", "$exp", "$log", "$pow"])
    if op in ("$sub", "$div"):
        return Obj([(op, obj(left=rank(rng, depth + 1), right=rank(rng, depth + 1)))])
    if op in ("$abs", "$exp", "$log", "$pow"):
        return Obj([(op, rank(rng, depth + 1))])
    return Obj([(op, [rank(rng, depth + 1) for _ in range(rng.randrange(0, 3))])])


def search_body(rng):
    """The real server runs no search, but it judges the request."""
    payloads = []
    for _ in range(rng.choice([0, 1, 1, 2])):
        p = Obj()
        if rng.random() < 0.5:
            p.append(("filter", rng.choice([None, Obj()]) if rng.random() < 0.2 else filters.where(rng)))
        if rng.random() < 0.6:
            p.append(("rank", rank(rng)))
        if rng.random() < 0.3:
            key = rng.choice([["s"], [], ["#score"], ["#document"], ["#id"]])
            agg = Obj([(rng.choice(["$min_k", "$max_k", "$avg"]), obj(keys=rng.choice([["#score"], [], ["i"], ["#embedding"]]),
                                                                      k=rng.choice([0, 1, 3])))])
            p.append(("group_by", rng.choice([Obj(), obj(keys=key, aggregate=agg), obj(keys=key), obj(aggregate=agg)])))
        if rng.random() < 0.4:
            p.append(("limit", rng.choice([Obj(), obj(limit=2), obj(offset=1, limit=None), obj(limit=0), obj(limit=-1)])))
        if rng.random() < 0.4:
            p.append(("select", obj(keys=rng.sample(["#document", "#embedding", "#metadata", "#score", "s", "#id", ""], 3))))
        payloads.append(p)
    body = obj(searches=payloads)
    if rng.random() < 0.2:
        body.append(("read_level", rng.choice(["index_and_wal", "index_only", "index_and_bounded_wal", "nope", None])))
    return body


def record_body(rng, verb, handle, is_odd):
    if verb in ("add", "update", "upsert"):
        return write_body(rng, verb, handle, is_odd)
    if verb == "search":
        return search_body(rng)
    if verb == "get":
        return get_body(rng, is_odd)
    return query_body(rng, handle, is_odd) if verb == "query" else delete_body(rng, is_odd)


def odd_request(rng, world):
    """One request with a body that may be anything, on the collection made for its kind: what is read with filters is
    never written, so that no key changes the type of its values there."""
    verb = rng.choice(["add", "upsert", "update", "get", "get", "query", "query", "delete", "search"])
    handle = {"get": world.static, "query": world.static, "search": world.static, "delete": world.prey}.get(verb, world.scratch)
    body = record_body(rng, verb, handle, True)
    k = rng.random()
    if k < 0.4:
        for _ in range(rng.choice([1, 1, 1, 2])):
            body = mutate(rng, body)
    text = dump(body, rng)
    if k > 0.95:
        text = break_text(rng, text)
    path, is_foreign = handle.base, False
    j = rng.random()
    if j < 0.02:
        path = collections_path("default_tenant", "default_database") + "/" + rng.choice([ABSENT_ID, "abc", "%zz", ABSENT_ID.upper()])
    elif j < 0.04 and verb in ("get", "query"):
        path, is_foreign = collections_path("default_tenant", rng.choice(["other_db", "ab"])) + f"/@@{handle.number}@@", True
    if verb == "get" and rng.random() < 0.03:
        level = rng.choice(["index_and_wal", "index_only", "nope", "", "INDEX_ONLY", "index_and_bounded_wal"])
        return Request("count", "GET", f"{path}/count?read_level={level}", handle=handle, is_foreign=is_foreign)
    return Request(verb, "POST", f"{path}/{verb}", text, handle=handle, is_write=verb not in ("get", "query", "search"), is_foreign=is_foreign)


def everything(handle):
    return Request("get", "POST", f"{handle.base}/get", dump(obj(include=PARTS[:4])), handle=handle, is_census=True)


def steps(rng, handle):
    """A sequence on one collection: a few writes, then everything about it is asked."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        verb = rng.choices(["add", "upsert", "update", "delete"], [4, 4, 4, 2])[0]
        yield Request(verb, "POST", f"{handle.base}/{verb}", dump(record_body(rng, verb, handle, False), rng), handle=handle, is_write=True)
        if verb != "update":
            yield everything(handle)
    yield everything(handle)
    if rng.random() < 0.3:
        yield Request("count", "GET", f"{handle.base}/count", handle=handle)
    q = obj(query_embeddings=[vector(rng, handle.dim)], n_results=50, include=PARTS)
    yield Request("query", "POST", f"{handle.base}/query", dump(q), handle=handle)
    for _ in range(rng.choice([2, 4, 6])):
        verb = rng.choice(["get", "get", "query"])
        yield Request(verb, "POST", f"{handle.base}/{verb}", dump(record_body(rng, verb, handle, False), rng), handle=handle)


def rows(rng, number_of_rows, dim):
    """The body of an `add` that fills a collection with rows of all kinds; key `n` has integers and doubles."""
    ids = IDS + [f"r{i}" for i in range(number_of_rows - len(IDS))]
    metadatas = []
    for _ in ids:
        m = typed_metadata(rng, False)
        if rng.random() < 0.5:
            m.append(("n", filters.value_of(rng, rng.choice("nifsb"))))
        metadatas.append(m if m else None)
    return obj(ids=ids, embeddings=[vector(rng, dim) for _ in ids], documents=maybe(rng, 0.9, lambda: document(rng), len(ids)),
               metadatas=metadatas)
