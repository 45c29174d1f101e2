"""From the records and the name of a recording to the call it is of. Pure.

The records go before the name: they know who really answered and when. A conversation may have several records (a
queue tries one agent after the other, a transfer adds a leg); they share a linked id and become one call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind
from agent.sip.imports.cdr import CdrRow
from agent.sip.imports.names import Name

NO_RECORD = "who and when are taken from the name of the recording, since there is no call record of it"
GUESSED = "who called whom is guessed from the name of the recording"
NO_TIME = "the recording does not tell when it was made; the time is that of its file"
TOO_LONG = "the recording is longer than its call"
TOO_SHORT = "the recording is much shorter than its call"

_DEVICE = re.compile(r"(?:(?:PJSIP|SIP|IAX2|SCCP|Skinny)/|Local/(?:[A-Za-z]+-)?)(\d+)(?=[-@]|$)")
_SLOP = 5.0  # seconds by which a length may be off before it is worth a word
_SHORT = 0.5  # of the talk
_MOST_IDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is told of one recording. ``seconds`` is its length; ``modified`` when its file was last written."""

    key: str
    name: Name
    seconds: float
    modified: datetime
    rows: Sequence[CdrRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What the administrator says of the PBX: ``zone`` of its times; up to ``digits`` digits make an extension.

    ``callee_first`` where the first channel of its stereo recordings is the callee's.
    """

    source: str
    zone: tzinfo
    digits: int = 5
    callee_first: bool = False


def captured_call(told: Told, habits: Habits, *, is_mixed: bool) -> CapturedCall:
    """The call of a recording; ``is_mixed`` where its parties are heard on one channel."""
    if told.rows:
        return _from_rows(told, told.rows, habits, is_mixed=is_mixed)
    return _from_name(told, habits, is_mixed=is_mixed)


def unrecorded_call(rows: Sequence[CdrRow], habits: Habits) -> CapturedCall:
    """A call of which there are only records: one that nobody answered, or was not recorded."""
    first = rows[0]
    told = Told(key=key_of(rows), name=Name(), seconds=0, modified=first.ended, rows=rows)
    return _from_rows(told, rows, habits, is_mixed=True)


def key_of(rows: Sequence[CdrRow]) -> str:
    """What the PBX calls the conversation."""
    return next((row.linked_id for row in rows if row.linked_id), "")


def _from_rows(told: Told, rows: Sequence[CdrRow], habits: Habits, *, is_mixed: bool) -> CapturedCall:
    ordered = sorted(rows, key=lambda row: (row.started, row.unique_id))
    first, best = ordered[0], _best(ordered)
    started = min(row.started for row in ordered)
    ended = max(row.ended for row in ordered)
    caller = _extension(first.channel, habits) or first.caller or told.name.caller
    callee = _extension(best.other_channel, habits) or best.callee or told.name.callee
    if callee == caller:  # a trunk that is called like a number
        callee = best.callee or told.name.callee
    return CapturedCall(
        source=habits.source,
        key=key_of(ordered) or told.key,
        started=started,
        answered=best.answered,
        ended=ended,
        disposition=best.disposition if told.seconds == 0 or best.answered else Disposition.ANSWERED,
        parties=_parties(caller, callee, habits, is_mixed=is_mixed, caller_name=first.caller_name),
        conversation_key=key_of(ordered) or None,
        flags=tuple(_implausible(told.seconds, started, None if _waited(ordered) else best.answered, ended)),
        details={
            "records": len(rows),
            "unique_ids": sorted({row.unique_id for row in ordered if row.unique_id})[:_MOST_IDS],
            "zone_off_seconds": first.shift,
        },
    )


def _best(rows: Sequence[CdrRow]) -> CdrRow:
    """The attempt that became the conversation: the longest talk; of several in vain the last."""
    return max(rows, key=lambda row: (row.answered is not None, _talk(row), row.started))


def _waited(rows: Sequence[CdrRow]) -> bool:
    """Whether the answer may have been that of a queue or a menu, so that the talk began later."""
    return any(row.application.lower() in ("queue", "background", "playback", "ivr") for row in rows)


def _talk(row: CdrRow) -> timedelta:
    return row.ended - row.answered if row.answered is not None else timedelta()


def _from_name(told: Told, habits: Habits, *, is_mixed: bool) -> CapturedCall:
    name, flags = told.name, [NO_RECORD]
    began = name.began
    if began is None and name.local is not None:
        began = name.local.replace(tzinfo=habits.zone).astimezone(UTC)
    if began is None:
        began = told.modified - timedelta(seconds=told.seconds)
        flags.append(NO_TIME)
    if name.is_guess:
        flags.append(GUESSED)
    return CapturedCall(
        source=habits.source,
        key=name.unique_id or told.key,
        started=began,
        answered=began,
        ended=began + timedelta(seconds=told.seconds),
        disposition=Disposition.ANSWERED,
        parties=_parties(name.caller, name.callee, habits, is_mixed=is_mixed),
        conversation_key=name.unique_id or None,
        flags=tuple(flags),
    )


def _parties(
    caller: str, callee: str, habits: Habits, *, is_mixed: bool, caller_name: str = ""
) -> tuple[CapturedParty, ...]:
    """Both, also where one is not known: the other keeps its channel. Without a channel each they have none, and
    what another source knows of that stays."""
    channels = (None, None) if is_mixed else (1, 0) if habits.callee_first else (0, 1)
    named = (("caller", caller, caller_name, channels[0]), ("callee", callee, "", channels[1]))
    return tuple(
        CapturedParty(position=position, kind=IdentityKind.PHONE, value=value, name=title, channel=channel)
        for position, value, title, channel in named
    )


def _extension(channel: str, habits: Habits) -> str:
    """The extension whose device a channel is of, such as ``PJSIP/101-0000002a``; empty for a trunk's."""
    found = _DEVICE.match(channel)
    return found[1] if found and len(found[1]) <= habits.digits else ""


def _implausible(seconds: float, started: datetime, answered: datetime | None, ended: datetime) -> Iterable[str]:
    if seconds <= 0:
        return
    whole = (ended - started).total_seconds()
    talk = (ended - answered).total_seconds() if answered is not None else 0.0
    if seconds > whole + max(_SLOP, whole * 0.05):
        yield TOO_LONG
    elif seconds < talk * _SHORT - _SLOP:
        yield TOO_SHORT
