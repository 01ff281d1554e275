"""One generated request, and what both servers hold when it is sent."""
import json
from urllib.parse import quote

from jsontext import dump

ROOT = "/api/v2"
ABSENT_ID = "11111111-2222-4333-8444-555555555555"


class Request:
    """`path` names a collection's id as @@N@@; `is_foreign`: through a database that does not have the collection;
    `creates`: (tenant, database) of the collection that it may create; `is_census`: asks for all rows."""

    def __init__(self, kind, method, path, body=None, headers=None, handle=None, is_write=False, is_foreign=False,
                 creates=None, is_census=False):
        self.kind, self.method, self.path = kind, method, path
        self.body = body if body is None or isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        if headers is None:
            headers = [] if self.body is None else [("content-type", "application/json")]
        self.headers, self.handle, self.is_write = headers, handle, is_write
        self.is_foreign, self.creates, self.is_census = is_foreign, creates, is_census

    def json(self):
        try:
            return json.loads(self.body)
        except (ValueError, TypeError, RecursionError):
            return None

    def __repr__(self):
        body = "" if self.body is None else " " + self.body[:1000].decode("utf-8", "replace")
        other = [h for h in self.headers if h != ("content-type", "application/json")]
        return f"[{self.kind}] {self.method} {self.path}{' ' + repr(other) if other else ''}{body}"


class Handle:
    """A collection that both servers have, with its id on each. `present`: its rows at the last census."""

    def __init__(self, number, ids, tenant, database, name, space):
        self.number, self.ids, self.tenant, self.database, self.name = number, ids, tenant, database, name
        self.space, self.dim, self.present = space, 3, set()

    @property
    def base(self):
        return f"{collections_path(self.tenant, self.database)}/@@{self.number}@@"


def tenant_path(tenant):
    return f"{ROOT}/tenants/{quote(tenant, safe='')}"


def database_path(tenant, database):
    return f"{tenant_path(tenant)}/databases/{quote(database, safe='')}"


def collections_path(tenant, database):
    return database_path(tenant, database) + "/collections"


def post(kind, path, value, rng=None, **more):
    return Request(kind, "POST", path, dump(value, rng), **more)
