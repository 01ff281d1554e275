"""Runs tests of the chromadb wheel against our server; see run-upstream.sh. Exit code: pytest's."""
import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
e2e = os.path.join(here, "..", "e2e")
sys.path.insert(0, e2e)
from chroma_server import Server  # noqa: E402

import chromadb  # noqa: E402

# Not of the server under test: these start servers and stores of the Python package itself (they want hnswlib and
# certificates), and fail the same way whatever server is tested.
NOT_OURS = "not local_persist_api and not persist_index_loading_params and not ssl_self_signed"
files = sys.argv[1:] or ["test_api.py", "test_client.py", "-k", NOT_OURS]
tests = os.path.join(os.path.dirname(chromadb.__file__), "test")
with Server() as server:
    env = {**os.environ, "CHROMA_INTEGRATION_TEST_ONLY": "1", "CHROMA_SERVER_HOST": "localhost",
           "CHROMA_SERVER_HTTP_PORT": str(server.port_now), "PYTHONPATH": e2e, "ANONYMIZED_TELEMETRY": "False",
           "PROPERTY_TESTING_PRESET": "fast"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "standin_embedding", "--no-header",
               "-W", "ignore"] + [os.path.join(tests, f) if f.endswith(".py") else f for f in files]
    code = subprocess.run(command, env=env, cwd=tests).returncode
sys.exit(code)
