"""Batches of packets taken with recvmmsg are what recvmsg gives one by one, whatever their sizes and senders."""

from __future__ import annotations

import mmap
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sip.capturestream import CaptureStream
from agent.sip.packetwriter import LogStream
from agent.sip.receiving import (
    BATCH,
    LONGEST,
    MOST_SIZES,
    SO_TIMESTAMPNS,
    USUAL,
    BatchReceiver,
    PlainReceiver,
    Receivers,
)
from agent.sip.senders import pack_address, unpack_address
from agent.sound.packetlog import encode_record
from tests.unit.capture_lab import packet

SECOND = 1_000_000_000
OVERFLOW = mmap.mmap(-1, BATCH * LONGEST)


@pytest.fixture(scope="module")
def receivers() -> Receivers:
    receivers = Receivers()
    assert receivers.batched, "recvmmsg does not work here"
    return receivers


def listening(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return sock


@pytest.fixture(params=["127.0.0.1", "::1"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """A socket and three that send to it."""
    with ExitStack() as stack:
        try:
            yield (
                stack.enter_context(listening(request.param)),
                [stack.enter_context(listening(request.param)) for _ in range(3)],
            )
        except OSError as error:
            pytest.skip(f"no {request.param} here: {error}")


@pytest.mark.parametrize("size", [16, 172, USUAL])
def test_packets_of_any_size_and_sender_come_whole(
    receivers: Receivers, ends: tuple[socket.socket, list[socket.socket]], size: int
) -> None:
    ours, others = ends
    dice = random.Random(size)
    sent = []
    for length in [1, 12, 15, 16, 17, 171, 172, 173, 1499, 1500, 1501, 9000, 60_000, *dice.choices(range(2000), k=40)]:
        other, data = dice.choice(others), dice.randbytes(length)
        other.sendto(data, ours.getsockname())
        sent.append((other.getsockname(), data))
    receiver = receivers.expecting(ours.family, size)
    assert receiver.receive(ours) == len(sent)
    got = receiver.packets(len(sent))
    assert [(unpack_address(who), bytes(data)) for _, who, data in got] == sent
    assert all(abs(at - time.time_ns()) < 10 * SECOND for at, _, _ in got)
    assert [at for at, _, _ in got] == sorted(at for at, _, _ in got)
    assert receiver.receive(ours) == 0


@given(
    count=st.integers(1, BATCH),
    size=st.integers(12, 400),
    odd=st.none() | st.integers(0, BATCH - 1),
    seed=st.integers(),
)
@settings(max_examples=60, deadline=None)
def test_records_of_a_whole_batch_are_those_of_its_packets(count: int, size: int, odd: int | None, seed: int) -> None:
    dice = random.Random(seed)
    with listening() as ours, listening() as other:
        sent = [dice.randbytes(size + (number == odd)) for number in range(count)]
        for one in sent:
            other.sendto(one, ours.getsockname())
        receiver = BatchReceiver(size, 16, OVERFLOW)
        assert receiver.receive(ours) == count
        began = time.time_ns() - dice.randrange(100 * SECOND)
        sender = pack_address(other.family, other.getsockname())
        records = receiver.records(count, sender, divmod(began, SECOND))
        packets = receiver.packets(count)
        expected = b"".join(
            part for at, _, data in packets for part in encode_record(bytes(data), (at - began) // 1_000_000)
        )
        assert records == (expected if odd is None or odd >= count else None)
        assert receiver.last(count) == (packets[-1][0], sent[-1][8:12])
        assert receiver.records(count, pack_address(ours.family, ours.getsockname()), divmod(began, SECOND)) is None
        assert receiver.records(count, sender, divmod(began + 200 * SECOND, SECOND)) is None  # before the log began


def test_nothing_is_left_of_what_is_forgotten() -> None:
    with listening() as ours, listening() as other:
        receiver = BatchReceiver(172, 16, OVERFLOW)
        for length in (100, 172, 5000):
            other.sendto(b"\xa5" * length, ours.getsockname())
        count = receiver.receive(ours)
        assert b"\xa5" * 100 in OVERFLOW[:]
        receiver.forget(count)
        assert all(set(bytes(data)) == {0} for _, _, data in receiver.packets(count))
        assert b"\xa5" * 100 not in OVERFLOW[:]


def test_hostile_sizes_get_no_buffers_without_end() -> None:
    receivers = Receivers()
    known = {id(receivers.expecting(socket.AF_INET, size)) for size in range(12, 4000)}
    assert len(known) <= MOST_SIZES + 1
    assert receivers.expecting(socket.AF_INET, 12) is receivers.expecting(socket.AF_INET, 12)
    assert receivers.expecting(socket.AF_INET, 12) is not receivers.expecting(socket.AF_INET, 13)


@pytest.mark.parametrize("plain", [False, True])
def test_a_stream_logs_the_same_with_and_without_recvmmsg(tmp_path: Path, plain: bool) -> None:
    receivers = Receivers(plain=plain)
    assert receivers.batched is not plain
    assert isinstance(receivers.expecting(socket.AF_INET), PlainReceiver if plain else BatchReceiver)
    log = LogStream(tmp_path / "0.rtpdump", name=("call", 0), address="127.0.0.1", port=1, started=time.time() - 1)
    with listening() as ours, listening() as other, listening() as stranger:
        stream = CaptureStream(("call", 0), ours, None, log, receivers)
        sent, blocks = [], []
        for number in range(300):
            data = packet(number) if number % 37 else packet(number) * 2
            other.sendto(data, ours.getsockname())
            sent.append(data)
            if number % 50 == 20:
                stranger.sendto(packet(number), ours.getsockname())
            if number % 100 > 89:
                blocks += stream.read()
        blocks += stream.read()
        stream.close()
    records = b"".join(records for records, _ in blocks)
    assert sum(count for _, count in blocks) == stream.packets == len(sent)
    assert stream.lock.strangers == 6
    position = 0
    for data in sent:
        assert records[position + 8 : position + 8 + len(data)] == data
        position += 8 + len(data)
    assert position == len(records)
