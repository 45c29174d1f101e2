"""The socket of the pages: opened once by the main process, served by however many page processes there are.

It outlives them: what knocks while one is being replaced waits in it, and is not refused.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time

from agent.errors import Misconfigured
from agent.settings import WebSettings

BACKLOG = 256
_PATIENCE_SECONDS = 3.0  # a service that was killed a moment ago: its page processes are still leaving
_PAUSE_SECONDS = 0.05


def open_socket(settings: WebSettings) -> socket.socket:
    """Listen at ``web.listen``; port 0 picks a free one. Blocks for as long as a run that was killed still leaves.

    Raises:
        Misconfigured: the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in settings.listen else socket.AF_INET
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return socket.create_server((settings.listen, settings.port), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise Misconfigured(
                    f"The pages cannot listen on {settings.listen}:{settings.port}: {error.strerror}.",
                    remedy="Set web.listen and web.port in cardline.toml to a free address of this machine.",
                ) from None
        time.sleep(_PAUSE_SECONDS)


async def until_served(host: str, port: int) -> None:
    """Wait until a page process answers: to connect proves nothing, since the socket listens before anybody serves."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                if await reader.readline():
                    return
            finally:
                writer.close()
        except OSError:
            pass  # a process that died with our connection; the next one takes another
        await asyncio.sleep(_PAUSE_SECONDS)
