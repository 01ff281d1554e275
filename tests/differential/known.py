"""The differences that are there on purpose.

Each has the row of docs/compatibility.md that tells users of it (the start of the row's first cell), and a test of
(request, their answer, our answer) that is as narrow as it can be. The run fails if a row is not in that page.
"""
import json
import re

from compare import decode, same


class Known:
    def __init__(self, row, test):
        self.row, self.test, self.count = row, test, 0


def text(answer):
    v = decode(answer)
    return v.get("message", "") if isinstance(v, dict) else ""


def crash(request, theirs, ours):
    if theirs.status is not None or ours.status is None:
        return False
    return 400 <= ours.status <= 501 or (request.kind == "query" and (request.json() or {}).get("n_results") == 0)


def crash_put_off(request, theirs, ours):
    """A request that would end the connection, refused for something else first; we name both."""
    a, b = ([line.removeprefix("Validation error: ") for line in text(x).split("\n")] for x in (theirs, ours))
    b = [line for line in b if ": Metadata value of a collection must be" not in line]
    return theirs.status == ours.status == 400 and a == b and text(theirs) != text(ours)


def nul_in_text(request, theirs, ours):
    return theirs.status == ours.status == 200 and request.kind in ("get", "query", "delete") and \
        "\\u0000" in json.dumps(text_filters(request))


def text_filters(request):
    body = request.json()
    return [body.get("where_document"), body.get("where")] if isinstance(body, dict) else []


def unknown_id(request, theirs, ours):
    return request.kind == "query" and theirs.status == 500 and "Error finding id" in text(theirs) and ours.status in (200, 400)


def foreign(request, theirs, ours):
    return request.is_foreign and ours.status == 404 and text(ours).startswith("Collection [")


def rename(request, theirs, ours):
    return theirs.status == 500 and "UNIQUE constraint failed" in text(theirs) and ours.status == 409


def pre_flight(request, theirs, ours):
    return request.path.split("?")[0] == "/api/v2/pre-flight-checks" and ours.status == theirs.status == 200


def sparse_schema(request, theirs, ours):
    return theirs.status == 400 and "Sparse vector indexing is not enabled in local" in text(theirs)


def sparse_metadata(request, theirs, ours):
    return theirs.status == 501 and "Sparse vector is not supported for local chroma" in text(theirs)


def several_sparse(request, theirs, ours):
    return theirs.status == 400 and "At most one sparse vector index is allowed for the collection: [" in text(theirs)


def search(request, theirs, ours):
    return request.path.split("?")[0].endswith("/search") and theirs.status == 501


def fork(request, theirs, ours):
    return theirs.status == 501 and "is unsupported for local chroma" in text(theirs) and ours.status in (200, 400) and \
        request.path.split("?")[0].endswith(("/fork", "/fork_count"))


def metrics(request, theirs, ours):
    return request.path.split("?")[0] == "/metrics" and theirs.status == 404 and ours.status in (200, 405)


def old_interface(request, theirs, ours):
    path = request.path.split("?")[0]
    if path == "/api/v1":
        return theirs.status == 404 and ours.status in (200, 405)
    return path in ("/api/v1/heartbeat", "/api/v1/version") and theirs.status == 410 and ours.status == 200


def indexing_status(request, theirs, ours):
    return request.path.endswith("/indexing_status") and theirs.status == 500 and ours.status == 200


def select_by_id(request, theirs, ours):
    return b'#id"' in (request.body or b"") and theirs.status == ours.status == 200 and request.kind in ("get", "query", "delete")


def failed_read(request, theirs, ours):
    """Texts of upstream's own trouble: a collection that became empty, a regular expression that is long when unrolled."""
    troubles = ["Error creating hnsw segment reader: Nothing found on disk", "(code: 1043) constraint failed"]
    return theirs.status == 500 and ours.status == 200 and any(t in text(theirs) for t in troubles)


def truncated(request, theirs, ours):
    """A double with a fraction, or of 2^63 or more, in a filter: upstream makes an integer of it for stored integers. Or
    an integer beyond 2^53: it makes a double of it for stored doubles."""
    if theirs.status != 200 or ours.status != 200 or request.kind not in ("get", "query", "delete"):
        return False

    def is_in(v):
        if isinstance(v, dict):
            return any(is_in(x) for x in v.values())
        if isinstance(v, list):
            return any(is_in(x) for x in v)
        return isinstance(v, float) and (abs(v) >= 2.0**63 or v != int(v)) or isinstance(v, int) and abs(v) >= 2**53
    return isinstance(request.json(), dict) and is_in(request.json().get("where"))


def several_schema_faults(request, theirs, ours):
    """Which fault of a schema is named: upstream goes through the keys in an order of chance."""
    if theirs.status != 400 or ours.status != 400 or request.kind != "create":
        return False
    a, b = ([line.removeprefix("Validation error: ") for line in text(x).split("\n")] for x in (theirs, ours))
    schema = (request.json() or {}).get("schema") if isinstance(request.json(), dict) else None
    n_parts = sum(isinstance(v, dict) and len(v) or 0 for v in schema.values()) if isinstance(schema, dict) else 2
    rest = [sorted(line for line in x if not line.startswith("schema: ")) for x in (a, b)]
    return n_parts > 1 and rest[0] == rest[1] and len(a) == len(b)


def name_in_message(request, theirs, ours):
    a, b = text(theirs), text(ours)
    return theirs.status == ours.status == 400 and "Validation error: length [" in a and "\\u{" in a and \
        "Validation error: length [" in b


def variant_object(request, theirs, ours):
    """{"documents":null} for "documents" and the like: an accident of upstream's parser."""
    return ours.status == 400 and "expected value" in text(ours) and "expected value" not in text(theirs) and \
        re.search(rb'"(include|space)"\s*:[^:]*\{', request.body or b"") is not None


def without_traces(v, other):
    """Collection objects without what failed or skipped writes leave: the dimension; keys that `other` has not learned."""
    if isinstance(v, list) and isinstance(other, list) and len(v) == len(other):
        by_name = {c["name"]: c for c in other if isinstance(c, dict) and "name" in c}
        return [without_traces(c, by_name.get(c.get("name"))) if isinstance(c, dict) else c for c in v]
    if isinstance(v, dict) and isinstance(other, dict) and "configuration_json" in v and "configuration_json" in other:
        out = {k: x for k, x in v.items() if k not in ("id", "dimension")}
        known_keys = (other.get("schema") or {}).get("keys", {})
        out["schema"] = dict(v["schema"], keys={
            key: {t: x for t, x in types.items() if t in known_keys[key] or t in ("float_list", "sparse_vector")}
            for key, types in v["schema"]["keys"].items() if key in known_keys})
        return out
    return v


def traces(request, theirs, ours):
    if theirs.status != 200 or ours.status != 200 or request.method != "GET":
        return False
    a, b = decode(theirs), decode(ours)
    x, y = without_traces(a, b), without_traces(b, a)
    if isinstance(a, list) and isinstance(b, list):
        x, y = (sorted(v, key=lambda c: c.get("name", "")) for v in (x, y))
    return x != a and same(x, y)


def extreme_cosine(request, theirs, ours):
    """Vectors so long or so short that the square of their norm is lost in float32."""
    if request.kind != "query" or theirs.status != 200 or ours.status != 200 or request.handle.space != "cosine":
        return False
    vectors = (request.json() or {}).get("query_embeddings") or []
    return any(isinstance(x, (int, float)) and (abs(x) > 1e18 or 0 < abs(x) < 1e-18) for v in vectors for x in v)


def docs(request, theirs, ours):
    return request.path.startswith("/docs") and request.method in ("GET", "HEAD")


def ignored_member(request, theirs, ours):
    """Broken in a member that nobody reads: upstream's parser does not look closely there."""
    faults = ["number out of range", "hex escape", "unicode code point"]
    return ours.status == 400 and any(f in text(ours) for f in faults) and "parse the request body as JSON" not in text(theirs)


def several_faults(request, theirs, ours):
    """A filter with a malformed clause and a malformed expression: upstream names the first, we the clause."""
    faults = ["Invalid where clause", "Invalid where document clause", "Regex syntax errror:", "Byte pattern is not allowed"]
    return theirs.status == ours.status == 400 and all(any(text(x).startswith(f) for f in faults) for x in (theirs, ours))


KNOWN = [
    Known("requests that make upstream drop the connection", crash),
    Known("requests that make upstream drop the connection", crash_put_off),
    Known("the character NUL in a filter of documents", nul_in_text),
    Known("`ids` of a query that names an unknown id", unknown_id),
    Known("a collection asked for under another tenant or database", foreign),
    Known("rename to a taken name", rename),
    Known("rows a request, ids a get", pre_flight),
    Known("`#id` in `where`", select_by_id),
    Known("reads that fail within upstream", failed_read),
    Known("doubles compared with integers in a filter", truncated),
    Known("an enumeration's value written as an object", variant_object),
    Known("what a refused or skipped write leaves behind", traces),
    Known("broken values in members that are ignored", ignored_member),
    Known("several faults in one filter", several_faults),
    Known("several faults in one schema", several_schema_faults),
    Known("a name quoted in a message", name_in_message),
    Known("very long or very short vectors under `cosine`", extreme_cosine),
    Known("`/docs`", docs),
    Known("sparse vectors in metadata", sparse_metadata),
    Known("sparse indexes in a schema", sparse_schema),
    Known("sparse indexes in a schema", several_sparse),
    Known("`search`", search),
    Known("`fork` and `fork_count`", fork),
    Known("`/metrics`", metrics),
    Known("v1 `heartbeat` and `version`", old_interface),
    Known("`indexing_status`", indexing_status),
]


def find(request, theirs, ours):
    for known in KNOWN:
        if known.test(request, theirs, ours):
            known.count += 1
            return known
    return None


def undocumented(page):
    """The rows that the page does not have."""
    rows = set(re.findall(r"^\| (.*?) (?:\(|\|)", page, re.M)) | set(re.findall(r"^\| (.*?) \|", page, re.M))
    return [k.row for k in KNOWN if k.row not in rows]
