"""What other people's clients and packages send and rely on: their requests byte for byte over a plain socket, and their
deployments' files and variables. With authentication off, with a token, with a password. Sources: ../shared/users.md, part E, and the
clients' own code as of 2026."""
import base64
import os
import re
import signal
import subprocess
import time

import pytest
from chroma_server import BINARY, Server
from raw_http import ABSENT, COLLECTIONS, DATABASE, ROOT, Connection

TOKEN = "n8n-and-friends-0123456789"

BEARER = ("Authorization", f"Bearer {TOKEN}")
X_TOKEN = ("X-Chroma-Token", TOKEN)
x_token = ("x-chroma-token", TOKEN)


@pytest.fixture(scope="module", params=["open", "token"])
def server(request):
    config = f"auth:\n  provider: token\n  token: {TOKEN}" if request.param == "token" else ""
    with Server(config=config) as s:
        s.is_open = request.param == "open"
        yield s


@pytest.fixture(autouse=True)
def clean(request):
    yield
    if "server" in request.fixturenames:
        s = request.getfixturevalue("server")
        with Connection(s.port_now, [BEARER]) as c:
            assert c.request("POST", ROOT + "/reset").body == b"true"


def json_headers(*more):
    return [("Content-Type", "application/json"), *more]


# ------------------------------------------------------------------------------------------------ JavaScript

def undici(*credentials):
    """What Node's fetch adds to a request of the JavaScript client."""
    return [("connection", "keep-alive"), *credentials, ("accept", "*/*"), ("accept-language", "*"), ("sec-fetch-mode", "cors"),
            ("user-agent", "node"), ("accept-encoding", "gzip, deflate")]


@pytest.mark.parametrize("credentials", [BEARER, X_TOKEN, x_token], ids=["n8n apiKey", "n8n token", "Flowise"])
def test_n8n_langchain_js_flowise(server, credentials):
    with Connection(server.port_now, undici(credentials)) as c:
        listed = c.request("GET", COLLECTIONS + "?limit=100&offset=0")
        assert (listed.status, listed.body) == (200, b"[]")
        a = c.request("POST", COLLECTIONS, {"name": "n8n-docs", "configuration": {}, "get_or_create": True}, json_headers())
        assert a.status == 200, a
        cid = a.json()["id"]
        assert c.request("GET", ROOT + "/pre-flight-checks").json()["max_batch_size"] > 0
        body = {"ids": ["1", "2"], "embeddings": [[1, 0], [0, 1]], "documents": ["x", "y"],
                "metadatas": [{"source": "blob", "loc.lines.from": 1}, {"source": "blob", "loc.lines.from": 2}]}
        assert c.request("POST", f"{COLLECTIONS}/{cid}/upsert", body, json_headers()).status == 200
        found = c.request("POST", f"{COLLECTIONS}/{cid}/query",
                          {"query_embeddings": [[1, 0]], "n_results": 4, "where": {"source": "blob"},
                           "include": ["metadatas", "documents", "distances"]}, json_headers())
        assert found.json()["ids"] == [["1", "2"]]
        # n8n looks for these words
        a = c.request("POST", f"{COLLECTIONS}/{cid}/upsert", {"ids": ["3"], "embeddings": [[1, 2, 3]]}, json_headers())
        assert a.status == 400 and "embedding with dimension" in a.json()["message"]
        assert c.request("DELETE", COLLECTIONS + "/n8n-docs").status == 200
        assert c.request("DELETE", COLLECTIONS + "/n8n-docs").status == 404  # "does not exist yet": it goes on


def test_wrong_credentials_are_told(server):
    """n8n looks for "Unauthorized", 401 or 403; Flowise and the JavaScript client go by the status."""
    for headers in ([], [("Authorization", "Bearer wrong")], [x_token[:1] + ("wrong",)], [("Authorization", f"bearer-{TOKEN}")]):
        with Connection(server.port_now, undici(*headers)) as c:
            a = c.request("GET", COLLECTIONS + "?limit=100&offset=0")
            if server.is_open:
                assert a.status == 200
            else:
                assert a.status == 401 and a.json() == {"error": "AuthError", "message": "Unauthorized"}
                assert a.headers["www-authenticate"]
            assert c.request("GET", ROOT + "/heartbeat").status == 200


def test_anything_llm(server):
    """Heartbeat is truthy, count() of every collection, a custom header name beside."""
    with Connection(server.port_now, undici(x_token, ("X-Api-Key", "another"))) as c:
        assert c.request("GET", ROOT + "/heartbeat").json()["nanosecond heartbeat"] > 10**18
        assert c.request("GET", ROOT + "/auth/identity").status == 200
        for i in range(5):
            name = f"anythingllm-{i}" + "x" * (63 - 13)
            cid = c.request("POST", COLLECTIONS, {"name": name, "metadata": {"hnsw:space": "cosine"}, "get_or_create": True},
                            json_headers()).json()["id"]
            vectors = [[1.0, float(k)] for k in range(i)]
            a = c.request("POST", f"{COLLECTIONS}/{cid}/add", {"ids": [str(k) for k in range(i)], "embeddings": vectors}, json_headers())
            assert a.status == 201 and a.body == b"{}"
        counts = [c.request("GET", f"{COLLECTIONS}/{x['id']}/count").json() for x in c.request("GET", COLLECTIONS).json()]
        assert sorted(counts) == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------------------------------------ Java

MESSAGE = re.compile(r'"message":"(.*?)"')


@pytest.mark.parametrize("credentials", [x_token, BEARER], ids=["x-chroma-token", "Bearer"])
def test_spring_ai(server, credentials):
    headers = [credentials, ("Content-Type", "application/json"), ("User-Agent", "Java/17.0.9"),
               ("Accept", "application/json, application/*+json"), ("Connection", "keep-alive")]
    with Connection(server.port_now, headers) as c:
        # what is absent is 404, and its message is found by a regular expression that wants compact JSON
        for path, says in ((ROOT + "/tenants/SpringAiTenant", "Tenant [SpringAiTenant] not found"),
                           (ROOT + "/tenants/SpringAiTenant/databases/SpringAiDatabase",
                            "Database [SpringAiDatabase] not found. Are you sure it exists?"),
                           (ROOT + "/tenants/SpringAiTenant/databases/SpringAiDatabase/collections/SpringAiCollection",
                            "Collection [SpringAiCollection] does not exist")):
            a = c.request("GET", path)
            assert a.status == 404 and MESSAGE.search(a.body.decode()).group(1) == says, a
        assert c.request("POST", ROOT + "/tenants", {"name": "SpringAiTenant"}).status == 200
        assert c.request("POST", ROOT + "/tenants/SpringAiTenant/databases", {"name": "SpringAiDatabase"}).status == 200
        base = ROOT + "/tenants/SpringAiTenant/databases/SpringAiDatabase/collections"
        made = c.request("POST", base, {"name": "SpringAiCollection", "metadata": {"hnsw:space": "cosine"}})
        assert made.status == 200 and made.json()["configuration_json"]["hnsw"]["space"] == "cosine"
        cid = made.json()["id"]
        a = c.request("POST", f"{base}/{cid}/upsert", {"ids": ["1"], "embeddings": [[1.0, 2.0]], "metadatas": [{"a": "b"}],
                                                       "documents": ["Spring AI rocks"]})
        assert (a.status, a.body) == (200, b"{}")
        found = c.request("POST", f"{base}/{cid}/query", {"query_embeddings": [[1.0, 2.0]], "n_results": 4, "where": {"a": {"$eq": "b"}},
                                                          "include": ["metadatas", "documents", "distances", "embeddings"]}).json()
        assert found["ids"] == [["1"]] and found["embeddings"] == [[[1.0, 2.0]]] and abs(found["distances"][0][0]) < 1e-6
        assert c.request("POST", f"{base}/{cid}/delete", {"ids": ["1"]}).json() == {"deleted": 1}
        assert c.request("GET", f"{base}/{cid}/count").body == b"0"
        assert all(b": " not in x.body and b", " not in x.body for x in (made, a))


def test_spring_ai_with_a_password(tmp_path):
    crypt = pytest.importorskip("crypt")
    hashed = crypt.crypt("wonder:land", "$2b$04$" + "abcdefghijklmnopqrstuu")
    if not hashed:
        pytest.skip("crypt() has no bcrypt here")
    (tmp_path / "htpasswd").write_text(f"alice:{hashed}\n")
    with Server(config=f"auth:\n  provider: basic\n  htpasswd_file: {tmp_path}/htpasswd") as s:
        basic = "Basic " + base64.b64encode(b"alice:wonder:land").decode()
        with Connection(s.port_now, [("Authorization", basic)]) as c:
            assert c.request("GET", ROOT + "/tenants/SpringAiTenant").status == 404
            assert c.request("GET", ROOT + "/tenants/default_tenant").status == 200
        with Connection(s.port_now, [("Authorization", basic[:-2])]) as c:
            a = c.request("GET", ROOT + "/tenants/default_tenant")
            assert a.status == 401 and MESSAGE.search(a.body.decode()).group(1) == "Unauthorized"


def test_langchain4j_v2_and_old_clients_of_v1(server):
    with Connection(server.port_now, [BEARER]) as c:
        made = c.request("POST", COLLECTIONS, {"name": "default", "metadata": None}, json_headers())
        assert made.status == 200
        # Semantic Kernel, old Ruby and langchain4j's first client ask v1: a clear refusal, not a wrong answer
        for path in ("collections", "collections/default", "tenants/default_tenant"):
            a = c.request("GET", "/api/v1/" + path)
            assert a.status == 410 and a.json()["error"] == "Unimplemented"


# ------------------------------------------------------------------------------------------------ Python, Go, Rust

def httpx(*credentials):
    return [("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate"), ("Connection", "keep-alive"), ("Content-Type", "application/json"),
            ("User-Agent", "Chroma Python Client v1.5.9 (https://github.com/chroma-core/chroma)"), *credentials]


def test_llama_index_sends_41665_records_at_once(server):
    n, dim = 41665, 8
    with Connection(server.port_now, httpx(BEARER)) as c:
        assert c.request("GET", ROOT + "/pre-flight-checks").json()["max_batch_size"] >= n
        cid = c.request("POST", COLLECTIONS, {"name": "llama"}).json()["id"]
        vectors = [base64.b64encode(i.to_bytes(4, "little") * dim).decode() for i in range(n)]
        a = c.request("POST", f"{COLLECTIONS}/{cid}/add",
                      {"ids": [f"node-{i}" for i in range(n)], "embeddings": vectors, "documents": [f"text {i}" for i in range(n)],
                       "metadatas": [{"ref_doc_id": f"doc-{i % 100}", "document_id": f"doc-{i % 100}", "n": i} for i in range(n)], "uris": None})
        assert a.status == 201, a
        assert c.request("GET", f"{COLLECTIONS}/{cid}/count").json() == n
        a = c.request("POST", f"{COLLECTIONS}/{cid}/delete", {"ids": None, "where": {"document_id": "doc-7"}, "where_document": None})
        assert a.json()["deleted"] == len(range(7, n, 100))
        for where, k in (({"$and": [{"n": {"$gte": 10}}, {"n": {"$lt": 20}}]}, 10), ({"n": {"$in": [1, 2, 3]}}, 3),
                         ({"$or": [{"n": 1}, {"ref_doc_id": {"$eq": "doc-2"}}]}, 1 + len(range(2, n, 100)))):
            assert len(c.request("POST", f"{COLLECTIONS}/{cid}/get", {"where": where, "include": []}).json()["ids"]) == k


def test_haystack_lists_then_gets_or_creates_and_scans(server):
    with Connection(server.port_now, httpx(X_TOKEN)) as c:
        assert c.request("GET", ROOT + "/auth/identity").status == 200
        assert c.request("GET", ROOT + "/tenants/default_tenant").status == 200
        assert c.request("GET", DATABASE + "?tenant=default_tenant").status == 200  # the async client repeats the tenant
        assert "documents" not in [x["name"] for x in c.request("GET", COLLECTIONS).json()]
        made = c.request("POST", COLLECTIONS, {"name": "documents", "metadata": {"hnsw:space": "l2"}, "get_or_create": True,
                                               "configuration": {"hnsw": None, "spann": None, "embedding_function": {"type": "legacy"}},
                                               "schema": None}).json()
        again = c.request("POST", COLLECTIONS, {"name": "documents", "get_or_create": True}).json()
        assert again["id"] == made["id"] and again["metadata"] == {"hnsw:space": "l2"}
        cid = made["id"]
        ids = [f"{i:05}" for i in range(12000)]
        a = c.request("POST", f"{COLLECTIONS}/{cid}/upsert", {"ids": ids, "embeddings": [[1.0, i / 7] for i in range(len(ids))],
                                                              "metadatas": [{"page": i % 3} for i in range(len(ids))]})
        assert a.status == 200
        seen = []
        while True:
            page = c.request("POST", f"{COLLECTIONS}/{cid}/get", {"limit": 10000, "offset": len(seen), "include": ["metadatas"]}).json()
            if not page["ids"]:
                break
            assert len(page["metadatas"]) == len(page["ids"])
            seen += page["ids"]
        assert seen == ids


def test_open_webui(server):
    """The real Python client with its settings: hnsw:space in the metadata, create_batches, reset."""
    import chromadb
    from chromadb.utils.batch_utils import create_batches
    settings = chromadb.Settings(allow_reset=True, anonymized_telemetry=False,
                                 chroma_client_auth_provider="chromadb.auth.token_authn.TokenAuthClientProvider",
                                 chroma_client_auth_credentials=TOKEN)
    client = chromadb.HttpClient(host="127.0.0.1", port=server.port_now, headers={"X-Extra": "1"}, ssl=False,
                                 tenant="default_tenant", database="default_database", settings=settings)
    made = client.get_or_create_collection(name="file-1", metadata={"hnsw:space": "cosine"}, embedding_function=None)
    n = client.get_max_batch_size() + 10
    assert n <= 300_000
    batches = list(create_batches(api=client, ids=[str(i) for i in range(n)], embeddings=[[1.0, i % 97] for i in range(n)],
                                  documents=["x"] * n, metadatas=[{"hash": str(i % 5)} for i in range(n)]))
    assert [len(b[0]) for b in batches] == [n - 10, 10]
    for batch in batches[1:]:
        made.add(*batch)
    assert made.count() == 10
    assert "file-1" in [x.name for x in client.list_collections()]
    assert client.get_collection("file-1").query(query_embeddings=[[1, 0]], n_results=3)["ids"][0]
    assert len(made.get(where={"hash": "1"}, limit=None)["ids"]) == 2
    client.delete_collection("file-1")
    with pytest.raises(Exception, match="does not exist"):
        client.get_collection("file-1")
    assert client.reset() is True and client.list_collections() == []


def test_chroma_go(server):
    with Connection(server.port_now, [X_TOKEN, ("User-Agent", "Go-http-client/1.1"), ("Accept", "application/json"),
                                      ("Accept-Encoding", "gzip")]) as c:
        limits = c.request("GET", ROOT + "/pre-flight-checks").json()
        assert type(limits["max_batch_size"]) is int and limits["supports_base64_encoding"] is True
        who = c.request("GET", ROOT + "/auth/identity").json()
        assert isinstance(who["user_id"], str) and isinstance(who["tenant"], str) and isinstance(who["databases"], list)
        assert c.request("GET", DATABASE + "/collections_count").body == b"0"
        assert c.request("GET", ROOT + "/version").json() == "1.0.0"
        made = c.request("POST", COLLECTIONS, {"name": "golang", "get_or_create": False, "metadata": {"f": 1.0, "i": 1, "b": True, "s": "x"}},
                         json_headers())
        # Go tells 1 from 1.0 by the text
        assert made.status == 200 and b'"f":1.0' in made.body and re.search(rb'"i":1[,}]', made.body), made
        assert c.request("GET", DATABASE + "/collections_count").body == b"1"
        assert c.request("POST", COLLECTIONS, {"name": "golang"}, json_headers()).status == 409


def test_rust_client(server):
    """Its tenant is what identity says, "*" for a token without a scope; heartbeat and version are asked of v1."""
    with Connection(server.port_now, [("authorization", f"Bearer {TOKEN}"), ("accept", "*/*")]) as c:
        who = c.request("GET", ROOT + "/auth/identity").json()
        assert who["tenant"] == ("default_tenant" if server.is_open else "*")
        assert c.request("GET", "/api/v1/heartbeat").json()["nanosecond heartbeat"] > 0
        assert c.request("GET", "/api/v1/version").json() == "1.0.0"
        tenant = "default_tenant" if who["tenant"] == "*" else who["tenant"]
        base = f"{ROOT}/tenants/{tenant}/databases/default_database/collections"
        made = c.request("POST", base, {"name": "8-recipies-for-octopus", "metadata": None, "get_or_create": True}, json_headers())
        assert made.status == 200
        cid = made.json()["id"]
        a = c.request("POST", f"{base}/{cid}/upsert", {"ids": ["a"], "embeddings": [[0.0, 1.0]], "metadatas": None, "documents": None},
                      json_headers())
        assert a.status == 200, a
        a = c.request("POST", f"{base}/{cid}/get", {"ids": [], "where": None, "limit": None, "offset": None, "where_document": None,
                                                    "include": ["documents"]}, json_headers())
        assert a.status == 200, a
        assert c.request("DELETE", f"{base}/{ABSENT}").status == 404


# ------------------------------------------------------------------------------------------------ containers, charts

def start(args, env, cwd):
    """A server that says where it is; (process, port, its first lines, path of what it says on stderr)."""
    log = os.path.join(cwd, "stderr")
    clean = {k: v for k, v in os.environ.items() if not k.upper().startswith(("CHROMA_", "IS_PERSISTENT", "PERSIST", "ALLOW_RESET"))}
    process = subprocess.Popen([BINARY, *args], cwd=cwd, env={**clean, **env}, stdout=subprocess.PIPE, stderr=open(log, "wb"), text=True)
    lines = []
    while True:
        line = process.stdout.readline()
        lines.append(line.rstrip("\n"))
        found = re.match(r"Connect to Chroma at: http://[^:\s]+:(\d+)$", lines[-1])
        if found or line == "":
            return process, found and int(found.group(1)), lines, log


def stop(process):
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stdout.close()
    assert time.monotonic() - begun < 5  # the chart's grace period


HELM = """
port: 0
listen_address: "0.0.0.0"
persist_path: "data"
allow_reset: true
max_payload_size_bytes: 41943040
cors_allow_origins: ["https://app.example.com"]
sqlite_filename: "chroma.sqlite3"
circuit_breaker:
  requests: 500
segment_manager:
  hnsw_index_pool_cache_config:
    policy: "memory"
    capacity: 65536
    eternal: false
sqlitedb:
  hash_type: "md5"
  migration_mode: "apply"
open_telemetry:
  endpoint: "http://collector:4317"
  service_name: "chroma"
  filters:
    - crate_name: "chroma_frontend"
      filter_level: "trace"
scorecard_enabled: false
somebody_elses_extra_config:
  anything: [1, two, {three: 3}]
"""


def test_the_charts_config(tmp_path):
    (tmp_path / "config.yaml").write_text(HELM)
    process, port, lines, log = start(["run", "config.yaml"], {}, str(tmp_path))
    try:
        assert port, open(log).read()
        assert lines[0] == "Saving data to: data"
        with Connection(port) as c:  # the chart's probes only connect; this asks as well
            assert c.request("GET", ROOT + "/heartbeat").status == 200
            a = c.request("GET", ROOT, None, [("Origin", "https://app.example.com")])
            assert a.headers["access-control-allow-origin"] == "https://app.example.com"
        said = open(log).read()
        assert "somebody_elses_extra_config" in said and "unknown settings are ignored" in said
    finally:
        stop(process)
    assert (tmp_path / "data").is_dir()


def test_the_images_command_and_variables(tmp_path):
    """run /config.yaml with persist_path alone, and the documented variables on top; empty ones count as not set."""
    (tmp_path / "config.yaml").write_text('persist_path: "elsewhere"\n')
    env = {"CHROMA_PERSIST_PATH": "data", "CHROMA_ALLOW_RESET": "TRUE", "CHROMA_PORT": "0", "CHROMA_LISTEN_ADDRESS": "127.0.0.1",
           "CHROMA_MAX_PAYLOAD_SIZE_BYTES": "1000", "CHROMA_CORS_ALLOW_ORIGINS": '["http://localhost:3000"]',
           "CHROMA_SQLITEDB__HASH_TYPE": "sha256", "CHROMA_SQLITE_FILENAME": "chroma.sqlite3",
           "CHROMA_OPEN_TELEMETRY__ENDPOINT": "http://otel:4317", "CHROMA_OPEN_TELEMETRY__SERVICE_NAME": "chroma",
           "CHROMA_SERVER_AUTHN_PROVIDER": "", "CHROMA_SERVER_AUTHN_CREDENTIALS": "", "CHROMA_AUTH_TOKEN_TRANSPORT_HEADER": "",
           # what older compose files set
           "IS_PERSISTENT": "TRUE", "PERSIST_DIRECTORY": "/chroma/chroma", "ANONYMIZED_TELEMETRY": "FALSE",
           "CHROMA_SERVER_HTTP_PORT": "8000", "CHROMA_SERVER_NOFILE": "65536",
           # what Kubernetes sets for a service named chroma, and what clients read
           "CHROMA_SERVICE_HOST": "10.0.0.1", "CHROMA_PORT_8000_TCP": "tcp://10.0.0.1:8000", "CHROMA_HOST": "x"}
    process, port, lines, log = start(["run", "config.yaml"], env, str(tmp_path))
    try:
        assert port, open(log).read()
        assert lines[0] == "Saving data to: data"
        with Connection(port) as c:
            assert c.request("POST", ROOT + "/reset").body == b"true"
            assert c.request("POST", ROOT + "/tenants", b" " * 1001).status == 413
            assert c.request("OPTIONS", ROOT).status == 200
        said = open(log).read()
        for name in ("IS_PERSISTENT", "PERSIST_DIRECTORY", "ANONYMIZED_TELEMETRY", "CHROMA_SERVER_HTTP_PORT", "CHROMA_SERVER_NOFILE"):
            assert f"{name} has no effect" in said, said
        assert "unknown settings" not in said
    finally:
        stop(process)


@pytest.mark.parametrize("name,value", [
    ("CHROMA_SERVER_AUTHN_PROVIDER", "my.own.Provider"), ("CHROMA_SERVER_AUTHZ_PROVIDER", "my.own.Authorization"),
    ("CHROMA_SERVER_AUTH_PROVIDER", "chromadb.auth.token.TokenAuthServerProvider"), ("CHROMA_SERVER_AUTH_CREDENTIALS", "secret-0815"),
    ("CHROMA_SERVER_AUTH_CREDENTIALS_FILE", "/chroma/auth/server.htpasswd"), ("CHROMA_SERVER_AUTHN_CREDENTIALS", "secret-0815"),
    ("CHROMA_SERVER_AUTH_IGNORE_PATHS", "{}"), ("CHROMA_SERVER_SSL_KEYFILE", "/k.pem")])
def test_old_variables_about_access_do_not_leave_the_server_open(tmp_path, name, value):
    process, port, _, log = start(["run", "--path", "data", "--port", "0"], {name: value}, str(tmp_path))
    process.wait(60)
    process.stdout.close()
    said = open(log).read()
    assert port is None and process.returncode == 1, said
    assert name in said and "secret-0815" not in said
    assert not (tmp_path / "data").exists()


def test_health_checks_in_the_wild(tmp_path):
    process, port, _, log = start(["run", "--path", "data", "--port", "0"], {}, str(tmp_path))
    try:
        with Connection(port) as c:  # curl -f http://localhost:8000/api/v2/heartbeat
            a = c.ask(f"GET /api/v2/heartbeat HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n")
            assert a.status == 200
        with Connection(port) as c:  # bash: exec 3<>/dev/tcp/...; printf 'GET ... HTTP/1.0\r\n\r\n' >&3; grep 200
            c.send("GET /api/v2/heartbeat HTTP/1.0\r\n\r\n")
            assert c.read().status == 200 and c.is_closed()
        assert subprocess.run([BINARY, "healthcheck", "--port", str(port)], cwd=str(tmp_path)).returncode == 0
    finally:
        stop(process)
    assert subprocess.run([BINARY, "healthcheck", "--port", str(port)], cwd=str(tmp_path), stderr=subprocess.DEVNULL).returncode == 1
