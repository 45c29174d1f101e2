"""The pages as they ship, in a process of their own, over a database that is there: prints its address and serves."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import structlog

from agent.archive.blobs import open_archive
from agent.settings import Settings, WebSettings
from agent.store.engine import Store
from agent.web.app import WebServer
from agent.web.services import Services
from linker.link import Linker


async def _no_part(plain: bytes, part: int) -> tuple[bytes, str, str]:
    raise NotImplementedError


async def _serve(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), web=WebSettings(port=0))
        store = Store(url)
        server = WebServer(
            Services(
                settings=settings,
                store=store,
                archive=open_archive(settings.data_dir, ""),
                linker=Linker(store, settings),
                extract_part=_no_part,
            )
        )
        await server.start()
        print(f"{server.address[0]}:{server.address[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until the parent is gone
        await server.stop()
        await store.close()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    asyncio.run(_serve(sys.argv[1]))
