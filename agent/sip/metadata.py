"""Recording metadata (RFC 7865), complete and partial, as real clients write it. Pure.

Namespaces are ignored (some leave ``:1`` away), a byte order mark is skipped, ``<send>`` may stand inside
``<participant>``, unknown elements are passed over. Entities and document types are refused: nobody needs them and
they are how an XML parser is brought down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from agent.errors import Unreadable

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_TEXT = 512
_PREFIX = re.compile(rb"(</?|\s)(?!xmlns)[A-Za-z][\w.-]*:(?=[\w.-]+(?:\s*=\s*[\"']|[\s/>]))")
_ENCODING = re.compile(rb"^<\?xml[^>]*?encoding\s*=\s*[\"']([\w.-]+)")


class MetadataUnreadable(Unreadable):
    """The recording metadata is no XML that can be read; the call is recorded and flagged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A communication session: the conversation that is recorded."""

    id: str
    group: str = ""
    started: datetime | None = None
    stopped: datetime | None = None
    ucid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Somebody who takes part; ``aor`` is his sip or tel URI as it came. ``sends`` are stream ids."""

    id: str
    aor: str = ""
    name: str = ""
    joined: datetime | None = None
    left: datetime | None = None
    sends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A media stream; ``label`` is that of its m-line (RFC 4574)."""

    id: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is known of the conversation, in the order the client named it: never sort participants."""

    complete: bool = True
    groups: tuple[str, ...] = ()
    sessions: tuple[Session, ...] = ()
    participants: tuple[Participant, ...] = ()
    streams: tuple[Stream, ...] = ()


def read_metadata(xml: bytes) -> Metadata:
    """Read a metadata document.

    Raises:
        MetadataUnreadable: no well-formed XML, too large, too deep, or with entities.
    """
    root = _parsed(xml)
    elements = list(root.iter())
    return Metadata(
        complete=_text(root, "datamode").lower() != "partial",
        groups=tuple(filter(None, (_id(item, "group_id") for item in _named(elements, "group")))),
        sessions=tuple(_session(item) for item in _named(elements, "session") if _id(item, "session_id")),
        participants=_participants(elements),
        streams=tuple(
            Stream(id=_id(item, "stream_id"), label=_text(item, "label")) for item in _named(elements, "stream")
        ),
    )


def merge(known: Metadata, update: Metadata) -> Metadata:
    """What is known after an update: a partial one changes what it names, a complete one replaces everything but
    participants who went (RFC 7865, 5; the history of a call keeps them)."""
    return Metadata(
        complete=known.complete or update.complete,
        groups=update.groups or known.groups,
        sessions=_merged(known.sessions, update.sessions),
        participants=_merged(known.participants, update.participants),
        streams=_merged(known.streams, update.streams),
    )


_Item = TypeVar("_Item", Session, Participant, Stream)


def _merged(known: tuple[_Item, ...], update: tuple[_Item, ...]) -> tuple[_Item, ...]:
    by_id = {item.id: item for item in known}
    for item in update:
        by_id[item.id] = _overlaid(by_id[item.id], item) if item.id in by_id else item
    return tuple(by_id.values())


def _overlaid(old: _Item, new: _Item) -> _Item:
    names = new.__dataclass_fields__
    return replace(new, **{name: getattr(old, name) for name in names if not getattr(new, name)})


def number_of(aor: str) -> str:
    """The number or name in a sip, sips or tel URI, as the client wrote it: ``sip:101@192.0.2.1`` is ``101``."""
    text = unquote(aor.strip().strip("<>"))[:MAX_TEXT]
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("sip", "sips", "tel"):
        rest = text
    if scheme.lower() == "tel":
        return rest
    user, at, host = rest.rpartition("@")
    return (user if at else host).split(";")[0].split(":")[0]


def read_time(text: str) -> datetime | None:
    """An aware time in UTC; without a zone UTC is meant. None when it cannot be read."""
    try:
        time = datetime.fromisoformat(text.strip())
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _parsed(xml: bytes) -> ET.Element:
    if len(xml) > MAX_BYTES:
        raise MetadataUnreadable(f"The recording metadata has {len(xml)} bytes.")
    xml = xml.strip(b"\0 \t\r\n").removeprefix(b"\xef\xbb\xbf").lstrip()
    declared = _ENCODING.match(xml)
    if xml.startswith((b"\xff\xfe", b"\xfe\xff")):
        xml = xml.decode("utf-16", "replace").encode()
        xml = re.sub(rb"^<\?xml.*?\?>", b"", xml, count=1, flags=re.DOTALL)
    elif declared and declared[1].lower() not in (b"utf-8", b"us-ascii", b"iso-8859-1"):
        raise MetadataUnreadable("The recording metadata names an unusual encoding.")
    if re.search(rb"<!(DOCTYPE|ENTITY)", xml, re.IGNORECASE):
        raise MetadataUnreadable("The recording metadata has a document type.")
    try:
        return _built(xml)
    except (ET.ParseError, ValueError, LookupError) as error:
        if "unbound prefix" not in str(error):
            raise MetadataUnreadable(f"The recording metadata is not XML: {error}.") from None
    try:  # a vendor's prefix that is declared nowhere
        return _built(_PREFIX.sub(rb"\1", xml))
    except (ET.ParseError, ValueError, LookupError) as error:
        raise MetadataUnreadable(f"The recording metadata is not XML: {error}.") from None


def _built(xml: bytes) -> ET.Element:
    """Parse step by step, so that a document nested a million times over is left before it is built."""
    parser: Any = ET.XMLPullParser(("start", "end"))
    depth, root = 0, None
    for at in range(0, len(xml), 1024):
        parser.feed(xml[at : at + 1024])
        for event, element in parser.read_events():
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            if depth > MAX_DEPTH:
                raise MetadataUnreadable("The recording metadata is nested too deeply.")
    parser.close()
    if root is None:
        raise MetadataUnreadable("The recording metadata is empty.")
    assert isinstance(root, ET.Element)
    return root


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2].rpartition(":")[2].lower()


def _named(elements: Iterable[ET.Element], name: str) -> Iterator[ET.Element]:
    return (element for element in elements if _local(element) == name)


def _id(element: ET.Element, name: str) -> str:
    for key, value in element.attrib.items():
        if key.rpartition("}")[2].lower() in (name, "id"):
            return value.strip()[:MAX_TEXT]
    return ""


def _text(element: ET.Element, name: str) -> str:
    found = next(_named(element, name), None)
    return ("".join(found.itertext()) if found is not None else "").strip()[:MAX_TEXT]


def _session(element: ET.Element) -> Session:
    return Session(
        id=_id(element, "session_id"),
        group=_text(element, "group-ref"),
        started=read_time(_text(element, "start-time")),
        stopped=read_time(_text(element, "stop-time") or _text(element, "end-time")),
        ucid=_text(element, "ucid"),
    )


def _participants(elements: Sequence[ET.Element]) -> tuple[Participant, ...]:
    """In document order; a partial document may name one in an association only, to say that he left."""
    sends = _sends(elements)
    times = {_id(item, "participant_id"): item for item in _named(elements, "participantsessionassoc")}
    named = {_id(item, "participant_id"): item for item in _named(elements, "participant")}
    order = dict.fromkeys((*named, *times, *sends))
    return tuple(
        _participant(known, named.get(known), times.get(known), sends.get(known, ())) for known in order if known
    )


def _participant(
    known: str, element: ET.Element | None, time: ET.Element | None, sends: tuple[str, ...]
) -> Participant:
    name_id = None if element is None else next(_named(element.iter(), "nameid"), None)
    aor = "" if name_id is None else name_id.attrib.get("aor", "") or (name_id.text or "")
    return Participant(
        id=known,
        aor=aor.strip()[:MAX_TEXT],
        name="" if name_id is None else _text(name_id, "name"),
        joined=None if time is None else read_time(_text(time, "associate-time")),
        left=None if time is None else read_time(_text(time, "disassociate-time")),
        sends=sends,
    )


def _sends(elements: Iterable[ET.Element]) -> dict[str, tuple[str, ...]]:
    """Participant id to the ids of the streams it speaks on, from both places where clients write it."""
    found: dict[str, tuple[str, ...]] = {}
    for element in elements:
        if _local(element) in ("participantstreamassoc", "participant"):
            known = _id(element, "participant_id")
            streams = tuple((send.text or "").strip()[:MAX_TEXT] for send in _named(element, "send"))
            found[known] = tuple(dict.fromkeys((*found.get(known, ()), *filter(None, streams))))
    return found
