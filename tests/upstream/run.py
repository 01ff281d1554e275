"""run.py [--part ci] [--real] [--as-upstream] [--report FILE] [TEXT...] - runs the test files that the chromadb wheel
ships, as they are, against our server. Ends with "N passed, N failed".

Every test_*.py of the wheel is run unless left-out.txt names it; TEXT chooses files whose path contains it. A test
counts as failed if it fails, or is skipped, and left-out.txt does not say so; or if left-out.txt says so and it does
not.

--part ci      without the tests that left-out.txt calls slow
--real         against the real server (CHROMA_UPSTREAM or the package's own) instead of ours, of which left-out.txt
               speaks: what passes there is never an error
--as-upstream  with the skips that plugin.py takes off left in place
--report FILE  what became of each test, as JSON

Environment: UPSTREAM_SEED, the seed of all that is drawn; UPSTREAM_EXAMPLES, the most examples of a property (0: as
many as upstream's "fast" profile, up to 50). Both are printed. UPSTREAM_LANES (2): how many servers and pytests at a
time.
"""
import argparse
import collections
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, "..", "e2e"), os.path.join(here, "..", "differential")]
from chroma_server import Server  # noqa: E402
from exchange import Upstream  # noqa: E402

import chromadb  # noqa: E402

TESTS = os.path.join(os.path.dirname(chromadb.__file__), "test")
# This file starts a server of its own unless it is told of a cluster; then it takes the host and the port from one
# variable. It wants nothing else that only a cluster has.
AS_CLUSTER = "property/test_collections_with_database_tenant_overwrite.py"
WORDS = ("away", "slow", "fails", "skips")


def read_left_out():
    """{word: {name: reason}}; a name is a file, a function of a file, or one node of it."""
    listed = {word: {} for word in WORDS}
    with open(os.path.join(here, "left-out.txt"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                word, name, reason = line.rstrip("\n").split(None, 2)
                listed[word][name] = reason
    return listed


def find(names, node):
    """The name in `names` that covers `node` (file::function[parameters]...), or None."""
    for name in (node, node.split("[")[0], node.split("::")[0]):
        if name in names:
            return name
    return None


def all_files():
    found = []
    for folder, _, files in os.walk(TESTS):
        found += [os.path.relpath(os.path.join(folder, f), TESTS) for f in files
                  if f.startswith("test_") and f.endswith(".py")]
    return sorted(f.replace(os.sep, "/") for f in found)


def groups(files):
    """What one pytest and one server take: a file of properties or test_api.py alone, else a folder. Longest first."""
    by_key = collections.defaultdict(list)
    for f in files:
        by_key[f if f.startswith("property/") or f == "test_api.py" else os.path.dirname(f)].append(f)
    return sorted(by_key.values(), key=lambda g: (not g[0].startswith("property/"), g[0] != "test_api.py", g))


def run_group(files, args, listed, directory):
    """{node: {outcome, seconds, why}}, what pytest printed, its status."""
    report = os.path.join(directory, files[0].replace("/", "-") + ".json")
    not_run = list(listed["away"]) + (list(listed["slow"]) if args.part == "ci" else [])
    with (Upstream() if args.real else Server(os.path.join(directory, files[0].replace("/", "-") + ".data"))) as server:
        path = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")  # a test starts "python"
        env = {**os.environ, "PATH": path, "CHROMA_INTEGRATION_TEST_ONLY": "1", "CHROMA_SERVER_HOST": "localhost",
               "CHROMA_SERVER_HTTP_PORT": str(server.port_now), "ANONYMIZED_TELEMETRY": "False",
               "PYTHONPATH": os.pathsep.join([os.path.join(here, "..", "e2e"), here]),
               "PROPERTY_TESTING_PRESET": "fast", "HYPOTHESIS_STORAGE_DIRECTORY": os.path.join(directory, "hypothesis"),
               "UPSTREAM_LIFT": "0" if args.as_upstream else "1", "UPSTREAM_EXAMPLES": str(args.examples),
               "UPSTREAM_SEED": str(args.seed), "UPSTREAM_NOT_RUN": json.dumps(not_run), "UPSTREAM_REPORT": report}
        if files == [AS_CLUSTER]:
            env.update(CHROMA_CLUSTER_TEST_ONLY="1", CHROMA_SERVER_HOST=f"localhost:{server.port_now}")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "standin_embedding",
                   "-p", "plugin", "--import-mode=importlib", "--rootdir", TESTS, "--confcutdir", TESTS, "--no-header",
                   "--tb=short", "-W", "ignore", f"--hypothesis-seed={args.seed}"]
        command += [os.path.join(TESTS, f) for f in files]
        done = subprocess.run(command, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace")
    nodes = {}
    if os.path.exists(report):
        with open(report, encoding="utf-8") as f:
            for line in f:
                entry = json.loads(line)
                nodes[entry.pop("node")] = entry
    return nodes, done.stdout, done.returncode


def run_all(files, args, listed, directory):
    waiting, results = queue.Queue(), []
    for group in groups(files):
        waiting.put(group)

    def lane():
        while True:
            try:
                group = waiting.get_nowait()
            except queue.Empty:
                return
            begun = time.monotonic()
            try:
                results.append((group, *run_group(group, args, listed, directory)))
            except Exception as e:  # noqa: BLE001 - told as a failure of the group
                results.append((group, {}, repr(e), 1))
            nodes = results[-1][1].values()
            counts = collections.Counter(n["outcome"] for n in nodes)
            print(f"{' '.join(group) if len(group) < 3 else group[0] + f' and {len(group) - 1} more'}: "
                  f"{dict(counts)}, {time.monotonic() - begun:.0f} s", flush=True)
    lanes = [threading.Thread(target=lane) for _ in range(args.lanes)]
    for t in lanes:
        t.start()
    for t in lanes:
        t.join()
    return results


def judge(results, args, listed):
    """(passed, [what is wrong])."""
    wrong, passed, seen = [], 0, set()
    for group, nodes, output, status in results:
        if not nodes and status not in (0, 5):
            wrong.append(f"{group}: pytest ended with {status}\n{output[-3000:]}")
        elif status not in (0, 1, 5):
            wrong.append(f"{group}: pytest ended with {status}, not all of it was run\n{output[-1500:]}")
        for node, entry in nodes.items():
            expected = {"failed": find(listed["fails"], node), "skipped": find(listed["skips"], node)}
            named = next((n for n in expected.values() if n), None)
            seen.update(n for n in expected.values() if n)
            if entry["outcome"] == "passed" and (named is None or args.real):
                passed += 1
            elif entry["outcome"] == "passed":
                wrong.append(f"{node}: is left out ({named}) but passes")
            elif not expected[entry["outcome"]]:
                wrong.append(f"{node}: {entry['outcome']}\n{entry['why']}")
    ran = {f for group, *_ in results for f in group}
    for word in ("fails", "skips"):
        for name in set(listed[word]) - seen:
            if name.split("::")[0] in ran and not (args.part == "ci" and find(listed["slow"], name)):
                wrong.append(f"{name}: left-out.txt names it, but there is no such test")
    return passed, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=["ci", "all"], default="all")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--as-upstream", action="store_true")
    parser.add_argument("--report")
    parser.add_argument("text", nargs="*")
    args = parser.parse_args()
    args.seed = int(os.environ.get("UPSTREAM_SEED", "20261124"))
    args.examples = int(os.environ.get("UPSTREAM_EXAMPLES", "2" if args.part == "ci" else "0"))
    args.lanes = int(os.environ.get("UPSTREAM_LANES", "2"))
    listed = read_left_out()
    there = all_files()
    files = [f for f in there if f not in listed["away"] and (not args.text or any(t in f for t in args.text))]
    print(f"seed {args.seed}, at most {args.examples or 50} examples of a property, {len(files)} files of {len(there)}")
    with tempfile.TemporaryDirectory(prefix="chroma-upstream-tests-", ignore_cleanup_errors=True) as directory:
        results = run_all(files, args, listed, directory)
    passed, wrong = judge(results, args, listed)
    wrong += [f"{name}: left-out.txt names it, but the wheel has no such file"
              for name in listed["away"] if name.split("::")[0] not in there]
    if args.report:
        with open(args.report, "w", encoding="utf-8") as f:
            json.dump({node: entry for _, nodes, *_ in results for node, entry in nodes.items()}, f, indent=1)
    for text in wrong:
        print("FAIL", text)
    left = sum(e["outcome"] != "passed" for _, nodes, *_ in results for e in nodes.values())
    print(f"of the tests that were run {left} failed or were skipped; left-out.txt says why of those that may")
    print(f"{passed} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
