"""HTTP over plain sockets, byte for byte, for tests in which a client library would tidy up."""
import json
import socket

ROOT = "/api/v2"
DATABASE = ROOT + "/tenants/default_tenant/databases/default_database"
COLLECTIONS = DATABASE + "/collections"
ABSENT = "00000000-0000-0000-0000-000000000001"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class Connection:
    def __init__(self, port, headers=()):
        """`headers` go with every request()."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.headers, self.rest = list(headers), b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def read(self, is_head=False):
        """The next answer; EOFError if the connection ends before it."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        status = int(lines[0].split()[1])
        n = 0 if is_head or status < 200 else int(headers["content-length"])
        while len(self.rest) < n:
            self._more()
        body, self.rest = self.rest[:n], self.rest[n:]
        return Answer(status, headers, body)

    def _more(self):
        data = self.socket.recv(1 << 20)
        if data == b"":
            raise EOFError(f"closed; unread: {self.rest[:200]!r}")
        self.rest += data

    def is_closed(self):
        """Whether the other side closes now, without a further word."""
        try:
            return self.rest == b"" and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def ask(self, data, is_head=False):
        self.send(data)
        return self.read(is_head)

    def request(self, method, path, body=None, headers=()):
        """A well-formed request; `body`: bytes as they are, anything else as compact JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        all_headers = [("Host", "127.0.0.1")] + self.headers + list(headers)
        if body is not None:
            all_headers.append(("Content-Length", str(len(body))))
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in all_headers) + "\r\n"
        return self.ask(head.encode("latin-1") + (body or b""), is_head=method == "HEAD")
