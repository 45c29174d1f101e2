"""Calls and mails as notes of amoCRM, and what of a note is ours; pure.

Sources: amocrm.ru/developers, *События и примечания* (types of notes and their params), *Звонки* (call_status 1 to 7).
A call is a note ``call_in`` or ``call_out``; ``params.uniq`` carries our key. API v4 has no mails: a mail and a
transcript are ``common`` notes, whose last line names our key.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.model import Direction, Disposition
from linker.crm.facts import CallToLog, MailToLog, TranscriptToAttach
from linker.crm.shapes import words
from linker.crm.wording import cut, describe_mail, one_line

SERVICE = "Cardline"
CALL_TYPES = ("call_in", "call_out")
COMMON = "common"
_LONGEST = 20_000  # characters of a note
_STATUS = {Disposition.ANSWERED: 4, Disposition.NO_ANSWER: 6, Disposition.BUSY: 7, Disposition.FAILED: 3}


def call_note(call: CallToLog, *, link: str) -> dict[str, Any]:
    """A note that is a call. ``link`` is to the sound; its player wants mp3."""
    params: dict[str, Any] = {
        "uniq": call.key,
        "duration": call.talk_seconds,
        "source": SERVICE,
        "phone": one_line(call.phone),
        "call_status": _STATUS.get(call.disposition, 6),
        "call_result": one_line(f"{call.title} {call.page_url}"),
        "link": link,
    }
    return {
        "note_type": "call_out" if call.direction is Direction.OUTBOUND else "call_in",
        "params": params,
        **_stamped(call.employee, call.started),
    }


def call_by_number(call: CallToLog) -> dict[str, Any]:
    """The same for ``POST /api/v4/calls``, which looks for the card by the last ten digits."""
    note = call_note(call, link="")
    params = {name: value for name, value in note["params"].items() if value != ""}
    direction = "outbound" if call.direction is Direction.OUTBOUND else "inbound"
    return {**params, "direction": direction, **_stamped(call.employee, call.started), "request_id": call.key}


def mail_note(mail: MailToLog, *, language: str, timezone: str) -> dict[str, Any]:
    """A note with the mail in words."""
    text = describe_mail(mail, language=language, timezone=timezone)
    return {**common(text, mail.key), **_stamped(mail.employee, mail.sent)}


def transcript_note(transcript: TranscriptToAttach, call: CallToLog) -> dict[str, Any]:
    """A note with who said what."""
    return common(f"≡ {one_line(call.title)}\n{transcript.as_text()}", transcript_key(call.key))


def transcript_key(key: str) -> str:
    """By which the transcript of a call is found."""
    return f"{key}-t"


def common(text: str, key: str) -> dict[str, Any]:
    """A note in words, marked as ours."""
    return {"note_type": COMMON, "params": {"text": f"{cut(text, _LONGEST)}\n\n#{key}"}}


def _stamped(employee: str | None, at: datetime) -> dict[str, Any]:
    made: dict[str, Any] = {"created_at": int(at.timestamp())}
    if employee and employee.isdecimal():
        made |= {"created_by": int(employee), "responsible_user_id": int(employee)}
    return made


def is_marked(note: Mapping[str, Any], key: str) -> bool:
    """Whether that is the note of this key."""
    params = note.get("params")
    if not isinstance(params, Mapping):
        return False
    text = params.get("text")
    return words(params.get("uniq")) == key or (isinstance(text, str) and text.rstrip().endswith(f"#{key}"))
