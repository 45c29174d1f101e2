"""One party of a played call as RTP: G.711 at a true 20 ms pace, and the keys it presses."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable

FRAME_BYTES = 160  # 20 ms of G.711
FRAME_S = 0.02
SILENCE = b"\xd5"  # A-law
EVENT_TYPE = 101  # payload type of telephone events in the offer

_KEYS = "0123456789*#ABCD"
_HELD, _ENDS, _EVERY = 5, 3, 12  # frames: a key is down; its end is told; from one key to the next
_VOLUME = 10  # -dBm0


class Speaker:
    """One party's RTP stream (RFC 3550, 5.1); while a key is pressed its event goes out instead of sound."""

    def __init__(self, sound: bytes, keys: Iterable[tuple[float, str]] = ()) -> None:
        """``sound`` is A-law; ``keys`` are pressed one after the other from so many seconds on."""
        self._sound = sound
        self._sequence, self._start = secrets.randbits(16), secrets.randbits(32)
        self._source = secrets.randbits(32)
        self._presses = {
            round(at / FRAME_S) + place * _EVERY: _KEYS.index(key)
            for at, pressed in keys
            for place, key in enumerate(pressed)
        }

    def packet(self, frame: int) -> bytes:
        """What goes out ``frame`` times 20 ms after the first packet."""
        for ago in range(_HELD + _ENDS if self._presses else 0):
            if (event := self._presses.get(frame - ago)) is not None:
                return self._event(frame, ago, event)
        payload = self._sound[frame * FRAME_BYTES : (frame + 1) * FRAME_BYTES].ljust(FRAME_BYTES, SILENCE)
        return self._head(frame, 0x88 if frame == 0 else 0x08, frame) + payload

    def _event(self, frame: int, ago: int, event: int) -> bytes:
        """RFC 4733, 2.3 and 2.5.1: all packets of a key have its first one's timestamp, the last tell its end."""
        ending = 0x80 if ago >= _HELD else 0
        duration = min(ago + 1, _HELD) * FRAME_BYTES
        kind = EVENT_TYPE | (0x80 if ago == 0 else 0)
        return self._head(frame, kind, frame - ago) + struct.pack("!BBH", event, ending | _VOLUME, duration)

    def _head(self, frame: int, kind: int, stamped: int) -> bytes:
        stamp = (self._start + stamped * FRAME_BYTES) & 0xFFFFFFFF
        return struct.pack("!BBHII", 0x80, kind, (self._sequence + frame) & 0xFFFF, stamp, self._source)
