"""Asking a server: single calls, wrk for rates, and exact answers to compare with."""
import base64
import http.client
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import numpy as np

import bench_data

HERE = pathlib.Path(__file__).resolve().parent
COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
RESTED_SECONDS = 5
TIE = 1e-5  # a row whose similarity is so near the k-th best is as good


class Client:
    """One kept connection; a new one after a rest, since servers close those that are idle."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.used = time.monotonic()

    def _ask(self, method, path, body, **headers):
        if time.monotonic() - self.used > RESTED_SECONDS:
            self.connection.close()  # the next request opens another
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        self.connection.request(method, path, data, {"content-type": "application/json", **headers})
        answer = self.connection.getresponse()
        text = answer.read()
        self.used = time.monotonic()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
        return answer.headers, text

    def call(self, method, path, body=None):
        _, text = self._ask(method, path, body)
        return json.loads(text) if text else None

    def explained(self, path, body):
        """What the server says it did for this read (docs/operations.md), or None."""
        headers, _ = self._ask("POST", path, body, **{"x-chroma-explain": "true"})
        told = headers["x-chroma-explain"]
        return told and json.loads(told)

    def close(self):
        self.connection.close()


def encode(vector):
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()


def add_body(lo, vectors, documents):
    """The body of an `add` of rows lo and on."""
    n = len(documents)
    return json.dumps({
        "ids": [bench_data.row_id(lo + k) for k in range(n)], "embeddings": [encode(v) for v in vectors],
        "documents": documents, "metadatas": [bench_data.metadata(lo + k, documents[k]) for k in range(n)]}).encode()


def query_body(vector, k=10, include=("documents", "metadatas", "distances"), **more):
    return {"query_embeddings": [[float(x) for x in vector]], "n_results": k, "include": list(include), **more}


def send_all(port, path, bodies, n_clients):
    """Sends them over n_clients connections; seconds."""
    rest, lock, failures = iter(bodies), threading.Lock(), []

    def work():
        client = Client(port)
        try:
            while True:
                with lock:
                    body = next(rest, None)
                if body is None or failures:
                    return
                client.call("POST", path, body)
        except (SystemExit, OSError) as e:
            failures.append(e)
        finally:
            client.close()

    threads = [threading.Thread(target=work) for _ in range(n_clients)]
    began = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise SystemExit(f"sending: {failures[0]}")
    return time.monotonic() - began


class Wrk:
    """wrk over a list of requests for one path. Start, then result(); or run(), which does both."""

    def __init__(self, server, path, bodies, connections, seconds, method="POST"):
        self.server = server
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False, encoding="utf-8") as f:
            f.write("".join(json.dumps(b) + "\n" for b in bodies))
        self.file, self.cpu = f.name, server.cpu_s()
        environment = os.environ | {"BODIES": f.name, "TARGET": path, "METHOD": method, "SEED": "17"}
        self.process = subprocess.Popen(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(HERE / "load.lua"),
             server.base], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def result(self):
        """rate, p50_ms, p99_ms, n, cpu_ms (the server's, a request)."""
        output, _ = self.process.communicate()
        os.unlink(self.file)
        line = next((l for l in output.splitlines() if l.startswith("JSON ")), None)
        if line is None:
            raise SystemExit(f"wrk: {output[-500:]}")
        found = json.loads(line[5:])
        if found["bad"]:
            raise SystemExit(f"{found['bad']} of {found['n']} requests failed")
        found["cpu_ms"] = (self.server.cpu_s() - self.cpu) * 1e3 / max(1, found["n"])
        return found


def run_wrk(*args, **kwargs):
    return Wrk(*args, **kwargs).result()


# ---------------------------------------------------------------------------------------------- exact answers

class Exact:
    """The k-th best similarity for each query, over rows that come block by block, for several filters at once."""

    def __init__(self, queries, filters, k=10):
        self.queries, self.filters, self.k = queries, filters, k
        self.best = {name: np.full((len(queries), k), -9, np.float32) for name in filters}
        self.n = dict.fromkeys(filters, 0)

    def add(self, vectors, masks):
        """masks: filter's name -> bool a row, or None for all."""
        similarity = self.queries @ vectors.T
        for name in self.filters:
            mask = masks[name]
            part = similarity if mask is None else similarity[:, mask]
            self.n[name] += part.shape[1]
            if part.shape[1] > self.k:
                part = np.partition(part, part.shape[1] - self.k, axis=1)[:, -self.k:]
            joined = np.concatenate([self.best[name], part], axis=1)
            self.best[name] = np.partition(joined, joined.shape[1] - self.k, axis=1)[:, -self.k:]

    def recall(self, name, i, similarities):
        """(found, wanted) for query i, from the similarities of the rows that were answered."""
        wanted = min(self.k, self.n[name])
        if wanted == 0:
            return 0, 0
        kth = np.sort(self.best[name][i])[-wanted]
        return min(wanted, int((np.asarray(similarities) >= kth - TIE).sum())), wanted


def measure_recall(client, path, exact, name, n_queries, more):
    """Recall@k over the first n_queries queries; `more`: the filter as members of the body. Similarities are computed
    from the answered vectors, not taken from the answer."""
    found = wanted = 0
    for i in range(min(n_queries, len(exact.queries))):
        answer = client.call("POST", path + "/query",
                             query_body(exact.queries[i], exact.k, ("embeddings",), **more))
        vectors = np.asarray(answer["embeddings"][0], np.float32)
        similarities = vectors @ exact.queries[i] if len(vectors) else []
        got, all_ = exact.recall(name, i, similarities)
        found, wanted = found + got, wanted + all_
    return found / wanted if wanted else None
