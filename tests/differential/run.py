#!/usr/bin/env python3
"""run.py SEED COUNT [SECONDS] - sends the same generated requests to the real server and to ours and compares.

A request is a check. COUNT requests, or as many as fit SECONDS. Requests come in episodes, each on two empty stores and
with a seed of its own that follows from SEED, so that EPISODE=n repeats one alone and TRACE=@@4@@ shows all that went to
a collection. Differences that are there on purpose
are listed in known.py. Prints what differs (each sort of difference three times) and "N passed, N failed".
"""
import collections as counters
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import catalog  # noqa: E402
import known  # noqa: E402
import records  # noqa: E402
from compare import decode, differences  # noqa: E402
from exchange import Peer, Server, Upstream  # noqa: E402
from jsontext import dump, obj  # noqa: E402
from request import Handle, Request, collections_path, post, tenant_path  # noqa: E402

EPISODE = 400  # requests


class UpstreamFell(Exception):
    """A thread of the real server ended; it answers nothing of use until it is started again."""


class World:
    """What both servers hold, as far as generators need to know."""

    def __init__(self, peers, report):
        self.peers, self.report, self.handles, self.serial = peers, report, [], 0
        self.scratch = self.static = self.prey = None
        self.sequence, self.last = [], None

    def any_handle(self, rng):
        """A collection of the catalog's requests, not one of those whose records are compared."""
        mine = {id(h) for h in (self.scratch, self.static, self.prey, *self.sequence) if h}
        candidates = [h for h in self.handles if id(h) not in mine]
        return rng.choice(candidates) if candidates else None

    def own(self):
        return [{h.ids[side]: f"@@{h.number}@@" for h in self.handles} for side in (0, 1)]

    def send(self, request):
        """Sends to both, compares, learns of new collections. True: no difference at all."""
        def path(side):
            return re.sub(r"@@(\d+)@@", lambda m: self.handles[int(m.group(1))].ids[side], request.path)
        theirs, ours = (peer.send(request, path(side)) for side, peer in enumerate(self.peers))
        if theirs.status == 500 and b"compactor" in theirs.body:
            raise UpstreamFell(repr(self.last))
        if request.kind != "get" or theirs.status is None:
            self.last = request
        if request.creates:
            self.learn(request.creates, theirs, ours)
        if os.environ.get("TRACE") and os.environ["TRACE"] in request.path:
            print(f"TRACE {request!r}\n  theirs {theirs!r}\n  ours   {ours!r}")
        diffs = differences(request, theirs, ours, self.own(), request.handle.space if request.handle else "l2")
        self.report.check(request, theirs, ours, diffs)
        if request.is_census and theirs.status == 200:
            request.handle.present = set(decode(theirs)["ids"])
        return not diffs

    def learn(self, place, theirs, ours):
        a, b = decode(theirs), decode(ours)
        if not (theirs.status == ours.status == 200 and isinstance(a, dict) and isinstance(b, dict) and "id" in a and "id" in b):
            return None
        for h in self.handles:
            if h.ids[0] == a["id"] or h.ids[1] == b["id"]:
                return h
        space = (a["configuration_json"]["hnsw"] or {}).get("space")
        self.handles.append(Handle(len(self.handles), (a["id"], b["id"]), *place, a["name"], space))
        return self.handles[-1]

    def new_collection(self, **more):
        self.serial += 1
        place = ("default_tenant", "default_database")
        request = post("create", collections_path(*place), obj(name=f"own-{self.serial}", **more), creates=place)
        assert self.send(request), "an ordinary collection"
        return self.handles[-1]


class Report:
    def __init__(self):
        self.passed = self.failed = self.episode = 0
        self.sorts = counters.Counter()
        self.kinds = counters.Counter()

    def check(self, request, theirs, ours, diffs):
        self.kinds[f"{request.kind} {theirs.status}"] += 1
        if not diffs or known.find(request, theirs, ours):
            self.passed += 1
            return
        self.failed += 1
        sort = (request.kind, theirs.status, ours.status, re.sub(r"[\d\[\"].*", "", diffs[0]),
                str(decode(theirs).get("message", ""))[:45] if isinstance(decode(theirs), dict) and theirs.status and theirs.status >= 400 else "")
        self.sorts[sort] += 1
        if self.sorts[sort] <= 3:
            print(f"DIFFERS (episode {self.episode}) {request!r}\n  what   {'; '.join(diffs)[:900]}\n  theirs {theirs!r}\n  ours   {ours!r}",
                  flush=True)


def episode(world, rng, count):
    """One run on empty stores."""
    world.send(Request("reset", "POST", "/api/v2/reset"))
    world.send(post("tenant", "/api/v2/tenants", obj(name="acme")))
    for name in ("other_db", "db_one"):
        world.send(post("database", tenant_path("default_tenant") + "/databases", obj(name=name)))

    def refill():
        world.send(post("add", world.prey.base + "/add", records.rows(random.Random(5), 20, world.prey.dim), handle=world.prey))

    def new_scratch():
        """With a row, so that it has its dimension: upstream takes it from refused requests too."""
        handle = world.new_collection(**settings())
        world.send(post("add", handle.base + "/add", obj(ids=["a"], embeddings=[[0.5] * handle.dim]), handle=handle))
        return handle

    def settings():
        return {"configuration": {"hnsw": {"space": rng.choice(["l2", "cosine", "ip"])}}}
    world.scratch, world.static, world.prey = new_scratch(), world.new_collection(**settings()), world.new_collection()
    world.send(post("add", world.static.base + "/add", records.rows(rng, 60, world.static.dim), handle=world.static))
    refill()
    world.sequence = [world.new_collection(**settings()) for _ in range(2)]
    end = world.report.passed + world.report.failed + count
    while world.report.passed + world.report.failed < end:
        k = rng.random()
        if k < 0.45:
            request = records.odd_request(rng, world)
            agreed = world.send(request)
            if not request.is_write:
                continue
            if request.handle is world.prey:
                if not agreed:
                    world.prey = world.new_collection()
                refill()
            else:
                look = records.everything(world.scratch)
                if not (world.send(look) and agreed) or rng.random() < 0.02:
                    world.scratch = new_scratch()
        elif k < 0.72:
            i = rng.randrange(len(world.sequence))
            for request in records.steps(rng, world.sequence[i]):
                if not world.send(request):  # the two may hold different rows from here on, if only on purpose
                    world.sequence[i] = world.new_collection(**settings())
                    break
        else:
            make = rng.choices([catalog.tenants, catalog.databases, catalog.create, catalog.collections, catalog.wire], [2, 3, 6, 6, 6])[0]
            request = make(rng, world)
            world.send(request)
            if request.is_write and request.handle:  # what a change of a collection came to
                h = request.handle
                world.send(Request("by-id", "GET", f"{collections_path(h.tenant, h.database)}/by-id/@@{h.number}@@"))


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else None
    only = os.environ.get("EPISODE")
    report, begun = Report(), time.monotonic()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "compatibility.md"), encoding="utf-8") as f:
        for row in known.undocumented(f.read()):
            print(f"DIFFERS docs/compatibility.md has no row: {row}")
            report.failed += 1
    number, n_fallen = 0, 0
    with Server() as server:
        while (report.passed + report.failed < count) and (seconds is None or time.monotonic() - begun < seconds) and \
                (only is None or number <= int(only)):
            with Upstream() as upstream:
                try:
                    while report.passed + report.failed < count and (seconds is None or time.monotonic() - begun < seconds):
                        if only is None or number == int(only):
                            report.episode = number
                            peers = [Peer(upstream.port_now), Peer(server.port_now)]
                            episode(World(peers, report), random.Random(f"{seed} {number}"),
                                    min(EPISODE, count - report.passed - report.failed))
                            for peer in peers:
                                peer.close()
                        number += 1
                        if only is not None and number > int(only):
                            break
                except UpstreamFell as e:
                    print(f"the real server fell in episode {number} and is started again; before: {e}")
                    number, n_fallen = number + 1, n_fallen + 1
        if server.process.poll() is not None:
            print(f"DIFFERS our server ended with {server.process.returncode}\n{server.output()[-3000:].decode()}")
            report.failed += 1
    if os.environ.get("VERBOSE"):
        for kind, n in sorted(report.kinds.items()):
            print(f"  {n:6} {kind}")
    for k in known.KNOWN:
        print(f"  {k.count:6} on purpose: {k.row}")
    for sort, n in report.sorts.most_common():
        print(f"  {n:6} differ: {sort}")
    print(f"differential: seed {seed}, {number} episodes, {time.monotonic() - begun:.0f} s; the real server fell {n_fallen} times")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
