"""Kills the server with SIGKILL at random moments while several clients write, starts it again, and compares what it has
with what it had acknowledged. CRASH_ROUNDS and CRASH_SEED repeat a run.

Every request writes a group of rows that carry the number of the request. Checked after each restart:
  every acknowledged request is there in full; of a request without an answer all rows are there or none;
  and an acknowledged delete or update stays."""
import http.client
import json
import os
import random
import re
import threading
import time

from chroma_server import Server, wait_until

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "30"))
SEED = int(os.environ.get("CRASH_SEED", str(random.SystemRandom().randrange(1 << 30))))
WRITERS, DIM = 4, 8
BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"


class Writer:
    """Owns its ids. `sure`: id -> (group, version) acknowledged; `open`: the one request without an answer."""

    def __init__(self, number, rng):
        self.number, self.rng = number, rng
        self.sure, self.open, self.next_id, self.group = {}, None, 0, 0

    def make(self):
        r, self.group = self.rng, self.group + 1
        kind = r.choices(["add", "upsert", "update", "delete"], [5, 2, 2, 2])[0]
        known = sorted(self.sure)
        if kind != "add" and len(known) < 20:
            kind = "add"
        if kind == "add":
            n = r.choice([1, 3, 10, 60])
            ids = [f"{self.number}-{self.next_id + i}" for i in range(n)]
            self.next_id += n
        else:
            ids = r.sample(known, min(len(known), r.choice([1, 2, 8])))
        body = {"ids": ids}
        if kind != "delete":
            body["metadatas"] = [{"group": self.group, "writer": self.number}] * len(ids)
            body["documents"] = [f"group {self.group} " + "x" * r.randrange(200)] * len(ids)
        if kind in ("add", "upsert"):
            body["embeddings"] = [[self.group] * DIM for _ in ids]
        after = {i: None if kind == "delete" else self.group for i in ids}
        return kind, body, after

    def run(self, port, collection, stop):
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            while not stop.is_set():
                kind, body, after = self.make()
                self.open = (kind, after)
                c.request("POST", f"{BASE}/{collection}/{kind}", json.dumps(body), {"content-type": "application/json"})
                answer = c.getresponse()
                answer.read()
                assert answer.status in (200, 201), answer.status
                self.settle(after)
        except (OSError, http.client.HTTPException):
            pass  # killed

    def settle(self, after):
        for i, group in after.items():
            if group is None:
                self.sure.pop(i, None)
            else:
                self.sure[i] = group
        self.open = None

    def check(self, rows):
        mine = {i: g for i, g in rows.items() if i.startswith(f"{self.number}-")}
        if mine != self.sure and self.open is not None:
            self.settle(self.open[1])  # the one without an answer may have made it, but only as a whole
        self.open = None
        missing = {i: g for i, g in self.sure.items() if mine.get(i) != g}
        extra = {i: g for i, g in mine.items() if i not in self.sure}
        assert not missing and not extra, f"writer {self.number}: missing {missing}, extra {extra}"


def fetch(port, collection):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("POST", f"{BASE}/{collection}/get", json.dumps({"include": ["metadatas", "documents", "embeddings"]}),
              {"content-type": "application/json"})
    got = json.loads(c.getresponse().read())
    rows = {}
    for i, m, d in zip(got["ids"], got["metadatas"], got["documents"]):
        assert d.startswith(f"group {m['group']} "), "a row that mixes two requests"
        assert i not in rows, "an id twice"
        rows[i] = m["group"]
    c.request("GET", f"{BASE}/{collection}/count")
    assert json.loads(c.getresponse().read()) == len(rows)
    return rows


def test_kills_lose_nothing(tmp_path):
    print(f"CRASH_SEED={SEED} CRASH_ROUNDS={ROUNDS}")
    rng = random.Random(SEED)
    server = Server(str(tmp_path / "data"), config="flush_rows: 300\nlog_bytes: 2000000\nclose_after_s: 1")
    server.start()
    c = http.client.HTTPConnection("127.0.0.1", server.port_now)
    c.request("POST", BASE, json.dumps({"name": "crash"}), {"content-type": "application/json"})
    collection = json.loads(c.getresponse().read())["id"]
    writers = [Writer(w, random.Random(rng.random())) for w in range(WRITERS)]
    n_acknowledged = 0
    for _ in range(ROUNDS):
        stop = threading.Event()
        threads = [threading.Thread(target=w.run, args=(server.port_now, collection, stop)) for w in writers]
        [t.start() for t in threads]
        time.sleep(rng.uniform(0.02, 0.6))
        server.kill()
        stop.set()
        [t.join() for t in threads]
        server.start()
        rows = fetch(server.port_now, collection)
        for w in writers:
            w.check(rows)
        n_acknowledged = sum(w.group for w in writers)
    assert n_acknowledged > ROUNDS, "the writers wrote"
    assert server.stop() == 0
    server.start()  # and once more after a clean stop
    rows = fetch(server.port_now, collection)
    for w in writers:
        w.check(rows)
    server.stop()


def test_restart_takes_what_the_tail_takes(tmp_path):
    """Counted, not timed: after compaction and a restart the log replays next to nothing."""
    server = Server(str(tmp_path / "data"), config="flush_rows: 1000")
    server.start()
    c = http.client.HTTPConnection("127.0.0.1", server.port_now)
    c.request("POST", BASE, json.dumps({"name": "long"}), {"content-type": "application/json"})
    collection = json.loads(c.getresponse().read())["id"]
    for b in range(40):
        ids = [f"{b}-{i}" for i in range(500)]
        c.request("POST", f"{BASE}/{collection}/add", json.dumps({"ids": ids, "embeddings": [[b, i] for i in range(500)]}),
                  {"content-type": "application/json"})
        r = c.getresponse()
        assert r.status == 201, r.read()
        r.read()

    def replayed_by_a_start():
        time.sleep(1)  # quiet: what is left is flushed, however long that takes here
        server.kill()
        begin = len(server.output())
        server.start()
        replayed = re.findall(rb"store is open: replayed=(\d+)", server.output(begin))
        assert replayed, "start-up says how much it replayed"
        return int(replayed[-1])

    wait_until(lambda: replayed_by_a_start() <= 4, 120, "a start that replays only what no fragment holds")
    c = http.client.HTTPConnection("127.0.0.1", server.port_now)
    c.request("GET", f"{BASE}/{collection}/count")
    assert json.loads(c.getresponse().read()) == 20_000
    server.stop()
