"""A source of RTP: speech in G.711 on any number of streams, a packet each 20 ms, by sendmmsg so that Python keeps up.

`python -m tests.bench.load host seconds port...` prints one JSON object when it has ended: packets sent to each port,
how late they were at most and at the 99th percentile, in ms, and what it cost.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
import socket
import time
from array import array
from functools import cache
from pathlib import Path

from agent.sip.receiving import IoVec, Message
from agent.sip.senders import pack_address

FRAME = 0.02  # seconds a packet
SLICES = 4  # of the streams, sent one after the other within a frame, as calls do not begin at the same instant
HEADER, PAYLOAD = 12, 160
SIZE = HEADER + PAYLOAD
MOST = 1024  # messages a system call (UIO_MAXIOV)
A_LAW = 8
SOUND = Path(__file__).parents[2] / "agent" / "demo" / "sound"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


class Slice:
    """Some streams that send at the same instant, from one socket."""

    def __init__(self, host: str, ports: list[int], seed: int) -> None:
        self.count = len(ports)
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        dice = random.Random(seed)
        self.data = bytearray().join(
            bytes([0x80, A_LAW]) + bytes(6) + dice.randbytes(4) + bytes(PAYLOAD) for _ in ports
        )
        names = b"".join(pack_address(self.sock.family, (host, port)) for port in ports)
        self._names = bytearray(names)
        self._sound = speech()
        self._places = [dice.randrange(len(self._sound)) for _ in ports]
        self._vectors = (IoVec * self.count)()
        self._messages = (Message * self.count)()
        data, name = (ctypes.addressof(ctypes.c_char.from_buffer(one)) for one in (self.data, self._names))
        size = len(names) // self.count
        for number, message in enumerate(self._messages):
            self._vectors[number] = IoVec(data + number * SIZE, SIZE)
            message.head.name, message.head.name_length = name + number * size, size
            message.head.vectors = ctypes.addressof(self._vectors) + number * ctypes.sizeof(IoVec)
            message.head.vector_count = 1

    def send(self, number: int) -> None:
        """Send the packet ``number`` of each stream."""
        head = (number & 0xFFFF).to_bytes(2, "big") + (number * PAYLOAD & 0xFFFFFFFF).to_bytes(4, "big")
        for place, byte in enumerate(head):
            self.data[2 + place :: SIZE] = bytes([byte]) * self.count
        for at, place in enumerate(self._places):
            self.data[at * SIZE + HEADER : (at + 1) * SIZE] = self._sound[(place + number) % len(self._sound)]
        self._send_all()

    def _send_all(self) -> None:
        sent = 0
        while sent < self.count:
            at = ctypes.addressof(self._messages) + sent * ctypes.sizeof(Message)
            some = _libc.sendmmsg(self.sock.fileno(), at, min(self.count - sent, MOST), 0)
            if some < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg failed")
            sent += some


@cache
def speech() -> list[bytes]:
    """The demo's sounds, one after the other, in payloads."""
    sound = b"".join(path.read_bytes().partition(b"data")[2][4:] for path in sorted(SOUND.glob("*.wav")))
    return [sound[place : place + PAYLOAD] for place in range(0, len(sound) - PAYLOAD + 1, PAYLOAD)]


def run(host: str, ports: list[int], seconds: float) -> dict[str, float]:
    """Send for so long; the same as is printed."""
    slices = [Slice(host, ports[part::SLICES], part) for part in range(SLICES) if ports[part::SLICES]]
    frames, late = round(seconds / FRAME), array("d")
    began = time.monotonic() + FRAME
    for frame in range(frames):
        for part, one in enumerate(slices):
            due = began + (frame + part / len(slices)) * FRAME
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            one.send(frame)
            late.append(time.monotonic() - due)
    ranked = sorted(late)
    return {
        "packets": frames,
        "late_ms": round(ranked[-1] * 1000, 1),
        "late_p99_ms": round(ranked[int(len(ranked) * 0.99)] * 1000, 1),
        "cpu_s": round(time.process_time(), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("seconds", type=float)
    parser.add_argument("ports", type=int, nargs="+")
    given = parser.parse_args()
    print(json.dumps(run(given.host, given.ports, given.seconds)))


if __name__ == "__main__":
    main()
