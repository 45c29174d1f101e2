"""The whole program beside an Asterisk: each voice in its own channel, at its time, also through a kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from agent.model import Disposition, SourceState
from agent.store import evidence, history, interactions, sources
from agent.store.history import Entry
from agent.store.recordings import Recording
from tests.acceptance.service import ServiceUnderTest
from tests.asterisk.pbx import SECRET, USER, FakeAsterisk, fake_asterisk
from tests.unit.soundlab import chirps, encode, read_sound, shift_of

pytestmark = pytest.mark.timeout(240)

CLIENT, ANNA, BORIS = "1795317651.9", "1795317651.10", "1795317655.12"  # channels of the attended transfer
SECONDS = {CLIENT: 10.0, ANNA: 4.0, BORIS: 4.0}
SOUNDS = {channel: chirps(seconds, seed=seed) for seed, (channel, seconds) in enumerate(SECONDS.items(), start=1)}
RATE, TOLERANCE = 8000, 0.1  # seconds by which the signalling itself may be late

ASTERISK = """
[[asterisk]]
name = "office"
url = "{url}"
user = "{user}"
secret = "{secret}"
"""


@pytest.fixture
async def pbx() -> AsyncIterator[FakeAsterisk]:
    async with fake_asterisk() as one:
        one.sounds = {channel: b"".join(encode(sound, "pcm_alaw")) for channel, sound in SOUNDS.items()}
        yield one


@pytest.fixture
async def service(
    pbx: FakeAsterisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServiceUnderTest]:
    monkeypatch.setenv("CARDLINE_SIPREC__ENABLED", "false")
    one = ServiceUnderTest(tmp_path, ASTERISK.format(url=pbx.url, user=USER, secret=SECRET))
    try:
        await one.start(speech=False)
        await one.until(lambda: _is(one, SourceState.RUNNING))
        yield one
    finally:
        await one.stop()


async def _is(service: ServiceUnderTest, state: SourceState) -> bool:
    async with service.store() as store, store.begin() as connection:
        statuses = await sources.list_statuses(connection)
    return any(one.source == "asterisk:office" and one.state is state for one in statuses)


async def _entries(service: ServiceUnderTest) -> list[Entry]:
    async with service.store() as store, store.begin() as connection:
        found = await history.load_entries(connection, await interactions.list_ids(connection))
    return sorted(found, key=lambda one: one.interaction.started)


def _has_ended(entry: Entry) -> bool:
    return entry.call is not None and entry.call.ended is not None and set(entry.captures) == {"assembled"}


async def test_a_transferred_call_is_one_recording_with_every_voice_where_and_when_it_was(
    pbx: FakeAsterisk, service: ServiceUnderTest, tmp_path: Path
) -> None:
    async def ended() -> bool:
        found = await _entries(service)
        return len(found) == 2 and all(map(_has_ended, found))

    await pbx.play("attended_transfer")
    await service.until(ended)
    call, consultation = await _entries(service)
    assert call.call is not None and call.call.disposition is Disposition.ANSWERED and not call.call.truncated
    assert [(one.position, one.value, one.channel) for one in call.parties] == [
        ("caller", "79161234567", 0),
        ("callee", "101", 1),
        ("participant", "102", 2),
    ]
    assert call.interaction.conversation_key == consultation.interaction.conversation_key == CLIENT
    assert [one.value for one in consultation.parties] == ["101", "102"] and consultation.recordings == ()
    (recording,) = call.recordings
    heard = _decode(service, recording, tmp_path)
    for channel, seat in ((CLIENT, 0), (ANNA, 1), (BORIS, 2)):
        place = round((pbx.sounded[channel] - recording.started.timestamp()) * RATE)
        assert abs(shift_of(heard[:, seat], SOUNDS[channel], place=place)) <= TOLERANCE * RATE
    assert not pbx.leftovers
    async with service.store() as store, store.begin() as connection:
        proofs = await evidence.find_evidence(connection, list(range(1, 100)))
    assert [one.source for one in proofs] == ["asterisk:office"] * 2


def _decode(
    service: ServiceUnderTest, recording: Recording, folder: Path
) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    path = folder / "heard.flac"
    path.write_bytes(service.archive().read(recording.blob))
    return read_sound(path)


async def test_a_call_goes_on_through_a_kill_and_stands_as_one_with_both_recordings(
    pbx: FakeAsterisk, service: ServiceUnderTest
) -> None:
    playing = asyncio.create_task(pbx.play("inbound_answered", until=3.5))
    await service.until(lambda: _tapped(pbx, 2))
    await playing
    taps = set(pbx.leftovers)
    await service.kill()
    await service.start(speech=False)
    await service.until(lambda: _tapped(pbx, 2))
    await service.until(lambda: _gone(pbx, taps))
    await service.until(lambda: _grown(service, bytes_a_voice=9000))  # 50 packets and their heads
    await pbx.play("inbound_answered", since=5.5)

    async def ended() -> bool:
        found = await _entries(service)
        return len(found) == 1 and _has_ended(found[0]) and len(found[0].recordings) == 2

    await service.until(ended)
    (call,) = await _entries(service)
    assert call.call is not None and call.call.disposition is Disposition.ANSWERED
    assert sorted(one.truncated for one in call.recordings) == [False, True]
    assert [(one.channels, one.duration_ms > 900) for one in call.recordings] == [(2, True)] * 2
    assert not pbx.leftovers


async def _tapped(pbx: FakeAsterisk, number: int) -> bool:
    return len(pbx.tapped) == number


async def _grown(service: ServiceUnderTest, *, bytes_a_voice: int) -> bool:
    """Whether the newest capture has so much of both voices."""
    newest = max((service.folder / "data" / "captures").iterdir(), key=lambda one: one.stat().st_ctime)
    sizes = [one.stat().st_size for one in newest.glob("*.rtpdump")]
    return len(sizes) == 2 and min(sizes) >= bytes_a_voice


async def _gone(pbx: FakeAsterisk, taps: set[str]) -> bool:
    return not taps & set(pbx.leftovers)
