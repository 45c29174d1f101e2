"""Codes of keys: which one was entered is told, once, also in a pause; the digits go nowhere but into the log."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.demo.speaker import EVENT_TYPE, Speaker
from agent.sip.keypad import BETWEEN, KEYS, Keypad
from agent.sip.recorder import CaptureEventKind
from tests.unit.capture_lab import HOST, Bench, packet, running, sender, until
from tests.unit.soundlab import rtp

CODES = {"*7": "pause", "*8": "resume"}
SECOND = 1_000_000_000
EVENTS = frozenset({EVENT_TYPE})


def key(name: str, stamp: int, *, end: bool = True, ssrc: int = 1) -> bytes:
    """A packet of a telephone event."""
    event = struct.pack("!BBH", KEYS.index(name), 0x80 * end | 10, 800)
    return rtp(stamp % 65536, stamp, event, payload_type=EVENT_TYPE, ssrc=ssrc)


def entered(pad: Keypad, *packets: bytes, every: int = SECOND // 4) -> list[str]:
    told = [pad.press(number * every, one, 12) for number, one in enumerate(packets, start=1)]
    return [one for one in told if one is not None]


def test_a_code_is_told_at_the_end_of_its_last_key_once() -> None:
    pad = Keypad(CODES)
    star = [key("*", 0, end=False)] * 5 + [key("*", 0)] * 3
    seven = [key("7", 1600, end=False)] * 5
    assert entered(pad, *star, *seven) == []
    assert entered(pad, *[key("7", 1600)] * 3) == ["pause"]
    assert entered(pad, key("7", 3200)) == [], "the keys of a code are used up"


def test_an_event_whose_beginning_was_lost_is_a_key_all_the_same() -> None:
    assert entered(Keypad(CODES), key("*", 0), key("8", 1600)) == ["resume"]


def test_an_older_end_that_comes_late_is_no_new_key() -> None:
    assert entered(Keypad({"77": "x"}), key("7", 1600), key("*", 0), key("7", 1600)) == []
    assert entered(Keypad({"*7": "x"}), key("*", 0), key("7", 1600), key("*", 0), key("7", 1600)) == ["x"]


def test_timestamps_may_wrap() -> None:
    assert entered(Keypad(CODES), key("*", 0xFFFFFF00), key("7", 400)) == ["pause"]


def test_keys_of_two_sources_make_no_code() -> None:
    assert entered(Keypad(CODES), key("*", 0, ssrc=1), key("7", 1600, ssrc=2)) == []


def test_keys_far_apart_make_no_code() -> None:
    assert entered(Keypad(CODES), key("*", 0), key("7", 1600), every=BETWEEN + 1) == []
    assert entered(Keypad(CODES), key("*", 0), key("7", 1600), every=BETWEEN) == ["pause"]


def test_what_stands_before_a_code_does_not_matter_and_the_longer_one_wins() -> None:
    pressed = [key(name, 1600 * (place + 1)) for place, name in enumerate("12**7")]
    assert entered(Keypad(CODES), *pressed) == ["pause"]
    assert entered(Keypad({"*7": "short", "**7": "long"}), *pressed) == ["long"]


@pytest.mark.parametrize("codes", [{"": "pause"}, {"*x": "pause"}, {"*é": "pause"}])
def test_a_code_that_cannot_be_dialled_is_refused(codes: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Keypad(codes)


@pytest.mark.parametrize(
    "tail", [b"", b"\x0a", b"\x0a\x8a\x03", b"\x0a\x8a\x03\x20" + b"tag of SRTP", b"\x10\x8a\x03\x20"]
)
def test_what_is_not_exactly_a_key_is_none(tail: bytes) -> None:
    """Too short; encrypted, so with a tag; the hook flash."""
    pad = Keypad(CODES)
    assert entered(pad, rtp(0, 0, tail, payload_type=EVENT_TYPE), key("7", 1600)) == []


@given(st.lists(st.binary(min_size=12, max_size=20)))
def test_garbage_raises_nothing_and_is_not_remembered(packets: list[bytes]) -> None:
    pad = Keypad(CODES)
    for number, one in enumerate(packets):
        pad.press(number, one, 12)
    assert len(pad._keys) <= 2


# --- Through the capture process --------------------------------------------------------------------------------------


def codes_of(bench: Bench) -> list[tuple[str, int | None]]:
    return [(event.text, event.stream) for event in bench.kinds(CaptureEventKind.CODE)]


def press(sock: socket.socket, port: int, keys: str, *, stamp: int) -> None:
    for place, name in enumerate(keys):
        for end in (False, True, True, True):
            sock.sendto(key(name, stamp + place * 1600, end=end), (HOST, port))


async def test_codes_are_told_by_name_and_stream_also_in_a_pause_and_after_a_death(tmp_path: Path) -> None:
    async with running(tmp_path, codes=CODES) as bench:
        ports = [bench.recorder.open_stream("call", index, events=EVENTS) for index in (0, 1)]
        with sender() as caller, sender() as callee:
            began = time.time()
            press(caller, ports[0], "*", stamp=1600)  # half a code each: none
            press(callee, ports[1], "7", stamp=1600)
            await asyncio.sleep(0.005)  # a pause that is known late takes its whole millisecond
            press(callee, ports[1], "*7", stamp=8000)
            await until(lambda: codes_of(bench))
            (event,) = bench.kinds(CaptureEventKind.CODE)
            assert began - 0.01 <= event.at.timestamp() <= time.time()
            bench.recorder.pause("call", event.at)
            press(callee, ports[1], "*8", stamp=24000)
            await until(lambda: len(codes_of(bench)) == 2)
            killed = bench.pid
            os.kill(killed, signal.SIGKILL)
            await until(lambda: bench.recorder.pid not in (None, killed))
            press(caller, ports[0], "*8", stamp=48000)
            await until(lambda: len(codes_of(bench)) == 3)
            await bench.recorder.close_capture("call")
    assert codes_of(bench) == [("pause", 1), ("resume", 1), ("resume", 0)]
    stamps = [int.from_bytes(one[4:8], "big") for one in bench.packets("call", 1)]
    assert stamps, "keys before the pause are logged as they came"
    assert max(stamps) < 24000, "nothing of a pause is written, no key either"
    assert [one for one in bench.packets("call") if int.from_bytes(one[4:8], "big") >= 48000] == []


async def test_masked_keys_are_codes_too_and_a_reinvite_moves_them(tmp_path: Path) -> None:
    async with running(tmp_path, codes=CODES, mask_dtmf=True) as bench:
        port = bench.recorder.open_stream("call", 0, events=EVENTS)
        with sender() as sock:
            press(sock, port, "*7", stamp=1600)
            await until(lambda: codes_of(bench))
            bench.recorder.open_stream("call", 0, events=frozenset({96}))
            press(sock, port, "*8", stamp=16000)  # of the type that is none any more
            moved = [bytes([one[0], 96]) + one[2:] for one in (key("*", 32000), key("7", 33600))]
            for one in moved:
                sock.sendto(one, (HOST, port))
            await until(lambda: len(codes_of(bench)) == 2)
            await bench.recorder.close_capture("call")
    assert [name for name, _ in codes_of(bench)] == ["pause", "pause"]
    masked = [
        one for one in bench.packets("call") if one[1] in (EVENT_TYPE, 96) and int.from_bytes(one[4:8], "big") < 9000
    ]
    assert masked
    assert {one[12:] for one in masked} == {bytes(4)}


async def test_a_stream_of_nothing_but_keys_is_looked_at_too(tmp_path: Path) -> None:
    """Then they have the size that is expected, and come the quick way."""
    async with running(tmp_path, codes=CODES) as bench:
        port = bench.recorder.open_stream("call", 0, events=EVENTS)
        with sender() as sock:
            for stamp in range(1600, 16000, 1600):
                press(sock, port, "1", stamp=stamp)
            await until(lambda: len(bench.records("call")) == 36)
            press(sock, port, "1*7", stamp=32000)
            await until(lambda: codes_of(bench))
            await bench.recorder.close_capture("call")
    assert codes_of(bench) == [("pause", 0)]


async def test_without_codes_keys_are_nobodys_business(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        port = bench.recorder.open_stream("call", 0, events=EVENTS)
        with sender() as sock:
            press(sock, port, "*7", stamp=1600)
            await bench.recorder.close_capture("call")
    assert codes_of(bench) == []
    assert len(bench.packets("call")) == 8


async def test_a_pause_begins_with_the_key_and_not_within_the_last_one(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        port = bench.recorder.open_stream("call", 0)
        with sender() as sock:
            sock.sendto(packet(0), (HOST, port))
            await until(lambda: bench.records("call"))
            await asyncio.sleep(0.01)
            pressed = time.time()
            await asyncio.sleep(0.01)
            sock.sendto(packet(1), (HOST, port))
            await until(lambda: len(bench.records("call")) == 2)
            at = bench.events[0].at.fromtimestamp(pressed, bench.events[0].at.tzinfo)
            assert bench.recorder.pause("call", at).timestamp() == pytest.approx(pressed, abs=0.001)
            await until(lambda: bench.packets("call") == [packet(0)])
            resumed = bench.recorder.resume("call")
            assert bench.recorder.pause("call", at) >= resumed
            await bench.recorder.close_capture("call")


def test_the_demos_client_presses_keys_as_telephones_do() -> None:
    speaker, pad = Speaker(b"", keys=[(0.1, "12*7")]), Keypad(CODES)
    packets = [speaker.packet(frame) for frame in range(100)]
    events = [one for one in packets if one[1] & 0x7F == EVENT_TYPE]
    assert len(events) == 4 * 8
    assert len({one[4:8] for one in events}) == 4
    assert entered(pad, *events, every=SECOND // 50) == ["pause"]
