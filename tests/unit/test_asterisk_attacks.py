"""A PBX gone mad: rubbish on the websocket, and a websocket that closes again and again. Calls go on all the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from agent.model import Disposition
from agent.sip.asterisk.clock import PbxClock
from tests.asterisk.bench import FAST, Bench, Lab, open_lab, running, until
from tests.asterisk.pbx import fake_asterisk

DEEP = "[" * 100_000
RUBBISH = [
    "",
    "null",
    "[]",
    "7",
    '"StasisStart"',
    "{",
    "{}",
    DEEP,
    '{"type": "ChannelCreated"}',
    '{"type": "ChannelCreated", "timestamp": "yesterday", "channel": {"id": 7, "state": [], "caller": "x"}}',
    '{"type": ["ChannelStateChange"], "channel": null}',
    '{"type": "ChannelStateChange", "timestamp": "2026-03-02T12:00:00.000+0000", "channel": {"id": "'
    + "x" * 9000
    + '"}}',
    '{"type": "BridgeCreated", "timestamp": "9999-12-31T23:59:59.999+0000", "bridge": {"id": "b", "channels": {}}}',
    '{"type": "BridgeCreated", "timestamp": "2099-12-31T23:59:59.999+0000", "bridge": {"id": "b", "channels": 1}}',
    '{"type": "ChannelDtmfReceived", "timestamp": "0001-01-01T00:00:00.000+0000", "digit": 5, "channel": {"id": "c"}}',
    '{"type": "ChannelHangupRequest", "timestamp": 1e400, "cause": "NaN", "channel": {"id": "\\u0000\\ud800"}}',
    json.dumps({"type": "ChannelVarset", "timestamp": None, "channel": {"id": {"id": {}}}, "variable": 1, "value": []}),
]


@pytest.fixture(scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path_factory.mktemp("asterisk") / "captures") as one:
        yield one


@pytest.fixture
async def bench(lab: Lab) -> AsyncIterator[Bench]:
    async with fake_asterisk() as pbx, lab.new_bench(pbx) as one:
        yield one


async def say(bench: Bench, text: str) -> None:
    for sock in tuple(bench.pbx._sockets):
        with contextlib.suppress(ConnectionError):
            await sock.send_str(text)


async def test_rubbish_among_the_events_loses_no_call(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
        for text in RUBBISH * 3:
            await say(bench, text)
        assert bench.pbx.listeners == 1, "none of it ends the connection"
        await bench.pbx.play("inbound_answered", since=2, speed=FAST)
        (call,) = await bench.all_ended()
    assert call.disposition is Disposition.ANSWERED
    assert bench.pbx.leftovers == []


def test_a_stray_date_sets_no_clock_and_a_wrong_clock_is_known_by_its_first_word() -> None:
    clock, now = PbxClock(), datetime(2026, 3, 2, 12, tzinfo=UTC)
    for number in range(200):
        stray = number % 20 == 19
        clock.hear(now + timedelta(days=30) if stray else now - timedelta(milliseconds=number % 7), now)
        assert clock.shift == timedelta()
    assert not clock.hear(datetime(9999, 12, 31, tzinfo=UTC), now) and not clock.hear(
        datetime(1, 1, 2, tzinfo=UTC), now
    )
    assert PbxClock().hear(datetime(1970, 1, 1, tzinfo=UTC), now)


async def test_an_event_without_end_or_that_is_no_text_only_costs_the_connection(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
        before = set(bench.pbx.leftovers)
        for attack in ("too long", "no text"):
            (sock,) = bench.pbx._sockets
            with contextlib.suppress(ConnectionError):
                await (sock.send_str("x" * (2 << 20)) if attack == "too long" else sock.send_bytes(b"\0" * 100))
            await until(lambda sock=sock: list(bench.pbx._sockets) not in ([], [sock]))  # type: ignore[misc]
            await bench.is_running()
        assert set(bench.pbx.leftovers) == before, "no second tap of the same voices"
        await bench.pbx.play("inbound_answered", since=2, speed=FAST)
        (call,) = await bench.all_ended()
    assert call.disposition is Disposition.ANSWERED


async def test_a_websocket_that_closes_again_and_again_leaves_one_call_with_one_tap_a_voice(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
        before = set(bench.pbx.leftovers)
        for _ in range(12):
            await bench.pbx.hang_up_sockets()
            await until(lambda: bench.pbx.listeners == 1)
            await asyncio.sleep(0.02)  # some of the closings meet it while it looks at everything
        await bench.is_running()
        assert set(bench.pbx.leftovers) == before and len(bench.calls()) == 1
        await bench.pbx.play("inbound_answered", since=2, speed=FAST)
        (call,) = await bench.all_ended()
    assert call.disposition is Disposition.ANSWERED
    assert bench.pbx.leftovers == []
