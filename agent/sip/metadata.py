"""Recording metadata (RFC 7865), complete and partial, as real clients write it. Pure.

Namespaces are ignored (some leave ``:1`` away, BroadWorks writes those of a draft), a byte order mark is skipped,
``<send>`` and times may stand inside ``<participant>``, unknown elements are passed over. Entities and document types
are refused: nobody needs them and they are how an XML parser is brought down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from xml.etree import ElementTree as ET

from agent.errors import Unreadable
from agent.sip.identities import MAX_TEXT, is_number, number_of, read_ucid, ucid_in

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
_UCIDS = ("ucid", "avayaucid", "genesysuuid")  # Oracle, AudioCodes with Avaya, AudioCodes with Genesys
_PREFIX = re.compile(rb"(</?|\s)(?!xmlns)[A-Za-z][\w.-]*:(?=[\w.-]+(?:\s*=\s*[\"']|[\s/>]))")
_ENCODING = re.compile(rb"^<\?xml[^>]*?encoding\s*=\s*[\"']([\w.-]+)")


_Named = dict[str, list[ET.Element]]  # the elements of a document by their local names, in document order


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
    """Somebody who takes part; ``aor`` is his sip or tel URI as it came. ``sends`` are stream ids. ``calling`` says
    whether he began the call, where the client tells."""

    id: str
    aor: str = ""
    name: str = ""
    joined: datetime | None = None
    left: datetime | None = None
    sends: tuple[str, ...] = ()
    calling: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A media stream; ``label`` is that of its m-line (RFC 4574)."""

    id: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is known of the conversation, in the order the client named it: never sort participants.

    ``calling`` and ``called`` are numbers that a switch tells beside the participants, whom it knows by login only.
    """

    complete: bool = True
    calling: str = ""
    called: str = ""
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
    named: _Named = {}
    for element in root.iter():
        named.setdefault(_local(element), []).append(element)
    return Metadata(
        complete=_text(root, "datamode").lower() != "partial",
        calling=number_of(_first(named, "callingpartynumber")),
        called=number_of(_first(named, "calledpartynumber")),
        groups=tuple(filter(None, (_id(item, "group_id") for item in named.get("group", ())))),
        sessions=tuple(_session(item) for item in named.get("session", ()) if _id(item, "session_id")),
        participants=_participants(named),
        streams=tuple(
            Stream(id=_id(item, "stream_id"), label=_text(item, "label")) for item in named.get("stream", ())
        ),
    )


def merge(known: Metadata, update: Metadata, *, at: datetime | None = None) -> Metadata:
    """What is known after an update that came at a time: a partial one changes what it names; whom a complete one does
    not name any more has left (RFC 7865, 5), and stays in the history of the call."""
    update = _recognised(known, update) if update.complete else update
    return Metadata(
        complete=known.complete or update.complete,
        calling=known.calling or update.calling,
        called=known.called or update.called,
        groups=update.groups or known.groups,
        sessions=_merged(known.sessions, update.sessions),
        participants=_present(known, update, at),
        streams=_merged(known.streams, update.streams),
    )


def _recognised(known: Metadata, update: Metadata) -> Metadata:
    """Some clients make new ids for the same people in each complete document: they are recognised by their URI."""
    ids = {one.id for one in known.participants}
    named = {one.id for one in update.participants}
    missing = {one.aor: one.id for one in reversed(known.participants) if one.id not in named and one.aor}
    people = tuple(
        replace(one, id=missing.pop(one.aor)) if one.id not in ids and one.aor in missing else one
        for one in update.participants
    )
    return replace(update, participants=people)


def _present(known: Metadata, update: Metadata, at: datetime | None) -> tuple[Participant, ...]:
    """Participants with the times at which they joined and left, where the client says nothing from its messages."""
    before = {one.id for one in known.participants}
    now = {one.id for one in update.participants}
    gone = before - now if update.complete and update.participants else set()
    merged = _merged(known.participants, update.participants)
    told = {one.id: one for one in update.participants}

    def times(one: Participant) -> Participant:
        if one.id in gone:
            return replace(one, left=one.left or at)
        if one.id not in before and before:
            return replace(one, joined=one.joined or at)
        came_back = one.left and one.joined and one.joined > one.left and told[one.id].left is None
        return replace(one, left=None) if came_back else one

    return tuple(times(one) for one in merged)


_Item = TypeVar("_Item", Session, Participant, Stream)


def _merged(known: tuple[_Item, ...], update: tuple[_Item, ...]) -> tuple[_Item, ...]:
    by_id = {item.id: item for item in known}
    for item in update:
        by_id[item.id] = _overlaid(by_id[item.id], item) if item.id in by_id else item
    return tuple(by_id.values())


def _overlaid(old: _Item, new: _Item) -> _Item:
    names = new.__dataclass_fields__
    return replace(new, **{name: getattr(old, name) for name in names if not getattr(new, name)})


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
    return _attribute(element, (name, "id"))


def _attribute(element: ET.Element, names: Sequence[str]) -> str:
    for key, value in element.attrib.items():
        if key.rpartition("}")[2].lower() in names:
            return value.strip()[:MAX_TEXT]
    return ""


def _text(element: ET.Element, name: str) -> str:
    found = next(_named(element, name), None)
    return ("".join(found.itertext()) if found is not None else "").strip()[:MAX_TEXT]


def _first(named: _Named, name: str) -> str:
    """The text of the first element of a name in the document."""
    found = named.get(name)
    return "".join(found[0].itertext()).strip()[:MAX_TEXT] if found else ""


def _inside(element: ET.Element, name: str) -> str:
    """The text of the first element of that name at any depth."""
    found = next(_named(element.iter(), name), None)
    return ("".join(found.itertext()) if found is not None else "").strip()[:MAX_TEXT]


def _session(element: ET.Element) -> Session:
    known = _id(element, "session_id")
    ucid = next((found for name in _UCIDS if (found := _inside(element, name))), "")
    return Session(
        id=known,
        group=_text(element, "group-ref") or _attribute(element, ("group", "group_id")),
        started=read_time(_text(element, "start-time") or _text(element, "associate-time")),
        stopped=read_time(_text(element, "stop-time") or _text(element, "end-time")),
        ucid=read_ucid(ucid) or ucid_in(known),
    )


def _participants(named: _Named) -> tuple[Participant, ...]:
    """In document order; a partial document may name one in an association only, to say that he left."""
    sends = _sends(named)
    times: dict[str, list[ET.Element]] = {}
    for item in named.get("participantsessionassoc", ()):
        times.setdefault(_id(item, "participant_id"), []).append(item)
    people = {_id(item, "participant_id"): item for item in named.get("participant", ())}
    order = dict.fromkeys((*people, *times, *sends))
    return tuple(
        _participant(known, people.get(known), times.get(known, []), sends.get(known, ())) for known in order if known
    )


def _participant(
    known: str, element: ET.Element | None, times: Sequence[ET.Element], sends: tuple[str, ...]
) -> Participant:
    """Times stand in the associations, in drafts in the participant itself; he left when he left every session."""
    own = [] if element is None else [element]
    left = [read_time(_text(item, "disassociate-time")) for item in times or own]
    joined = [time for item in times or own if (time := read_time(_text(item, "associate-time")))]
    calling = "" if element is None else _inside(element, "callingparty").lower()
    return Participant(
        id=known,
        aor="" if element is None else _aor(element),
        name="" if element is None else _inside(element, "name"),
        joined=min(joined, default=None),
        left=max((time for time in left if time), default=None) if all(left) else None,
        sends=sends,
        calling=calling == "true" if calling else None,
    )


def _aor(element: ET.Element) -> str:
    """Of several names the first that is a number; drafts write an element ``aor``."""
    found = [item.attrib.get("aor", "") or (item.text or "") for item in _named(element.iter(), "nameid")]
    found += [item.text or "" for item in _named(element.iter(), "aor")]
    told = [aor.strip()[:MAX_TEXT] for aor in found if aor.strip()]
    return next((aor for aor in told if is_number(number_of(aor))), told[0] if told else "")


def _sends(named: _Named) -> dict[str, tuple[str, ...]]:
    """Participant id to the ids of the streams it speaks on, from both places where clients write it."""
    found: dict[str, tuple[str, ...]] = {}
    for element in (*named.get("participant", ()), *named.get("participantstreamassoc", ())):
        known = _id(element, "participant_id")
        streams = tuple("".join(send.itertext()).strip()[:MAX_TEXT] for send in _named(element, "send"))
        found[known] = tuple(dict.fromkeys((*found.get(known, ()), *filter(None, streams))))
    return found
