"""Starts and stops the server under test. Used by the tests here and by tests/tools."""
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

BINARY = os.environ.get("CHROMA_BINARY") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "chroma")


class Server:
    """One process on a free port. `path` None: --ephemeral."""

    def __init__(self, path=None, config="", port=0, env=None):
        self.path, self.port, self.process = path, port, None
        self.config, self.env = config, env or {}
        self.log = tempfile.NamedTemporaryFile("w+b", prefix="chroma-log-", delete=False)

    def start(self, wait=60.0):
        command = [BINARY, "run"]
        text = f"port: {self.port}\nlisten_address: 127.0.0.1\nallow_reset: true\n{self.config}"
        if self.path is not None:
            text += f"\npersist_path: {self.path}\n"
        self.config_file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)
        self.config_file.write(text)
        self.config_file.close()
        command.append(self.config_file.name)
        if self.path is None:
            command.append("--ephemeral")
        self.log.seek(0, os.SEEK_END)
        begin = self.log.tell()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, **self.env})
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            found = re.search(rb"Connect to Chroma at: (https?)://[^:\s]+:(\d+)", self.output(begin))
            if found:
                self.port_now = int(found.group(2))
                self.base = f"{found.group(1).decode()}://127.0.0.1:{self.port_now}"
                return self
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.output().decode(errors='replace')}")
            time.sleep(0.01)
        raise RuntimeError("the server does not come up:\n" + self.output().decode(errors="replace"))

    def output(self, begin=0):
        with open(self.log.name, "rb") as f:
            f.seek(begin)
            return f.read()

    def stop(self, wait=30.0):
        """SIGTERM; the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(wait)
        self.process = None
        os.unlink(self.config_file.name)
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None
        os.unlink(self.config_file.name)

    def restart(self):
        assert self.stop() == 0
        return self.start()

    def heartbeat(self):
        with urllib.request.urlopen(self.base + "/api/v2/heartbeat", timeout=10) as r:
            return r.read()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.stop()


def wait_until(condition, seconds=60.0, what="condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true in {seconds} s")
