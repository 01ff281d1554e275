"""The differences that are there on purpose.

Each has the row of docs/compatibility.md that tells users of it (the start of the row's first cell), and a test of
(request, their answer, our answer) that is as narrow as it can be. The run fails if a row is not in that page.
"""
import re
from compare import decode


class Known:
    def __init__(self, row, test):
        self.row, self.test, self.count = row, test, 0


def text(answer):
    v = decode(answer)
    return v.get("message", "") if isinstance(v, dict) else ""


def crash(request, theirs, ours):
    return theirs.status is None and ours.status is not None and 400 <= ours.status <= 501


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


def indexing_status(request, theirs, ours):
    return request.path.endswith("/indexing_status") and theirs.status == 500 and ours.status == 200


def select_by_id(request, theirs, ours):
    return b'#id"' in (request.body or b"") and theirs.status == ours.status == 200 and request.kind in ("get", "query", "delete")


KNOWN = [
    Known("requests that make upstream drop the connection", crash),
    Known("`ids` of a query that names an unknown id", unknown_id),
    Known("a collection asked for under another tenant or database", foreign),
    Known("rename to a taken name", rename),
    Known("rows a request, ids a get", pre_flight),
    Known("`#id` in `where`", select_by_id),
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
