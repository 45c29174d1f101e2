"""Who is listened to: the first sender, and another one only for a reason."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.sip.recorder import CaptureEventKind
from agent.sip.senders import QUIET, SenderLock, host_of, pack_address, say_address, unpack_address
from tests.unit.capture_lab import HOST, Bench, packet, running, sender, until
from tests.unit.soundlab import rtp

A, A2, B, C = (
    pack_address(socket.AF_INET, (host, port))
    for host, port in (("192.0.2.1", 4000), ("192.0.2.1", 4002), ("192.0.2.2", 4000), ("192.0.2.3", 4000))
)
ONE, OTHER = rtp(1, 160, b"x" * 160, ssrc=1), rtp(1, 160, b"x" * 160, ssrc=2)
NOW, SOON, LATER = 1_000_000_000, 1_000_000_000 + QUIET // 2, 1_000_000_000 + 2 * QUIET


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(tmp_path / "captures") as one:
        yield one


def locked(to: bytes = A) -> SenderLock:
    lock = SenderLock()
    assert lock.admits(NOW, to, ONE)
    assert lock.peer == lock.newcomer == to
    lock.newcomer = None
    return lock


@pytest.mark.parametrize(
    ("announced", "at", "who", "what", "admitted"),
    [
        (None, SOON, A, OTHER, True),  # another SSRC of the same address
        (None, SOON, A, b"x", True),  # even what is no RTP: it is kept and understood later
        (None, SOON, B, ONE, False),
        (None, LATER, B, OTHER, False),
        (None, LATER, B, ONE, True),  # a NAT that forgot
        (None, LATER, B, b"x", False),
        (B, SOON, B, OTHER, True),
        (B, SOON, B, b"x", False),
        (B, SOON, C, OTHER, False),
        (B, LATER, C, OTHER, True),  # a NAT between the announced address and us
        (A2, SOON, A2, OTHER, True),  # another port
        (b"", SOON, C, OTHER, True),
        (b"", SOON, C, b"x", False),
    ],
)
def test_the_lock_follows_for_a_reason_only(
    announced: bytes | None, at: int, who: bytes, what: bytes, admitted: bool
) -> None:
    lock = locked()
    if announced is not None:
        lock.expect(announced)
    assert lock.admits(at, who, what) is admitted
    moved = admitted and who != A
    assert lock.peer == (who if moved else A)
    assert lock.newcomer == (who if moved else None)
    assert lock.strangers == (0 if admitted else 1)


def test_an_announcement_is_good_for_one_change() -> None:
    lock = locked()
    lock.expect(b"")
    assert lock.admits(SOON, B, OTHER)
    assert not lock.admits(SOON, C, OTHER)
    assert lock.stranger == C
    lock.stranger = None
    assert not lock.admits(SOON, A, ONE)  # the former sender is late: counted, and no reason for alarm
    assert not lock.admits(SOON, C, OTHER)  # reported before
    assert lock.stranger is None
    assert lock.strangers == 3


def test_an_announced_sender_displaces_a_stranger_who_was_first() -> None:
    lock = SenderLock()
    lock.expect(B)
    assert lock.admits(NOW, C, ONE)
    assert lock.admits(SOON, B, OTHER)
    assert lock.peer == B
    assert not lock.admits(SOON, C, ONE)


def test_rtcp_and_stun_lock_nothing() -> None:
    lock = SenderLock()
    for nonsense in (b"", b"\x80" * 11, b"\x00\x01" + bytes(18), b"\x80\xc8" + bytes(26)):
        assert not lock.admits(NOW, A, nonsense)
    assert lock.peer is None
    assert lock.stranger is None


@pytest.mark.parametrize(
    ("family", "address", "said"),
    [
        (socket.AF_INET, ("192.0.2.1", 4000), "192.0.2.1:4000"),
        (socket.AF_INET6, ("2001:db8::1", 4000, 0, 0), "[2001:db8::1]:4000"),
        (socket.AF_INET6, ("fe80::1", 4000, 0, 3), "[fe80::1]:4000"),
    ],
)
def test_addresses_there_and_back(family: int, address: tuple[object, ...], said: str) -> None:
    name = pack_address(family, address)
    assert unpack_address(name) == address
    assert say_address(name) == said


def test_addresses_of_the_other_family() -> None:
    mapped = pack_address(socket.AF_INET6, ("192.0.2.1", 4000))
    assert host_of(mapped) == host_of(pack_address(socket.AF_INET6, ("::ffff:192.0.2.1", 1)))
    for family, host in ((socket.AF_INET, "::1"), (socket.AF_INET, "sbc.example.com"), (socket.AF_INET6, "")):
        with pytest.raises(ValueError, match=r"address|IP"):
            pack_address(family, (host, 4000))


@pytest.mark.parametrize("announce", ["address", "anybody", "name"])
async def test_a_sender_that_was_announced_is_followed(bench: Bench, announce: str) -> None:
    port = bench.recorder.open_stream("call", 0)
    with sender() as first, sender() as second, sender() as third:
        for number in range(10):
            first.sendto(packet(number), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.FIRST_PACKET))
        peer = {"address": (HOST, 9), "anybody": None, "name": ("sbc.example.com", 9)}[announce]
        bench.recorder.expect("call", 0, peer)
        for number in range(10, 20):
            second.sendto(packet(number), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.MOVED))
        third.sendto(OTHER, (HOST, port))  # with an SSRC of its own, else it were one who moved
        await until(lambda: any("not recorded" in text for text in bench.texts()))
        # the process that comes next listens to the new one too
        killed = bench.pid
        os.kill(killed, signal.SIGKILL)
        third.sendto(OTHER, (HOST, port))
        second.sendto(packet(20), (HOST, port))
        await until(lambda: bench.recorder.pid not in (None, killed))
        await bench.recorder.close_capture("call")
        here = second.getsockname()
    assert bench.packets("call") == [packet(number) for number in range(21)]
    (moved,) = bench.kinds(CaptureEventKind.MOVED)
    assert moved.text == f"sound comes from {HOST}:{here[1]}"


async def test_what_was_announced_outlives_the_process(bench: Bench) -> None:
    port = bench.recorder.open_stream("call", 0)
    with sender() as first, sender() as second:
        first.sendto(packet(0), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.FIRST_PACKET))
        await until(lambda: len(bench.records("call")) == 1)
        bench.recorder.expect("call", 0, ("0.0.0.0", 9))  # hold, nobody
        bench.recorder.expect("call", 0, (HOST, second.getsockname()[1]))
        os.kill(bench.pid, signal.SIGKILL)
        second.sendto(packet(1), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.MOVED))
        await bench.recorder.close_capture("call")
    assert bench.packets("call") == [packet(0), packet(1)]


async def test_expecting_somebody_on_a_stream_that_is_not_open_does_nothing(bench: Bench) -> None:
    bench.recorder.expect("nowhere", 0, (HOST, 9))
    port = bench.recorder.open_stream("call", 0)
    bench.recorder.expect("call", 0, ("0.0.0.0", 9))
    with sender() as first, sender() as second:
        first.sendto(packet(0), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.FIRST_PACKET))
        bench.recorder.expect("call", 0, ("192.0.2.1", 99999))  # an SDP that lies
        second.sendto(packet(1), (HOST, port))
        await bench.recorder.close_capture("call")
    assert bench.packets("call") == [packet(0)]


async def test_a_flood_of_strangers_drowns_nobody(bench: Bench) -> None:
    port = bench.recorder.open_stream("call", 0)
    with sender() as ours, sender() as flood:
        ours.sendto(packet(0), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.FIRST_PACKET))
        for number in range(1, 301):  # 3 s, with as much a tick as no buffer holds
            for _ in range(100):
                flood.sendto(OTHER, (HOST, port))
            ours.sendto(packet(number), (HOST, port))
            await asyncio.sleep(0.01)
        await bench.recorder.close_capture("call")
    logged = bench.packets("call")
    assert logged[-200:] == [packet(number) for number in range(101, 301)]  # the first tick may have been too much
    assert bench.kinds(CaptureEventKind.CLOSED)[0].details["strangers"] > 20_000


async def test_sender_reports_of_the_peer_are_kept_as_rtcp(bench: Bench) -> None:
    port = bench.recorder.open_stream("call", 0)
    report = b"\x80\xc8\x00\x06" + (0x1234).to_bytes(4, "big") + bytes(range(20)) + b"\x81\xca\x00\x01" + bytes(4)
    with sender() as media, sender() as control:
        media.sendto(packet(0), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.FIRST_PACKET))
        await until(lambda: len(bench.records("call")) == 1)
        for one in (report, b"\x80\xc9\x00\x01" + bytes(4), b"nonsense", b"", report[:20]):
            control.sendto(one, (HOST, port + 1))
        await until(lambda: len(bench.records("call")) == 2)
        media.sendto(packet(1), (HOST, port))
        await bench.recorder.close_capture("call")
    assert bench.packets("call") == [packet(0), packet(1)]
    assert bench.records("call") == [(172, packet(0)), (0, report), (172, packet(1))]
    (closed,) = bench.kinds(CaptureEventKind.CLOSED)
    assert closed.details["packets"] == 2
