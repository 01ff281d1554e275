"""openapi.json: it is a good description (structurally, and by a validator where one is installed), and real answers are what it
says. And /docs/: a page that fetches nothing from anywhere else."""
import re

import pytest
from chroma_server import Server
from raw_http import ABSENT, COLLECTIONS, DATABASE, ROOT, Connection


@pytest.fixture(scope="module")
def server():
    with Server() as s:
        yield s


@pytest.fixture(scope="module")
def described(server):
    with Connection(server.port_now) as c:
        a = c.request("GET", "/openapi.json")
        assert a.status == 200 and a.headers["content-type"] == "application/json"
        return a.json()


def operations(described):
    return [(path, method, op) for path, item in described["paths"].items() for method, op in item.items()]


def test_it_is_openapi(described):
    assert described["openapi"] == "3.1.0"
    assert described["info"]["title"] == "chroma-frontend" and described["info"]["version"] == "1.0.0"
    assert described["components"]["securitySchemes"]["ApiKeyAuth"] == {"type": "apiKey", "in": "header", "name": "x-chroma-token"}
    ids = [op["operationId"] for _, _, op in operations(described)]
    assert len(ids) == len(set(ids))
    for path, method, op in operations(described):
        assert op["tags"] and op["summary"], (path, method)
        in_path = [p["name"] for p in op["parameters"] if p["in"] == "path"]
        assert in_path == re.findall(r"\{(.*?)\}", path) and all(p["required"] for p in op["parameters"] if p["in"] == "path")
        assert ("requestBody" in op) == (method in ("put", "patch") or method == "post" and not path.endswith("/reset"))
        good = [status for status in op["responses"] if status < "300"]
        assert good == (["201"] if path.endswith("/add") else ["200"])
        for status, response in op["responses"].items():
            (kind, content), = response["content"].items()
            assert kind == "text/plain" or content["schema"] not in ({}, None), (path, method, status)
            assert response["description"]
        assert {"401", "403"} <= set(op["responses"]) if "security" in op else not {"401", "403"} & set(op["responses"])
        if "requestBody" in op:
            assert {"400", "413", "415", "422"} <= set(op["responses"])


def test_every_reference_leads_somewhere(described):
    def walk(v):
        if isinstance(v, dict):
            if "$ref" in v:
                prefix = "#/components/schemas/"
                assert v["$ref"].startswith(prefix) and v["$ref"][len(prefix):] in described["components"]["schemas"], v
            for x in v.values():
                walk(x)
        elif isinstance(v, list):
            for x in v:
                walk(x)
    walk(described)


def test_a_validator_agrees(described):
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(described)


def test_query_parameters(described):
    def names(path):
        return [p["name"] for p in described["paths"][path]["get"]["parameters"] if p["in"] == "query"]
    database = ROOT + "/tenants/{tenant}/databases"
    collections = database + "/{database}/collections"
    assert names(database) == names(collections) == ["limit", "offset"]
    assert names(collections + "/{collection_id}/count") == ["read_level"]


# ------------------------------------------------------------------------------------------------ answers

def fault(schema, value, schemas, where="answer"):
    """What is wrong with the value, or None: as much of JSON schema as openapi.json uses."""
    if "$ref" in schema:
        return fault(schemas[schema["$ref"].rsplit("/", 1)[1]], value, schemas, where)
    kinds = {"null": type(None), "string": str, "boolean": bool, "array": list, "object": dict, "number": (int, float), "integer": int}
    wanted = schema.get("type", list(kinds))
    wanted = [wanted] if isinstance(wanted, str) else wanted
    fits = any(isinstance(value, kinds[k]) and not (k in ("number", "integer") and isinstance(value, bool)) for k in wanted)
    if not fits:
        return f"{where}: {value!r} is not {wanted}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where}: {value!r} is not in {schema['enum']}"
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        return f"{where}: {value!r} is too small"
    if isinstance(value, dict):
        if len(value) > schema.get("maxProperties", len(value)):
            return f"{where}: has members"
        missing = set(schema.get("required", [])) - set(value)
        if missing:
            return f"{where}: lacks {missing}"
        known, others = schema.get("properties"), schema.get("additionalProperties")
        if known and not others and set(value) - set(known):
            return f"{where}: has {set(value) - set(known)}"
        for k, v in value.items():
            its = (known or {}).get(k, others)
            found = its and fault(its, v, schemas, f"{where}.{k}")
            if found:
                return found
    if isinstance(value, list) and "items" in schema:
        for i, v in enumerate(value):
            found = fault(schema["items"], v, schemas, f"{where}[{i}]")
            if found:
                return found
    return None


def test_answers_are_as_described(server, described):
    seen = set()
    patterns = sorted(described["paths"], key=lambda p: (p.count("{"), -len(p)))
    with Connection(server.port_now) as c:

        def ask(method, path, body=None, status=200):
            a = c.request(method, path, body)
            assert a.status == status, (method, path, a)
            plain = path.split("?")[0]
            for pattern in patterns:
                if re.fullmatch(re.sub(r"\{.*?\}", "[^/]+", pattern), plain) and method.lower() in described["paths"][pattern]:
                    break
            op = described["paths"][pattern][method.lower()]
            (kind, content), = op["responses"][str(status)]["content"].items()
            if kind == "application/json":
                found = fault(content["schema"], a.json(), described["components"]["schemas"])
                assert found is None, (method, path, found, a)
            if status < 300:
                seen.add(op["operationId"])
            return a.json() if kind == "application/json" else None

        for path in ("", "/heartbeat", "/healthcheck", "/version", "/pre-flight-checks", "/auth/identity"):
            ask("GET", ROOT + path)
        if "/metrics" in described["paths"]:
            ask("GET", "/metrics")
        ask("POST", ROOT + "/tenants", {"name": "acme"})
        ask("POST", ROOT + "/tenants", {"name": "acme"}, 409)
        ask("POST", ROOT + "/tenants", {"name": "ab"}, 400)
        ask("POST", ROOT + "/tenants", {}, 422)
        ask("GET", ROOT + "/tenants/acme")
        ask("GET", ROOT + "/tenants/absent", status=404)
        if ROOT + "/usage" in described["paths"]:
            ask("GET", ROOT + "/usage")
            ask("GET", ROOT + "/tenants/acme/usage")
        ask("PATCH", ROOT + "/tenants/acme", {"resource_name": "x"})
        ask("POST", ROOT + "/tenants/acme/databases", {"name": "db1"})
        ask("GET", ROOT + "/tenants/acme/databases?limit=5")
        ask("GET", ROOT + "/tenants/acme/databases?limit=x", status=400)
        ask("GET", ROOT + "/tenants/acme/databases/db1")
        ask("DELETE", ROOT + "/tenants/acme/databases/db1")
        ask("GET", ROOT + "/tenants/acme/databases/db1", status=404)
        made = ask("POST", COLLECTIONS, {"name": "one", "metadata": {"a": 1}})
        ask("POST", COLLECTIONS, {"name": "one"}, 409)
        ask("GET", COLLECTIONS)
        ask("GET", DATABASE + "/collections_count")
        ask("GET", COLLECTIONS + "/one")
        ask("GET", COLLECTIONS + "/by-id/" + made["id"])
        ask("GET", COLLECTIONS + "/by-id/" + ABSENT, status=404)
        one = COLLECTIONS + "/" + made["id"]
        ask("PUT", one, {"new_metadata": {"b": 2.5}})
        records = {"ids": ["a", "b"], "embeddings": [[1, 2], [3, 4]], "documents": ["x", None], "metadatas": [{"k": 1}, None]}
        ask("POST", one + "/add", records, 201)
        ask("POST", one + "/upsert", records)
        ask("POST", one + "/update", {"ids": ["a"], "metadatas": [{"k": None}]})
        ask("GET", one + "/count?read_level=index_only")
        ask("GET", one + "/count?read_level=x", status=400)
        for include in (["documents", "metadatas", "embeddings", "uris"], []):
            ask("POST", one + "/get", {"include": include})
            ask("POST", one + "/query", {"query_embeddings": [[1, 1], [2, 2]], "include": include + ["distances"]})
        ask("POST", one + "/search", {"searches": [{"rank": {"$knn": {"query": [1, 2]}}, "select": {"keys": ["#score", "#document"]}}, {}]})
        ask("POST", one + "/search", {"searches": 1}, 422)
        ask("GET", one + "/indexing_status")
        ask("POST", one + "/functions/attach", {"name": "f", "function_id": "g", "output_collection": "o"}, 501)
        ask("GET", one + "/functions/f", status=404)
        ask("POST", one + "/attached_functions/f/detach", {}, 501)
        ask("POST", one + "/delete", {"ids": ["a"]})
        ask("DELETE", COLLECTIONS + "/one")
        ask("POST", ROOT + "/reset")
    unseen = {op["operationId"] for _, _, op in operations(described)} - seen
    assert unseen <= {"get_collection_by_crn", "fork_collection", "fork_count", "attach_function", "detach_function",
                      "get_attached_function"}, unseen


def test_the_page_needs_nothing_else(server):
    with Connection(server.port_now) as c:
        a = c.request("GET", "/docs/")
        assert a.status == 200 and a.headers["content-type"].startswith("text/html")
        page = a.body.decode()
        assert not re.search(r"(?i)<script|<link|<img|<iframe|@import|url\(|https?://|//[a-z]", page)
        for target in re.findall(r'(?:href|src)="(.*?)"', page):
            assert c.request("GET", target).status == 200, target
        for path in c.request("GET", "/openapi.json").json()["paths"]:
            assert f"<code>{path}</code>" in page
