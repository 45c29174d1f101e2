"""SDP offers of recording clients and our answers (RFC 8866, RFC 3264, RFC 7866 section 7). Pure and tolerant.

A line that cannot be read is skipped, never the whole offer. The answer takes every payload type offered: rtpengine
sends nothing at all when telephone-event is left out, and OpenSIPS nothing when a label is not echoed.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agent.sound.srtp import SUITES, read_key

MAX_MEDIA = 32
NOBODY = "0.0.0.0"  # noqa: S104 - as a place to send to, not to listen on
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
PLAIN_RTP = ("RTP/AVP", "RTP/AVPF")
SECURE_RTP = ("RTP/SAVP", "RTP/SAVPF")
STATIC = {"0": "PCMU/8000", "3": "GSM/8000", "4": "G723/8000", "8": "PCMA/8000", "9": "G722/8000", "18": "G729/8000"}
_MEDIA = re.compile(r"^(\S+)\s+(\d{1,5})(?:/\d+)?\s+(\S+)\s*(.*)$")
_CRYPTO = re.compile(r"^a=crypto:(\d{1,9})\s+(\w+)\s+inline:([A-Za-z0-9+/]+=*)((?:\|[^\s;]*)*)((?:\s+\S+)*)$")
_WEAKENED = re.compile(r"\b(?:UNENCRYPTED_SRTP|UNAUTHENTICATED_SRTP|KDR)\b")
_CONNECTION = re.compile(r"^c=IN\s+IP[46]\s+([0-9A-Za-z.:-]{1,255})(?:/\d+)*\s*$")
_MAPPED = re.compile(r"^(\d{1,3})\s+(\S.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crypto:
    """A key that the client may send with (RFC 4568, 4): base64 of master key and salt, size of its MKI in bytes."""

    tag: int
    suite: str
    key: str = field(repr=False)
    mki_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One m-line of an offer. ``codecs`` and ``parameters`` map payload types to rtpmap and fmtp values.

    ``crypto`` has the keys that we can use, in the client's order; ``host`` is where the client receives, and mostly
    sends from (its c-line).
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    label: str
    direction: str
    codecs: dict[str, str]
    parameters: dict[str, str]
    crypto: tuple[Crypto, ...] = ()
    host: str = ""

    @property
    def events(self) -> frozenset[int]:
        """The payload types that carry telephone events (RFC 4733)."""
        return frozenset(
            int(fmt)
            for fmt, codec in self.codecs.items()
            if codec.lower().startswith("telephone-event/") and int(fmt) < 128
        )

    @property
    def secure(self) -> bool:
        """Whether its packets come encrypted, with keys from this SDP."""
        return self.protocol.upper() in SECURE_RTP

    @property
    def usable(self) -> bool:
        """Whether its sound can be recorded at all."""
        readable = self.protocol.upper() in PLAIN_RTP or (self.secure and bool(self.crypto))
        return self.kind == "audio" and readable and bool(self.formats) and self.port > 0

    @property
    def active(self) -> bool:
        """Whether the client says that it sends sound now."""
        return self.usable and self.direction in ("sendrecv", "sendonly")


def read_offer(sdp: bytes) -> tuple[Media, ...]:
    """The m-lines of an offer in their order; empty when there is none that can be read. Never raises."""
    sections: list[list[str]] = [[]]
    lines = (line.strip("\0 \t\ufeff") for line in re.split(r"\r\n|\n|\r", sdp.decode("utf-8", "replace")))
    for line in lines:
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    session, media = sections[0], sections[1 : MAX_MEDIA + 1]
    fallback = _direction(session, "sendrecv")
    if _held(session):
        fallback = "inactive"
    host = _host(session)
    return tuple(found for lines in media if (found := _media(lines, fallback, host)) is not None)


def _media(lines: Sequence[str], fallback: str, host: str) -> Media | None:
    first = _MEDIA.match(lines[0][2:])
    if not first or int(first[2]) > 65535:
        return None
    formats = tuple(first[4].split())
    codecs = {fmt: STATIC[fmt] for fmt in formats if fmt in STATIC} | _mapped(lines, "a=rtpmap:")
    return Media(
        kind=first[1].lower(),
        port=int(first[2]),
        protocol=first[3],
        formats=formats,
        label=next((line[8:].strip() for line in lines if line.startswith("a=label:")), ""),
        direction="inactive" if _held(lines) else _direction(lines, fallback),
        codecs={fmt: codecs[fmt] for fmt in formats if fmt in codecs},
        parameters={fmt: value for fmt, value in _mapped(lines, "a=fmtp:").items() if fmt in formats},
        crypto=tuple(found for line in lines if (found := _crypto(line)) is not None),
        host=_host(lines) or host,
    )


def _crypto(line: str) -> Crypto | None:
    """A key we can use; parameters that would weaken or change the cipher rule a line out (RFC 4568, 6.3)."""
    found = _CRYPTO.match(line)
    if not found or _WEAKENED.search(found[5]):
        return None
    named = re.search(r"\|[^|:]*:(\d{1,3})$", found[4])
    mki_size = int(named[1]) if named else 0
    if read_key(found[2], found[3], mki_size) is None:
        return None
    return Crypto(tag=int(found[1]), suite=found[2], key=found[3], mki_size=mki_size)


def _mapped(lines: Sequence[str], prefix: str) -> dict[str, str]:
    found = (_MAPPED.match(line[len(prefix) :].strip()) for line in lines if line.startswith(prefix))
    return {match[1]: match[2] for match in found if match}


def _direction(lines: Sequence[str], fallback: str) -> str:
    return next((line[2:] for line in lines if line[2:] in DIRECTIONS and line.startswith("a=")), fallback)


def _host(lines: Sequence[str]) -> str:
    found = (_CONNECTION.match(line) for line in lines)
    return next((match[1] for match in found if match), "")


def _held(lines: Sequence[str]) -> bool:
    """Hold as RFC 2543 said it: the null address."""
    return _host(lines) == NOBODY


def only_encrypted(offer: Sequence[Media]) -> bool:
    """Whether all audio is offered as SRTP without a key that we can use: by DTLS (RFC 5763), or of a suite unknown."""
    audio = [media for media in offer if media.kind == "audio"]
    return bool(audio) and all("SAVP" in media.protocol.upper() and not media.usable for media in audio)


def our_offer(known: Sequence[Media]) -> tuple[Media, ...]:
    """What we offer a client that asks for it (RFC 3261, 14.2): every line open (RFC 6337, 5.3).

    Without any line known, two in the codecs that everybody has: most clients record both sides separately.
    """
    if known:
        return tuple(replace(media, direction="sendonly") for media in known)
    codecs = {fmt: STATIC[fmt] for fmt in ("8", "0", "9", "18")} | {"101": "telephone-event/8000"}
    line = Media(
        kind="audio",
        port=9,
        protocol="RTP/AVP",
        formats=tuple(codecs),
        label="",
        direction="inactive",
        codecs=codecs,
        parameters={"101": "0-15"},
    )
    return (line, line)


def build_answer(offer: Sequence[Media], ports: Sequence[int], *, address: str, session_id: int, version: int) -> bytes:
    """Answer every m-line in the order offered, on ``ports`` (0 refuses the line), receiving only."""
    where = f"IN {'IP6' if ':' in address else 'IP4'} {address}"
    lines = ["v=0", f"o=cardline {session_id} {version} {where}", "s=-", f"c={where}", "t=0 0"]
    for media, port in zip(offer, ports, strict=True):
        lines += _answer_media(media, port)
    return "\r\n".join([*lines, ""]).encode("utf-8", "replace")


def _answer_media(media: Media, port: int) -> list[str]:
    lines = [f"m={media.kind} {port} {media.protocol} {' '.join(media.formats) or '0'}"]
    lines += [f"a=label:{media.label}"] if media.label else []
    if not port:
        return lines
    lines += [_answer_crypto(media.crypto[0])] if media.secure and media.crypto else []
    for fmt in media.formats:
        lines += [f"a=rtpmap:{fmt} {media.codecs[fmt]}"] if fmt in media.codecs else []
        lines += [f"a=fmtp:{fmt} {media.parameters[fmt]}"] if fmt in media.parameters else []
    return [*lines, "a=recvonly" if media.active else "a=inactive"]


def _answer_crypto(offered: Crypto) -> str:
    """The suite we take and a key of ours (RFC 4568, 5.1.2); we send nothing, so nobody needs to keep it."""
    key = base64.b64encode(secrets.token_bytes(SUITES[offered.suite].key_size)).decode()
    return f"a=crypto:{offered.tag} {offered.suite} inline:{key}"
