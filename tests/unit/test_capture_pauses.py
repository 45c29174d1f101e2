"""What is said in a pause exists nowhere, and what is said before and after is all there."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sip.capturestream import without_payload
from agent.sip.packetwriter import LogStream, Syncer, Writer
from agent.sip.recorder import CaptureEventKind
from agent.sound.packetlog import PacketLogWriter, Pause, blank_records, encode_record, read_packets
from tests.unit.capture_lab import HOST, Bench, counts, packet, running, sender, until
from tests.unit.soundlab import rtp

SECRET = b"4111 1111 1111 1111"
MS = 1_000_000
START = 1_780_000_000 * 1000 * MS


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(tmp_path / "captures") as one:
        yield one


def secret(number: int) -> bytes:
    return rtp(number, number * 160, (SECRET * 10)[:160])


def logged(bench: Bench) -> int:
    path = bench.folder / "call" / "0.rtpdump"
    return len(list(read_packets(path))) if path.exists() else 0


def send(sock: socket.socket, port: int, *packets: bytes) -> None:
    """Send, and let the millisecond pass, for a pause that is known late is taken out by the millisecond."""
    for one in packets:
        sock.sendto(one, (HOST, port))
    time.sleep(0.002)


async def test_nothing_of_a_pause_is_written(bench: Bench) -> None:
    ports = [bench.recorder.open_stream("call", index) for index in (0, 1)]
    with sender() as caller, sender() as callee:
        for port, sock in zip(ports, (caller, callee), strict=True):
            send(sock, port, *[packet(number) for number in range(20)])
        await until(lambda: len(bench.records("call", 0)) == len(bench.records("call", 1)) == 20)
        assert not bench.recorder.is_paused("call")
        began = bench.recorder.pause("call")
        assert bench.recorder.is_paused("call")
        assert bench.recorder.pause("call") == began
        for port, sock in zip(ports, (caller, callee), strict=True):
            send(sock, port, *[secret(number) for number in range(20, 40)])
        await asyncio.sleep(0.6)  # some ticks of the process, in which more comes
        send(caller, ports[0], *[secret(number) for number in range(40, 140)])
        ended = bench.recorder.resume("call")
        assert bench.recorder.resume("call") == ended > began
        for port, sock in zip(ports, (caller, callee), strict=True):
            send(sock, port, *[packet(number) for number in range(140, 160)])
        await bench.recorder.close_capture("call")
    for index in (0, 1):
        assert bench.packets("call", index) == [packet(number) for number in [*range(20), *range(140, 160)]]
        assert SECRET not in (bench.folder / "call" / f"{index}.rtpdump").read_bytes()
    (closed,) = bench.kinds(CaptureEventKind.CLOSED)
    assert closed.details == counts(packets=80, paused=140)
    assert not bench.recorder.is_paused("call")


async def test_a_pause_outlives_the_process(bench: Bench) -> None:
    port = bench.recorder.open_stream("call", 0)
    with sender() as sock:
        send(sock, port, *[packet(number) for number in range(5)])
        await until(lambda: logged(bench) == 5)
        bench.recorder.pause("call")
        send(sock, port, *[secret(number) for number in range(5, 10)])
        for number in range(3):
            killed = bench.pid
            os.kill(killed, signal.SIGKILL)
            send(sock, port, *[secret(number) for number in range(10, 15)])
            await until(lambda killed=killed: bench.recorder.pid not in (None, killed))  # type: ignore[misc]
            if number == 1:
                bench.recorder.resume("call")
                await asyncio.sleep(0.002)
                send(sock, port, packet(50))
                bench.recorder.pause("call")
        await until(lambda: logged(bench) == 6)
        bench.recorder.resume("call")
        send(sock, port, packet(51))
        await bench.recorder.close_capture("call")
    assert bench.packets("call") == [packet(number) for number in (0, 1, 2, 3, 4, 50, 51)]
    assert SECRET not in (bench.folder / "call" / "0.rtpdump").read_bytes()


async def test_a_stream_opened_in_a_pause_is_paused(bench: Bench) -> None:
    bench.recorder.open_stream("call", 0)
    bench.recorder.pause("call")
    port = bench.recorder.open_stream("call", 1)
    with sender() as sock:
        send(sock, port, secret(0))
        await until(lambda: bench.kinds(CaptureEventKind.FIRST_PACKET))  # it is heard all the same
        bench.recorder.resume("call")
        await asyncio.sleep(0.002)
        send(sock, port, packet(1))
        await bench.recorder.close_capture("call")
    assert bench.packets("call", 1) == [packet(1)]


async def test_what_is_not_recorded_cannot_be_paused(bench: Bench) -> None:
    for name in ("nothing", ""):
        with pytest.raises(LookupError):
            bench.recorder.pause(name)
    bench.recorder.open_stream("call", 0)
    with pytest.raises(LookupError):
        bench.recorder.resume("call")


def test_a_pause_that_is_known_late_is_taken_out_of_the_log(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.sip.capture", str(theirs.fileno()), str(tmp_path)], pass_fds=[theirs.fileno()]
    )
    theirs.close()
    path = tmp_path / "call" / "0.rtpdump"
    with ours, sender() as media, sender() as caller:
        port = media.getsockname()[1]
        command = f'{{"op":"open","capture":"call","stream":0,"path":"{path}","at":{time.time()}}}'
        socket.send_fds(ours, [command.encode()], [media.fileno()])
        send(caller, port, *[packet(number) for number in range(10)])
        began = time.time_ns()
        send(caller, port, *[secret(number) for number in range(10, 20)])
        wait_for(path, 20)
        ours.send(f'{{"op":"pause","capture":"call","pauses":[[{began},null]]}}'.encode())
        wait_for(path, 10)
        assert SECRET not in path.read_bytes()
        ended = time.time_ns()
        ours.send(f'{{"op":"pause","capture":"call","pauses":[[{began},{ended}]]}}'.encode())
        until_taken(ours)  # what comes before it is heard of belongs to the pause
        send(caller, port, *[packet(number) for number in range(20, 30)])
        wait_for(path, 20)
        process.terminate()
        assert process.wait(20) == 0
    assert [one.data for one in read_packets(path)] == [packet(number) for number in [*range(10), *range(20, 30)]]


def test_what_comes_in_the_millisecond_of_a_pauses_end_stays(tmp_path: Path) -> None:
    """The command takes what was written out by the millisecond, but not what comes after it."""
    syncer = Syncer(tmp_path, trouble=lambda name, text: None)
    writer = Writer(syncer, trouble=lambda name, text: None)
    path, closed = tmp_path / "0.rtpdump", threading.Event()
    log = LogStream(path, name=("call", 0), address=HOST, port=40000, started=START / 1e9)
    writer.put([(log, [(b"".join(encode_record(secret(0), 5)), 1)])])
    wait_for(path, 1)
    writer.put([(log, [(b"".join(encode_record(secret(1), 6)), 1)])])
    writer.blank(log, [(START + 5 * MS, START + 6 * MS + MS // 2)])
    writer.put([(log, [(b"".join(encode_record(packet(2), 6)), 1)])])
    writer.close(log, closed.set)
    assert closed.wait(20)
    assert writer.finish() == 0
    assert [one.data for one in read_packets(path)] == [packet(2)]
    assert SECRET not in path.read_bytes()


def until_taken(sock: socket.socket) -> None:
    """The other side has read what was sent to it (unix(7), SIOCOUTQ)."""
    end = time.monotonic() + 20
    while struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]:
        assert time.monotonic() < end, "nobody reads it"
        time.sleep(0.001)


def wait_for(path: Path, packets: int) -> None:
    end = time.monotonic() + 20
    while not path.exists() or len(list(read_packets(path))) != packets:
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


async def test_dialled_digits_are_masked(tmp_path: Path) -> None:
    digit = struct.pack("!BBH", 7, 10, 800)
    async with running(tmp_path, mask_dtmf=True) as bench:
        port = bench.recorder.open_stream("call", 0, events=frozenset({101}))
        with sender() as sock:
            send(sock, port, packet(0), *[rtp(1, 160, digit, payload_type=kind) for kind in (101, 229, 96)])
            await until(lambda: logged(bench) == 4)
            assert bench.recorder.open_stream("call", 0, events=frozenset({96})) == port  # a re-INVITE changed it
            os.kill(bench.pid, signal.SIGKILL)
            send(sock, port, *[rtp(2, 160, digit, payload_type=kind) for kind in (101, 96)])
            await until(lambda: logged(bench) == 6)
            await bench.recorder.close_capture("call")
        masked = [(one[1] & 0x7F, one[12:] == bytes(4)) for one in bench.packets("call")[1:]]
    assert masked == [(101, True), (101, True), (96, False), (101, False), (96, True)]
    (closed,) = bench.kinds(CaptureEventKind.CLOSED)
    assert closed.details["masked"] == 1  # since the restart


async def test_digits_stay_where_nobody_masks_them(bench: Bench) -> None:
    port = bench.recorder.open_stream("call", 0, events=frozenset({101}))
    digits = [rtp(number, 160, b"\x07\x0a\x03\x20", payload_type=101) for number in range(100)]
    with sender() as sock:
        send(sock, port, *digits)
        await bench.recorder.close_capture("call")
    assert bench.packets("call") == digits


async def test_a_stream_of_nothing_but_digits_is_masked_too(tmp_path: Path) -> None:
    """Then they are as long as is expected, and come the quick way."""
    async with running(tmp_path, mask_dtmf=True) as bench:
        port = bench.recorder.open_stream("call", 0, events=frozenset({101}))
        with sender() as sock:
            for _ in range(3):
                send(sock, port, *[rtp(1, 160, b"\x07\x0a\x03\x20", payload_type=101)] * 10)
                await asyncio.sleep(0.5)
            await bench.recorder.close_capture("call")
        assert {one[12:] for one in bench.packets("call")} == {bytes(4)}
    assert bench.kinds(CaptureEventKind.CLOSED)[0].details == counts(packets=30, masked=30)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"\x80\x65" + bytes(10), 12),
        (b"\x82\x65" + bytes(10) + b"srcesrce", 20),
        (b"\x90\x65" + bytes(10) + b"\xbe\xde\x00\x01exts", 20),
        (b"\x91\x65" + bytes(10) + b"srce" + b"\xbe\xde\x00\x00", 20),
    ],
)
def test_a_mask_leaves_the_header(head: bytes, kept: int) -> None:
    assert without_payload(head + b"digit") == head[:kept] + bytes(5)


@given(st.binary(min_size=12, max_size=80))
def test_a_mask_leaves_no_more_of_garbage_than_a_header(data: bytes) -> None:
    masked = without_payload(data)
    assert len(masked) == len(data)
    assert masked[:12] == data[:12]


PAUSES = st.lists(st.tuples(st.integers(0, 900), st.none() | st.integers(0, 900)), max_size=4)


@given(offsets=st.lists(st.integers(0, 1000), max_size=30), pauses=PAUSES)
def test_blanking_takes_what_touches_a_pause_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, offsets: list[int], pauses: list[tuple[int, int | None]]
) -> None:
    spans: list[Pause] = [
        (START + begin * MS + 1, None if length is None else START + (begin + length) * MS + 1)
        for begin, length in pauses
    ]
    records = b"".join(part for number, offset in enumerate(offsets) for part in encode_record(secret(number), offset))
    kept = [
        secret(number)
        for number, offset in enumerate(offsets)
        if not any(begin <= offset and (length is None or offset <= begin + length) for begin, length in pauses)
    ]
    blanked = blank_records(records, START, spans)
    assert blanked.count(SECRET[:8]) == b"".join(kept).count(SECRET[:8])
    assert len(blanked) == len(records)
    path = tmp_path_factory.mktemp("log") / "0.rtpdump"
    log = PacketLogWriter(path, address="192.0.2.1", port=4000, started=START / 1e9)
    log.append(records)
    log.blank(spans)
    log.append(b"".join(encode_record(b"after", 5000)))
    log.close()
    assert [one.data for one in read_packets(path)] == [*kept, b"after"]
