"""A Hugging Face Hub on this machine, as far as its real client asks: accounts, repositories, LFS, commits, gates, and faults on demand.

    with LocalHub() as hub:
        token = hub.user("alice", organizations={"acme": "write"})
        hub.repo("google/gated", {"config.json": b"{}"}, gated=True)
        hub.fail("PUT", "/_lfs/", drop_after=1000)            # the next such request breaks off after 1000 bytes

The `hub` fixture of conftest.py points huggingface_hub at one. Written after the requests of huggingface_hub 2.4 and the Hub's documented
answers; it knows no Xet, no pull requests and no web pages. Routes are plain functions: see `tests/local_hub_routes.py`; more are added with
`@route(method, pattern)` in a module that the test imports.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SCOPES = frozenset({"read-repos", "write-repos", "manage-repos", "gated-repos", "inference-api", "jobs", "read-billing"})
"""What a token may do if a test says nothing else. An OAuth token of a Space has "contribute-repos" in place of the first three."""
KEPT = 1 << 20
"""Bytes of a request's body that the log keeps."""


@dataclass
class User:
    """One token: the account it belongs to and what it may do."""

    name: str
    token: str
    organizations: dict[str, str] = field(default_factory=dict)
    """name -> role there: admin, write, contributor or read"""
    scopes: frozenset[str] = SCOPES
    role: str = "write"
    pro: bool = False
    can_pay: bool = False

    def may(self, scope: str) -> bool:
        return scope in self.scopes

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or self.organizations.get(namespace) in ("admin", "write", "contributor")


@dataclass
class Stored:
    """A file in a commit: its bytes, its git object id, and its SHA-256 where it is an LFS object."""

    data: bytes
    lfs: str | None = None

    @property
    def oid(self) -> str:
        size = len(self.data)
        raw = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.lfs}\nsize {size}\n".encode() if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


@dataclass
class Repo:
    """A repository: `commits` are (id, message, files), the newest last. `extra` is for what other routes keep (a Space's secrets)."""

    id: str
    type: str
    private: bool = False
    gated: bool = False
    readers: set[str] = field(default_factory=set)
    """Who has accepted the licence of a gated one."""
    made_with: str | None = None
    """The token that made it: "contribute-repos" may write only there."""
    commits: list[tuple[str, str, dict[str, Stored]]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, Stored]:
        return self.commits[-1][2]

    @property
    def namespace(self) -> str:
        return self.id.partition("/")[0]

    def commit(self, message: str, files: dict[str, Stored]) -> str:
        before = self.commits[-1][0] if self.commits else ""
        names = "".join(f"{name}{one.oid}" for name, one in sorted(files.items()))
        self.commits.append((hashlib.sha1(f"{before}{message}{names}".encode()).hexdigest(), message, files))
        return self.sha

    def at(self, revision: str) -> tuple[str, dict[str, Stored]]:
        """Commit and files of a revision. Raises Refuse."""
        if revision == "main":
            return self.sha, self.files
        for id, _, files in self.commits:
            if len(revision) >= 7 and id.startswith(revision):
                return id, files
        raise Refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")


@dataclass
class Request:
    """What was asked. `user` is None without a token; `known` is False for a token that nobody has."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    user: User | None = None
    known: bool = True
    size: int = 0

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    type: str = "application/json"


class Refuse(Exception):
    """An answer that is an error, as the Hub words them: status, X-Error-Code (may be empty), X-Error-Message."""

    def __init__(self, status: int, code: str, message: str, **headers: str):
        super().__init__(message)
        self.answer = Answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message, **headers})


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that fit: see `LocalHub.fail`."""

    method: str
    pattern: re.Pattern[str]
    status: int | None
    message: str
    headers: dict[str, str]
    drop_after: int | None
    stall: float | None
    times: int
    skip: int


Route = Callable[..., Answer]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    """`@route("GET", r"/api/things/(?P<name>[^/]+)") def thing(hub, request, name) -> Answer`: raises Refuse; runs under the Hub's lock."""

    def add(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return add


class LocalHub:
    """The server and all that it knows. A context manager."""

    def __init__(self, lfs_above: int = 1 << 20):
        from tests import local_hub_routes  # noqa: F401  its import adds the routes

        self.lfs_above = lfs_above
        self.users: dict[str, User] = {}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        """LFS objects by SHA-256, whether a commit holds them or not."""
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.extra: dict[str, Any] = {}
        self.lock = threading.RLock()
        self.ended = threading.Event()

    # -- what a test sets up

    def user(self, name: str, organizations: Mapping[str, str] | None = None, **properties: Any) -> str:
        """A new token of the account `name`, impossible to guess: a test that finds it anywhere has found a leak."""
        token = properties.pop("token", None) or f"hf_canary{secrets.token_hex(12)}"
        self.users[token] = User(name, token, dict(organizations or {}), **properties)
        return token

    def repo(self, id: str, files: Mapping[str, bytes] | Path | None = None, type: str = "model", **properties: Any) -> Repo:
        """A repository with one commit: `files` by name, or those of a folder."""
        if isinstance(files, Path):
            files = {str(one.relative_to(files)): one.read_bytes() for one in sorted(files.rglob("*")) if one.is_file()}
        repo = self.repos[type, id] = Repo(id, type, **properties)
        repo.commit("initial commit", {name: self.store(name, data) for name, data in (files or {}).items()})
        return repo

    def store(self, name: str, data: bytes) -> Stored:
        if not self.is_large(name, len(data)):
            return Stored(data)
        oid = hashlib.sha256(data).hexdigest()
        self.objects[oid] = data
        return Stored(data, oid)

    def is_large(self, name: str, size: int) -> bool:
        return size > self.lfs_above or bool(re.search(r"\.(safetensors|model|bin|pt|task|litertlm|tflite|zip|gguf)$", name))

    def accept(self, id: str, name: str) -> None:
        """The account `name` has accepted the licence of a gated model."""
        self.repos["model", id].readers.add(name)

    def fail(
        self, method: str, pattern: str, *, status: int | None = None, message: str = "injected", headers: Mapping[str, str] | None = None,
        drop_after: int | None = None, stall: float | None = None, times: int = 1, skip: int = 0,
    ) -> None:  # fmt: skip
        """The next `times` requests of `method` ("*": any) whose path holds the regular expression `pattern`, after `skip` of them, fail.

        With `status` the Hub answers that; with `drop_after` the connection is reset after so many bytes of what the client sends
        (PUT, POST) or is sent (GET); with `stall` the answer comes so many seconds late.
        """
        fault = Fault(method, re.compile(pattern), status, message, dict(headers or {}), drop_after, stall, times, skip)
        with self.lock:
            self.faults.append(fault)

    def asked(self, method: str, pattern: str) -> list[Request]:
        """The logged requests of `method` whose path holds the regular expression `pattern`."""
        return [one for one in self.log if one.method == method and re.search(pattern, one.path)]

    def leaks(self) -> list[str]:
        """Requests that carried a token anywhere but in their Authorization header, or to the file storage at all."""
        found = []
        for one in self.log:
            rest = (one.path + repr(sorted(one.query.items()))).encode() + one.body
            headers = "".join(value for name, value in one.headers.items() if name.lower() != "authorization").encode()
            to_storage = one.path.startswith(("/_lfs/", "/_cdn/")) and "authorization" in {name.lower() for name in one.headers}
            if to_storage or any(token.encode() in rest + headers for token in self.users):
                found.append(f"{one.method} {one.path}")
        return found

    # -- serving

    def start(self) -> str:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.storage = f"http://localhost:{self._server.server_port}"
        """Where LFS objects are sent to and fetched from: another host, as with the Hub."""
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self.url

    def stop(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> LocalHub:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Variables for a process that is to use this Hub, with a Hub folder of its own."""
        own = {
            "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost",
        }  # fmt: skip
        return own | ({"HF_TOKEN": token} if token else {})

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request; it is used up."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method in (method, "*") and fault.pattern.search(path):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def answer(self, request: Request) -> Answer:
        asked = "GET" if request.method == "HEAD" else request.method
        for method, pattern, function in ROUTES:
            if method in (asked, request.method) and (found := pattern.fullmatch(request.path)):
                with self.lock:
                    return function(self, request, **found.groupdict())
        return Answer(404, {"error": f"local Hub: no route {request.method} {request.path}"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes, and the second would wait 40 ms for the client's word
    hub: LocalHub

    def log_message(self, *_: Any) -> None:
        """The log is `hub.log`."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {name: values[0] for name, values in parse_qs(parts.query).items()}
        fault = self.hub.fault(self.command, path)
        sends = self.command in ("PUT", "POST")
        limit = fault.drop_after if fault and fault.drop_after is not None and sends else None
        with suppress(ConnectionError):
            body = self._body(limit)
            request = Request(self.command, path, query, dict(self.headers.items()), body[:KEPT], size=len(body))
            header = self.headers.get("Authorization", "")
            request.user = self.hub.users.get(header.removeprefix("Bearer ")) if header else None
            request.known = not header or request.user is not None
            self.hub.log.append(request)
            if limit is not None:
                return self._reset()
            if fault and fault.stall:
                self.hub.ended.wait(fault.stall)
            if fault and fault.status:
                headers = {"X-Error-Message": fault.message, **fault.headers}
                return self._send(Answer(fault.status, {"error": fault.message}, headers))
            whole = Request(**{**vars(request), "body": body})
            try:
                answer = self.hub.answer(whole)
            except Refuse as refused:
                answer = refused.answer
            self._send(answer, fault.drop_after if fault else None)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    def _body(self, limit: int | None) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts, total = [], 0
            while (size := int(self.rfile.readline().strip() or b"0", 16)) and (limit is None or total < limit):
                parts.append(self.rfile.read(size))
                total += size
                self.rfile.readline()
            if limit is None:
                self.rfile.readline()
            return b"".join(parts)
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length if limit is None else min(limit, length))

    def _send(self, answer: Answer, drop_after: int | None = None) -> None:
        if isinstance(answer.body, Iterator):
            return self._stream(answer)
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        headers = {"Content-Length": str(len(raw)), "X-Request-Id": secrets.token_hex(4), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if drop_after is None:
            self.wfile.write(raw)
            return
        self.wfile.write(raw[:drop_after])
        self.wfile.flush()
        time.sleep(0.05)  # let it arrive before the connection goes
        self._reset()

    def _stream(self, answer: Answer) -> None:
        """An answer that is still being made: one chunk after the other."""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in answer.body:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _reset(self) -> None:
        """Break the connection off in the middle, as a network does: with a reset, not with an end."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()
