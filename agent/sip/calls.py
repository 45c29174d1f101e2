"""From the facts of a journal to the call as it is known by now, and to the plan for assembling its sound. Pure.

The same facts always give the same call, so a repeated or interrupted delivery to the database changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind
from agent.sip.body import Body, read_body
from agent.sip.journal import ACKED, CLOSED, NO_MEDIA, OPENED, STREAM, UNACKED, UPDATED, Fact
from agent.sip.message import MalformedRequest, Request, read_request
from agent.sip.metadata import Metadata, MetadataUnreadable, Participant, merge, number_of, read_metadata

SOURCE = "siprec"
POSITIONS = ("caller", "callee")
# A group id made for one conversation, and not a name such as "sales" that all calls carry
_UNIQUE = re.compile(r"^[\w+/=:.@{}-]{16,}$")
_BUSY = re.compile(r"q\.850\s*;.*?cause\s*=\s*\"?17\b|sip\s*;.*?cause\s*=\s*\"?(?:486|600)\b", re.IGNORECASE)
_NUMBER = re.compile(r"^\+?\d{2,}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedStream:
    """How the packet log ``<index>.rtpdump`` enters the recording: its channel and what its payload types mean.

    ``codecs`` maps payload types to rtpmap values (``PCMA/8000``), ``parameters`` to fmtp values. ``crypto`` has every
    SRTP key the sender ever announced, the newest last, as (suite, base64 of key and salt, bytes of its name).
    """

    index: int
    channel: int
    label: str
    codecs: dict[str, str]
    parameters: dict[str, str]
    crypto: tuple[tuple[str, str, int], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """Everything the client said in words, gathered over all its messages."""

    invite: Request | None
    metadata: Metadata | None
    flags: tuple[str, ...]


def captured_call(facts: Sequence[Fact], capture_id: str) -> CapturedCall:
    """The call that a journal tells of; also a journal without a beginning gives one, flagged."""
    told = _told(facts)
    started = next((fact.at for fact in facts if fact.kind == OPENED), facts[0].at if facts else datetime.now(UTC))
    answered, flags = _answered(facts), list(told.flags)
    closed = next((fact for fact in facts if fact.kind == CLOSED), None)
    plans = stream_plans(facts)
    parties = _parties(told, plans, flags)
    kinds = {fact.kind for fact in facts}
    flags += ["no sound came although the session was established"] if NO_MEDIA in kinds else []
    flags += ["the client never acknowledged our answer"] if UNACKED in kinds else []
    return CapturedCall(
        source=SOURCE,
        key=_key(facts, capture_id),
        started=started,
        answered=answered,
        ended=closed.at if closed else None,
        disposition=_disposition(closed, answered),
        parties=parties,
        conversation_key=_conversation(told.metadata),
        capture_id=capture_id,
        truncated=bool(closed and closed.data.get("truncated")),
        flags=tuple(dict.fromkeys(flags)),
        details=_details(facts, told, plans, closed),
    )


def stream_plans(facts: Sequence[Fact]) -> tuple[LoggedStream, ...]:
    """One plan for each stream ever opened, in the order of their logs."""
    metadata = _told(facts).metadata
    streams: dict[int, dict[str, Any]] = {}
    for index, data in _stream_facts(facts):
        stream = streams.setdefault(index, {"codecs": {}, "parameters": {}, "label": "", "crypto": ()})
        stream["label"] = str(data.get("label") or stream["label"])
        for name in ("codecs", "parameters"):
            found = data.get(name)
            stream[name] |= {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
        stream["crypto"] = tuple(dict.fromkeys([*stream["crypto"], *_crypto(data)]))
    channels = _channels({index: stream["label"] for index, stream in streams.items()}, metadata)
    return tuple(LoggedStream(index=index, channel=channels[index], **streams[index]) for index in sorted(streams))


def _crypto(data: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """The keys of a stream fact, the preferred one last."""
    found = data.get("crypto")
    keys = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [
        (str(one.get("suite")), str(one.get("key")), size if isinstance(size := one.get("mki_size"), int) else 0)
        for one in reversed(keys)
    ]


def session_key(request: Request, body: Body) -> str:
    """The name of a call for good: the session id of the metadata, else Call-ID and From tag."""
    try:
        sessions = read_metadata(body.metadata).sessions if body.metadata else ()
    except MetadataUnreadable:
        sessions = ()
    return sessions[0].id if sessions else f"{request.call_id};{request.from_tag}"


def _key(facts: Iterable[Fact], capture_id: str) -> str:
    return next((str(fact.data["key"]) for fact in facts if fact.kind == OPENED and fact.data.get("key")), capture_id)


def _told(facts: Sequence[Fact]) -> _Told:
    invite: Request | None = None
    metadata: Metadata | None = None
    flags = [] if any(fact.kind == OPENED for fact in facts) else ["the beginning of the journal is lost"]
    for fact in facts:
        if fact.kind not in (OPENED, UPDATED, CLOSED) or not fact.raw():
            continue
        try:
            request = read_request(fact.raw())
        except MalformedRequest as error:
            flags.append(error.what)
            continue
        if request is None:
            continue
        invite = invite or (request if fact.kind == OPENED else None)
        body = read_body(request.header("content-type"), request.body)
        flags += body.flags
        try:
            update = read_metadata(body.metadata) if body.metadata else None
        except MetadataUnreadable as error:
            flags.append(error.what)
            continue
        if update:
            metadata = merge(metadata, update) if metadata else update
    if metadata is None:
        flags.append("the client sent no recording metadata that can be read")
    return _Told(invite=invite, metadata=metadata, flags=tuple(flags))


def _stream_facts(facts: Iterable[Fact]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Stream facts with a usable index; the journal may have been damaged."""
    for fact in facts:
        if fact.kind == STREAM and isinstance(index := fact.data.get("index"), int):
            yield index, fact.data


def _answered(facts: Sequence[Fact]) -> datetime | None:
    """When the media first became active between two participants, by what SDP said."""
    needed = min(2, len({index for index, _ in _stream_facts(facts)}))
    active: dict[int, bool] = {}
    for fact in facts:
        for index, data in _stream_facts((fact,)):
            active[index] = bool(data.get("active"))
            if sum(active.values()) >= needed:
                return fact.at
    return None


def _disposition(closed: Fact | None, answered: datetime | None) -> Disposition:
    if closed is None:
        return Disposition.IN_PROGRESS
    if answered is not None:
        return Disposition.ANSWERED
    return Disposition.BUSY if _BUSY.search(str(closed.data.get("reason", ""))) else Disposition.NO_ANSWER


def _conversation(metadata: Metadata | None) -> str | None:
    if metadata is None or not metadata.sessions:
        return None
    session = metadata.sessions[0]
    group = session.group or (metadata.groups[0] if metadata.groups else "")
    return (group if _UNIQUE.match(group) else "") or session.ucid or session.id


def _channels(labels: dict[int, str], metadata: Metadata | None) -> dict[int, int]:
    """Log index to channel: that of whoever sends on the stream; streams nobody claims take what is free, in order."""
    senders = _senders(metadata) if metadata else {}
    ranks = _ranks(metadata) if metadata else {}
    channels = {index: ranks[senders[label]] for index, label in labels.items() if senders.get(label) in ranks}
    for index in sorted(labels):
        if index not in channels:
            free = (number for number in range(len(labels) + len(ranks) + 1) if number not in channels.values())
            channels[index] = next(free)
    return channels


def _senders(metadata: Metadata) -> dict[str, str]:
    """Label of an m-line to the participant who speaks there first."""
    labels = {stream.id: stream.label for stream in metadata.streams}
    found: dict[str, str] = {}
    for participant in metadata.participants:
        for stream in participant.sends:
            if labels.get(stream):
                found.setdefault(labels[stream], participant.id)
    return found


def _ranks(metadata: Metadata) -> dict[str, int]:
    """Participant to channel. Whoever takes over the stream of another one speaks on the same channel."""
    taken: dict[str, int] = {}
    ranks: dict[str, int] = {}
    for participant in metadata.participants:
        shared = next((taken[stream] for stream in participant.sends if stream in taken), None)
        ranks[participant.id] = len(set(ranks.values())) if shared is None else shared
        for stream in participant.sends:
            taken.setdefault(stream, ranks[participant.id])
    return ranks


def _parties(told: _Told, plans: Sequence[LoggedStream], flags: list[str]) -> tuple[CapturedParty, ...]:
    if told.metadata is None or not told.metadata.participants:
        return _sip_parties(told.invite, flags)
    if plans and not any(participant.sends for participant in told.metadata.participants):
        flags.append("the metadata does not say who sends on which stream; they were taken in order")
    ranks = _ranks(told.metadata)
    return tuple(
        _party(participant, at, ranks[participant.id])
        for at, participant in enumerate(told.metadata.participants)
        if participant.aor or participant.name or participant.sends
    )


def _party(participant: Participant, at: int, channel: int) -> CapturedParty:
    return CapturedParty(
        position=POSITIONS[at] if at < len(POSITIONS) else "participant",
        kind=IdentityKind.PHONE,
        value=number_of(participant.aor),
        name=participant.name,
        channel=channel,
        joined=participant.joined,
        left=participant.left,
    )


def _sip_parties(invite: Request | None, flags: list[str]) -> tuple[CapturedParty, ...]:
    """Without metadata only From and To are left; they are believed where they hold numbers."""
    values = [number_of(_uri(invite.header(name))) if invite else "" for name in ("From", "To")]
    parties = tuple(
        CapturedParty(position=position, kind=IdentityKind.PHONE, value=value, channel=channel)
        for channel, (position, value) in enumerate(zip(POSITIONS, values, strict=True))
        if _NUMBER.match(value)
    )
    if parties:
        flags.append("the parties were taken from the SIP headers From and To")
    return parties


def _uri(address: str) -> str:
    inside = re.search(r"<([^<>]*)>", address)
    return inside[1] if inside else address.split(";")[0]


def _details(facts: Sequence[Fact], told: _Told, plans: Sequence[LoggedStream], closed: Fact | None) -> dict[str, Any]:
    opened = next((fact.data for fact in facts if fact.kind == OPENED), {})
    session = told.metadata.sessions[0] if told.metadata and told.metadata.sessions else None
    details: dict[str, Any] = {name: opened[name] for name in ("call_id", "peer", "transport") if opened.get(name)}
    details["streams"] = [_described(plan) for plan in plans]
    details["acknowledged"] = any(fact.kind == ACKED for fact in facts)
    if told.invite:
        details["user_agent"] = told.invite.header("user-agent")
        ucid = told.invite.header("x-avaya-ucid") or told.invite.header("user-to-user")
        details |= {"ucid": ucid} if ucid else {}
    if session:
        details["session_id"] = session.id
        details |= {"session_started": session.started.isoformat()} if session.started else {}
    if closed:
        details |= {"ended_by": closed.data.get("by", ""), "reason": closed.data.get("reason", "")}
    return details


def _described(plan: LoggedStream) -> dict[str, Any]:
    """A stream for the database: that it was encrypted, and never the keys."""
    described = asdict(plan)
    described["crypto"] = list(dict.fromkeys(suite for suite, _, _ in described.pop("crypto")))
    return described
