"""A recording session as SIP sees it: the dialog, its streams and their ports (RFC 3261, 12; RFC 7866, 7)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from typing import Protocol

from agent.sip.journal import STREAM, UPDATED, Journal
from agent.sip.message import Request
from agent.sip.sdp import Media, build_answer, our_offer
from agent.sip.sessiontimer import SessionTimer
from agent.sip.transactions import Repeater
from agent.sip.transport import Arrival

MAX_STREAMS = 16
MOST_TOLD = 8 << 20  # bytes of requests that a session's journal takes; honest ones take some kilobytes

DialogId = tuple[str, str, str]


class StreamOpener(Protocol):
    """What of the recorder a dialog needs."""

    def open_stream(self, capture_id: str, index: int, *, events: frozenset[int] = frozenset()) -> int:
        """Open the socket of a stream, have it recorded, and return its port; never waits. A stream that is open keeps
        its port; ``events`` are the payload types of dialled digits in it.

        Raises:
            OSError: no port is free.
        """
        ...

    def expect(self, capture_id: str, index: int, peer: tuple[str, int] | None) -> None:
        """The client announced another address for a stream: follow it there."""
        ...


class Dialog:
    """One established recording session."""

    def __init__(self, request: Request, journal: Journal, arrival: Arrival, address: str) -> None:
        self.call_id, self.remote_tag = request.call_id, request.from_tag
        self.local_tag = secrets.token_hex(8)
        self.invite, self.journal, self.arrival, self.address = request, journal, arrival, address
        self.remote_cseq = self.first_cseq = request.cseq
        self.local_cseq = 0
        self.target = request.uri
        self.streams: dict[str, int] = {}
        self.ports: dict[int, int] = {}
        self.media: dict[int, Media] = {}
        self.heard: set[int] = set()
        self.repeater: Repeater | None = None
        self.acked = False
        self.offering = False  # whether our last answer was an offer, which the ACK must answer
        self.inviting = False  # whether a re-INVITE of ours waits for its answer
        self.described = False  # whether the client ever said what it sends
        self.answer = b""
        self.timer: SessionTimer | None = None
        self.timer_handle: asyncio.TimerHandle | None = None
        self.unrefreshed = False  # the timer ran out, and yet sound came
        self.probing = False
        self.last_request = time.time()  # when the client last gave a sign of life in words
        self._told, self._told_bytes = _content(request), 0
        self._lines: list[tuple[str, Media]] = []  # of the last description, in its order
        self._session, self._version = secrets.randbits(31), 0
        self.heard_from(request, arrival)

    @property
    def id(self) -> DialogId:
        """What in-dialog requests name it by."""
        return (self.call_id, self.remote_tag, self.local_tag)

    @property
    def active(self) -> bool:
        """Whether the client says that it sends sound on any stream."""
        return any(media.active for media in self.media.values())

    def heard_from(self, request: Request, arrival: Arrival) -> None:
        """The client is alive, and reached by this way and at this Contact from now on (RFC 3261, 12.2.2)."""
        self.last_request, self.arrival = time.time(), arrival
        if request.method in ("INVITE", "UPDATE"):
            self.target = _contact(request) or self.target

    def note_update(self, request: Request) -> bool:
        """Write a re-INVITE or UPDATE down: all of it, or only that it came, where it says again what the last one said
        (a refresh), or where so much was said that more would only fill the disk. Returns whether it was all.

        Raises:
            OSError: the disk is full.
        """
        content = _content(request)
        is_news = content != self._told and self._told_bytes + len(request.raw) <= MOST_TOLD
        self.journal.write(UPDATED, raw=request.raw if is_news else None, method=request.method)
        if is_news:
            self._told, self._told_bytes = content, self._told_bytes + len(request.raw)
        return is_news

    def accept(self, offer: Sequence[Media], opener: StreamOpener) -> bytes:
        """Take an offer: the ports of known labels stay, new ones are opened, each change goes to the journal.

        Raises:
            OSError: no port is free or the disk is full.
        """
        ports, named = [], set()
        self._lines = _keyed(offer, self._lines)
        for key, media in self._lines:
            port = self._stream_port(key, media, opener)
            ports.append(port)
            named.add(self.streams.get(key))
        for index in set(self.media) - named:  # not offered any more
            self._note(index, None)
        self.answer = self._describe(offer, ports)
        return self.answer

    def offer(self) -> bytes:
        """Our description as an offer (RFC 3264, 8): what we could receive, also where the client holds just now."""
        ports = [self.ports.get(self.streams.get(key, -1), 0) for key, _ in self._lines]
        self.answer = self._describe(our_offer([media for _, media in self._lines]), ports)
        return self.answer

    def answered(self, answer: Sequence[Media], opener: StreamOpener) -> None:
        """The client's answer to an offer of ours: its lines mean ours by their place, whatever labels it writes."""
        for (key, known), media in zip(self._lines, answer, strict=False):
            index = self.streams.get(key)
            if index is not None:
                label, codecs = media.label or known.label, media.codecs or known.codecs
                self._follow(index, media, opener)
                self._note(index, replace(media, label=label, codecs=codecs) if media.usable else None)

    def _describe(self, media: Sequence[Media], ports: Sequence[int]) -> bytes:
        self._version += 1
        return build_answer(media, ports, address=self.address, session_id=self._session, version=self._version)

    def _stream_port(self, key: str, media: Media, opener: StreamOpener) -> int:
        index = self.streams.get(key)
        if index is None and media.usable and len(self.streams) < MAX_STREAMS:
            index = len(self.streams)
            self.ports[index] = opener.open_stream(self.journal.capture_id, index, events=media.events)
            self.streams[key] = index
        if index is None:
            return 0
        self._follow(index, media, opener)
        self._note(index, media if media.usable else None)
        return self.ports[index] if media.usable else 0

    def _follow(self, index: int, media: Media, opener: StreamOpener) -> None:
        """Tell the recorder what a re-INVITE changes: where the sound comes from, and how digits are marked."""
        known = self.media.get(index)
        if known is None or not media.usable:
            return
        if media.events != known.events:
            opener.open_stream(self.journal.capture_id, index, events=media.events)
        if (media.host, media.port) != (known.host, known.port) and media.host:
            opener.expect(self.journal.capture_id, index, (media.host, media.port))

    def _note(self, index: int, media: Media | None) -> None:
        """Write the state of a stream down if it is news; None: it has ceased for now."""
        known = self.media.get(index)
        if media is None:
            if known is None or not known.active:
                return
            media = replace(known, direction="inactive")
        if media == known:
            return
        self.media[index] = media
        self.journal.write(
            STREAM,
            index=index,
            port=self.ports[index],
            label=media.label,
            direction=media.direction,
            active=media.active,
            codecs=media.codecs,
            parameters=media.parameters,
            crypto=[asdict(one) for one in media.crypto],
        )

    def request(
        self, method: str, via: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", cseq: int = 0
    ) -> bytes:
        """A request of ours inside this dialog (RFC 3261, 12.2.1.1); an ACK takes the ``cseq`` of its INVITE."""
        if not cseq:
            self.local_cseq += 1
        lines = [
            f"{method} {self.target} SIP/2.0",
            f"Via: {via}",
            "Max-Forwards: 70",
            *(f"Route: {route}" for route in self.invite.headers.get("record-route")),
            f"From: {self.invite.header('to')};tag={self.local_tag}",
            f"To: {self.invite.header('from')}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq or self.local_cseq} {method}",
            *(f"{name}: {value}" for name, value in headers),
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def _keyed(offer: Sequence[Media], before: Sequence[tuple[str, Media]]) -> list[tuple[str, Media]]:
    """Each m-line with the name its stream keeps over re-INVITEs: its label, or its place where it has none.

    A line that loses its label, or gets one, on the way keeps its place (RFC 3264, 8) and so its stream.
    """
    named = {media.label for media in offer if media.label}
    seen: dict[str, int] = {}
    lines = []
    for place, media in enumerate(offer):
        name = f"label:{media.label}" if media.label else f"place:{place}"
        key, known = before[place] if place < len(before) else ("", media)
        same = key and not (media.label and known.label) and known.label not in named
        if same and name not in dict(before):
            name = key
        seen[name] = seen.get(name, 0) + 1
        lines.append((name if seen[name] == 1 else f"{name}#{seen[name]}", media))
    return lines


def _content(request: Request) -> bytes:
    """A digest of what it says."""
    return blake2b(f"{request.header('content-type')}\n".encode() + request.body, digest_size=16).digest()


def _contact(request: Request) -> str:
    value = request.header("contact")
    start, end = value.find("<"), value.find(">")
    uri = value[start + 1 : end] if 0 <= start < end else value.split(";")[0]
    return "".join(uri.split())
