"""An OAuth server on loopback that gives tokens as Google's and Microsoft's do, and can refuse or fall silent."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class OAuthServer:
    """``answers`` by path: a status and a JSON object each, in their order; the last one is repeated."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

            def _answer(self, body: str) -> None:
                split = urllib.parse.urlsplit(self.path)
                outer.asked.append((split.path, dict(urllib.parse.parse_qsl(body or split.query))))
                queue = outer.answers.get(split.path, [(404, {})])
                status, given = queue.pop(0) if len(queue) > 1 else queue[0]
                raw = json.dumps(given).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                """Silence."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> OAuthServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fields(self, path: str) -> list[dict[str, str]]:
        """What was asked at a path, in order."""
        return [fields for asked, fields in self.asked if asked == path]


class _Response:
    def __init__(self, status: int, text: str) -> None:
        self.status_code, self.text = status, text
        self.headers: dict[str, str] = {}

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise OSError(f"HTTP {self.status_code}")


class Rerouted:
    """The HTTP client msal is given: whatever host it asks, the server under test answers."""

    def __init__(self, server: OAuthServer) -> None:
        self._url = server.url

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> _Response:
        return self._ask(url, urllib.parse.urlencode(data or {}).encode())

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> _Response:
        return self._ask(url, None)

    def close(self) -> None:
        """Nothing is kept open."""

    def _ask(self, url: str, body: bytes | None) -> _Response:
        path = urllib.parse.urlsplit(url).path
        try:
            with urllib.request.urlopen(self._url + path, body, 5) as answer:
                return _Response(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return _Response(error.code, error.read().decode())
