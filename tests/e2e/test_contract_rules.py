"""Rules of the contract that no recorded case covers, on the wire. What is expected was observed on the released server."""
import re

import pytest
from chroma_server import Server
from raw_http import ABSENT, COLLECTIONS, DATABASE, ROOT, Connection

VARY = "origin, access-control-request-method, access-control-request-headers"
TYPE = "Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def plain():
    with Server() as s:
        yield s


@pytest.fixture(scope="module")
def small():
    """A small limit of bodies, and two origins."""
    with Server(config='max_payload_size_bytes: 1000\ncors_allow_origins: ["http://a.example","http://b.example"]') as s:
        yield s


def ask_once(server, data, is_head=False):
    with Connection(server.port_now) as c:
        return c.ask(data, is_head)


# ------------------------------------------------------------------------------------------------ the head

@pytest.mark.parametrize("line", [
    "GET /api/v2/heart beat HTTP/1.1", "GET /api/v2/version?a b HTTP/1.1", 'GET /api/v2/version?x="q" HTTP/1.1',
    "GET /api/v2/tenants/ab\x01c HTTP/1.1", "GET /api/v2/tenants/ab\xe9c HTTP/1.1", "GET /api/v2/tenants/abc\x7f HTTP/1.1",
    "GET /api/v2/tenants/a\xed\xa0\x80b HTTP/1.1", "GET /api/v2/version?x=\xc3 HTTP/1.1", "GET /api/v2/tenants/a<b HTTP/1.1", "GET /api/v2/tenants/a`b HTTP/1.1", "GET api/v2/version HTTP/1.1", "GET ?x HTTP/1.1",
    "GET */x HTTP/1.1", "GET http:///x HTTP/1.1", "G@T /api/v2/version HTTP/1.1", "GET /api/v2/version HTTP/1.2",
    "GET /api/v2/version HTTP/1.1\r\nX : a", "GET /api/v2/version HTTP/1.1\r\nX(: a", "GET /api/v2/version HTTP/1.1\r\nX: \x01"])
def test_malformed_heads(plain, line):
    with Connection(plain.port_now) as c:
        a = c.ask(line + "\r\nHost: x\r\n\r\n")
        assert (a.status, a.body) == (400, b""), a
        assert "chroma-trace-id" not in a.headers and "content-type" not in a.headers
        assert a.headers["connection"].lower() == "close" and c.is_closed()


@pytest.mark.parametrize("target", [
    "/api/v2/version#fragment", "/api/v2/version?a#b?c", "http://any/api/v2/version", "https://any:1/api/v2/version#f",
    "/api/v2/version?`{|}^", "/api/v2/version?x=%zz&&=&x=1", "/api/v2/version?"])
def test_targets_that_are_taken(plain, target):
    assert ask_once(plain, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").body == b'"1.0.0"'


def test_a_name_may_hold_what_a_path_may(plain):
    for name, shown in (("a{b}|^", "a{b}|^"), ('a"b', 'a\\"b'), ("a\\b", "a\\\\b"), ("a+b", "a+b"), ("%zz", "%zz"), ("a%2Fb", "a/b"),
                        ("%C3%A9", "é"), ("é".encode().decode("latin-1"), "é"), ("ab#f", "ab"), ("%00x", "\\u0000x")):
        a = ask_once(plain, f"GET /api/v2/tenants/{name} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert a.status == 404 and a.body.decode() == \
            '{"error":"NotFoundError","message":"Tenant [%s] not found"}' % shown, (name, a)


def test_limits_of_the_head(plain):
    def with_headers(n):
        return "GET /api/v2/version HTTP/1.1\r\n" + "X: y\r\n" * n + "\r\n"

    def with_target(n):
        return "GET /api/v2/version?".ljust(n + 4, "a") + " HTTP/1.1\r\nHost: x\r\n\r\n"
    for good in (with_headers(100), with_target(65534), "GET /api/v2/version HTTP/1.1\r\nX: " + "a" * 100_000 + "\r\n\r\n"):
        assert ask_once(plain, good).status == 200
    for bad, status in ((with_headers(101), 431), (with_target(65535), 414), (with_target(70_000), 414)):
        with Connection(plain.port_now) as c:
            a = c.ask(bad)
            assert (a.status, a.body) == (status, b"") and "chroma-trace-id" not in a.headers
            assert c.is_closed()


def test_headers_that_change_nothing(plain):
    for header in ("Accept-Encoding: gzip, br", "Accept: text/html", "Range: bytes=0-1", "If-None-Match: *", "Cookie: a=b",
                   "Upgrade: h2c\r\nConnection: upgrade", "X-HTTP-Method-Override: DELETE", "Expect: nothing", "TE: trailers",
                   "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Authorization: Bearer x"):
        a = ask_once(plain, f"GET /api/v2/version HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n")
        assert (a.status, a.body) == (200, b'"1.0.0"'), (header, a)
        assert "content-encoding" not in a.headers and "chroma-trace-id" not in a.headers


def test_head_is_get_without_the_body(plain):
    for path in (ROOT, ROOT + "/version", ROOT + "/tenants/absent", DATABASE, COLLECTIONS, COLLECTIONS + "/none", "/openapi.json",
                 "/docs", "/docs/", "/nothing", ROOT + "/reset"):
        with Connection(plain.port_now) as c:
            a, b = c.request("GET", path), c.request("HEAD", path)
            assert (a.status, b.body) == (b.status, b""), path
            same = ["content-type", "allow", "location"] + (["content-length"] if path != ROOT else [])
            assert all(a.headers.get(k) == b.headers.get(k) for k in same), (path, a.headers, b.headers)


def test_the_first_of_two_content_types_counts(plain):
    for first, second, status in (("application/json", "text/plain", 422), ("text/plain", "application/json", 415)):
        a = ask_once(plain, f"POST {ROOT}/tenants HTTP/1.1\r\nContent-Type: {first}\r\nContent-Type: {second}\r\n"
                            "Content-Length: 2\r\n\r\n{}")
        assert a.status == status, a


def test_every_failure_has_a_trace(plain):
    seen = set()
    for method, path, body in (("GET", "/nothing", None), ("POST", ROOT, None), ("GET", ROOT + "/tenants/absent", None),
                               ("POST", ROOT + "/tenants", b"["), ("GET", "/api/v1/collections", None)):
        with Connection(plain.port_now) as c:
            trace = c.request(method, path, body).headers["chroma-trace-id"]
            assert re.fullmatch("[0-9a-f]{32}", trace) and trace not in seen
            seen.add(trace)


# ------------------------------------------------------------------------------------------------ bodies

JSON_413 = b'{"error":"ChromaError","message":"Failed to buffer the request body: length limit exceeded"}'
JSON_415 = b'{"error":"ChromaError","message":"Expected request with `Content-Type: application/json`"}'
IN_SHAPE = [("POST", ROOT + "/tenants"), ("PATCH", ROOT + "/tenants/x"), ("POST", ROOT + "/tenants/x/databases"), ("POST", COLLECTIONS),
            ("PUT", f"{COLLECTIONS}/{ABSENT}"), ("POST", f"{COLLECTIONS}/{ABSENT}/fork"), ("POST", f"{COLLECTIONS}/{ABSENT}/get"),
            ("POST", f"{COLLECTIONS}/{ABSENT}/delete")]
BARE = [("POST", f"{COLLECTIONS}/{ABSENT}/{verb}") for verb in
        ("add", "update", "upsert", "query", "search", "functions/attach", "attached_functions/f/detach")]
READ_NONE = [("GET", ROOT + "/version", 200), ("GET", ROOT + "/tenants/absent", 404), ("DELETE", COLLECTIONS + "/none", 404),
             ("GET", COLLECTIONS, 200), ("GET", "/nothing", 404), ("POST", ROOT + "/version", 405), ("GET", "/api/v1/x", 410),
             ("GET", "/docs", 303), ("OPTIONS", ROOT + "/version", 200), ("GET", f"{COLLECTIONS}/{ABSENT}/count", 404),
             ("PUT", ROOT + "/tenants", 405), ("DELETE", ROOT + "/tenants/x/databases/none", 404)]


def plain_and_chunked(method, path, body, headers=TYPE):
    begin = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}"
    return (f"{begin}Content-Length: {len(body)}\r\n\r\n{body}",
            f"{begin}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n")


@pytest.mark.parametrize("method,path", IN_SHAPE + BARE)
def test_bodies_over_the_limit(small, method, path):
    with Connection(small.port_now) as c:
        for fits in plain_and_chunked(method, path, "{}" + " " * 998):
            assert c.ask(fits).status not in (413, 415)
        for over in plain_and_chunked(method, path, "{}" + " " * 999):
            a = c.ask(over)
            assert a.status == 413 and "chroma-trace-id" in a.headers, a
            if (method, path) in BARE:
                assert a.body == b"Payload too large" and "content-type" not in a.headers
            else:
                assert a.body == JSON_413 and a.headers["content-type"] == "application/json"
        assert c.request("GET", ROOT + "/version").status == 200


@pytest.mark.parametrize("method,path", IN_SHAPE + BARE)
def test_type_and_size_at_once(small, method, path):
    """Where the answer to a large body is in the usual shape, the content type is looked at first; else the size is."""
    for headers in ("Content-Type: text/plain\r\n", "Content-Type:\r\n"):
        with Connection(small.port_now) as c:
            a = c.ask(plain_and_chunked(method, path, "{}" + " " * 999, headers)[0])
            assert a.body == (b"Payload too large" if (method, path) in BARE else JSON_415), a


@pytest.mark.parametrize("method,path,status", READ_NONE)
def test_bodies_that_nobody_reads(small, method, path, status):
    with Connection(small.port_now) as c:
        for n in (0, 1000, 1001, 200_000):
            for data in plain_and_chunked(method, path, "x" * n, "Content-Type: text/plain\r\n") if n else \
                    (f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n",):
                assert c.ask(data).status == status, (n, data[:100])


def test_codings_are_not_undone(plain):
    import gzip
    body = gzip.compress(b'{"name":"abcdef"}')
    a = ask_once(plain, f"POST {ROOT}/tenants HTTP/1.1\r\n{TYPE}Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert a.status == 400 and a.json()["error"] == "InvalidArgumentError", a
    for coding, status in (("identity", 400), ("gzip", 400), ("gzip, chunked", 501)):
        a = ask_once(plain, f"POST {ROOT}/tenants HTTP/1.1\r\nTransfer-Encoding: {coding}\r\n\r\n")
        assert (a.status, a.body) == (status, b"")


# ------------------------------------------------------------------------------------------------ CORS

def test_origins(small):
    for headers, allowed in (("", None), ("Origin: http://a.example\r\n", "http://a.example"), ("Origin: http://c.example\r\n", None),
                             ("Origin: HTTP://A.EXAMPLE\r\n", None), ("Origin: null\r\n", None), ("Origin:\r\n", None),
                             ("Origin: http://b.example\r\nOrigin: http://c.example\r\n", "http://b.example"),
                             ("Origin: http://c.example\r\nOrigin: http://a.example\r\n", None)):
        for method, path, _ in READ_NONE:
            a = ask_once(small, f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
            assert a.headers.get("access-control-allow-origin") == allowed, (headers, path, a)
            assert a.headers["vary"] == VARY
            assert ("access-control-allow-methods" in a.headers) == (method == "OPTIONS")
            assert not {"access-control-allow-credentials", "access-control-max-age", "access-control-expose-headers"} & set(a.headers)


def test_any_origin():
    with Server(config='cors_allow_origins: ["*"]') as s:
        for method, path, status in READ_NONE + [("OPTIONS", "/nothing", 200), ("OPTIONS", "*", 200)]:
            for headers in ("", "Origin: http://c.example\r\n"):
                a = ask_once(s, f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
                assert (a.status, a.headers["access-control-allow-origin"], a.headers["vary"]) == (status, "*", VARY), (path, a)
                if method == "OPTIONS":
                    assert a.body == b"" and a.headers["access-control-allow-methods"] == a.headers["access-control-allow-headers"] == "*"
                    assert a.headers.get("allow") == ("GET,HEAD" if path == ROOT + "/version" else None)
