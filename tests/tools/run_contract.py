"""Replays the recorded cases of ../shared/contract against our server, a file at a time, each on an empty store.

A case may differ only if tests/contract-differences.txt names it (one line: FILE CASE-ID REASON), and one that is named
must differ: a difference that went away leaves the list. Prints "contract: N passed, N failed".
"""
import os
import re
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "e2e"))
from chroma_server import Server  # noqa: E402

contract = os.path.join(os.environ.get("CHROMA_SHARED", os.path.join(here, "..", "..", "..", "shared")), "contract")
if not os.path.exists(os.path.join(contract, "replay.py")):
    print("contract: ../shared/contract is not here")
    sys.exit(77)  # run-all.sh: cannot run here

listed = {}
with open(os.path.join(here, "..", "contract-differences.txt"), encoding="utf-8") as f:
    for line in f:
        if line.strip() and not line.startswith("#"):
            name, case, reason = line.rstrip("\n").split(None, 2)
            listed[(name, case)] = reason

passed = failed = 0
for name in sys.argv[1:] or ["catalog", "records", "search"]:
    path = os.path.join(contract, f"cases-{name}.jsonl")
    with Server() as server:
        out = subprocess.run([sys.executable, os.path.join(contract, "replay.py"), "--base-url", server.base, path],
                             capture_output=True, text=True).stdout
    bad = set(re.findall(r"^FAIL (\S+)", out, re.M))
    total = re.search(r"(\d+) passed, (\d+) failed", out)
    if total is None or int(total.group(2)) != len(bad):
        print(out[-3000:])
        print(f"contract: 0 passed, 1 failed (the replay of {name} did not end as expected)")
        sys.exit(1)
    expected = {case for (n, case) in listed if n == name}
    for case in sorted(bad - expected):
        print("FAIL", name, case)
    for case in sorted(expected - bad):
        print("FAIL", name, case, "is listed as a difference but passes")
    wrong = len(bad ^ expected)
    failed += wrong
    passed += int(total.group(1)) + len(bad) - len(bad - expected) - len(expected - bad)
print(f"contract: {passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
