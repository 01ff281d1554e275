"""A pytest plugin for upstream's own test files, which are run as they are in the wheel. Loaded by run.py.

Lift     Upstream marks tests of `search`, of sparse and SPANN indexes, of forks and of the indexing status as skipped
         on a single node, since its own single node refuses them. Ours answers, so those marks are taken off, by their
         reason. Nothing else about the tests changes.
Wait     Such tests wait until a collection's `version` has grown, as it does in the distributed server when that has
         compacted. On a single node, upstream's and ours, it stays 0; `indexing_status` is waited for instead.
Sparse   Upstream's generator of schemas draws sparse indexes only for its distributed server. For the property that
         compares the schema that comes back with the one sent it draws them here too.
Examples A cap on the examples of a property, whatever profile or test asks for more.
Seed     Some tests draw sizes and vectors from Python's and numpy's generators, which get a seed that follows from the
         run's and the test's name. Which thread comes first stays open.
Not run  Tests that left-out.txt names are taken out before they start.
Report   One JSON line a test, written when it is over.

Environment, set by run.py: UPSTREAM_LIFT (1 or 0), UPSTREAM_SEED, UPSTREAM_EXAMPLES (0: no cap), UPSTREAM_NOT_RUN
(JSON list), UPSTREAM_REPORT (path).
"""
import json
import os
import random
import time
import zlib

import numpy as np
import pytest

LIFTED = ("SPANN creation/modification disallowed", "Requires Kubernetes to be running",
          "only available in distributed", "only supported in distributed")
SPARSE = "property/test_schema.py::test_schema_create_and_get_collection"
WAIT = 120  # seconds until indexed; upstream's tests allow the same for a compaction


def cap_examples(most):
    import hypothesis
    real = hypothesis.settings.__init__

    def init(self, parent=None, **arguments):
        if isinstance(arguments.get("max_examples"), int):
            arguments["max_examples"] = min(arguments["max_examples"], most)
        real(self, parent, **arguments)
    hypothesis.settings.__init__ = init


# Before upstream's conftest.py registers its profiles, that is, before any hook is called.
if int(os.environ["UPSTREAM_EXAMPLES"]):
    cap_examples(int(os.environ["UPSTREAM_EXAMPLES"]))


def wait_until_indexed(client, collection_name, initial_version, additional_time=0):
    """In place of upstream's wait_for_version_increase."""
    collection = client.get_collection(collection_name)
    deadline = time.monotonic() + WAIT + additional_time
    while collection.get_indexing_status().num_unindexed_ops:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{collection_name} is not indexed after {WAIT + additional_time} s")
        time.sleep(0.05)
    return initial_version


def pytest_configure(config):
    config.addinivalue_line("markers", "skip_single_region: upstream's own")
    if os.environ["UPSTREAM_LIFT"] == "1":
        from chromadb.test.utils import wait_for_version_increase as module
        module.wait_for_version_increase = wait_until_indexed


def is_lifted(mark):
    return mark.name == "skipif" and any(text in str(mark.kwargs.get("reason")) for text in LIFTED)


def pytest_collection_modifyitems(config, items):
    if os.environ["UPSTREAM_LIFT"] == "1":
        for item in items:
            item.own_markers[:] = [m for m in item.own_markers if not is_lifted(m)]
    names = set(json.loads(os.environ["UPSTREAM_NOT_RUN"]))
    kept = [i for i in items if not {i.nodeid, i.nodeid.split("[")[0]} & names]
    config.hook.pytest_deselected(items=[i for i in items if i not in kept])
    items[:] = kept


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    seed = zlib.crc32((os.environ["UPSTREAM_SEED"] + item.nodeid).encode())
    random.seed(seed)
    np.random.seed(seed)
    if os.environ["UPSTREAM_LIFT"] == "1" and item.nodeid.startswith(SPARSE):
        from chromadb.test.property import strategies
        strategies.is_spann_disabled_mode = False
        yield
        strategies.is_spann_disabled_mode = True
    else:
        yield


def reason(report):
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The three phases of a test become one line, written after the last."""
    report = (yield).get_result()
    entry = item.stash.setdefault(ENTRY, {"node": item.nodeid, "outcome": "passed", "seconds": 0.0, "why": ""})
    entry["seconds"] = round(entry["seconds"] + report.duration, 2)
    if report.failed or (report.skipped and entry["outcome"] == "passed"):
        entry["outcome"], entry["why"] = ("failed" if report.failed else "skipped"), reason(report)[-2000:]
    if report.when == "teardown":
        with open(os.environ["UPSTREAM_REPORT"], "a", encoding="utf-8") as f:
            f.write(json.dumps(entry) + "\n")


ENTRY = pytest.StashKey()
