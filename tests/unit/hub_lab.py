"""A hub on this machine: speaks as much of the real one's HTTP as its client asks, and misbehaves as it is told to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"
_LARGE = 10_000  # from this size on a file is one of LFS, with a SHA-256 in the listing


@dataclass(kw_only=True)
class Hub:
    """``files``: repository → name → bytes. ``asked`` has what was asked for: file, first byte, bytes sent."""

    files: Mapping[str, Mapping[str, bytes]]
    cut_after: list[int] = field(default_factory=list)  # bytes after which each of the next large answers breaks off
    wrong: int = 0  # how many of the next large answers have a wrong byte
    statuses: list[int] = field(default_factory=list)  # of the next answers with a file
    listing_status: int = 200
    knows_ranges: bool = True
    stall: threading.Event | None = None  # set once the first half of a large file is sent; the rest never comes
    elsewhere: bool = False  # large files lie on another host, to which the hub sends on
    tokens: list[tuple[str, str]] = field(default_factory=list)  # host and authorization of each request for a file
    strange: list[str] = field(default_factory=list)  # paths that have nothing to do with fetching a model
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    address: str = ""

    def sent(self, name: str) -> list[tuple[int, int]]:
        """First byte and number of bytes of each answer with this file."""
        return [(first, count) for file, first, count in self.asked if file == name]


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The hub, serving on a port of this machine."""

    class Handler(_Handler):
        told = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Hub

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/").split("/revision/")[0])
        elif "/resolve/" in path:
            repository, _, rest = path[1:].partition("/resolve/")
            self._serve(repository, rest.partition("/")[2])
        else:
            self.told.strange.append(path)
            self._answer(404, b"{}")

    def _list(self, repository: str) -> None:
        files = self.told.files.get(repository)
        if self.told.listing_status != 200 or files is None:
            self._answer(self.told.listing_status if files is not None else 404, b'{"error": "Repository not found"}')
            return
        told = {"id": repository, "sha": REVISION, "siblings": [_listed(*item) for item in files.items()]}
        self._answer(200, json.dumps(told).encode())

    def _serve(self, repository: str, name: str) -> None:
        content = self.told.files[repository].get(name)
        host = self.headers["Host"]
        self.told.tokens.append((host, self.headers.get("Authorization", "")))
        if self.told.elsewhere and content is not None and len(content) >= _LARGE and host.startswith("127."):
            self.send_response(302)
            self.send_header("Location", f"http://{host.replace('127.0.0.1', 'localhost')}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = self.told.statuses.pop(0) if self.told.statuses else 200
        if content is None or status != 200:
            self._answer(404 if content is None else status, b"{}")
            return
        first = self._first_byte()
        rest = content[first:]
        is_large = len(content) >= _LARGE
        if is_large and self.told.wrong:
            self.told.wrong -= 1
            rest = rest[:-1] + bytes([rest[-1] ^ 1])
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if is_large and self.told.stall is not None and not self.told.stall.is_set():
            self.wfile.write(rest[: len(rest) // 2])
            self.told.stall.set()
            threading.Event().wait(30)
        cut = self.told.cut_after.pop(0) if is_large and self.told.cut_after else len(rest)
        self.wfile.write(rest[:cut])
        self.told.asked.append((name, first, min(cut, len(rest))))
        self.close_connection = self.close_connection or cut < len(rest)

    def _first_byte(self) -> int:
        asked = self.headers.get("Range", "")
        return int(asked.removeprefix("bytes=").partition("-")[0]) if asked and self.told.knows_ranges else 0

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *told: object) -> None:
        """Nothing on the test's stderr."""


def _listed(name: str, content: bytes) -> dict[str, object]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    told: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
    if len(content) >= _LARGE:
        digest = hashlib.sha256(content).hexdigest()
        told["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 134}
    return told
