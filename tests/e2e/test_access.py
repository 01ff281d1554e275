"""Who may do what: every route x every kind of caller, scopes, roles, passwords, TLS, and the Python client's providers.

The routes come from `chroma help routes`, which prints the server's own table, so a new route is tested the day it is
added; that openapi.json holds nothing else is tested too.
"""
import base64
import concurrent.futures
import json
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
import uuid
import warnings

import chromadb
import pytest
from chromadb.config import Settings
from chroma_server import BINARY, Server

USERS = """
users:
  - {id: root, tokens: [tok-root], role: admin}
  - {id: writer, tokens: [tok-writer], tenant: acme, databases: [db-one], role: writer}
  - {id: reader, tokens: [tok-reader, tok-reader-2], tenant: acme, databases: [db-one], role: reader}
  - {id: boss, tokens: [tok-boss], tenant: acme, role: admin}
  - {id: other, tokens: [tok-other], tenant: zeta, role: admin}
  - {id: sibling, tokens: [tok-sibling], tenant: acme, databases: [db-two], role: admin}
"""
SECRETS = [b"tok-root", b"tok-writer", b"tok-reader", b"tok-boss", b"tok-other", b"tok-sibling", b"wonder:land",
           b"d29uZGVyOmxhbmQ", b"YWxpY2U6d29uZGVyOmxhbmQ="]
# alice's password is wonder:land
HTPASSWD = "alice:$2b$10$abcdefghijklmnopqrstuuHUvzOsSsR39OM0rvOFOYX45OS0zPIuu\n"
READS = {"tenant:get_tenant", "db:get_database", "db:list_databases", "db:list_collections", "db:count_collections",
         "collection:get_collection", "collection:get_collection_by_crn", "collection:get", "collection:query",
         "collection:search", "collection:count", "collection:count_forks"}
WRITES = READS | {"db:create_collection", "db:get_or_create_collection", "collection:update_collection",
                  "collection:delete_collection", "collection:fork_collection", "collection:add", "collection:update",
                  "collection:upsert", "collection:delete", "collection:create_attached_function",
                  "collection:remove_attached_function"}
UNAUTHORIZED = {"error": "AuthError", "message": "Unauthorized"}
FORBIDDEN = {"error": "AuthError", "message": "Forbidden"}


def routes():
    out = subprocess.run([BINARY, "help", "routes"], capture_output=True, text=True, check=True).stdout
    return [tuple(line.split(" ")) for line in out.splitlines()]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def ask(base, method, path, token=None, body=None, headers=None, context=None):
    headers = dict(headers or {})
    if token is not None:
        headers["Authorization"] = "Bearer " + token
    data = None
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    request = urllib.request.Request(base + path, data=data, method=method, headers=headers)
    opener = urllib.request.build_opener(NoRedirect, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=60) as r:
            return Answer(r.status, r.headers, r.read())
    except urllib.error.HTTPError as e:
        with e:
            return Answer(e.code, e.headers, e.read())


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


@pytest.fixture(scope="module")
def access(tmp_path_factory):
    """A server with users, and data of two tenants."""
    d = tmp_path_factory.mktemp("access")
    (d / "users.yaml").write_text(USERS)
    with Server(config=f"log_level: debug\nauth:\n  provider: token\n  users_file: {d}/users.yaml") as s:
        s.ids = {}
        for tenant, database in (("acme", "db-one"), ("acme", "db-two"), ("zeta", "db-zeta")):
            ask(s.base, "POST", "/api/v2/tenants", "tok-root", {"name": tenant})
            ok = ask(s.base, "POST", f"/api/v2/tenants/{tenant}/databases", "tok-root", {"name": database})
            assert ok.status == 200, ok.body
            path = f"/api/v2/tenants/{tenant}/databases/{database}/collections"
            made = ask(s.base, "POST", path, "tok-root", {"name": "things"})
            assert made.status == 200, made.body
            s.ids[database] = made.json()["id"]
            added = ask(s.base, "POST", f"{path}/{s.ids[database]}/add", "tok-root",
                        {"ids": ["a"], "embeddings": [[1, 2]], "documents": ["text"]})
            assert added.status == 201, added.body
        yield s
        log = s.output()
        assert b"callers must authenticate" in log
        for secret in SECRETS:
            assert secret not in log


def fill(pattern, method, tenant, database, collection):
    """A path of the pattern. GET and DELETE by name take the collection's name."""
    by_name = pattern.endswith("/collections/{collection_id}") and method in ("GET", "DELETE")
    return (pattern.replace("{tenant}", tenant).replace("{tenant_name}", tenant).replace("{database}", database)
            .replace("{collection_id}", "things" if by_name else collection)
            .replace("{crn}", f"{tenant}:{database}:things").replace("{function_name}", "f").replace("{name}", "f")
            .replace("{*any}", "heartbeat"))


def call(s, method, pattern, tenant="acme", database="db-one", collection=None, **more):
    path = fill(pattern, method, tenant, database, collection or s.ids.get(database) or str(uuid.UUID(int=4 << 76)))
    assert "{" not in path, f"{pattern}: a parameter that this test does not know"
    return ask(s.base, method, path, body={} if method in ("POST", "PUT", "PATCH") else None, **more)


def test_the_table_is_whole():
    table = routes()
    assert len(table) > 40 and len({(m, p) for m, p, _ in table}) == len(table)
    assert all(action for _, _, action in table)
    public = {p for _, p, a in table if a == "public"}
    assert public == {"/api/v2", "/api/v2/heartbeat", "/api/v2/healthcheck", "/api/v2/version",
                      "/api/v2/pre-flight-checks", "/api/v1", "/api/v1/heartbeat", "/api/v1/version",
                      "/api/v1/{*any}", "/docs", "/docs/", "/docs/{*any}", "/openapi.json"}
    with Server() as s:
        described = ask(s.base, "GET", "/openapi.json").json()["paths"]
    listed = {(m.upper(), p) for p, ms in described.items() for m in ms}
    assert listed <= {(m, p) for m, p, _ in table}


@pytest.mark.parametrize("method,pattern,action", routes())
def test_without_or_with_wrong_credentials(access, method, pattern, action):
    tries = [{}, {"token": "tok-roo"}, {"token": "tok-roott"}, {"token": ""}, {"headers": {"X-Chroma-Token": "wrong"}},
             {"headers": {"Authorization": "tok-root"}}, {"headers": {"Authorization": "Basic dG9rLXJvb3Q6eA=="}}]
    for credentials in tries:
        got = call(access, method, pattern, **credentials)
        if action == "public":
            assert got.status not in (401, 403)
            continue
        assert got.status == 401 and got.json() == UNAUTHORIZED
        assert got.headers["WWW-Authenticate"] == 'Bearer realm="chroma"'
        assert got.headers["chroma-trace-id"]
        if method == "GET":
            assert call(access, "HEAD", pattern, **credentials).status == 401


@pytest.mark.parametrize("method,pattern,action", routes())
def test_another_tenant_or_database(access, method, pattern, action):
    """403 whatever the path names: what is there and what is not are told apart by nothing."""
    if action in ("public", "identity"):
        assert call(access, method, pattern, token="tok-other").status not in (401, 403)
        return
    for token, outside in (("tok-other", [("acme", "db-one"), ("acme", "db-none"), ("nobody", "db-one")]),
                           ("tok-sibling", [("zeta", "db-zeta"), ("acme", "db-one"), ("acme", "db-none")])):
        for tenant, database in outside:
            in_scope = tenant == "acme" and token == "tok-sibling" and "{database}" not in pattern and "tenant" in pattern
            if in_scope and pattern != "/api/v2/tenants":
                continue  # routes about a whole tenant: below
            for collection in (access.ids["db-one"], str(uuid.uuid4()), "x"):
                got = call(access, method, pattern, tenant, database, collection, token=token)
                assert got.status == 403 and got.json() == FORBIDDEN, (token, tenant, database)
                assert len(got.body) == int(got.headers["Content-Length"])


@pytest.mark.parametrize("token,allowed", [("tok-reader", READS), ("tok-reader-2", READS)])
def test_a_reader_reads_and_nothing_else(access, token, allowed):
    before = state(access)
    for method, pattern, action in routes():
        got = call(access, method, pattern, token=token)
        if action in ("public", "identity") or (action in allowed and "{crn}" not in pattern):
            assert got.status not in (401, 403), (method, pattern)
        else:
            assert got.status == 403 and got.json() == FORBIDDEN, (method, pattern)
    assert state(access) == before


def state(s):
    """What can be seen of everything."""
    seen = []
    for tenant, database in (("acme", "db-one"), ("acme", "db-two"), ("zeta", "db-zeta")):
        base = f"/api/v2/tenants/{tenant}/databases"
        seen.append(ask(s.base, "GET", base, "tok-root").json())
        seen.append(ask(s.base, "GET", f"{base}/{database}/collections", "tok-root").json())
        seen.append(ask(s.base, "POST", f"{base}/{database}/collections/{s.ids[database]}/get", "tok-root", {}).json())
    return seen


def test_foreign_ids_are_unknown_ids(access):
    """Within its own tenant, another tenant's collection id is answered as one that never existed."""
    before = state(access)
    n = 0
    for method, pattern, _ in routes():
        if "{collection_id}" not in pattern or (pattern.endswith("/{collection_id}") and method != "PUT"
                                                and "by-id" not in pattern):
            continue
        n += 1
        foreign, unknown = access.ids["db-one"], str(uuid.uuid4())
        body = {"ids": ["a"], "embeddings": [[1, 2]], "query_embeddings": [[1, 2]], "new_name": "stolen", "searches": [],
                "name": "n", "function_id": "f", "output_collection": "o"}
        answers = []
        for collection in (foreign, unknown):
            path = fill(pattern, method, "zeta", "db-zeta", collection)
            got = ask(access.base, method, path, "tok-other", body if method in ("POST", "PUT") else None)
            assert got.status >= 400, (method, pattern, got.body)
            answers.append((got.status, got.body.replace(collection.encode(), b"ID")))
        assert answers[0] == answers[1], (method, pattern)
    assert n > 10
    assert state(access) == before


def test_databases_outside_of_the_scope_do_not_show(access):
    def names(token, query=""):
        got = ask(access.base, "GET", "/api/v2/tenants/acme/databases" + query, token)
        assert got.status == 200
        return [d["name"] for d in got.json()]
    assert names("tok-root") == names("tok-boss") == ["db-one", "db-two"]
    assert names("tok-reader") == names("tok-writer") == ["db-one"]
    assert names("tok-sibling") == names("tok-sibling", "?limit=1") == ["db-two"]
    assert names("tok-sibling", "?offset=1") == names("tok-sibling", "?limit=0") == []


def test_databases_are_created_within_the_scope_only(access):
    base = "/api/v2/tenants/acme/databases"
    for name in ("db-three", "db-one"):  # absent, taken
        got = ask(access.base, "POST", base, "tok-sibling", {"name": name})
        assert got.status == 403 and got.json() == FORBIDDEN
    assert ask(access.base, "POST", base, "tok-sibling", {"name": "db-two"}).status == 409
    assert ask(access.base, "POST", base, "tok-boss", {"name": "db-three"}).status == 200
    assert ask(access.base, "DELETE", base + "/db-three", "tok-boss").status == 200


def test_only_the_unbounded_touch_the_whole_server(access):
    for token in ("tok-boss", "tok-other", "tok-writer"):
        assert ask(access.base, "POST", "/api/v2/reset", token).json() == FORBIDDEN
        assert ask(access.base, "POST", "/api/v2/tenants", token, {"name": "acme"}).json() == FORBIDDEN


def test_a_writer_writes(access):
    base = "/api/v2/tenants/acme/databases/db-one/collections"
    made = ask(access.base, "POST", base, "tok-writer", {"name": "drafts"})
    assert made.status == 200
    path = f"{base}/{made.json()['id']}"
    assert ask(access.base, "POST", path + "/upsert", "tok-writer", {"ids": ["a"], "embeddings": [[1, 2]]}).status == 200
    assert ask(access.base, "GET", path + "/count", "tok-reader").json() == 1
    assert ask(access.base, "POST", path + "/delete", "tok-reader", {"ids": ["a"]}).status == 403
    assert ask(access.base, "POST", path + "/delete", "tok-writer", {"ids": ["a"]}).status == 200
    assert ask(access.base, "DELETE", base + "/drafts", "tok-writer").status == 200
    for method, pattern, action in routes():
        if action not in WRITES and action not in ("public", "identity"):
            assert call(access, method, pattern, token="tok-writer").json() == FORBIDDEN, (method, pattern)


def test_identity_says_who_asks(access):
    def who(token):
        return ask(access.base, "GET", "/api/v2/auth/identity", token).json()
    assert who("tok-root") == {"user_id": "root", "tenant": "*", "databases": ["*"]}
    assert who("tok-reader-2") == {"user_id": "reader", "tenant": "acme", "databases": ["db-one"]}
    assert who("tok-boss") == {"user_id": "boss", "tenant": "acme", "databases": ["*"]}


def test_refusals_come_before_the_body(access):
    """A body that is announced, not sent: the answer does not wait for it."""
    import socket
    with socket.create_connection(("127.0.0.1", access.port_now), timeout=30) as c:
        c.sendall(b"POST /api/v2/tenants HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        assert c.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_two_credentials_are_none(access):
    import socket
    for first, second in ((b"tok-root", b"wrong"), (b"wrong", b"tok-root"), (b"tok-root", b"tok-root")):
        with socket.create_connection(("127.0.0.1", access.port_now), timeout=30) as c:
            c.sendall(b"GET /api/v2/auth/identity HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + first +
                      b"\r\nAuthorization: Bearer " + second + b"\r\nConnection: close\r\n\r\n")
            assert c.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_escaped_names_are_decoded_before_they_are_judged(access):
    assert ask(access.base, "GET", "/api/v2/tenants/a%63me", "tok-reader").status == 200
    for path in ("/api/v2/tenants/acme%2Fdatabases", "/api/v2/tenants/acme%00", "/api/v2/tenants/Acme",
                 "/api/v2/tenants/zeta%2F..%2Facme", "/api/v2/tenants/acme/databases/db-one%00"):
        assert ask(access.base, "GET", path, "tok-reader").status == 403
    assert ask(access.base, "GET", "/api/v2/tenants/zeta?tenant=acme", "tok-reader").status == 403


def test_the_admin_is_refused_nothing(access):
    """The last of this server: it deletes what the others read."""
    order = sorted(routes(), key=lambda r: (r[0] == "DELETE" or "{" not in r[1], r[2] == "system:reset"))
    for method, pattern, action in order:
        got = call(access, method, pattern, token="tok-root")
        assert got.status not in (401, 403), (method, pattern, got.body)
    assert order[-1][2] == "system:reset"


# --- the Python client -------------------------------------------------------------------------------------------------

def client_of(s, credentials, provider="chromadb.auth.token_authn.TokenAuthClientProvider", **more):
    names = {k: more.pop(k) for k in ("tenant", "database", "ssl") if k in more}
    settings = Settings(chroma_client_auth_provider=provider, chroma_client_auth_credentials=credentials, **more)
    return chromadb.HttpClient(host="localhost" if names.get("ssl") else "127.0.0.1", port=s.port_now, settings=settings,
                               **names)


BASIC = "chromadb.auth.basic_authn.BasicAuthClientProvider"


def use(client):
    c = client.get_or_create_collection("of-the-client", embedding_function=None)
    c.upsert(ids=["a"], embeddings=[[1.0, 2.0]])
    assert c.get()["ids"] == ["a"]


@pytest.mark.parametrize("header", ["any", "Authorization", "X-Chroma-Token"])
def test_client_with_one_token(tmp_path, header):
    (tmp_path / "token").write_text("s3cret-token\n")
    config = f"auth:\n  provider: token\n  token_file: {tmp_path}/token\n  token_header: {header}"
    with Server(config=config) as s:
        for sent in ("Authorization", "X-Chroma-Token"):
            if header in ("any", sent):
                use(client_of(s, "s3cret-token", chroma_auth_token_transport_header=sent))
            else:
                with pytest.raises(Exception, match="Unauthorized"):
                    client_of(s, "s3cret-token", chroma_auth_token_transport_header=sent)
        with pytest.raises(Exception, match="Unauthorized"):
            client_of(s, "another-token")
        with pytest.raises(Exception, match="Unauthorized"):
            chromadb.HttpClient(host="127.0.0.1", port=s.port_now)
        who = ask(s.base, "GET", "/api/v2/auth/identity", None, headers={header if header != "any" else "x-chroma-token":
                  "Bearer s3cret-token" if header == "Authorization" else "s3cret-token"}).json()
        assert who == {"user_id": "anonymous", "tenant": "*", "databases": ["*"]}
        assert b"s3cret" not in s.output()


def test_client_with_scope(tmp_path):
    (tmp_path / "users.yaml").write_text(USERS)
    config = f"auth:\n  provider: token\n  users_file: {tmp_path}/users.yaml\n"
    with Server(config=config) as s:
        for name in ("acme", "zeta"):
            ask(s.base, "POST", "/api/v2/tenants", "tok-root", {"name": name})
        ask(s.base, "POST", "/api/v2/tenants/acme/databases", "tok-root", {"name": "db-one"})
        use(client_of(s, "tok-writer", tenant="acme", database="db-one"))
        use(client_of(s, "tok-writer", chroma_overwrite_singleton_tenant_database_access_from_auth=True))
        reader = client_of(s, "tok-reader", tenant="acme", database="db-one")
        assert reader.get_collection("of-the-client", embedding_function=None).get()["ids"] == ["a"]
        with pytest.raises(Exception, match="Forbidden"):
            reader.create_collection("mine", embedding_function=None)
        with pytest.raises(Exception, match="Forbidden"):
            reader.get_collection("of-the-client", embedding_function=None).delete(ids=["a"])
        for tenant, database in (("default_tenant", "default_database"), ("zeta", "db-zeta"), ("acme", "db-two")):
            with pytest.raises(Exception, match="Forbidden"):
                client_of(s, "tok-writer", tenant=tenant, database=database)
    with Server(config=config + "  replace_defaults: true") as s:
        ask(s.base, "POST", "/api/v2/tenants", "tok-root", {"name": "acme"})
        ask(s.base, "POST", "/api/v2/tenants/acme/databases", "tok-root", {"name": "db-one"})
        use(client_of(s, "tok-writer"))  # knows only the defaults
        listed = ask(s.base, "GET", "/api/v2/tenants/acme/databases/db-one/collections", "tok-root").json()
        assert [c["name"] for c in listed] == ["of-the-client"]
        assert ask(s.base, "GET", "/api/v2/tenants/default_tenant/databases/db-two", "tok-writer").status == 403


def test_client_with_a_password(tmp_path):
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    with Server(config=f"log_level: debug\nauth:\n  provider: basic\n  htpasswd_file: {tmp_path}/htpasswd") as s:
        use(client_of(s, "alice:wonder:land", BASIC))
        for wrong in ("alice:wonder", "alice:wonder:land ", "bob:wonder:land", "alice:"):
            with pytest.raises(Exception, match="Unauthorized"):
                client_of(s, wrong, BASIC)
        got = ask(s.base, "GET", "/api/v2/tenants/default_tenant")
        assert got.status == 401 and got.headers["WWW-Authenticate"] == 'Basic realm="chroma"'
        identity = {"Authorization": "Basic " + base64.b64encode(b"alice:wonder:land").decode()}
        assert ask(s.base, "GET", "/api/v2/auth/identity", headers=identity).json() == {
            "user_id": "alice", "tenant": "*", "databases": ["*"]}
        for secret in SECRETS:
            assert secret not in s.output()


def test_guessing_passwords_does_not_stop_the_others(tmp_path):
    """Each guess costs a thread a bcrypt; their number is bounded, and verified callers never wait for one of them."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    with Server(config=f"auth:\n  provider: basic\n  htpasswd_file: {tmp_path}/htpasswd") as s:
        good = {"Authorization": "Basic " + base64.b64encode(b"alice:wonder:land").decode()}

        def guess(i):
            sent = {"Authorization": "Basic " + base64.b64encode(b"alice:%d" % i).decode()}
            return ask(s.base, "GET", "/api/v2/auth/identity", headers=sent).status
        assert ask(s.base, "GET", "/api/v2/auth/identity", headers=good).status == 200
        with concurrent.futures.ThreadPoolExecutor(40) as threads:
            guesses = [threads.submit(guess, i) for i in range(120)]
            for _ in range(20):
                assert ask(s.base, "GET", "/api/v2/tenants/default_tenant", headers=good).status == 200
            statuses = {g.result() for g in guesses}
        assert 401 in statuses and statuses <= {401, 503}


def test_slow_bodies_do_not_keep_others_from_logging_in(tmp_path):
    """Forty callers whose password was not verified yet, each in the middle of a body."""
    import socket
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    with Server(config=f"auth:\n  provider: basic\n  htpasswd_file: {tmp_path}/htpasswd") as s:
        slow = []
        for i in range(40):
            slow.append(socket.create_connection(("127.0.0.1", s.port_now), timeout=60))
            slow[-1].sendall(b"POST /api/v2/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " +
                             base64.b64encode(b"alice:slow-%d" % i) + b"\r\nContent-Length: 10\r\n\r\n{")
        good = {"Authorization": "Basic " + base64.b64encode(b"alice:wonder:land").decode()}
        assert ask(s.base, "GET", "/api/v2/auth/identity", headers=good).status == 200
        slow[0].sendall(b'"name":1}')
        assert slow[0].recv(1000).startswith(b"HTTP/1.1 401 ")
        for c in slow:
            c.close()
        assert s.stop() == 0


def test_passwords_with_roles(tmp_path):
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    (tmp_path / "roles.yaml").write_text("users: [{id: alice, role: reader, tenant: default_tenant}]")
    config = f"auth: {{provider: basic, htpasswd_file: {tmp_path}/htpasswd, users_file: {tmp_path}/roles.yaml}}"
    with Server(config=config) as s:
        # The body is there before the password is verified; its action is judged all the same.
        path = "/api/v2/tenants/default_tenant/databases/default_database/collections"
        good = {"Authorization": "Basic " + base64.b64encode(b"alice:wonder:land").decode()}
        assert ask(s.base, "POST", path, headers=good, body={"name": "mine"}).json() == FORBIDDEN
        assert ask(s.base, "GET", path, headers=good).json() == []
        assert ask(s.base, "GET", "/api/v2/tenants/acme", headers=good).json() == FORBIDDEN


# --- settings of older servers -----------------------------------------------------------------------------------------

OLD = {"token": "chromadb.auth.token_authn.TokenAuthenticationServerProvider",
       "basic": "chromadb.auth.basic_authn.BasicAuthenticationServerProvider",
       "roles": "chromadb.auth.simple_rbac_authz.SimpleRBACAuthorizationProvider"}


def test_old_variables_are_honoured(tmp_path):
    env = {"CHROMA_SERVER_AUTHN_PROVIDER": OLD["token"], "CHROMA_SERVER_AUTHN_CREDENTIALS": "old-token",
           "CHROMA_AUTH_TOKEN_TRANSPORT_HEADER": "X-Chroma-Token"}
    with Server(env=env) as s:
        use(client_of(s, "old-token", chroma_auth_token_transport_header="X-Chroma-Token"))
        assert ask(s.base, "GET", "/api/v2/auth/identity", "old-token").status == 401
    with Server(env={"CHROMA_SERVER_AUTHN_PROVIDER": OLD["basic"], "CHROMA_SERVER_AUTHN_CREDENTIALS": HTPASSWD}) as s:
        use(client_of(s, "alice:wonder:land", BASIC))
    both = tmp_path / "authz.yaml"
    both.write_text("""
roles_mapping:
  admin: {actions: ["tenant:create_tenant", "tenant:get_tenant", "db:get_database", "db:create_collection",
                    "db:list_collections", "collection:get_collection", "collection:upsert", "collection:get"]}
  nothing: {actions: []}
users:
  - {id: alice, role: admin, tokens: [tok-alice]}
  - {id: nil, role: nothing, tokens: [tok-nil]}
""")
    env = {"CHROMA_SERVER_AUTHN_PROVIDER": OLD["token"], "CHROMA_SERVER_AUTHN_CREDENTIALS_FILE": str(both),
           "CHROMA_SERVER_AUTHZ_PROVIDER": OLD["roles"], "CHROMA_SERVER_AUTHZ_CONFIG_FILE": str(both)}
    with Server(env=env) as s:
        use(client_of(s, "tok-alice"))
        assert ask(s.base, "GET", "/api/v2/tenants/default_tenant/databases", "tok-alice").json() == FORBIDDEN
        assert ask(s.base, "GET", "/api/v2/tenants/default_tenant", "tok-nil").json() == FORBIDDEN
        assert ask(s.base, "GET", "/api/v2/auth/identity", "tok-nil").json()["user_id"] == "nil"


@pytest.mark.parametrize("config,says", [
    ("auth: {token: hush}", "auth.provider is none"),
    ("auth: {provider: token}", "exactly one of"),
    ("auth: {provider: token, token_file: /nowhere/hush}", "/nowhere/hush does not exist"),
    ("auth: {provider: token, token: 'two words'}", "auth.token: a token must"),
    ("auth: {provider: tokens}", "expected one of"),
    ("auth: {providr: token}", "there is no such setting"),
    ("tls: {cert_file: x}", "must be set together"),
    ("tls: {cert_file: /nowhere/c, key_file: /nowhere/k}", "/nowhere/c does not exist"),
])
def test_half_a_lock_does_not_start(config, says):
    with pytest.raises(RuntimeError, match=says):
        Server(config=config).start()


# --- TLS ---------------------------------------------------------------------------------------------------------------

def self_signed(directory, name):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, capture_output=True)
    return str(cert), str(key)


def test_tls(tmp_path):
    cert, key = self_signed(tmp_path, "a")
    config = f"tls: {{cert_file: {cert}, key_file: {key}}}\nauth: {{provider: token, token: s3cret-token}}"
    with Server(config=config) as s:
        assert s.base.startswith("https://")
        trusting = ssl.create_default_context(cafile=cert)
        assert ask(s.base, "GET", "/api/v2/heartbeat", context=trusting).status == 200
        assert ask(s.base, "GET", "/api/v2/auth/identity", context=trusting).status == 401
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            ask(s.base, "GET", "/api/v2/heartbeat", context=ssl.create_default_context())
        with pytest.raises(Exception):  # not HTTP any more
            urllib.request.urlopen(f"http://127.0.0.1:{s.port_now}/api/v2/heartbeat", timeout=30)
        old = ssl.create_default_context(cafile=cert)
        old.set_ciphers("ALL:@SECLEVEL=0")  # else this side refuses by itself
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(urllib.error.URLError):
            ask(s.base, "GET", "/api/v2/heartbeat", context=old)
        client = client_of(s, "s3cret-token", ssl=True, chroma_server_ssl_verify=cert)
        use(client)
        # A body and an answer of some megabytes: through the pool, in many records.
        c = client.create_collection("large", embedding_function=None)
        ids, vectors = [str(i) for i in range(3000)], [[float(i)] * 128 for i in range(3000)]
        c.add(ids=ids, embeddings=vectors, documents=["x" * 500] * 3000)
        assert len(c.get(include=["documents", "embeddings"])["ids"]) == 3000
        # Many at a time, each on a connection of its own.
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            asked = [threads.submit(ask, s.base, "GET", "/api/v2/tenants/default_tenant/databases", "s3cret-token",
                                    context=trusting) for _ in range(100)]
            assert {a.result().status for a in asked} == {200}
        def healthcheck(*flags, **env):
            return subprocess.run([BINARY, "healthcheck", *flags], env={**os.environ, **env}, capture_output=True).returncode
        assert healthcheck("--url", f"https://localhost:{s.port_now}") == 0
        assert healthcheck("--url", f"http://localhost:{s.port_now}") == 1
        assert healthcheck(CHROMA_PORT=str(s.port_now), CHROMA_TLS__CERT_FILE=cert) == 0
        assert s.stop() == 0
    assert healthcheck("--url", f"https://localhost:{s.port_now}") == 1


def test_tls_mistakes_do_not_start(tmp_path):
    cert, _ = self_signed(tmp_path, "a")
    _, other_key = self_signed(tmp_path, "b")
    (tmp_path / "empty").write_text("")
    for pair in ((cert, other_key), (cert, cert), (str(tmp_path / "empty"), other_key)):
        with pytest.raises(RuntimeError, match="do not fit"):
            Server(config=f"tls: {{cert_file: {pair[0]}, key_file: {pair[1]}}}").start()
