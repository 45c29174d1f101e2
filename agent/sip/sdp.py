"""SDP offers of recording clients and our answers (RFC 8866, RFC 3264, RFC 7866 section 7). Pure and tolerant.

A line that cannot be read is skipped, never the whole offer. The answer takes every payload type offered: rtpengine
sends nothing at all when telephone-event is left out, and OpenSIPS nothing when a label is not echoed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_MEDIA = 32
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
PLAIN_RTP = ("RTP/AVP", "RTP/AVPF")
STATIC = {"0": "PCMU/8000", "3": "GSM/8000", "4": "G723/8000", "8": "PCMA/8000", "9": "G722/8000", "18": "G729/8000"}
_MEDIA = re.compile(r"^(\S+)\s+(\d{1,5})(?:/\d+)?\s+(\S+)\s*(.*)$")
_MAPPED = re.compile(r"^(\d{1,3})\s+(\S.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One m-line of an offer. ``codecs`` and ``parameters`` map payload types to rtpmap and fmtp values."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    label: str
    direction: str
    codecs: dict[str, str]
    parameters: dict[str, str]

    @property
    def usable(self) -> bool:
        """Whether its sound can be recorded at all."""
        return self.kind == "audio" and self.protocol.upper() in PLAIN_RTP and bool(self.formats) and self.port > 0

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
    return tuple(found for lines in media if (found := _media(lines, fallback)) is not None)


def _media(lines: Sequence[str], fallback: str) -> Media | None:
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
    )


def _mapped(lines: Sequence[str], prefix: str) -> dict[str, str]:
    found = (_MAPPED.match(line[len(prefix) :].strip()) for line in lines if line.startswith(prefix))
    return {match[1]: match[2] for match in found if match}


def _direction(lines: Sequence[str], fallback: str) -> str:
    return next((line[2:] for line in lines if line[2:] in DIRECTIONS and line.startswith("a=")), fallback)


def _held(lines: Sequence[str]) -> bool:
    """Hold as RFC 2543 said it: the null address."""
    return any(re.match(r"c=IN\s+IP4\s+0\.0\.0\.0$", line) for line in lines)


def only_encrypted(offer: Sequence[Media]) -> bool:
    """Whether all audio is offered as SRTP (RFC 4568, RFC 5763), for which there are no keys here."""
    audio = [media for media in offer if media.kind == "audio"]
    return bool(audio) and all("SAVP" in media.protocol.upper() for media in audio)


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
    for fmt in media.formats:
        lines += [f"a=rtpmap:{fmt} {media.codecs[fmt]}"] if fmt in media.codecs else []
        lines += [f"a=fmtp:{fmt} {media.parameters[fmt]}"] if fmt in media.parameters else []
    return [*lines, "a=recvonly" if media.active else "a=inactive"]
