"""What the tests of capturing share: a recorder with a real capture process, senders on loopback, and their packets."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from agent.sip.recorder import CaptureEvent, CaptureEventKind, Recorder
from agent.sound.packetlog import RECORD, read_packets
from tests.unit.soundlab import rtp

HOST = "127.0.0.1"


class Bench:
    """A recorder and what it told."""

    def __init__(self, folder: Path, *, mask_dtmf: bool = False, codes: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.events: list[CaptureEvent] = []
        first = random.randrange(20000, 30000, 2)
        self.recorder = Recorder(
            folder,
            address=HOST,
            ports=(first, first + 999),
            on_event=self.events.append,
            mask_dtmf=mask_dtmf,
            codes=codes,
        )

    @property
    def pid(self) -> int:
        """Of the capture process that runs."""
        assert self.recorder.pid is not None
        return self.recorder.pid

    def texts(self) -> list[str]:
        """Of the troubles."""
        return [event.text for event in self.kinds(CaptureEventKind.TROUBLE)]

    def kinds(self, kind: CaptureEventKind) -> list[CaptureEvent]:
        return [event for event in self.events if event.kind is kind]

    def records(self, capture: str, stream: int = 0) -> list[tuple[int, bytes]]:
        """All of a log: the length it says a packet has, 0 for RTCP, and the bytes. One just made may be empty yet."""
        path = self.folder / capture / f"{stream}.rtpdump"
        data = (path.read_bytes() if path.exists() else b"") or b"\n"
        position, found = data.index(b"\n") + 17, []
        while position < len(data):
            length, size, _ = RECORD.unpack_from(data, position)
            found.append((size, data[position + 8 : position + length]))
            position += length
        return found

    def packets(self, capture: str, stream: int = 0) -> list[bytes]:
        reader = read_packets(self.folder / capture / f"{stream}.rtpdump")
        packets = [packet.data for packet in reader]
        assert reader.torn is None
        return packets


@asynccontextmanager
async def running(
    folder: Path, *, mask_dtmf: bool = False, codes: Mapping[str, str] | None = None
) -> AsyncIterator[Bench]:
    """A recorder for the time of a test."""
    bench = Bench(folder, mask_dtmf=mask_dtmf, codes=codes)
    await bench.recorder.start()
    try:
        yield bench
    finally:
        await bench.recorder.stop()


async def until(condition: Callable[[], object], *, within: float = 20.0) -> None:
    """Wait for something to become true, or fail."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.01)


def sender() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    return sock


def packet(number: int) -> bytes:
    return rtp(number, number * 160, number.to_bytes(4, "big") * 40)


def counts(**some: int) -> dict[str, int]:
    """What a CLOSED says when nothing but ``some`` is to be said."""
    return dict.fromkeys(("packets", "strangers", "dropped", "paused", "masked", "overflowed"), 0) | some
