"""A schema registry of our own: what clients of Confluent's ask for, out of memory, and all ways to answer badly."""

import base64
import json
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .kafka import free_ports

Answer = tuple[int, Any]


def absent(code: int, what: str) -> Answer:
    return 404, {"error_code": code, "message": f"{what} not found"}


class Registry:
    """Answers until it is stopped; 'mode' says how. It forgets nothing but what a test takes out."""

    def __init__(
        self, prefix: str = "", user: tuple[str, str] | None = None, token: str | None = None, tls: ssl.SSLContext | None = None
    ):
        self.prefix, self.user, self.token, self.tls = prefix, user, token, tls
        self.port = free_ports(1)[0]
        self.mode = "ok"
        self.guids: str | None = None  # the way in which it answers for these, as one that knows none
        self.schemas: list[dict[str, Any]] = []  # by id - 1
        self.subjects: dict[str, list[int]] = {}  # ids by version - 1
        self.asked: list[str] = []
        self.before: Callable[[str], None] | None = None  # is called with each path before it is answered
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{self.prefix}"

    def start(self) -> "Registry":
        registry = self
        self._released.clear()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802 - the library's name
                registry._answer(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer.daemon_threads = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Nobody listens any more; what waits for an answer gets none."""
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    # -- what it knows

    def add(self, schema: str, subject: str = "s", kind: str = "AVRO", **more: Any) -> int:
        """The schema's id, the same for an equal one."""
        made = {"schema": schema, "schemaType": kind} | more
        with self._lock:
            known = [number for number, each in enumerate(self.schemas, 1) if each.items() >= made.items()]
            if not known:
                self.schemas.append(made | {"guid": str(uuid.uuid4())})
            number = known[0] if known else len(self.schemas)
            versions = self.subjects.setdefault(subject, [])
            if number not in versions:
                versions.append(number)
            return number

    def _describe(self, number: int, subject: str = "s") -> dict[str, Any]:
        versions = self.subjects.get(subject, [])
        version = versions.index(number) + 1 if number in versions else 1
        found = dict(self.schemas[number - 1])
        if found["schemaType"] == "AVRO":
            del found["schemaType"]
        return found | {"id": number, "subject": subject, "version": version}

    # -- requests

    def _find(self, method: str, parts: list[str], body: dict[str, Any]) -> Answer:
        match [method, *parts]:
            case ["GET", "schemas", "ids", number] if int(number) >= 1 << 31:  # no number of Java's, so no such path
                return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
            case ["GET", "schemas", "ids", number]:
                known = 1 <= int(number) <= len(self.schemas)
                return (200, self._describe(int(number))) if known else absent(40403, "Schema")
            case ["GET", "schemas", "types"]:
                return 200, ["JSON", "PROTOBUF", "AVRO"]
            case ["GET", "schemas", "guids", guid]:
                known = [number for number, each in enumerate(self.schemas, 1) if each["guid"] == guid]
                return (200, self._describe(known[0])) if known else absent(40403, "Schema")
            case ["GET", "subjects", subject, "versions", version]:
                versions = self.subjects.get(subject, [])
                index = len(versions) if version == "latest" else int(version)
                return (200, self._describe(versions[index - 1], subject)) if 1 <= index <= len(versions) else absent(40402, "Version")
            case ["POST", "subjects", subject, *_]:
                more = {name: body[name] for name in ("references", "ruleSet") if body.get(name)}
                return 200, self._describe(self.add(body["schema"], subject, body.get("schemaType", "AVRO"), **more), subject)
        return absent(404, "HTTP 404")

    def _is_let_in(self, authorization: str | None) -> bool:
        if self.token is not None:
            return authorization == f"Bearer {self.token}"
        if self.user is not None:
            return authorization == "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
        return True

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length)) if length else {}
        self.asked.append(request.path)
        if self.before:
            self.before(path)
        if request.command == "POST":
            status, answer = self._find("POST", path.removeprefix(self.prefix).strip("/").split("/"), body)
        elif self.mode in WAYS or (self.guids and "/schemas/guids/" in path):
            WAYS[self.mode if self.mode in WAYS else self.guids](self, request)
            return
        elif not self._is_let_in(request.headers.get("Authorization")):
            status, answer = 401, {"error_code": 401, "message": "Unauthorized"}
        elif not path.startswith(self.prefix + "/"):
            send(request, 404, b"<html>no such page</html>", "text/html")
            return
        else:
            status, answer = self._find("GET", path.removeprefix(self.prefix).strip("/").split("/"), body)
        send(request, status, json.dumps(answer).encode())


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "application/vnd.schemaregistry.v1+json", **headers: str) -> None:
    request.send_response(status)
    for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def answer_half(registry: Registry, request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"schema": "')
    request.close_connection = True


def answer_huge(registry: Registry, request: BaseHTTPRequestHandler) -> None:
    """For ever, as far as anybody listens, without saying before how much it is."""
    request.send_response(200)
    request.end_headers()
    try:
        while not registry._released.is_set():
            request.wfile.write(b" " * 1_000_000)
    except OSError:
        pass


def answer_never(registry: Registry, request: BaseHTTPRequestHandler) -> None:
    registry._released.wait(60)
    request.close_connection = True


def answer_with(status: int, body: bytes, **headers: str) -> Callable[[Registry, BaseHTTPRequestHandler], None]:
    return lambda registry, request: send(request, status, body, **headers)


WAYS: dict[str, Callable[[Registry, BaseHTTPRequestHandler], None]] = {
    "half": answer_half,
    "huge": answer_huge,
    "never": answer_never,
    "error": answer_with(500, b'{"error_code": 50001, "message": "the store is away\\u0007\\n"}'),
    "redirect": answer_with(302, b"", Location="http://127.0.0.1:1/elsewhere"),
    "html": answer_with(200, b"<html>log in first</html>", kind="text/html"),
    "page": answer_with(404, b"<html>no such page</html>", kind="text/html"),
    "empty": answer_with(200, b""),
    "unknown": answer_with(404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}'),
    "method": answer_with(405, b""),
    "no schema": answer_with(200, b'{"id": 1}'),
    "no text": answer_with(200, b'{"schema": 5}'),
    "nul": answer_with(200, b'{"schema": "\\u0000"}'),
    "deep": answer_with(200, b"[" * 100_000),
    "values": answer_with(200, b'{"schema": "\\"\\"int\\"\\",", "more": [' + b"[]," * 200_000 + b"[]]}"),
    "circle": answer_with(200, b'{"schema": "{}", "references": [{"name": "a", "subject": "a/b?c", "version": 1}]}'),
    "references": answer_with(200, b'{"schema": "{}", "references": [{"name": "a", "subject": 1}]}'),
    "many": answer_with(200, json.dumps({"schema": "{}", "references": [{"subject": str(n), "version": 1} for n in range(300)]}).encode()),
}


def make_certificate(folder: Path, name: str, signer: str | None = None, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """A certificate and its key, signed by another one of the folder or by itself."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    signed = ["-CA", str(folder / f"{signer}.pem"), "-CAkey", str(folder / f"{signer}.key")] if signer else []
    extension = f"subjectAltName=IP:{address}" if signer else "basicConstraints=critical,CA:TRUE"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", extension, "-keyout", str(key), "-out", str(certificate), *signed],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key
