"""A virtual PBX and the whole program: what was answered 200 is in the history with its sound, also after a SIGKILL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from sqlalchemy import text

from tests.acceptance.service import ServiceUnderTest
from tests.unit.soundfiles import wav_bytes
from tests.unit.soundlab import chirps

pytestmark = pytest.mark.timeout(300)
TOKEN = "token-of-twenty-letters"
END = {
    "event": "end",
    "direction": "in",
    "outside": "+74950000011",
    "extension": "101",
    "started": "2026-03-02T09:00:00Z",
    "answered": "2026-03-02T09:00:04Z",
    "ended": "2026-03-02T09:00:06Z",
    "status": "answered",
}


@pytest.fixture
async def files() -> AsyncIterator[str]:
    """A PBX's web server with one recording in stereo."""
    sound = wav_bytes(np.stack([chirps(2.0), chirps(2.0, seed=2)], axis=1))

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=sound, content_type="audio/x-wav")

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceUnderTest]:
    extra = f"""
[[provider]]
name = "office"
preset = "generic"
timezone = "Europe/Moscow"
token = "{TOKEN}"
recording_hosts = ["127.0.0.1"]
allow_private_hosts = true
"""
    one = ServiceUnderTest(tmp_path, extra)
    await one.start(speech=False)
    yield one
    await one.stop()


async def tell(service: ServiceUnderTest, **fields: str) -> int:
    host, port = service.addresses["web"]
    address = f"http://{host}:{port}/hooks/office/{TOKEN}"
    async with aiohttp.ClientSession() as http, http.post(address, json=fields) as answer:
        return answer.status


async def rows(service: ServiceUnderTest, query: str) -> list[Any]:
    async with service.store() as store, store.begin() as connection:
        return list((await connection.execute(text(query))).all())


async def test_calls_with_their_recordings(service: ServiceUnderTest, files: str) -> None:
    assert await tell(service, call_id="1", **END) == 200
    assert await tell(service, call_id="1", event="record", recording_url=f"{files}/1.wav") == 200

    async def is_recorded() -> bool:
        return bool(await rows(service, "SELECT 1 FROM recording WHERE channels = 2"))

    await service.until(is_recorded, 120)
    (call,) = await rows(service, "SELECT disposition FROM call")
    assert call.disposition == "answered"


async def test_killed_right_after_its_answers_it_has_lost_none(service: ServiceUnderTest) -> None:
    for number in range(20):
        assert await tell(service, call_id=str(number), **END | {"extension": str(100 + number)}) == 200
    await service.kill()
    await service.start(speech=False)

    async def are_there() -> bool:
        return len(await rows(service, "SELECT 1 FROM provider_call WHERE state = 'ended'")) == 20

    await service.until(are_there, 150)
