"""From the facts of a journal to the call as it is known by now, and to the plan for assembling its sound. Pure.

The same facts always give the same call, so a repeated or interrupted delivery to the database changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from agent.model import CapturedCall, Disposition
from agent.sip.body import read_body
from agent.sip.identities import bounded, is_unique, read_ucid, ucid_in
from agent.sip.journal import ACKED, CLOSED, NO_MEDIA, OPENED, SNAPSHOT, STREAM, UNACKED, UNREFRESHED, UPDATED, Fact
from agent.sip.message import MalformedRequest, Request, read_request
from agent.sip.metadata import Metadata, MetadataUnreadable, merge, read_metadata
from agent.sip.parties import call_parties, channels, diverted_from
from agent.sip.snapshots import snapshot_call
from agent.sound.flac import MOST_CHANNELS

SOURCE = "siprec"
_BUSY = re.compile(r"q\.850\s*;.*?cause\s*=\s*\"?17\b|sip\s*;.*?cause\s*=\s*\"?(?:486|600)\b", re.IGNORECASE)
_ENDS = {
    "expired": "the client did not refresh the session; the call ends with the last sign of life",
    "silent": "the client went without a goodbye; the call ends with the last sign of life",
    "replaced": "another recording session continues this one",
}


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
    session_id: str  # of the first message
    metadata: Metadata | None
    flags: tuple[str, ...]


def captured_call(facts: Sequence[Fact], capture_id: str) -> CapturedCall:
    """The call that a journal tells of; also a journal without a beginning gives one, flagged."""
    if any(fact.kind in (OPENED, SNAPSHOT) and "call" in fact.data for fact in facts):
        return snapshot_call(facts, capture_id)
    told = _told(facts)
    started = next((fact.at for fact in facts if fact.kind == OPENED), facts[0].at if facts else datetime.now(UTC))
    answered, flags = _answered(facts), list(told.flags)
    closed = next((fact for fact in facts if fact.kind == CLOSED), None)
    plans = stream_plans(facts)
    parties = call_parties(told.metadata, told.invite, recorded=bool(plans), flags=flags)
    kinds = {fact.kind for fact in facts}
    flags += ["no sound came although the session was established"] if NO_MEDIA in kinds else []
    flags += ["the client never acknowledged our answer"] if UNACKED in kinds else []
    flags += ["the client did not refresh the session, and yet sound came"] if UNREFRESHED in kinds else []
    flags += [_ENDS[by]] if closed and (by := str(closed.data.get("by"))) in _ENDS else []
    return CapturedCall(
        source=SOURCE,
        key=_key(facts, told, capture_id),
        started=started,
        answered=answered,
        ended=_ended(closed, facts, started),
        disposition=_disposition(closed, answered),
        parties=parties,
        conversation_key=_conversation(facts, told, ended=closed is not None),
        capture_id=capture_id,
        truncated=bool(closed and closed.data.get("truncated")),
        flags=tuple(dict.fromkeys(flags)),
        details=_details(facts, told, plans, closed),
    )


def stream_plans(facts: Sequence[Fact]) -> tuple[LoggedStream, ...]:
    """One plan for each stream ever opened as a packet log, in the order of their logs."""
    metadata = _told(facts).metadata
    streams: dict[int, dict[str, Any]] = {}
    given: dict[int, int] = {}  # channels that the source itself names
    for index, data in _stream_facts(facts):
        if "file" in data:
            continue
        if isinstance(channel := data.get("channel"), int) and 0 <= channel < MOST_CHANNELS:
            given[index] = channel
        stream = streams.setdefault(index, {"codecs": {}, "parameters": {}, "label": "", "crypto": ()})
        stream["label"] = str(data.get("label") or stream["label"])
        for name in ("codecs", "parameters"):
            found = data.get(name)
            stream[name] |= {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
        stream["crypto"] = tuple(dict.fromkeys([*stream["crypto"], *_crypto(data)]))
    found = channels({index: stream["label"] for index, stream in streams.items()}, metadata) | given
    return tuple(LoggedStream(index=index, channel=found[index], **streams[index]) for index in sorted(streams))


def _crypto(data: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """The keys of a stream fact, the preferred one last."""
    found = data.get("crypto")
    keys = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [
        (str(one.get("suite")), str(one.get("key")), size if isinstance(size := one.get("mki_size"), int) else 0)
        for one in reversed(keys)
    ]


def conversation_of(facts: Sequence[Fact]) -> str:
    """What joins the call of a journal with others; its own name where nothing does."""
    told = _told(facts)
    return _conversation(facts, told, ended=True) or _key(facts, told, "")


def _key(facts: Iterable[Fact], told: _Told, capture_id: str) -> str:
    """The name of a call for good, the same at whichever recorder the session is offered: the session id of its first
    message. One too short to be the only one of its kind is told apart by Call-ID and From tag, so that no call ever
    hides in another; without metadata these alone are the name."""
    given = next((str(fact.data["key"]) for fact in facts if fact.kind == OPENED and fact.data.get("key")), "")
    if given or told.invite is None:
        return bounded(given) or capture_id
    dialog = f"{told.invite.call_id};{told.invite.from_tag}"
    session = told.session_id
    return bounded(session if is_unique(session) else f"{session};{dialog}" if session else dialog)


def _told(facts: Sequence[Fact]) -> _Told:
    invite: Request | None = None
    metadata: Metadata | None = None
    session_id = ""
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
        is_first = fact.kind == OPENED and invite is None
        invite = request if is_first else invite
        body = read_body(request.header("content-type"), request.body)
        flags += body.flags
        try:
            update = read_metadata(body.metadata) if body.metadata else None
        except MetadataUnreadable as error:
            flags.append(error.what)
            continue
        if update:
            session_id = next((one.id for one in update.sessions), "") if is_first else session_id
            metadata = merge(metadata, update, at=fact.at) if metadata else update
    if metadata is None:
        flags.append("the client sent no recording metadata that can be read")
    return _Told(invite=invite, session_id=session_id, metadata=metadata, flags=tuple(flags))


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


def _ended(closed: Fact | None, facts: Sequence[Fact], started: datetime) -> datetime | None:
    """Where the clock was set back during the call its end is before its beginning: then the latest that is known."""
    if closed is None or closed.at >= started:
        return closed.at if closed else None
    return max(fact.at for fact in facts)


def _disposition(closed: Fact | None, answered: datetime | None) -> Disposition:
    if closed is None:
        return Disposition.IN_PROGRESS
    if answered is not None:
        return Disposition.ANSWERED
    return Disposition.BUSY if _BUSY.search(str(closed.data.get("reason", ""))) else Disposition.NO_ANSWER


def _conversation(facts: Iterable[Fact], told: _Told, *, ended: bool) -> str | None:
    """What joins this call with others: the session it replaces, a group, a UCID. Its own id is given only in the end,
    since the store keeps the first one it hears, and something better may still come."""
    replaced = next((fact.data["conversation"] for fact in facts if fact.data.get("conversation")), "")
    found = str(replaced) or _joining(told.metadata or Metadata(), told.invite)
    if not found and ended and told.metadata and told.metadata.sessions:
        found = told.metadata.sessions[0].id
    return bounded(found) or None


def _joining(metadata: Metadata, invite: Request | None) -> str:
    groups = [*(session.group for session in metadata.sessions), *metadata.groups]
    ucids = [*(session.ucid for session in metadata.sessions), _ucid(invite)]
    return next((group for group in groups if is_unique(group)), "") or next(filter(None, ucids), "")


def _ucid(invite: Request | None) -> str:
    """Avaya's id of the call, from the headers that it or its border controllers add."""
    if invite is None:
        return ""
    told = read_ucid(invite.header("x-avaya-ucid"))
    return told or next((found for one in invite.headers.get("user-to-user") if (found := ucid_in(one))), "")


def _details(facts: Sequence[Fact], told: _Told, plans: Sequence[LoggedStream], closed: Fact | None) -> dict[str, Any]:
    opened = next((fact.data for fact in facts if fact.kind == OPENED), {})
    sessions = told.metadata.sessions if told.metadata else ()
    session = sessions[0] if sessions else None
    details: dict[str, Any] = {name: opened[name] for name in ("call_id", "peer", "transport") if opened.get(name)}
    details["streams"] = [_described(plan) for plan in plans]
    details["acknowledged"] = any(fact.kind == ACKED for fact in facts)
    if told.invite:
        details["user_agent"] = told.invite.header("user-agent")
        diverted = diverted_from(told.invite)
        details |= {"diverted_from": list(diverted)} if diverted else {}
    if ucid := next(filter(None, (*(one.ucid for one in sessions), _ucid(told.invite))), ""):
        details["ucid"] = ucid
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
