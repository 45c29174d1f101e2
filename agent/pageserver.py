"""A page process: pages, HTTP API and the door for virtual PBXs, on the socket that the main process holds.

They are apart from the main process so that a page that takes long never delays an answer to a SIP request, and
several of them use several cores. Whichever has the fewest takes the next connection (`agent.web.accepting`); one that
dies is replaced while the others go on. Limits that are kept in memory (requests of the API, listeners, open event
streams) are each one's own.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from agent.errors import CardlineError
from agent.logs import configure_logging
from agent.mail.sandbox import Sandbox
from agent.parts import Parts
from agent.processes import keep_heap_small, leave_with_parent
from agent.settings import Settings, load_settings
from agent.sip.listening import ListeningPost
from agent.sip.providers.door import HookDoor
from agent.sip.providers.notification import Hook
from agent.sip.providers.preset import Reply
from agent.sip.providers.presets import providers_of
from agent.store.notices import Notices
from agent.web.app import WebServer
from agent.web.services import HookRequest, Services, TakeHook
from linker.link import Linker

log = structlog.get_logger()

_OBJECTS_UNTIL_COLLECTED = 20_000
_NICENESS = 2  # readers wait a moment rather than calls; jobs (10) wait for readers


async def serve_pages(settings: Settings, listening: socket.socket) -> None:
    """Serve until SIGTERM. The database is the one of the settings: the main process has put its URL there."""
    os.nice(_NICENESS)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        parts = Parts(settings, settings.database.url.get_secret_value())
        stack.push_async_callback(parts.close)
        sandbox, notices = Sandbox(), Notices(parts.store.url)
        stack.push_async_callback(sandbox.stop)
        running = [tasks.create_task(notices.run())]
        take_hook: TakeHook | None = None
        if settings.provider:
            door = HookDoor(parts.store, providers_of(settings))
            running.append(tasks.create_task(door.run()))
            take_hook = _taking(door)
        server = WebServer(
            Services(
                settings=settings,
                store=parts.store,
                archive=parts.archive,
                linker=Linker(parts.store, settings),
                extract_part=sandbox.extract_part,
                notices=notices,
                listen=ListeningPost(settings.data_dir / "captures").open,
                take_hook=take_hook,
            )
        )
        await server.start(listening)
        _collect_seldom()
        await stopping.wait()
        await server.stop()
        for task in running:
            task.cancel()


def _collect_seldom() -> None:
    """A page makes and drops tens of thousands of objects, few of them in circles: to look for those at every few
    hundred, through all that was loaded at the start, is a tenth of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_UNTIL_COLLECTED)


def _taking(door: HookDoor) -> TakeHook:
    """The door as the pages know it."""

    async def take(request: HookRequest) -> Reply:
        hook = Hook(
            tail=request.tail,
            query=request.query,
            content_type=request.content_type,
            body=request.body,
            signature=request.signature,
        )
        return await door.take(request.name, hook, address=request.address)

    return take


def main() -> None:
    """A child of the service. Its argument is the descriptor of the socket; settings come as a worker's do."""
    config = os.environ.get("CARDLINE_CONFIG")
    try:
        settings = load_settings(Path(config) if config else None)
        configure_logging(settings.log_format)
        keep_heap_small()
        leave_with_parent()
        asyncio.run(serve_pages(settings, socket.socket(fileno=int(sys.argv[1]))))
    except CardlineError as error:
        sys.exit(f"cardline: {error}")


if __name__ == "__main__":
    main()
