"""Calls of sources that tell them whole: each thing that changes is a complete `CapturedCall` in the journal. Pure.

SIPREC is read from its raw messages (`agent.sip.calls`); Asterisk and lines have a call state of their own, and what
they make of it is kept here as it was said, so that one courier and one recovery serve them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind
from agent.sip.journal import CLOSED, NO_MEDIA, OPENED, SNAPSHOT, Fact

_MOMENTS = ("started", "answered", "ended")
_PARTY_MOMENTS = ("joined", "left")


def as_data(call: CapturedCall) -> dict[str, Any]:
    """The call as JSON; `from_data` makes it again."""
    data = asdict(call)
    for name in _MOMENTS:
        data[name] = _text(data[name])
    for party in data["parties"]:
        for name in _PARTY_MOMENTS:
            party[name] = _text(party[name])
    return data


def from_data(data: Mapping[str, Any]) -> CapturedCall:
    """The call that was written.

    Raises:
        ValueError, KeyError, TypeError: the journal was damaged here.
    """
    told = dict(data)
    for name in _MOMENTS:
        told[name] = _moment(told[name])
    told["disposition"] = Disposition(told["disposition"])
    told["flags"] = tuple(told["flags"])
    told["parties"] = tuple(_party(one) for one in told["parties"])
    return CapturedCall(**told)


def snapshot_call(facts: Sequence[Fact], capture_id: str) -> CapturedCall:
    """The call as it was last told, with what only the journal knows: whether sound came, and how it ended."""
    flags = [] if any(fact.kind == OPENED for fact in facts) else ["the beginning of the journal is lost"]
    told = _last(facts) or CapturedCall(source="unknown", key=capture_id, started=_started(facts))
    closed = next((fact for fact in facts if fact.kind == CLOSED), None)
    flags += ["no sound came although the call was answered"] if any(fact.kind == NO_MEDIA for fact in facts) else []
    if closed is None:
        return replace(told, capture_id=capture_id, flags=_each_once(told.flags, flags))
    disposition = told.disposition
    if disposition is Disposition.IN_PROGRESS:
        disposition = Disposition.ANSWERED if told.answered else Disposition.NO_ANSWER
    return replace(
        told,
        capture_id=capture_id,
        ended=told.ended or closed.at,
        disposition=disposition,
        truncated=told.truncated or bool(closed.data.get("truncated")),
        flags=_each_once(told.flags, flags),
    )


def _last(facts: Sequence[Fact]) -> CapturedCall | None:
    for fact in reversed(facts):
        if fact.kind in (SNAPSHOT, OPENED) and isinstance(fact.data.get("call"), dict):
            try:
                return from_data(fact.data["call"])
            except (ValueError, KeyError, TypeError):
                continue
    return None


def _started(facts: Sequence[Fact]) -> datetime:
    return facts[0].at if facts else datetime.now(UTC)


def _each_once(*flags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(flag for some in flags for flag in some))


def _party(data: Mapping[str, Any]) -> CapturedParty:
    told = dict(data)
    for name in _PARTY_MOMENTS:
        told[name] = _moment(told[name])
    return CapturedParty(**{**told, "kind": IdentityKind(told["kind"])})


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
