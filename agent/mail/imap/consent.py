"""Where a browser comes back to after a person consented: one request on loopback (RFC 8252, 7.3)."""

from __future__ import annotations

import http.server
import time
import urllib.parse

from agent.errors import MailboxAuthFailed

_PAGE = "<!doctype html><meta charset=utf-8><title>Cardline</title><p>Done. You may close this page."


class Loopback:
    """Listens on 127.0.0.1 as long as the block lasts; ``address`` is where to send the browser back to."""

    def __init__(self) -> None:
        self._answers: list[str] = []
        answers = self._answers

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                answers.append(self.path[:4096])
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(_PAGE.encode())

            def log_message(self, *_: object) -> None:
                """The address holds a code: it is written nowhere."""

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Loopback:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def wait(self, state: str, seconds: float) -> str:
        """The code that came back with ``state``; other requests are let pass.

        Raises:
            MailboxAuthFailed: consent was refused, or nothing came in time.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._server.timeout = left
            self._server.handle_request()
            while self._answers:
                if (code := code_in(self._answers.pop(0), state)) is not None:
                    return code
        raise MailboxAuthFailed("Nobody consented in time.", remedy="Run the command again.")


def code_in(address: str, state: str) -> str | None:
    """The code in the address a browser was sent back to; None if it is not an answer to ``state``.

    Raises:
        MailboxAuthFailed: the person, or the provider, said no.
    """
    fields = urllib.parse.parse_qs(urllib.parse.urlsplit(address.strip()).query)
    if fields.get("state") != [state]:
        return None
    if "error" in fields:
        raise MailboxAuthFailed(f"Consent was refused: {fields['error'][0][:60]}.", remedy="Run the command again.")
    return fields.get("code", [None])[0]
