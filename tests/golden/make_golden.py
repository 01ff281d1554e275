"""make_golden.py BINARY DIR: a golden data directory made by that server, with its answers. See content.py."""

import json
import lzma
import pathlib
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error

import content


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(binary, data):
    port = free_port()
    process = subprocess.Popen(
        [binary, "run", "--path", str(data), "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = content.Server(port)
    for _ in range(300):
        try:
            server.call("GET", "/heartbeat")
            return process, server
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    process.kill()
    raise SystemExit(f"{binary} does not answer")


def wait_for_manifests(data):
    """Until a second has brought no new file of an index."""
    before, since = None, time.time()
    deadline = time.time() + 60
    while time.time() < deadline:
        now = sorted(str(p) for p in (data / "collections").glob("*/*.manifest"))
        if now != before:
            before, since = now, time.time()
        elif now and time.time() - since > 5:
            return
        time.sleep(0.2)
    raise SystemExit("nothing is flushed")


def anonymous(member):
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main(binary, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        data = pathlib.Path(tmp) / "data"
        process, server = start(binary, data)
        content.fill(server, lambda: wait_for_manifests(data))
        answers = content.ask(server)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        with tarfile.open(out / "data.tar.xz", "w:xz", preset=9) as tar:
            tar.add(data, "data", filter=anonymous)
    with lzma.open(out / "answers.json.xz", "wb", preset=9) as f:
        f.write(json.dumps(answers, ensure_ascii=False, sort_keys=True).encode())


main(sys.argv[1], sys.argv[2])
