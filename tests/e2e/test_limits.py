"""Limits of tenants end to end: rates and Retry-After, the scorecard, quotas through the Python client, usage.

What each quota counts is tested in tests/unit/api/test_quota.c; here, that the configuration and the file of limits reach
it, and what clients make of the answers.
"""
import http.client
import json
import socket
import time
import urllib.error
import urllib.request

import chromadb
import pytest
from chroma_server import Server, wait_until

TOO_MANY = {"error": "ChromaError", "message": "Too many requests; backoff and try again"}
BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def ask(server, method, path, body=None, headers=None):
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.base + path, data, {"Content-Type": "application/json", **(headers or {})},
                                     method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as r:
            return Answer(r.status, r.headers, r.read())
    except urllib.error.HTTPError as e:
        return Answer(e.code, e.headers, e.read())


def new_collection(server, name="ccc"):
    got = ask(server, "POST", BASE, {"name": name})
    assert got.status == 200, got.body
    return f"{BASE}/{got.json()['id']}"


def usage(server, tenant="default_tenant", headers=None):
    got = ask(server, "GET", f"/api/v2/tenants/{tenant}/usage", headers=headers)
    assert got.status == 200, got.body
    return got.json()


# --- rates ---------------------------------------------------------------------------------------------------------

def test_too_often_is_refused_and_told_when_to_come_back():
    with Server(config="rate_limit: {reads_per_second: 1, reads_burst: 3}") as s:
        first = [ask(s, "GET", "/api/v2/tenants/default_tenant") for _ in range(8)]
        refused = [a for a in first if a.status == 429]
        assert [a.status for a in first[:3]] == [200] * 3 and refused
        for a in refused:
            assert a.json() == TOO_MANY
            assert 1 <= int(a.headers["Retry-After"]) <= 2
            assert a.headers["chroma-trace-id"]
        for path in ("", "/heartbeat", "/version", "/healthcheck", "/pre-flight-checks", "/auth/identity"):
            assert ask(s, "GET", "/api/v2" + path).status == 200  # nobody's
        new_collection(s)  # writes have a bucket of their own, without a limit
        time.sleep(int(refused[-1].headers["Retry-After"]))
        assert ask(s, "GET", "/api/v2/tenants/default_tenant").status == 200


def test_the_python_client_meets_a_rate():
    with Server(config="rate_limit: {writes_per_second: 1, writes_burst: 2}") as s:
        client = chromadb.HttpClient(host="127.0.0.1", port=s.port_now)
        client.create_collection("aaa")
        client.create_collection("bbb")
        with pytest.raises(Exception, match="Too many requests"):
            for i in range(5):
                client.create_collection(f"c{i}xx")
        assert len(client.list_collections()) >= 2  # reads go on


def test_other_tenants_are_not_affected(tmp_path):
    limits = tmp_path / "limits.yaml"
    limits.write_text("tenants:\n  acme:\n    rate_limit: {reads_per_second: 1}\n    quota: {num_databases: 1}\n")
    with Server(config=f"limits_file: {limits}") as s:
        for tenant in ("acme", "zeta"):
            assert ask(s, "POST", "/api/v2/tenants", {"name": tenant}).status == 200
        acme = [ask(s, "GET", "/api/v2/tenants/acme").status for _ in range(20)]
        zeta = [ask(s, "GET", "/api/v2/tenants/zeta").status for _ in range(20)]
        assert acme[0] == 200 and 429 in acme and zeta == [200] * 20
        for tenant, wanted in (("acme", [200, 422, 422]), ("zeta", [200, 200, 200])):
            got = [ask(s, "POST", f"/api/v2/tenants/{tenant}/databases", {"name": f"db-{i}"}).status for i in range(3)]
            assert got == wanted
        assert usage(s, "zeta")["refused_rate"] == 0


# --- scorecard -------------------------------------------------------------------------------------------------------

def test_a_score_of_zero_closes_what_it_matches():
    with Server(config="scorecard_enabled: true\nscorecard: [{patterns: ['op:write', 'collection:*'], score: 0}]") as s:
        collection = new_collection(s)
        for route in ("add", "upsert", "update", "delete"):
            got = ask(s, "POST", f"{collection}/{route}", {"ids": ["a"], "embeddings": [[1, 2]]})
            assert got.status == 429 and got.json() == TOO_MANY
        assert ask(s, "GET", collection + "/count").body == b"0"
        assert ask(s, "POST", collection + "/get", {}).status == 200


def test_rules_without_the_switch_do_nothing():
    with Server(config="scorecard: [{patterns: ['op:write'], score: 0}]") as s:
        collection = new_collection(s)
        assert ask(s, "POST", f"{collection}/add", {"ids": ["a"], "embeddings": [[1, 2]]}).status == 201


def open_request(server, path, length):
    """A request whose body has begun, and no more."""
    c = socket.create_connection(("127.0.0.1", server.port_now))
    c.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{"
              .encode())
    return c


def test_one_at_a_time():
    config = "scorecard_enabled: true\nscorecard: [{patterns: ['op:write', 'tenant:*'], score: 1}]"
    body = {"ids": ["a"], "embeddings": [[1, 2]]}
    with Server(config=config) as s:
        collection = new_collection(s)

        def add():
            return ask(s, "POST", f"{collection}/add", body).status
        assert add() == 201
        held = open_request(s, f"{collection}/add", 1000)
        wait_until(lambda: add() == 429, 10, "the request in progress")
        assert ask(s, "POST", f"{collection}/get", {}).status == 200
        held.close()  # a connection that breaks gives its place back
        wait_until(lambda: add() == 201, 10, "the place")
        held = open_request(s, f"{collection}/add", 3)
        wait_until(lambda: add() == 429, 10, "the request in progress")
        held.sendall(b"}}")  # so does a request that fails ...
        assert b" 422 " in held.recv(4096).split(b"\r\n")[0]
        assert add() == 201
        held.close()
        big = open_request(s, f"{collection}/add", 60 << 20)  # ... and one that is too large
        big.close()
        wait_until(lambda: add() == 201, 10, "the place")
        assert usage(s)["refused_rate"] >= 2


@pytest.mark.parametrize("rules", ["[{patterns: [" + "a" * 64 + "], score: 1}]", "[{patterns: [a]}]", "[{score: 1}]", "x"])
def test_wrong_rules_stop_the_start(rules):
    with pytest.raises(RuntimeError, match="scorecard"):
        Server(config=f"scorecard_enabled: true\nscorecard: {rules}").start()


@pytest.mark.parametrize("config", ["quota: {num_recods: 1}", "rate_limit: {reads: 1}", "limits_file: /nonexistent"])
def test_a_misspelt_limit_stops_the_start(config):
    with pytest.raises(RuntimeError, match="no such setting|does not exist"):
        Server(config=config).start()


# --- quotas ----------------------------------------------------------------------------------------------------------

def quota_error(name, action, used, limit):
    return {"error": "ChromaError", "message": f"Quota exceeded: '{name}' exceeded quota limit for action '{action}': "
                                               f"current usage of {used} exceeds limit of {limit}"}


def test_quotas_from_the_configuration():
    config = "quota: {num_collections: 2, num_records: 3, collection_size_records: 5, num_results: 4, limit_value: 4}"
    with Server(config=config) as s:
        client = chromadb.HttpClient(host="127.0.0.1", port=s.port_now)
        col = client.create_collection("aaa")
        client.create_collection("bbb")
        with pytest.raises(Exception, match="Quota exceeded: 'Number of collections'"):
            client.create_collection("ddd")
        assert client.get_or_create_collection("aaa").id == col.id
        col.add(ids=["1", "2", "3"], embeddings=[[1, 2]] * 3)
        with pytest.raises(Exception, match="'Number of records' exceeded quota limit for action 'Add'"):
            col.add(ids=["4", "5", "6", "7"], embeddings=[[1, 2]] * 4)
        got = ask(s, "POST", f"{BASE}/{col.id}/add", {"ids": ["4", "5", "6"], "embeddings": [[1, 2]] * 3})
        assert got.status == 422 and got.json() == quota_error("Collection size (records)", "Add", 6, 5)
        assert col.count() == 3
        col.upsert(ids=["3", "4", "5"], embeddings=[[1, 2]] * 3)
        assert col.count() == 5
        got = ask(s, "POST", f"{BASE}/{col.id}/query", {"query_embeddings": [[1, 2]]})  # 10 unless said otherwise ...
        assert len(got.json()["ids"][0]) == 4  # ... lowered. The client says 10:
        with pytest.raises(Exception, match="'Number of results' .* current usage of 10 exceeds limit of 4"):
            col.query(query_embeddings=[[1, 2]])
        assert len(col.query(query_embeddings=[[1, 2]], n_results=4)["ids"][0]) == 4
        assert len(col.get()["ids"]) == 4
        assert usage(s)["refused_quota"] == 4
        assert usage(s)["records_stored"] == 5


def test_quotas_from_the_environment():
    with Server(env={"CHROMA_QUOTA__NAME_SIZE_BYTES": "5"}) as s:
        assert ask(s, "POST", BASE, {"name": "12345"}).status == 200
        got = ask(s, "POST", BASE, {"name": "123456"})
        assert got.status == 422 and got.json() == quota_error("Name size (bytes)", "Create Collection", 6, 5)


# --- usage -----------------------------------------------------------------------------------------------------------

def test_usage_is_what_was_sent():
    with Server() as s:
        collection = new_collection(s)
        before = usage(s)
        bodies = {"add": {"ids": ["a", "b", "c"], "embeddings": [[1, 2], [3, 4], [5, 6]]},
                  "update": {"ids": ["a", "nope"], "documents": ["x", "y"]},
                  "get": {"limit": 2},
                  "query": {"query_embeddings": [[1, 2], [3, 4]], "n_results": 2},
                  "search": {"searches": [{}, {"limit": {"limit": 1}}]},
                  "delete": {"ids": ["b", "nope"]}}
        sent = received = 0
        for route, body in bodies.items():
            data = json.dumps(body).encode()
            got = ask(s, "POST", f"{collection}/{route}", data)
            assert got.status in (200, 201), got.body
            sent += len(data)
            received += len(got.body)
        got = ask(s, "GET", collection + "/count")
        received += len(got.body)
        after = usage(s)
        change = {k: after[k] - before[k] for k in after if isinstance(after[k], int)}
        size_of_before = len(json.dumps(before, separators=(",", ":")))
        assert change.pop("bytes_stored") > 0
        assert change == {"requests_read": 2, "requests_write": 3, "requests_search": 2, "requests_other": 1,
                          "records_written": 4, "records_deleted": 1, "records_read": 2 + 4 + 3 + 1, "queries": 4,
                          "bytes_in": sent, "bytes_out": received + size_of_before, "refused_rate": 0,
                          "refused_quota": 0, "databases": 0, "collections": 0, "records_stored": 2}
        assert ask(s, "GET", "/api/v2/tenants/nobody/usage").status == 404
        page = ask(s, "GET", "/metrics?tenants=true").body.decode()
        assert 'chroma_tenant_records_written_total{tenant="default_tenant"} 4\n' in page
        assert "chroma_tenant_" not in ask(s, "GET", "/metrics").body.decode()
        everybody = ask(s, "GET", "/api/v2/usage").json()["tenants"]
        assert [t["tenant"] for t in everybody] == ["default_tenant"]


def test_usage_goes_on_after_a_restart_and_a_crash(tmp_path):
    with Server(str(tmp_path / "data"), config="usage: {store_interval_s: 1}") as s:
        collection = new_collection(s)
        for i in range(5):
            ask(s, "POST", f"{collection}/add", {"ids": [str(i)], "embeddings": [[1, 2]]})
        first = usage(s)
        assert first["records_written"] == 5
        s.restart()
        second = usage(s)
        assert second["records_written"] == 5 and second["requests_other"] == first["requests_other"] + 1
        assert second["records_stored"] == 5
        ask(s, "POST", f"{collection}/add", {"ids": ["x"], "embeddings": [[1, 2]]})
        time.sleep(3)  # an interval and more
        s.kill()
        s.start()
        assert usage(s)["records_written"] == 6


USERS = """
users:
  - {id: root, tokens: [tok-root]}
  - {id: boss, tokens: [tok-boss], tenant: acme}
  - {id: bound, tokens: [tok-bound], tenant: acme, databases: [db-one]}
  - {id: other, tokens: [tok-other], tenant: zeta}
"""


def test_usage_is_for_those_it_concerns(tmp_path):
    (tmp_path / "users.yaml").write_text(USERS)
    config = f"auth: {{provider: token, users_file: {tmp_path}/users.yaml, replace_defaults: true}}\nrate_limit: {{reads_per_second: 1000}}"
    with Server(config=config) as s:
        def status(token, path):
            return ask(s, "GET", path, headers={"X-Chroma-Token": token}).status
        for tenant in ("acme", "zeta"):
            ask(s, "POST", "/api/v2/tenants", {"name": tenant}, {"X-Chroma-Token": "tok-root"})
        path = "/api/v2/tenants/acme/usage"
        wanted = {"tok-root": 200, "tok-boss": 200, "tok-bound": 403, "tok-other": 403, "tok-wrong": 401}
        assert {t: status(t, path) for t in wanted} == wanted
        assert usage(s, "default_tenant", {"X-Chroma-Token": "tok-boss"})["tenant"] == "acme"  # whose it is in truth
        wanted = {"tok-root": 200, "tok-boss": 403, "tok-bound": 403, "tok-other": 403, "tok-wrong": 401}
        assert {t: status(t, "/api/v2/usage") for t in wanted} == wanted
        before = usage(s, "acme", {"X-Chroma-Token": "tok-root"})
        assert status("tok-other", "/api/v2/tenants/acme") == 403
        assert status("tok-wrong", "/api/v2/tenants/acme") == 401
        after = usage(s, "acme", {"X-Chroma-Token": "tok-root"})
        assert after["requests_other"] == before["requests_other"] + 1  # strangers cost a tenant nothing


def test_a_password_is_verified_before_a_tenant_is_charged(tmp_path):
    (tmp_path / "passwords").write_text("alice:$2b$10$abcdefghijklmnopqrstuuHUvzOsSsR39OM0rvOFOYX45OS0zPIuu\n")
    config = (f"auth: {{provider: basic, htpasswd_file: {tmp_path}/passwords}}\n"
              "rate_limit: {reads_per_second: 1, reads_burst: 2}")
    good = {"Authorization": "Basic YWxpY2U6d29uZGVyOmxhbmQ="}
    with Server(config=config) as s:
        for i in range(5):
            wrong = {"Authorization": "Basic YWxpY2U6d3Jvbmc" + "=" * (i % 2)}
            assert ask(s, "GET", "/api/v2/tenants/default_tenant", headers=wrong).status == 401
        got = [ask(s, "GET", "/api/v2/tenants/default_tenant", headers=good).status for _ in range(6)]
        assert got[:2] == [200, 200] and 429 in got[2:]


def test_connections_stay_usable_after_a_refusal():
    with Server(config="rate_limit: {writes_per_second: 1}") as s:
        c = http.client.HTTPConnection("127.0.0.1", s.port_now)
        statuses = []
        for i in range(6):
            c.request("POST", BASE, json.dumps({"name": f"name-{i}"}), {"Content-Type": "application/json"})
            r = c.getresponse()
            r.read()
            statuses.append(r.status)
        assert statuses[0] == 200 and 429 in statuses
        c.close()
