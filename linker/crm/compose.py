"""From an entry of the history to what a CRM is told of it; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from agent.model import Direction, Disposition, InteractionKind, Role
from agent.model_mail import TextSpan
from agent.store.history import Entry
from agent.store.interactions import Party
from agent.store.transcripts import Transcript
from linker.crm.facts import (
    Activity,
    CallToLog,
    ExternalId,
    MailParty,
    MailToLog,
    Said,
    TranscriptToAttach,
)

_LONGEST_TEXT = 20_000  # characters of a mail; CRMs refuse more sooner or later
_MOST_PARTIES = 100
_TITLES = {
    "ru": {
        "missed": "Пропущенный звонок",
        "unreached": "Исходящий звонок, не дозвонились",
        "inbound": "Входящий звонок",
        "outbound": "Исходящий звонок",
    },
    "en": {"missed": "Missed call", "unreached": "Outgoing call, not reached", "inbound": "Incoming call",
           "outbound": "Outgoing call"},
}  # fmt: skip


def is_ready(entry: Entry) -> bool:
    """A call is told of when it has ended."""
    return entry.call is None or entry.call.disposition is not Disposition.IN_PROGRESS


def credited(entry: Entry) -> Party | None:
    """The employee whose call or mail it is: of a call that was passed on, who came to it last."""
    ours = [one for one in entry.parties if one.role is Role.EMPLOYEE and one.employee_id is not None]
    if not ours:
        return None
    if entry.interaction.kind is InteractionKind.CALL:
        return ours[-1]
    wanted = ("from",) if entry.interaction.direction is Direction.OUTBOUND else ("to", "cc")
    return next((one for one in ours if one.position in wanted), ours[0])


def compose(
    entry: Entry,
    *,
    key: str,
    card: ExternalId,
    employee: str | None,
    public_url: str,
    language: str,
    mail_text: bool = True,
) -> Activity | None:
    """What is told of it; None where it is nothing that a CRM knows of."""
    page = f"{public_url.rstrip('/')}/interactions/{entry.interaction.id}" if public_url else ""
    if entry.message is not None:
        return _mail(entry, key, card, employee, page, with_text=mail_text)
    if entry.call is not None:
        return _call(entry, key, card, employee, page, language)
    return None


def _call(entry: Entry, key: str, card: ExternalId, employee: str | None, page: str, language: str) -> CallToLog:
    call, started = entry.call, entry.interaction.started
    assert call is not None
    direction = entry.interaction.direction or Direction.INBOUND
    ours, client = credited(entry), _first(entry.parties, Role.CLIENT)
    line = ours or _first(entry.parties, Role.EMPLOYEE)
    made = CallToLog(
        key=key,
        card=card,
        employee=employee,
        direction=direction,
        disposition=call.disposition,
        started=started,
        answered=call.answered,
        ended=call.ended or call.answered or started,
        phone=_value(client),
        line=_value(line),
        conversation=entry.interaction.conversation_key or "",
        page_url=page,
        title=_title(direction, call.disposition, language),
    )
    return made


def _title(direction: Direction, disposition: Disposition, language: str) -> str:
    words = _TITLES[language]
    if disposition is Disposition.ANSWERED:
        return words["outbound" if direction is Direction.OUTBOUND else "inbound"]
    return words["unreached" if direction is Direction.OUTBOUND else "missed"]


def _first(parties: Sequence[Party], role: Role) -> Party | None:
    return next((one for one in parties if one.role is role), None)


def _value(party: Party | None) -> str:
    if party is None:
        return ""
    return party.identity.value if party.identity is not None else party.value


def _mail(entry: Entry, key: str, card: ExternalId, employee: str | None, page: str, *, with_text: bool) -> MailToLog:
    message = entry.message
    assert message is not None
    parties = [one for one in entry.parties if one.position in ("from", "to", "cc")]
    text = new_words(message.text, message.spans) if with_text else ""
    return MailToLog(
        key=key,
        card=card,
        employee=employee,
        direction=entry.interaction.direction or Direction.INBOUND,
        sent=entry.interaction.started,
        message_id=message.message_id,
        subject=message.subject,
        text=text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …",
        parties=tuple(
            MailParty(position=one.position, address=_value(one), name=one.name) for one in parties[:_MOST_PARTIES]
        ),
        attachments=tuple(one.name for one in entry.attachments if not one.content_id),
        thread=str(message.thread_id),
        page_url=page,
    )


def new_words(text: str, spans: Sequence[TextSpan]) -> str:
    """The sender's own words: without what he quotes, his signature and mails he attached."""
    pieces, at = [], 0
    for span in spans:
        pieces.append(text[at : span.start])
        at = max(at, span.end)
    pieces.append(text[at:])
    return "\n".join(piece.strip() for piece in pieces if piece.strip())


def compose_transcript(entry: Entry, transcript: Transcript) -> TranscriptToAttach | None:
    """Who said what; None where nothing was understood. A channel that is nobody's is the client's."""
    channels = {one.channel: one for one in entry.parties if one.channel is not None}
    names = {one.role: one.name for one in reversed(entry.parties) if one.role is not None and one.name}
    said = tuple(
        Said(
            side=(channels[one.channel].role or Role.CLIENT) if one.channel in channels else Role.CLIENT,
            start=one.start,
            end=one.end,
            text=one.text,
        )
        for one in transcript.utterances
        if one.text.strip()
    )
    return TranscriptToAttach(language=transcript.language, said=said, names=names) if said else None


def digest(fact: Activity | TranscriptToAttach, key: str) -> str:
    """Tells whether a fact is what was told before. Salted with the delivery's key, which nobody can guess."""
    words = json.dumps(asdict(fact), default=_plain, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(f"{key}\n{words}".encode("utf-8", "replace")).hexdigest()[:32]


def _plain(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
