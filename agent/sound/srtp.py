"""SRTP (RFC 3711) with keys from SDP (RFC 4568): packets are logged encrypted, as they came, and opened when assembled.

The only file that knows pylibsrtp, whose ciphers decide which suites we can take. Keys are never logged.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from pylibsrtp import Error, Policy, Session

_WINDOW = 4096  # packets (82 s of 20 ms) that may come late and still be opened
_MOST_KEYS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A crypto suite: bytes of master key and salt together, and of the tag that ends a packet (0 with GCM)."""

    profile: int
    key_size: int
    tag_size: int


SUITES: Mapping[str, Suite] = {
    "AES_CM_128_HMAC_SHA1_80": Suite(profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80, key_size=30, tag_size=10),
    "AES_CM_128_HMAC_SHA1_32": Suite(profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_32, key_size=30, tag_size=4),
    "AEAD_AES_128_GCM": Suite(profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM, key_size=28, tag_size=0),
    "AEAD_AES_256_GCM": Suite(profile=Policy.SRTP_PROFILE_AEAD_AES_256_GCM, key_size=44, tag_size=0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SrtpKey:
    """One key of a sender: master key and salt as one, and the bytes its packets carry to name it (MKI)."""

    suite: str
    key: bytes = field(repr=False)
    mki_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SrtpKeys:
    """Every key a stream was announced with, the newest last."""

    keys: tuple[SrtpKey, ...]


def read_key(suite: str, text: str, mki_size: int = 0) -> SrtpKey | None:
    """A key from its base64 form in SDP; None for a suite that is unknown here or a key of another length."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    known = SUITES.get(suite)
    if known is None or len(key) != known.key_size or not 0 <= mki_size <= 128:
        return None
    return SrtpKey(suite=suite, key=key, mki_size=mki_size)


class Opener:
    """Opens the packets of one stream in the order they came.

    A key is known to fit when a packet is authentic under it, so neither the moment of a change nor which of several
    offered keys the sender took has to be known.
    """

    def __init__(self, keys: SrtpKeys) -> None:
        self._sessions: list[tuple[SrtpKey, Session]] = []
        self.learn(keys)

    def learn(self, keys: SrtpKeys) -> None:
        """What the stream is announced with by now. A key that stays knows its packet counter (RFC 3711, 3.3.1), which
        no packet tells."""
        known = dict(self._sessions)
        unique = dict.fromkeys(keys.keys[-_MOST_KEYS:])
        self._sessions = [(key, known.get(key) or _session(key)) for key in unique]

    def open(self, packet: bytes) -> bytes | None:
        """The RTP packet in it; empty if it came a second time, None if it is authentic under no key."""
        repeated = False
        for place, (key, session) in enumerate(self._sessions):
            try:
                opened = session.unprotect(_without_mki(packet, key))
            except Error as error:
                repeated = repeated or str(error).startswith("replay")
                continue
            except ValueError:  # too long
                continue
            if place:
                self._sessions.insert(0, self._sessions.pop(place))
            return opened
        return b"" if repeated else None


def _session(key: SrtpKey) -> Session:
    policy = Policy(key=key.key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=SUITES[key.suite].profile)
    policy.window_size = _WINDOW
    return Session(policy)


def _without_mki(packet: bytes, key: SrtpKey) -> bytes:
    """The key's name lies before the tag (RFC 3711, 3.1), behind everything with GCM (RFC 7714, 8.1)."""
    if not key.mki_size:
        return packet
    tag = len(packet) - SUITES[key.suite].tag_size
    return packet[: tag - key.mki_size] + packet[tag:]
