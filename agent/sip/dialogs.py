"""A recording session as SIP sees it: the dialog, its streams and their ports (RFC 3261, 12; RFC 7866, 7)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Protocol

from agent.sip.journal import STREAM, Journal
from agent.sip.message import Request
from agent.sip.sdp import Media, build_answer
from agent.sip.transactions import Repeater
from agent.sip.transport import Arrival

MAX_STREAMS = 16

DialogId = tuple[str, str, str]


class StreamOpener(Protocol):
    """What of the recorder a dialog needs."""

    def open_stream(self, capture_id: str, index: int) -> int:
        """Open the socket of a stream and return its port; never waits.

        Raises:
            OSError: no port is free.
        """
        ...


class Dialog:
    """One established recording session."""

    def __init__(self, request: Request, journal: Journal, arrival: Arrival, address: str) -> None:
        self.call_id, self.remote_tag = request.call_id, request.from_tag
        self.local_tag = secrets.token_hex(8)
        self.invite, self.journal, self.arrival, self.address = request, journal, arrival, address
        self.remote_cseq = self.first_cseq = request.cseq
        self.target = _contact(request) or request.uri
        self.streams: dict[str, int] = {}
        self.ports: dict[int, int] = {}
        self.media: dict[int, Media] = {}
        self.heard: set[int] = set()
        self.repeater: Repeater | None = None
        self.acked = False
        self.offering = False  # whether our last answer was an offer, which the ACK must answer
        self.answer = b""
        self._session, self._version = secrets.randbits(31), 0

    @property
    def id(self) -> DialogId:
        """What in-dialog requests name it by."""
        return (self.call_id, self.remote_tag, self.local_tag)

    @property
    def active(self) -> bool:
        """Whether the client says that it sends sound on any stream."""
        return any(media.active for media in self.media.values())

    def accept(self, offer: Sequence[Media], opener: StreamOpener) -> bytes:
        """Take an offer: the ports of known labels stay, new ones are opened, each change goes to the journal.

        Raises:
            OSError: no port is free or the disk is full.
        """
        ports, named = [], set()
        for key, media in _keyed(offer):
            port = self._stream_port(key, media, opener)
            ports.append(port)
            named.add(self.streams.get(key))
        for index in set(self.media) - named:  # not offered any more
            self._note(index, None)
        self._version += 1
        self.answer = build_answer(offer, ports, address=self.address, session_id=self._session, version=self._version)
        return self.answer

    def _stream_port(self, key: str, media: Media, opener: StreamOpener) -> int:
        index = self.streams.get(key)
        if index is None and media.usable and len(self.streams) < MAX_STREAMS:
            index = len(self.streams)
            self.ports[index] = opener.open_stream(self.journal.capture_id, index)
            self.streams[key] = index
        if index is None:
            return 0
        self._note(index, media if media.usable else None)
        return self.ports[index] if media.usable else 0

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

    def bye(self, host: str, port: int) -> bytes:
        """A BYE of ours, for when we must leave a session (RFC 3261, 15.1.1)."""
        transport = self.arrival.transport.upper()
        lines = [
            f"BYE {self.target} SIP/2.0",
            f"Via: SIP/2.0/{transport} {host}:{port};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            *(f"Route: {route}" for route in self.invite.headers.get("record-route")),
            f"From: {self.invite.header('to')};tag={self.local_tag}",
            f"To: {self.invite.header('from')}",
            f"Call-ID: {self.call_id}",
            "CSeq: 1 BYE",
            'Reason: SIP;cause=503;text="Recording server stops"',
            "Content-Length: 0",
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def _keyed(offer: Sequence[Media]) -> Iterator[tuple[str, Media]]:
    """Each m-line with the name its stream keeps over re-INVITEs: its label, or its place where it has none."""
    seen: dict[str, int] = {}
    for place, media in enumerate(offer):
        name = f"label:{media.label}" if media.label else f"place:{place}"
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), media


def _contact(request: Request) -> str:
    value = request.header("contact")
    start, end = value.find("<"), value.find(">")
    uri = value[start + 1 : end] if 0 <= start < end else value.split(";")[0]
    return "".join(uri.split())
