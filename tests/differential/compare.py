"""What differs between two answers, after masking what may differ between any two servers."""
import json
import math
import re

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Texts of parsers, not part of the contract: what comes after these is free.
FREE_AFTER = ["Failed to parse the request body as JSON:", "Failed to deserialize the JSON body into the target type:",
              "Failed to deserialize query string:", "Regex syntax errror:", "Invalid collection_id UUID format:"]


def decode(answer):
    if not answer.body:
        return ""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return answer.body.decode("utf-8", "replace")


def mask(v, own):
    """Ids of collections by handle, other generated ids by a word. `own`: id -> handle's name."""
    if isinstance(v, dict):
        out = {k: mask(x, own) for k, x in v.items()}
        if "id" in v and "name" in v and "tenant" in v and isinstance(v["id"], str) and v["id"] not in own:
            out["id"] = "some id" if UUID.fullmatch(v["id"]) and set(v["id"]) != set("0-") else v["id"]
        if set(v) == {"nanosecond heartbeat"}:
            out["nanosecond heartbeat"] = type(v["nanosecond heartbeat"]).__name__
        return out
    if isinstance(v, list):
        return [mask(x, own) for x in v]
    if isinstance(v, str) and "-" in v:
        return UUID.sub(lambda m: own.get(m.group(0), m.group(0)), v)
    return v


def message(text):
    for prefix in FREE_AFTER:
        if prefix in text:
            return text[:text.index(prefix) + len(prefix)]
    text = text.removeprefix("Validation error: ")
    # members within one bracket, and the lines of one answer, come in any order
    text = re.sub(r"\[\{(.*?)\}\]", lambda m: "[{" + ", ".join(sorted(m.group(1).split(", "))) + "}]", text, flags=re.S)
    return "\n".join(sorted(text.split("\n")))


def same(a, b):
    """Equal, with 1 and 1.0 and -0.0 and 0.0 apart, and doubles next to each other not."""
    if isinstance(a, bool) or isinstance(b, bool) or type(a) is not type(b):
        return a is b or (type(a) is type(b) and a == b)
    if isinstance(a, float):
        # upstream's reader of doubles is at times one unit off in the last place (docs/compatibility.md)
        return (a == b or math.nextafter(a, b) == b) and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


def close(a, b):
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=2e-4, abs_tol=2e-6)


def direction(v):
    """A vector of a cosine collection: upstream gives it back normalised, we as it was sent."""
    norm = math.sqrt(sum(x * x for x in v))
    return [x / norm for x in v] if norm > 0 else v


def same_vectors(a, b, space):
    if a is None or b is None or space != "cosine":
        return same(a, b)
    if None in a or max(map(abs, b), default=0) < 1e-18:  # lost in upstream's normalising
        return len(a) == len(b)
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-4, abs_tol=1e-5) for x, y in zip(direction(a), direction(b)))


def get_differences(theirs, ours, space):
    out = []
    for key in theirs.keys() | ours.keys():
        a, b = theirs.get(key), ours.get(key)
        if key == "embeddings" and isinstance(a, list) and isinstance(b, list):
            ok = len(a) == len(b) and all(same_vectors(x, y, space) for x, y in zip(a, b))
        else:
            ok = same(a, b)
        if not ok:
            out.append(f"{key}: {json.dumps(a, ensure_ascii=False)[:300]} / {json.dumps(b, ensure_ascii=False)[:300]}")
    return out


def row_differences(theirs, ours, q, space):
    """One query vector's rows. Among equal distances the order, and at the end of the list the choice, is free."""
    a, b = theirs["ids"][q], ours["ids"][q]
    if len(a) != len(b):
        return [f"query {q}: {len(a)} / {len(b)} rows: {a} / {b}"]
    da, db = theirs["distances"], ours["distances"]
    if da is None or db is None:
        return [] if sorted(a) == sorted(b) else [f"query {q}: {a} / {b}"]
    da, db, out = da[q], db[q], []
    for x, y in zip(da, db):
        if not close(x, y):
            return [f"query {q}: distances {da} / {db}"]
    place = {i: n for n, i in enumerate(a)}
    for n, i in enumerate(b):
        if i not in place:
            if not close(db[n], da[-1]):
                out.append(f"query {q}: row {i} at distance {db[n]} is not among theirs")
            continue
        m = place[i]
        if not close(da[m], db[n]):
            out.append(f"query {q}: distance of {i}: {da[m]} / {db[n]}")
        for part in ("documents", "metadatas", "uris"):
            if theirs[part] is not None and ours[part] is not None and not same(theirs[part][q][m], ours[part][q][n]):
                out.append(f"query {q}: {part} of {i}: {theirs[part][q][m]} / {ours[part][q][n]}")
        if theirs["embeddings"] is not None and ours["embeddings"] is not None:
            if not same_vectors(theirs["embeddings"][q][m], ours["embeddings"][q][n], space):
                out.append(f"query {q}: embedding of {i}: {theirs['embeddings'][q][m]} / {ours['embeddings'][q][n]}")
    return out


def query_differences(theirs, ours, space):
    if theirs.keys() != ours.keys() or not same(theirs["include"], ours["include"]):
        return ["members or include"]
    if len(theirs["ids"]) != len(ours["ids"]):
        return ["number of answers"]
    out = [f"{part}: null on one side" for part in ("documents", "metadatas", "uris", "embeddings", "distances")
           if (theirs[part] is None) != (ours[part] is None)]
    return out or [d for q in range(len(theirs["ids"])) for d in row_differences(theirs, ours, q, space)]


HEADERS = ["content-type", "allow", "location"]


def differences(request, theirs, ours, own, space):
    """A list of texts; empty: the answers agree. `own`: for each side, id -> name of the handle."""
    if theirs.status != ours.status:
        return [f"status {theirs.status} / {ours.status}"]
    if theirs.status is None:
        return []
    out = [f"header {h}: {theirs.headers.get(h)} / {ours.headers.get(h)}" for h in HEADERS
           if theirs.headers.get(h) != ours.headers.get(h)]
    if ("chroma-trace-id" in theirs.headers) != ("chroma-trace-id" in ours.headers):
        out.append("header chroma-trace-id on one side only")
    if request.path.startswith(("/docs", "/openapi")):
        return out
    a, b = (mask(decode(answer), ids) for answer, ids in zip((theirs, ours), own))
    if theirs.status >= 400:
        if not (isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys() == {"error", "message"}):
            return out if same(a, b) else out + ["bodies"]
        if a["error"] != b["error"]:
            out.append(f"error {a['error']} / {b['error']}")
        if message(a["message"]) != message(b["message"]):
            out.append("message")
        return out
    if isinstance(a, list) and a and isinstance(a[0], dict) and "configuration_json" in a[0] and isinstance(b, list):
        if "limit=" in request.path or "offset=" in request.path:  # the order is that of random ids
            return out if len(a) == len(b) else out + ["number of collections"]
        a, b = (sorted(x, key=lambda c: c["name"]) for x in (a, b))
    if request.kind == "get" and isinstance(a, dict) and isinstance(b, dict) and "include" in a:
        return out + get_differences(a, b, space)
    if request.kind == "query" and isinstance(a, dict) and isinstance(b, dict) and "include" in a:
        return out + query_differences(a, b, space)
    if not same(a, b):
        out.append("bodies: " + where_they_differ(a, b))
    return out


def where_they_differ(a, b, path="$"):
    if isinstance(a, dict) and isinstance(b, dict):
        for k in a.keys() | b.keys():
            if k not in a or k not in b:
                side, v = ("theirs", a[k]) if k in a else ("ours", b[k])
                return f"{path}.{k} only {side}: {json.dumps(v, ensure_ascii=False)[:200]}"
            if not same(a[k], b[k]):
                return where_they_differ(a[k], b[k], f"{path}.{k}")
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            if not same(x, y):
                return where_they_differ(x, y, f"{path}[{i}]")
    return f"{path}: {json.dumps(a, ensure_ascii=False)[:200]} / {json.dumps(b, ensure_ascii=False)[:200]}"
