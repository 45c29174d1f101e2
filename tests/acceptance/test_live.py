"""A call in progress in the whole program: paused by a CRM, listened to by a supervisor, and what is left of it."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import ClientSession, CookieJar

from agent.demo.siprec_client import PlayedCall, play_call
from agent.model import MarkKind, UserRole
from agent.store import accounts, history, interactions, sources, tokens
from agent.store.history import Entry
from tests.acceptance.service import ServiceUnderTest
from tests.certificates import Authority

pytestmark = pytest.mark.timeout(240)

PASSWORD = "correct horse battery"
RATE = 16000
TALK_SECONDS = 14


def tone(hertz: float, seconds: float) -> bytes:
    """A-law at 8 kHz, without a moment of silence in it."""
    samples = np.sin(2 * np.pi * hertz * np.arange(int(seconds * 8000)) / 8000) * 12000
    encoder: Any = av.CodecContext.create("pcm_alaw", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in encoder.encode(frame))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceUnderTest]:
    one = ServiceUnderTest(tmp_path)
    await one.start(speech=False)
    yield one
    await one.stop()


@asynccontextmanager
async def logged_in(service: ServiceUnderTest, login: str) -> AsyncIterator[ClientSession]:
    """A browser of somebody who is let in here."""
    async with service.store() as store, store.begin() as connection:
        await accounts.insert_account(connection, login, login, PASSWORD, UserRole.SUPERVISOR)
    base = "http://{}:{}".format(*service.addresses["web"])
    async with ClientSession(base_url=base, cookie_jar=CookieJar(unsafe=True)) as http:
        text = await (await http.get("/login")).text()
        token = text.partition('name="csrf" value="')[2].partition('"')[0]
        form = {"login": login, "password": PASSWORD, "csrf": token, "next": "/live"}
        async with http.post("/login", data=form) as answer:
            assert answer.status == 200
        yield http


async def _entries(service: ServiceUnderTest) -> list[Entry]:
    async with service.store() as store, store.begin() as connection:
        return await history.load_entries(connection, await interactions.list_ids(connection))


def _level(samples: np.ndarray[Any, Any], start: float, end: float, rate: int) -> float:
    return float(np.abs(samples[int(start * rate) : int(end * rate)].astype(np.float64)).mean())


async def test_paused_by_a_crm_and_heard_by_a_supervisor(service: ServiceUnderTest) -> None:
    async with service.store() as store, store.begin() as connection:
        token = await tokens.insert_token(connection, "crm", ["calls:pause"])
    call = PlayedCall(
        caller="+74950000031", callee="101", caller_sound=tone(440, TALK_SECONDS), callee_sound=tone(1000, TALK_SECONDS)
    )
    async with logged_in(service, "boss") as boss:
        playing = asyncio.create_task(play_call(service.addresses["siprec"], call))
        await service.until(lambda: _is_shown(boss))
        (entry,) = await _entries(service)
        heard = asyncio.create_task(_listen(boss, entry.interaction.id))
        await asyncio.sleep(3)
        base = "http://{}:{}".format(*service.addresses["web"])
        async with ClientSession(base_url=base, headers={"Authorization": f"Bearer {token}"}) as crm:
            paused, took = await _ask(crm, "/api/v1/pause", {"extension": "101"})
            assert paused == {"calls": [{"id": entry.interaction.id, "state": "paused"}]}
            began = time.time()
            await asyncio.sleep(3)
            assert "data-command" in await (await boss.get("/live")).text()
            ended = time.time()
            resumed, _ = await _ask(crm, "/api/v1/resume", {"number": "8 495 000-00-31"})
            assert resumed["calls"][0]["state"] == "recording"
        played = await playing
        first, stream = await heard
    await service.until(lambda: _is_recorded(service))
    (entry,) = await _entries(service)
    (recording,) = entry.recordings
    assert played.answered is not None
    at = recording.started.timestamp()
    samples = await asyncio.to_thread(_decode, service.archive().read(recording.blob))
    print(f"\npaused within {took * 1000:.0f} ms of asking; sound at the listener after {first:.2f} s")
    for channel in range(2):
        sound = samples[:, channel]
        assert _level(sound, began - at, ended - at, 8000) == 0, "sound of the pause exists"
        assert _level(sound, began - at - 1.5, began - at - 0.5 - took, 8000) > 1000
        assert _level(sound, ended - at + 0.5, ended - at + 1.5, 8000) > 1000
    assert any(gap.start_ms <= (began - at) * 1000 + 100 <= gap.end_ms for gap in recording.gaps)
    # What the supervisor heard: both parties, each in an ear, and nothing for at least as long as the pause was.
    heard_samples = np.frombuffer(stream[44 : 44 + (len(stream) - 44) // 4 * 4], np.int16).reshape(-1, 2)
    for channel, hertz in ((0, 440), (1, 1000)):
        sound = heard_samples[:, channel]
        spectrum = np.abs(np.fft.rfft(sound))
        assert abs(np.argmax(spectrum) * RATE / len(sound) - hertz) < 5
        silent = np.abs(sound[: len(sound) // 320 * 320].reshape(-1, 320)).max(axis=1) < 50
        assert silent.sum() * 0.02 > ended - began - 0.1
        assert (~silent).sum() * 0.02 > 3


async def test_paused_by_keys_in_a_call_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    wanted = {"PAUSE_KEYS": "*7", "RESUME_KEYS": "*8", "TLS_PORT": "0"}
    wanted |= {"TLS_CERTIFICATE": str(pair.certificate), "TLS_KEY": str(pair.key)}
    for name, value in wanted.items():
        monkeypatch.setenv(f"CARDLINE_SIPREC__{name}", value)
    service = ServiceUnderTest(tmp_path)
    await service.start(speech=False)
    sound, (pressed, again) = tone(440, TALK_SECONDS), (3.0, 8.0)
    call = PlayedCall(
        caller="+74950000032",
        callee="101",
        caller_sound=sound,
        callee_sound=sound,
        keys=((pressed, "*7"), (again, "*8")),
    )
    try:
        async with logged_in(service, "boss") as boss:
            door = service.addresses["siprec_tls"]
            playing = asyncio.create_task(play_call(door, call, "tls", tls=authority.client_context()))
            await service.until(lambda: _shows(boss, "is-paused", True))
            await service.until(lambda: _shows(boss, "is-paused", False))
            assert not playing.done()
        played = await playing
        await service.until(lambda: _is_recorded(service))
        (entry,) = await _entries(service)
        (recording,) = entry.recordings
        samples = await asyncio.to_thread(_decode, service.archive().read(recording.blob))
        async with service.store() as store, store.begin() as connection:
            known = {one.source for one in await sources.list_statuses(connection)}
        assert "siprec" in known
        assert "siprec_tls" not in known, "a second door of one source"
    finally:
        await service.stop()
    assert played.answered is not None
    begin = (played.answered - recording.started).total_seconds()
    (pause,) = [one for one in entry.marks[recording.id] if one.kind is MarkKind.PAUSE]
    assert pause.text == "keys"
    last_key_up = begin + pressed + 0.34  # both keys: 240 ms from one to the next, 100 ms held
    assert abs(pause.start_ms / 1000 - last_key_up) < 0.1
    for channel in range(2):
        assert _level(samples[:, channel], pause.start_ms / 1000, pause.end_ms / 1000, 8000) == 0
        assert _level(samples[:, channel], begin + pressed - 1, begin + pressed - 0.1, 8000) > 1000
        assert _level(samples[:, channel], pause.end_ms / 1000 + 0.5, pause.end_ms / 1000 + 1.5, 8000) > 1000


async def _shows(boss: ClientSession, what: str, there: bool) -> bool:
    text = await (await boss.get("/live")).text()
    return "data-listen" in text and (what in text) is there


async def _ask(crm: ClientSession, path: str, what: dict[str, str]) -> tuple[Any, float]:
    asked = time.monotonic()
    async with crm.post(path, json=what) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json(), time.monotonic() - asked


async def _listen(boss: ClientSession, number: int) -> tuple[float, bytes]:
    """Seconds until the first sound, and the whole stream, which ends by itself with the call."""
    asked, first = time.monotonic(), 0.0
    pieces: list[bytes] = []
    async with boss.get(f"/calls/{number}/listen") as answer:
        assert answer.status == 200
        async for piece in answer.content.iter_any():
            if pieces and not first:
                first = time.monotonic() - asked
            pieces.append(piece)
    return first, b"".join(pieces)


async def _is_shown(boss: ClientSession) -> bool:
    return "data-listen" in await (await boss.get("/live")).text()


async def _is_recorded(service: ServiceUnderTest) -> bool:
    return any(one.recordings for one in await _entries(service))


def _decode(flac: bytes) -> np.ndarray[Any, Any]:
    with av.open(io.BytesIO(flac), "r") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate([one.reshape(-1, 2) if one.shape[0] == 1 else one.T for one in frames])
