"""Starting and stopping a server, what /proc says about it, and about the machine."""
import http.client
import importlib.metadata
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def command_of(side, root):
    """The program of a side: ours as built, upstream's from the environment that runs this script."""
    if side == "ours":
        path = os.environ.get("CHROMA_BINARY") or str(root / "build" / "chroma")
    else:
        path = str(pathlib.Path(sys.executable).parent / "chroma")
    if not os.access(path, os.X_OK):
        raise SystemExit(f"{path} is not there")
    return [path, "run"]


class Server:
    """One process over one directory; default settings. Start, stop, start again over the same data."""

    def __init__(self, side, root):
        self.side, self.command = side, command_of(side, root)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"chroma-bench-{side}-"))
        self.data = self.folder / "data"
        self.process = None

    def start(self):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command + ["--path", str(self.data), "--port", str(self.port)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                c.request("GET", "/api/v2/heartbeat")
                if c.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.002)
            finally:
                c.close()
        raise SystemExit(f"{self.side} does not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ------------------------------------------------------------------------------------------ figures

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def anonymous_mb(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
        raise SystemExit("/proc/PID/status has no RssAnon")

    def written_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
        raise SystemExit("/proc/PID/io has no write_bytes")

    def disk_mb(self):
        total = 0
        for folder, _, files in os.walk(self.data):
            for name in files:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
                except FileNotFoundError:  # replaced just now
                    pass
        return total / 1e6

    def settle(self, limit_s):
        """Waits until the process is idle; returns how long it took."""
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            before = self.cpu_s()
            time.sleep(1)
            if self.cpu_s() - before < 0.03:
                break
        return time.monotonic() - began


class MemoryWatch:
    """The most anonymous memory a server had while this was open, looked at every 50 ms."""

    def __init__(self, server):
        self.server, self.peak_mb = server, server.anonymous_mb()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self):
        while not self.is_over.wait(0.05):
            self.peak_mb = max(self.peak_mb, self.server.anonymous_mb())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


# ---------------------------------------------------------------------------------------------- the machine

def sync_ms(folder, n=50):
    """Median of n fdatasyncs after a write of 4 KiB each."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as f:
        for _ in range(n):
            f.write(b"x" * 4096)
            f.flush()
            began = time.perf_counter()
            os.fdatasync(f.fileno())
            times.append(time.perf_counter() - began)
    return sorted(times)[n // 2] * 1e3


def load_average():
    return " ".join(f"{x:.2f}" for x in os.getloadavg())


def describe_machine():
    """[(what, value)] of what figures depend on."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    def first(key):
        return next((l.split(":", 1)[1].strip() for l in info.splitlines() if l.startswith(key)), "unknown")
    flags = (first("flags") if "flags" in info else first("Features")).split()
    simd = [s for s in ("avx512bw", "avx512_vnni", "avx2", "asimd") if s in flags] or ["none of AVX2, AVX-512, NEON"]
    memory = pathlib.Path("/proc/meminfo").read_text().split()[1]
    return [("processor", first("model name")), ("cores", str(len(os.sched_getaffinity(0)))),
            ("SIMD", ", ".join(simd)), ("memory", f"{int(memory) / 2**20:.1f} GiB"), ("kernel", os.uname().release),
            ("fdatasync of 4 KiB, median", f"{sync_ms(tempfile.gettempdir()):.2f} ms in {tempfile.gettempdir()}")]


def versions(sides, root):
    """What is compared. Upstream's program has a version of its own; its package's is the one that people know."""
    found = {"upstream": f"chromadb {importlib.metadata.version('chromadb')}"} if "upstream" in sides else {}
    if "ours" in sides:
        done = subprocess.run(command_of("ours", root)[:1] + ["--version"], capture_output=True, text=True, check=True)
        commit = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        found["ours"] = f"{done.stdout.strip()}, commit {commit.stdout.strip() or 'unknown'}"
    return [(side, found[side]) for side in sides]


def dump(path, value):
    pathlib.Path(path).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
