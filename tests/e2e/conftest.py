import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from chroma_server import BINARY, Server  # noqa: E402

collect_ignore = ["test_gateway.py"]  # a program of its own: tests/tools/run-all.sh

SHARED = os.environ.get("CHROMA_SHARED") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared")


def pytest_collection_modifyitems(items):
    """Sanitizers need memory and files of their own (make MODE=asan e2e). test_memory.py also runs without pytest, and has no marks."""
    if {"asan", "tsan"} & set(BINARY.split(os.sep)):
        for item in items:
            if item.get_closest_marker("own_memory") or item.fspath.basename == "test_memory.py":
                item.add_marker(pytest.mark.skip(reason="a sanitizer takes more"))


@pytest.fixture
def server(tmp_path):
    with Server(str(tmp_path / "data")) as s:
        yield s


@pytest.fixture
def client(server):
    import chromadb
    return chromadb.HttpClient(host="127.0.0.1", port=server.port_now)


@pytest.fixture(scope="session")
def records():
    """The real records of ../shared/data: (texts with their facts, embeddings); skipped where they are not."""
    import gzip
    import json

    import numpy as np
    base = os.path.join(SHARED, "data", "summaries-60k")
    if not os.path.exists(base + ".f16.npy"):
        pytest.skip("../shared/data is not here")
    docs = json.load(gzip.open(base + ".json.gz", "rt"))
    x = np.load(base + ".f16.npy").astype(np.float32)
    return docs, x / np.linalg.norm(x, axis=1, keepdims=True)
