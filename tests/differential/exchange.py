"""The two servers and one request to each of them."""
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from chroma_server import Server  # noqa: E402


def upstream_binary():
    """The real server: CHROMA_UPSTREAM, else that of this Python's chromadb package, else the machine's oracle."""
    candidates = [os.environ.get("CHROMA_UPSTREAM"), os.path.join(os.path.dirname(sys.executable), "chroma"),
                  "/opt/oracle/bin/chroma"]
    for path in candidates:
        if path and os.path.exists(path):
            return path
    raise SystemExit("no upstream server: set CHROMA_UPSTREAM to the `chroma` of chromadb 1.5.9")


class Upstream:
    """The real server on an empty store; `port_now` as Server has it."""

    def __enter__(self):
        with socket.socket() as s:  # it cannot say which port it took, so one is chosen here
            s.bind(("127.0.0.1", 0))
            self.port_now = s.getsockname()[1]
        self.directory = tempfile.mkdtemp(prefix="chroma-upstream-")
        config = os.path.join(self.directory, "config.yaml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"port: {self.port_now}\nlisten_address: 127.0.0.1\nallow_reset: true\n"
                    f"persist_path: {self.directory}/data\n")
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen([upstream_binary(), "run", config], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port_now), timeout=5).close()
                return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise RuntimeError("the real server does not come up")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Answer:
    """`status` None: the connection ended without an answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"{self.status} {self.body[:600].decode('utf-8', 'replace')}"


class Peer:
    """A connection to one of the servers, kept open as long as the server keeps it."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def send(self, request, path):
        for is_last in (False, True):
            is_fresh = self.connection is None
            if is_fresh:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.connection._validate_path = lambda _: None  # paths go out byte for byte
                self.connection._encode_request = lambda text: text.encode("latin-1")
                self.connection._validate_method = lambda _: None
            try:
                return self._exchange(self.connection, request, path)
            except (http.client.HTTPException, OSError):
                self.close()
                if is_fresh or is_last:
                    return Answer(None, {}, b"")
        raise AssertionError("not reached")

    def _exchange(self, c, request, path):
        c.putrequest(request.method, path, skip_accept_encoding=True)
        for name, value in request.headers:
            c.putheader(name, value)
        if request.body is not None and not any(n.lower() == "transfer-encoding" for n, _ in request.headers):
            c.putheader("content-length", str(len(request.body)))
            c.endheaders(request.body)
        elif request.body is not None:
            half = len(request.body) // 2
            parts = [p for p in (request.body[:half], request.body[half:]) if p]
            c.endheaders(b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n")
        else:
            c.endheaders()
        response = c.getresponse()
        body = response.read()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)
        if response.will_close:
            self.close()
        return answer

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


__all__ = ["Answer", "Peer", "Server", "Upstream", "upstream_binary"]
