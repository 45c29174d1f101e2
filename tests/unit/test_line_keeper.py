"""The service's side of a line: facts become calls, a process that ends is replaced."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Misconfigured, Unavailable
from agent.model import CapturedCall, Disposition, SourceState
from agent.settings_lines import LineSettings, SipSettings
from agent.sip.calls import captured_call
from agent.sip.journal import read_journal
from agent.sip.lines import keeper
from agent.sip.lines.keeper import LineKeeper, check_line
from agent.sip.lines.linecalls import KeyRules
from agent.sip.lines.network import host_of, resolve
from agent.sip.pauser import Pauser
from agent.sip.sounding import file_streams, keys
from agent.sip.taps import Taps

CHILD = "tests.unit.line_child"


def line(**more: Any) -> LineSettings:
    given = {"name": "Anna", "registrar": "127.0.0.1", "user": "901", "secret": "hush", "extension": "101"}
    return LineSettings.model_validate({**given, **more})


class World:
    """A line kept running, with captures in a folder."""

    def __init__(self, folder: Path, settings: LineSettings, **rules: Any) -> None:
        self.folder, self.ended = folder, list[str]()
        self.states: list[tuple[SourceState, str]] = []
        self.codes: list[tuple[str, str]] = []
        self.taps = Taps(self, self, folder)
        self.keeper = LineKeeper(
            settings,
            SipSettings(),
            self.taps,
            on_state=lambda source, state, detail: self.states.append((state, detail)),
            keys=KeyRules(on_code=lambda capture, name, at: self.codes.append((capture, name)), **rules),
            module=CHILD,
        )

    def open_stream(self, capture_id: str, index: int, *, events: frozenset[int] = frozenset()) -> int:
        raise AssertionError

    async def close_capture(self, capture_id: str) -> None:
        return

    def tell(self, capture_id: str) -> None:
        return

    def tell_ended(self, capture_id: str) -> None:
        self.ended.append(capture_id)

    def pause(self, capture_id: str, at: datetime | None = None) -> datetime:
        raise LookupError(capture_id)

    def resume(self, capture_id: str) -> datetime:
        raise LookupError(capture_id)

    def call(self, number: int) -> CapturedCall:
        capture_id = self.ended[number]
        return captured_call(read_journal(self.folder / capture_id), capture_id)

    @staticmethod
    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "RESTART_S", (0.01, 0.05))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


async def test_a_call_is_told_and_ended_with_the_line(tmp_path: Path) -> None:
    world = World(tmp_path, line(), codes={"*1": "pause"})
    world.keeper.start()
    await world.until(lambda: world.codes)
    assert (SourceState.RUNNING, "") in world.states
    (tap,) = world.taps.open_taps()
    assert world.codes == [(tap.capture_id, "pause")]
    await world.keeper.stop()
    assert world.states[0][0] is SourceState.CONNECTING and world.states[-1][0] is SourceState.STOPPED
    call = world.call(0)
    assert (call.source, call.disposition, call.truncated) == ("line:Anna", Disposition.ANSWERED, False)
    facts = read_journal(tmp_path / world.ended[0])
    assert [(one.name, one.channel) for one in file_streams(facts, [])] == [("caller.wav", 0)]
    assert [one.text for one in keys(facts)] == ["*", "1"]


async def test_keys_are_masked_and_nothing_is_recorded_where_that_is_wanted(tmp_path: Path) -> None:
    world = World(tmp_path, line(record=False), mask=True)
    world.keeper.start()
    await world.until(lambda: world.taps.open_taps() and len(keys(read_journal(_only(tmp_path)))) == 2)
    await world.keeper.stop()
    facts = read_journal(_only(tmp_path))
    assert [one.text for one in keys(facts)] == ["", ""] and not list(_only(tmp_path).glob("*.wav"))
    assert world.call(0).flags == ()


def _only(folder: Path) -> Path:
    (one,) = folder.iterdir()
    return one


async def test_a_process_that_dies_is_replaced_and_its_calls_are_cut_short(tmp_path: Path) -> None:
    world = World(tmp_path, line(user="dies"))
    world.keeper.start()
    await world.until(lambda: len(world.ended) >= 2)
    await world.keeper.stop()
    for number in (0, 1):
        call = world.call(number)
        assert call.truncated and call.disposition is Disposition.ANSWERED and call.ended is not None
    assert world.call(0).key != world.call(1).key


async def test_a_process_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "SILENT_S", 0.3)
    world = World(tmp_path, line(user="hangs"))
    world.keeper.start()
    await world.until(lambda: len(world.ended) >= 1)
    await world.until(lambda: len(world.taps.open_taps()) == 1)  # of the next one
    await world.keeper.stop()
    assert world.call(0).truncated


async def test_a_full_disk_costs_the_recording_and_not_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, line())

    def full(call: CapturedCall) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.taps, "open", full)
    orders: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(world.keeper._calls, "_order", lambda kind, **values: orders.append((kind, values)))
    world.keeper.start()
    await world.until(lambda: orders)
    assert orders[0][0] == "record" and orders[0][1]["folder"] == ""
    await world.keeper.stop()


async def test_without_pjsua2_the_line_says_so_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    world = World(tmp_path, line())
    world.keeper.start()
    await world.until(lambda: world.states and world.states[-1][0] is SourceState.STOPPED)
    assert "no wheel for Python" in world.states[-1][1] and world.keeper.pid is None
    await world.keeper.stop()


def test_an_announcement_that_is_not_there_stops_the_line(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="announcement"):
        check_line(line(announcement=tmp_path / "none.wav"))


async def test_where_calls_may_come_from() -> None:
    assert await resolve(line(allow=["192.0.2.0/24"])) == ["127.0.0.1", "192.0.2.0/24"]
    with pytest.raises(Unavailable, match="no address"):
        await resolve(line(registrar="nobody.invalid"))
    hosts = ("pbx.example.com", "pbx.example.com:5070", "[2001:db8::1]:5060")
    assert [host_of(one) for one in hosts] == ["pbx.example.com", "pbx.example.com", "2001:db8::1"]


async def test_a_pause_reaches_the_line_once(tmp_path: Path) -> None:
    world = World(tmp_path, line())
    world.keeper.start()
    await world.until(lambda: world.taps.open_taps())
    (tap,) = world.taps.open_taps()
    orders: list[bool] = []
    tap.on_pause = orders.append
    pauser, before = Pauser(world, world.taps), len(keys(read_journal(_only(tmp_path))))
    with pytest.raises(LookupError):
        pauser.resume(tap.capture_id)
    begun = pauser.pause(tap.capture_id)
    tap.add_key(0, "4", at=datetime.now(UTC))  # of a card, perhaps: written nowhere
    assert pauser.pause(tap.capture_id) == begun
    ended = pauser.resume(tap.capture_id)
    tap.add_key(0, "9", at=datetime.now(UTC))
    assert [one.text for one in keys(read_journal(_only(tmp_path)))[before:]] == ["9"]
    assert pauser.resume(tap.capture_id) == ended >= begun
    assert pauser.pause(tap.capture_id, at=begun) >= ended  # not within the last one
    assert orders == [True, False, True]
    with pytest.raises(LookupError):
        pauser.pause("unknown")
    await world.keeper.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"extension": "901"},
        {"extension": "101>;x"},
        {"registrar": "pbx;transport=tls"},
        {"user": "a b"},
        {"name": "../x"},
        {"transport": "tls"},
        {"allow": ["nonsense"]},
    ],
)
def test_values_that_could_alter_a_message_are_no_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        line(**wrong)


def test_two_lines_of_one_name_and_too_few_ports() -> None:
    with pytest.raises(ValueError, match="Anna"):
        SipSettings(line=(line(), line()))
    with pytest.raises(ValueError, match="sixteen"):
        SipSettings(rtp_ports=(30000, 30003))
