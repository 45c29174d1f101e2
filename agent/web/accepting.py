"""Taking connections of a socket that several page processes serve, so that each gets its share of them.

All of them wake at a knock, and whoever is first would take it: by chance one then has six of eight browsers, and each
of these waits for five others while a core is idle. So whoever has more connections comes to the door later.
"""

from __future__ import annotations

import asyncio
import socket

import structlog
from aiohttp import web

log = structlog.get_logger()

_SECONDS_A_CONNECTION = 0.0005
_LONGEST_SECONDS = 0.01  # nobody notices it, once a connection
_PAUSE_SECONDS = 0.5  # when there are no descriptors left for another one


class SharedSite(web.BaseSite):
    """Serves a listening socket beside other processes that do the same."""

    def __init__(self, runner: web.AppRunner, listening: socket.socket) -> None:
        super().__init__(runner)
        self._listening = listening
        self._waking: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def name(self) -> str:
        """As aiohttp names a site."""
        host, port = self._listening.getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Take connections from now on."""
        await super().start()
        self._listening.setblocking(False)
        self._watch()

    async def stop(self) -> None:
        """Take no more; those there are go on until the runner ends them."""
        asyncio.get_running_loop().remove_reader(self._listening)
        if self._waking is not None:
            self._waking.cancel()
        await super().stop()

    def _watch(self) -> None:
        asyncio.get_running_loop().add_reader(self._listening, self._hear_knock)

    def _hear_knock(self) -> None:
        server = self._runner.server
        assert server is not None
        self._wait(min(len(server.connections) * _SECONDS_A_CONNECTION, _LONGEST_SECONDS))

    def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        self._waking = loop.call_later(seconds, self._take)

    def _take(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            self._watch()  # another process was first, or whoever knocked is gone
        except OSError as error:
            log.warning("connection_not_taken", reason=error.strerror)
            self._wait(_PAUSE_SECONDS)
        else:
            self._watch()
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        server = self._runner.server
        assert server is not None
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(server, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
