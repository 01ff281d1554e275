"""What the server tells about itself: /metrics through a strict parser, the request log with its trace ids, v1."""
import base64
import json
import os
import random
import re
import signal
import socket
import urllib.error
import urllib.request

import pytest
from chroma_server import Server, wait_until
from raw_http import Connection

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


def ask(base, method, path, body=None, headers=None):
    """(status, headers, body)"""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(base + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.headers, e.read()


# ---------------------------------------------------------------------------------------------- the text format

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ([^ ]+)")
VALUE = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|[+-]Inf")


class Page:
    """A page of format 0.0.4, or AssertionError."""

    def __init__(self, text):
        self.types, self.samples = {}, {}
        family, has_help = None, False
        assert text.endswith("\n") and "\r" not in text
        for line in text[:-1].split("\n"):
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                assert family not in self.types, f"{family} comes twice"
                assert re.fullmatch(NAME, family) and len(line.split(" ", 3)[3]) > 5
                has_help = True
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name == family and has_help and name not in self.types, line
                assert kind in ("counter", "gauge", "histogram")
                assert (kind == "counter") == name.endswith("_total"), line
                self.types[name] = kind
                has_help = False
            else:
                self.sample(line, family)
        for name, kind in self.types.items():
            if kind == "histogram":
                self.check_histogram(name)

    def sample(self, line, family):
        m = SAMPLE.fullmatch(line)
        assert m and VALUE.fullmatch(m.group(m.lastindex)), line
        name, kind = m.group(1), self.types[family]
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        assert name in [family + s for s in suffixes], f"{line}: not of {family}"
        labels = tuple(re.findall(LABEL, m.group(2) or ""))
        assert len({k for k, _ in labels}) == len(labels), line
        key = (name, frozenset(labels))
        assert key not in self.samples, f"{line}: twice"
        value = float(m.group(m.lastindex))
        assert kind == "gauge" or value >= 0
        self.samples[key] = value

    def check_histogram(self, name):
        rows = {}
        for (series, labels), value in self.samples.items():
            if series == name + "_bucket":
                rest = frozenset((k, v) for k, v in labels if k != "le")
                rows.setdefault(rest, []).append((float(dict(labels)["le"].replace("Inf", "inf")), value))
        assert rows
        for labels, buckets in rows.items():
            buckets.sort()
            counts = [v for _, v in buckets]
            assert buckets[-1][0] == float("inf") and counts == sorted(counts)
            assert self.samples[(name + "_count", labels)] == counts[-1]
            assert (name + "_sum", labels) in self.samples

    def get(self, name, **labels):
        return self.samples[(name, frozenset(labels.items()))]

    def counters(self):
        for (series, labels), value in self.samples.items():
            family = re.sub("_(bucket|sum|count)$", "", series)
            if self.types.get(series) == "counter" or self.types.get(family) == "histogram":
                yield (series, labels), value


def scrape(s, query="", headers=None):
    status, head, body = ask(s.base, "GET", "/metrics" + query, headers=headers)
    assert status == 200
    assert head["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(body.decode())


@pytest.mark.parametrize("text", ["a 1\n", "# HELP a_total help me\n# TYPE a_total counter\na_total 1\na_total 1\n",
                                  "# HELP a help me\n# TYPE a counter\na 1\n", '# HELP a help me\n# TYPE a gauge\na{b="\\x"} 1\n',
                                  "# HELP a help me\n# TYPE a gauge\nb 1\n", "# HELP a help me\n# TYPE a gauge\na 1 \n",
                                  "# HELP a help me\n# TYPE a gauge\na one\n"])
def test_the_parser_is_strict(text):
    with pytest.raises((AssertionError, KeyError)):
        Page(text)


def new_collection(s, name="things", **more):
    status, _, body = ask(s.base, "POST", COLLECTIONS, {"name": name, **more})
    assert status == 200, body
    return COLLECTIONS + "/" + json.loads(body)["id"]


# ---------------------------------------------------------------------------------------------- metrics

def test_counts_are_what_was_sent(tmp_path):
    with Server(str(tmp_path / "data")) as s:
        first = scrape(s)
        col = new_collection(s)
        body = json.dumps({"ids": ["a", "b", "c"], "embeddings": [[1, 2], [3, 4], [5, 6]],
                           "metadatas": [{"n": 1}, {"n": 2}, {"n": 3}]}).encode()
        for _ in range(3):
            assert ask(s.base, "POST", col + "/add", body)[0] == 201
        assert ask(s.base, "POST", col + "/delete", {"ids": ["c"]})[0] == 200
        for _ in range(4):
            assert ask(s.base, "POST", col + "/query", {"query_embeddings": [[1, 2], [0, 0]], "n_results": 1})[0] == 200
        assert ask(s.base, "POST", col + "/query", {"query_embeddings": [[1, 2, 3]]})[0] == 400
        got = ask(s.base, "POST", col + "/get", {})
        assert got[0] == 200 and len(json.loads(got[2])["ids"]) == 2
        assert ask(s.base, "GET", "/api/v2/nothing/here")[0] == 404
        assert ask(s.base, "GET", "/api/v1/collections")[0] == 410
        assert ask(s.base, "POST", col + "/get", b"{}", {"Content-Type": "text/plain"})[0] == 415
        page = scrape(s)

        def requests(operation, kind):
            return page.get("chroma_http_requests_total", operation=operation, **{"class": kind})
        assert requests("create_collection", "2xx") == 1
        assert requests("collection_add", "2xx") == 3
        assert requests("collection_delete", "2xx") == 1
        assert requests("collection_query", "2xx") == 4 and requests("collection_query", "4xx") == 1
        assert requests("collection_get", "2xx") == 1 and requests("collection_get", "4xx") == 1
        assert requests("none", "4xx") == 1 and requests("unlisted", "4xx") == 1
        assert requests("metrics", "2xx") == 1
        assert page.get("chroma_http_refused_total", status="415") == 1
        total = sum(v for (n, _), v in page.samples.items() if n == "chroma_http_requests_total")
        assert total == 15
        name = "chroma_http_request_duration_seconds_count"
        assert sum(v for (n, _), v in page.samples.items() if n == name) == total
        assert page.get(name, group="search") == 5
        assert page.get("chroma_query_plans_total", plan="exact") == 8
        assert page.get("chroma_query_candidate_rows_total") == 8 * 3  # the deleted row's place is still there
        assert page.get("chroma_query_measured_rows_total") == 8 * 2
        assert page.get("chroma_records_returned_total") == 4 * 2 + 2
        assert page.get("chroma_records_changed_total") == 3 + 1
        assert page.get("chroma_log_commits_total") == 4
        assert page.get("chroma_log_sync_duration_seconds_count") == page.get("chroma_log_syncs_total") > 0
        assert page.get("chroma_http_request_body_bytes_total") >= 3 * len(body)
        assert page.get("chroma_http_requests_in_progress") >= 1 and page.get("chroma_http_connections") >= 1
        assert page.get("chroma_executor_threads_busy") >= 1
        assert page.get("chroma_collections") == 1 and page.get("chroma_records") == 2
        assert page.get("chroma_log_read_only") == 0
        assert page.get("process_resident_memory_bytes") > 1 << 20 and page.get("process_open_fds") > 5

        before = dict(first.counters())
        after = dict(page.counters())
        assert before.keys() <= after.keys() and len(before) > 200
        assert all(after[k] >= v for k, v in before.items())


def test_collections_are_listed_for_who_asks(server):
    ask(server.base, "POST", "/api/v2/tenants", {"name": 'odd "tenant"\\\n'})
    tenant = "/api/v2/tenants/odd%20%22tenant%22%5C%0A/databases"
    assert ask(server.base, "POST", tenant, {"name": "data"})[0] == 200
    assert ask(server.base, "POST", tenant + "/data/collections", {"name": "named"})[0] == 200
    new_collection(server)
    assert not any(n.startswith("chroma_collection_") for n, _ in scrape(server).samples)
    page = scrape(server, "?collections=true")
    rows = [dict(labels) for n, labels in page.samples if n == "chroma_collection_records"]
    assert sorted((r["tenant"], r["database"], r["collection"]) for r in rows) == [
        ("default_tenant", "default_database", "things"), ('odd \\"tenant\\"\\\\\\n', "data", "named")]


def test_flushes_are_counted(tmp_path):
    with Server(str(tmp_path / "data"), config="flush_rows: 64") as s:
        col = new_collection(s)
        ids = [str(i) for i in range(200)]
        assert ask(s.base, "POST", col + "/add", {"ids": ids, "embeddings": [[i, 1] for i in range(200)]})[0] == 201
        wait_until(lambda: scrape(s).get("chroma_compactor_done_total", work="flush") >= 1, what="the flush")
        page = scrape(s)
        assert page.get("chroma_compactor_written_bytes_total", work="flush") > 1000
        assert page.get("chroma_compactor_flush_seconds_total") > 0
        assert page.get("chroma_compactor_failures_total", work="flush") == 0
        assert page.get("chroma_compactor_running", work="flush") in (0, 1)
        assert page.get("chroma_fragments") == 1 and page.get("chroma_records") == 200


def test_plans_are_told_apart(tmp_path):
    """Above 4,096 candidates the indexes are scanned: all of them, or under the mask of a filter."""
    with Server(str(tmp_path / "data")) as s:
        col = new_collection(s)
        n = 6000
        body = {"ids": [str(i) for i in range(n)], "embeddings": [[i % 97, i % 89, i % 83, i] for i in range(n)],
                "metadatas": [{"n": i} for i in range(n)]}
        assert ask(s.base, "POST", col + "/add", body)[0] == 201
        for where in (None, {"n": {"$gte": 1000}}, {"n": {"$lt": 10}}):
            query = {"query_embeddings": [[1, 2, 3, 4]], "n_results": 3, **({"where": where} if where else {})}
            assert ask(s.base, "POST", col + "/query", query)[0] == 200
        page = scrape(s)
        for plan in ("full_scan", "masked_scan", "exact"):
            assert page.get("chroma_query_plans_total", plan=plan) == 1
        assert page.get("chroma_query_candidate_rows_total") == 6000 + 5000 + 10


def test_searches_are_counted(server):
    schema = {"defaults": {}, "keys": {"sv": {"sparse_vector": {"sparse_vector_index": {"enabled": True, "config": {}}}}}}
    col = new_collection(server, schema=schema)
    body = {"ids": ["a", "b"], "embeddings": [[1, 2], [3, 4]],
            "metadatas": [{"sv": {"#type": "sparse_vector", "indices": [1], "values": [2.0]}}, {"n": 1}]}
    assert ask(server.base, "POST", col + "/add", body)[0] == 201
    knn = {"$knn": {"query": {"#type": "sparse_vector", "indices": [1], "values": [1.0]}, "key": "sv", "default": 5}}
    rank = {"$sum": [knn, {"$knn": {"query": [1, 2], "key": "#embedding", "default": 5}}]}
    status, _, answer = ask(server.base, "POST", col + "/search", {"searches": [{"rank": rank}, {"rank": knn}]})
    assert status == 200, answer
    page = scrape(server)
    assert page.get("chroma_query_plans_total", plan="sparse") == 2
    assert page.get("chroma_query_plans_total", plan="exact") == 1
    assert page.get("chroma_query_candidate_rows_total") == 6
    assert page.get("chroma_records_returned_total") == sum(len(x) for x in json.loads(answer)["ids"])
    assert page.get("chroma_http_requests_total", operation="collection_search", **{"class": "2xx"}) == 1


def test_a_client_that_goes_away_is_counted(server):
    with socket.create_connection(("127.0.0.1", server.port_now)) as c:
        c.sendall(b"POST /api/v2/tenants HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        wait_until(lambda: scrape(server).get("chroma_http_requests_in_progress") >= 2, what="the request")
    wait_until(lambda: scrape(server).get("chroma_http_aborted_total") == 1, what="the abort")


def explained(s, path, route, body, headers=None):
    """(the explanation or None, the body)"""
    status, head, text = ask(s.base, "POST", f"{path}/{route}", body, {"X-Chroma-Explain": "TRUE", **(headers or {})})
    told = head["x-chroma-explain"]
    assert (status == 200) == (told is not None), (status, text, told)
    assert told is None or len(told) <= 4096
    return told and json.loads(told), text


def test_a_query_is_explained_to_who_asks(tmp_path):
    n = 6000
    with Server(tmp_path / "data") as s:
        path = new_collection(s, "explained")
        rows = {"ids": [f"r{i}" for i in range(n)], "embeddings": [[i % 91, i % 53, 1] for i in range(n)],
                "documents": [f"number {i} of some" for i in range(n)], "metadatas": [{"i": i} for i in range(n)]}
        assert ask(s.base, "POST", path + "/add", rows)[0] == 201
        query = {"query_embeddings": [[1, 2, 3]], "n_results": 5}
        for route, body, plan, selected in [
                ("query", query, "full_scan", n),
                ("query", {**query, "where": {"i": {"$gte": 1000}}}, "masked_scan", n - 1000),
                ("query", {**query, "where": {"i": {"$lt": 10}}}, "exact", 10),
                ("get", {"where": {"i": {"$lt": 10}}}, None, 10),
                ("search", {"searches": [{"rank": {"$knn": {"query": [1, 2, 3]}}, "limit": {"limit": 5}}]}, "full_scan", n)]:
            told, text = explained(s, path, route, body)
            assert told["rows"] >= n and told["selected"] == selected, (route, told)
            assert [q["plan"] for q in told["queries"]] == ([plan] if plan else []), (route, told)
            assert told["records"] == (10 if route == "get" else 5)
            assert set(told["us"]) == {"parse", "plan", "run", "serialise"}
            for value in (None, "false", "1", "true, true", ""):
                status, head, other = ask(s.base, "POST", f"{path}/{route}", body, value and {"X-Chroma-Explain": value})
                assert (status, head["x-chroma-explain"], other) == (200, None, text)
        told, _ = explained(s, path, "get", {"where_document": {"$contains": "number 4321"}, "include": []})
        assert told["records"] == 1 and 1 <= told["documents"] <= n
        with Connection(s.port_now) as c:  # one request's wish is not the next one's
            for wish in (["true"], [], ["false"], ["True"], []):
                answer = c.request("POST", path + "/get", {"limit": 1}, [("x-chroma-explain", w) for w in wish])
                assert answer.status == 200 and ("x-chroma-explain" in answer.headers) == (wish in (["true"], ["True"]))
        for route, body in (("query", {"query_embeddings": [[1]]}), ("get", b"{"), ("get", {"where": {"$no": 1}})):
            assert explained(s, path, route, body)[0] is None


def test_ef_search_is_the_effort_of_queries(tmp_path):
    n, dim, rng = 3000, 64, random.Random(5)
    with Server(tmp_path / "data") as s:
        path = new_collection(s, "effort")
        rows = {"ids": [f"r{i}" for i in range(n)], "embeddings": [[rng.gauss(0, 1) for _ in range(dim)] for _ in range(n)]}
        assert ask(s.base, "POST", path + "/add", rows)[0] == 201
        vector = [rng.gauss(0, 1) for _ in range(dim)]
        asks = [("query", {"query_embeddings": [vector], "n_results": 5}),
                ("search", {"searches": [{"rank": {"$knn": {"query": vector}}, "limit": {"limit": 5}}]})]

        def measured(route, body):
            return explained(s, path, route, body)[0]["queries"][0]["measured"]

        wait_until(lambda: scrape(s).get("chroma_fragments") == 1, what="the flush: effort is for fragments")
        for route, body in asks:
            seen = []
            for ef in (None, 10, 100, 1000, 100):  # None: as it was made
                change = {"new_configuration": {"hnsw": {"ef_search": ef}}}
                assert ef is None or ask(s.base, "PUT", path, change)[0] == 200
                seen.append(measured(route, body))
            assert 5 <= seen[1] < seen[0] == seen[2] == seen[4] < seen[3] <= n, (route, seen)


def test_an_explanation_is_for_who_may_read(tmp_path):
    (tmp_path / "users.yaml").write_text(USERS)
    config = f"auth: {{provider: token, users_file: {tmp_path / 'users.yaml'}}}"
    with Server(tmp_path / "data", config=config) as s:
        path = COLLECTIONS + "/00000000-0000-0000-0000-000000000001"
        for token in ({}, {"X-Chroma-Token": "tok-visitor"}, {"X-Chroma-Token": "tok-boss"}):
            for route in ("get", "query", "search"):
                assert explained(s, path, route, {"query_embeddings": [[1]]}, token)[0] is None


def test_metrics_can_be_switched_off():
    with Server(config="metrics: false") as s:
        for method in ("GET", "POST"):
            status, head, body = ask(s.base, method, "/metrics")
            assert (status, body) == (404, b"") and head["chroma-trace-id"]


USERS = """
users:
  - {id: root, tokens: [tok-root], role: admin}
  - {id: boss, tokens: [tok-boss], tenant: acme, role: admin}
  - {id: scraper, tokens: [tok-scraper], role: watcher}
  - {id: visitor, tokens: [tok-visitor], role: visitor}
roles_mapping:
  admin: {actions: ["system:metrics", "tenant:create_tenant", "tenant:get_tenant"]}
  watcher: {actions: ["system:metrics"]}
  visitor: {actions: ["tenant:get_tenant"]}
"""


def test_who_may_scrape(tmp_path):
    (tmp_path / "users.yaml").write_text(USERS)
    with Server(config=f"auth:\n  provider: token\n  users_file: {tmp_path}/users.yaml") as s:
        for token, status in (("tok-root", 200), ("tok-scraper", 200), ("tok-boss", 403), ("tok-visitor", 403),
                              ("wrong", 401), (None, 401)):
            headers = {"Authorization": "Bearer " + token} if token else {}
            assert ask(s.base, "GET", "/metrics", headers=headers)[0] == status, token
        assert ask(s.base, "GET", "/api/v2/tenants/default_tenant", headers={"X-Chroma-Token": "tok-scraper"})[0] == 403
        page = scrape(s, headers={"X-Chroma-Token": "tok-scraper"})
        assert page.get("chroma_http_refused_total", status="401") == 2
        assert page.get("chroma_http_refused_total", status="403") == 3


# ---------------------------------------------------------------------------------------------- the request log

def lines_of(path, n, s=None):
    """At least n lines, once they are there; each is one JSON object."""
    wait_until(lambda: os.path.exists(path) and open(path, "rb").read().count(b"\n") >= n, what=f"{n} lines")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_report_finds_its_line(tmp_path):
    log = tmp_path / "requests.log"
    with Server(str(tmp_path / "data"), config=f"request_log: {log}") as s:
        col = new_collection(s)
        body = json.dumps({"ids": ["a", "b"], "embeddings": [[1, 2], [3, 4]]}).encode()
        assert ask(s.base, "POST", col + "/add", body)[0] == 201
        assert ask(s.base, "POST", col + "/query?limit=5", {"query_embeddings": [[1, 2]]})[0] == 200
        status, head, answer = ask(s.base, "POST", col + "/query", {"query_embeddings": [[1, 2, 3]]})
        assert status == 400
        assert ask(s.base, "GET", "/api/v2/nope%0a%22x%22")[0] == 404
        create, add, query, bad, lost = lines_of(log, 5)
        for line in (create, add, query, bad, lost):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
            assert re.fullmatch("[0-9a-f]{32}", line["trace_id"])
            assert line["remote"].startswith("127.0.0.1:") and line["sent"] is True
            assert line["duration_us"] >= line.get("run_us", 0)
        assert len({line["trace_id"] for line in (create, add, query, bad, lost)}) == 5
        assert add["method"] == "POST" and add["path"] == col + "/add" and add["status"] == 201
        assert add["operation"] == "collection_add" and add["records"] == 2
        assert add["bytes_in"] == len(body) and add["bytes_out"] == 2
        assert (add["tenant"], add["database"], add["collection"]) == \
            ("default_tenant", "default_database", col.rsplit("/", 1)[1])
        assert query["query"] == "limit=5" and query["plan_exact"] == 1 and query["candidates"] == 2
        assert "queue_us" in query and "error" not in query
        assert bad["trace_id"] == head["chroma-trace-id"] and bad["bytes_out"] == len(answer)
        assert bad["error"] == json.loads(answer)["error"] and bad["status"] == 400
        assert lost["path"] == "/api/v2/nope%0a%22x%22" and lost["status"] == 404 and "operation" not in lost
        assert scrape(s).get("chroma_request_log_lines_total") == 5


def test_errors_of_the_server_are_always_told():
    with Server(config="log_level: warn") as s:
        col = new_collection(s)
        function = {"name": "f", "function_id": "statistics", "output_collection": "out"}  # 501, as upstream's single node
        status, head, _ = ask(s.base, "POST", col + "/functions/attach", function)
        assert status >= 500
        wait_until(lambda: head["chroma-trace-id"].encode() in s.output(), what="the line")
        line = next(x for x in s.output().splitlines() if head["chroma-trace-id"].encode() in x)
        told = json.loads(line[line.index(b"{"):])
        assert b"request: {" in line and told["operation"] == "attach_function" and told["status"] == status
        assert b"heartbeat" not in s.output() and b"create_collection" not in s.output()


def test_slow_requests_are_told():
    with Server(config="slow_request_ms: 1") as s:
        s.heartbeat()
        col = new_collection(s)
        body = {"ids": [str(i) for i in range(20000)], "embeddings": [[i, 1, 2, 3] for i in range(20000)]}
        assert ask(s.base, "POST", col + "/add", body)[0] == 201
        wait_until(lambda: b'"operation":"collection_add"' in s.output(), what="the line")
        line = next(x for x in s.output().splitlines() if b"collection_add" in x)
        told = json.loads(line[line.index(b"{"):])
        assert told["duration_us"] >= 1000 and told["records"] == 20000 and len(told["trace_id"]) == 32


def test_the_log_on_stderr():
    with Server(config='request_log: "-"') as s:
        s.heartbeat()
        wait_until(lambda: b'"operation":"heartbeat"' in s.output(), what="the line")
        line = next(x for x in s.output().splitlines() if b'"heartbeat"' in x)
        assert json.loads(line)["status"] == 200


def test_hangup_opens_the_log_anew(tmp_path):
    log, old = tmp_path / "requests.log", tmp_path / "requests.log.1"
    with Server(config=f"request_log: {log}") as s:
        s.heartbeat()
        lines_of(log, 1)
        os.rename(log, old)
        s.heartbeat()
        assert len(lines_of(old, 2)) == 2
        s.process.send_signal(signal.SIGHUP)
        wait_until(log.exists, what="the new file")
        s.heartbeat()
        assert len(lines_of(log, 1)) == 1
        assert len(lines_of(old, 2)) == 2
        assert s.stop() == 0
    assert oct(os.stat(log).st_mode & 0o007) == "0o0"  # not for everybody: it names users and tenants


def test_a_log_that_cannot_be_opened_stops_the_start(tmp_path):
    with pytest.raises(RuntimeError, match="request log"):
        Server(config=f"request_log: {tmp_path}/no/such/dir/log").start()


def test_no_line_is_lost_when_the_server_stops(tmp_path):
    log = tmp_path / "requests.log"
    with Server(config=f"request_log: {log}") as s:
        for _ in range(300):
            s.heartbeat()
        assert s.stop() == 0
    assert len(lines_of(log, 300)) == 300


# alice's password is wonder:land
HTPASSWD = "alice:$2b$10$abcdefghijklmnopqrstuuHUvzOsSsR39OM0rvOFOYX45OS0zPIuu\n"
SECRETS = ["tok-s3cret", "tok-wr0ng", "wonder:land", "wonder", base64.b64encode(b"alice:wonder:land").decode(),
           base64.b64encode(b"alice:gu3ss").decode(), "gu3ss", "c00kie", "qu3ry", "d0cument", "Bearer", "Basic"]


@pytest.mark.parametrize("provider", ["none", "token", "basic"])
def test_secrets_are_not_in_the_log(tmp_path, provider):
    log = tmp_path / "requests.log"
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"none": "", "token": "auth: {provider: token, token: tok-s3cret}\n",
            "basic": f"auth: {{provider: basic, htpasswd_file: {tmp_path}/htpasswd}}\n"}[provider]
    with Server(config=f"{auth}request_log: {log}\nslow_request_ms: 1\nlog_level: debug") as s:
        basic = [base64.b64encode(x).decode() for x in (b"alice:wonder:land", b"alice:gu3ss")]
        headers = [{"Authorization": "Bearer " + t} for t in ("tok-s3cret", "tok-wr0ng")]
        headers += [{"X-Chroma-Token": t} for t in ("tok-s3cret", "tok-wr0ng")]
        headers += [{"Authorization": "Basic " + b} for b in basic] + [{"Authorization": "tok-s3cret"}]
        headers += [{"Cookie": "session=c00kie"}, {"Proxy-Authorization": "Basic " + basic[0]}, {"X-Api-Key": "tok-s3cret"}]
        n = 0
        for h in headers:
            for path in ("/api/v2/heartbeat", COLLECTIONS, "/api/v2/auth/identity", "/metrics", "/nowhere"):
                for query in ("", "?token=qu3ry", "?qu3ry", "?limit=qu3ry&api_key=tok-s3cret", "?limit=1&x-chroma-token=tok-s3cret"):
                    ask(s.base, "GET", path + query, headers=h)
                    n += 1
            ask(s.base, "POST", COLLECTIONS + "?password=qu3ry", {"name": "things", "metadata": {"a": "d0cument"}, "get_or_create": True}, h)
            ask(s.base, "POST", COLLECTIONS, b'{"name": "d0cument', h)
            n += 2
        raw = (b"GET http://alice:gu3ss@127.0.0.1/api/v2/heartbeat?qu3ry HTTP/1.1\r\nHost: x\r\n"
               b"Authorization: Bearer tok-s3cret\r\nAuthorization: Bearer tok-wr0ng\r\nConnection: close\r\n\r\n")
        with socket.create_connection(("127.0.0.1", s.port_now)) as c:
            c.sendall(raw)
            while c.recv(65536):
                pass
        lines = lines_of(log, n + 1)
        assert len(lines) == n + 1
        users = {line.get("user") for line in lines}
        assert users == {"none": {None}, "token": {None, "anonymous"}, "basic": {None, "alice"}}[provider]
        assert any(line.get("query") == "limit=1" for line in lines)
        told = log.read_text() + s.output().decode()
        for secret in SECRETS:
            assert secret not in told, secret


# ---------------------------------------------------------------------------------------------- v1

def test_what_is_kept_of_v1(server):
    for path in ("/api/v1", "/api/v1/heartbeat"):
        status, _, body = ask(server.base, "GET", path)
        assert status == 200 and list(json.loads(body)) == ["nanosecond heartbeat"]
        assert abs(json.loads(body)["nanosecond heartbeat"] - json.loads(server.heartbeat())["nanosecond heartbeat"]) < 60e9
    assert ask(server.base, "GET", "/api/v1/version")[2] == ask(server.base, "GET", "/api/v2/version")[2]
    gone = {"error": "Unimplemented", "message": "The v1 API is deprecated. Please use /v2 apis"}
    for method, path in (("PUT", "heartbeat"), ("DELETE", "version"), ("GET", "collections"), ("GET", "heartbeat/"), ("GET", "pre-flight-checks")):
        status, _, body = ask(server.base, method, "/api/v1/" + path)
        assert status == 410 and json.loads(body) == gone
    for path in ("heartbeat", "version", "collections"):
        status, head, body = ask(server.base, "POST", "/api/v1/" + path, {})
        assert status == 405 and body == b"" and head["allow"] == "GET,HEAD,PUT,PATCH,DELETE,OPTIONS"
    assert ask(server.base, "GET", "/api/v1/")[0] == 404
