"""A batch of mails that were read, on its way into the history: a few statements, however many mails there are.

Rows travel as one JSON document each statement, so neither the driver nor SQLAlchemy handles them one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import TextClause, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import LargeBinary, Text

from agent.model import EvidenceState, InteractionKind, MessageCategory
from agent.model_mail import ParsedMessage
from agent.store import copies, meetings, merging
from agent.store.engine import is_any, storable
from agent.store.schema import message
from agent.store.schema.columns import pack
from agent.store.subjects import Trail, trail_of
from agent.store.threads import Wanted, find_or_merge_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMail:
    """What was read of a piece of evidence; ``started`` is the time it stands at in the history."""

    evidence_id: int
    message: ParsedMessage
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Evidence → interaction, and which interactions are new, in the order of the mails; ``meetings`` that they tell
    of are to be worked out anew, and ``changed`` ones, which learned more of who took part, to be linked anew."""

    interactions: Mapping[int, int]
    new: tuple[int, ...]
    meetings: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()


_MESSAGE: TypeAdapter[ParsedMessage] = TypeAdapter(ParsedMessage)


def _of_rows(sql: str) -> TextClause:
    return text(sql).bindparams(bindparam("rows", type_=JSONB))


_LOCK = text("SELECT count(pg_advisory_xact_lock(hashtextextended(key, 7))) FROM unnest(:keys) AS key").bindparams(
    bindparam("keys", type_=ARRAY(Text))
)
_NEW_IDS = text("SELECT nextval(pg_get_serial_sequence('interaction', 'id')) FROM generate_series(1, :count)")
_INTERACTIONS = _of_rows(
    """
    INSERT INTO interaction (id, kind, started_at, flags) OVERRIDING SYSTEM VALUE
    SELECT id, kind, started_at, ARRAY(SELECT jsonb_array_elements_text(flags))
    FROM jsonb_to_recordset(:rows) AS r(id bigint, kind text, started_at timestamptz, flags jsonb)
    """
)
# What is long does not travel in the document: to read it out of there, or out of an array, would cost more than to
# store it. So all texts, and all pages, are one piece of bytes each, and a row says which stretch is its own.
_MESSAGES = _of_rows(
    """
    INSERT INTO message (interaction_id, logical_key, thread_id, message_id, subject, category, category_reason, text,
                         html, spans, facts, id_key, marked, marked_reason, returned_id)
    SELECT interaction_id, logical_key, thread_id, message_id, subject, category, category_reason,
           convert_from(substr(CAST(:texts AS bytea), text_at, text_size), 'UTF8'),
           substr(CAST(:htmls AS bytea), html_at, html_size),
           spans, facts, id_key, category, category_reason, returned_id
    FROM jsonb_to_recordset(:rows)
         AS r(interaction_id bigint, logical_key text, thread_id bigint, message_id text, subject text, category text,
              category_reason text, spans jsonb, facts jsonb, id_key text, returned_id text, text_at integer,
              text_size integer, html_at integer, html_size integer)
    """
).bindparams(bindparam("texts", type_=LargeBinary), bindparam("htmls", type_=LargeBinary))
_PARTIES = _of_rows(
    """
    INSERT INTO party (interaction_id, ordinal, position, kind, value, name)
    SELECT interaction_id, ordinal, position, kind, value, name
    FROM jsonb_to_recordset(:rows)
         AS r(interaction_id bigint, ordinal smallint, position text, kind text, value text, name text)
    """
)
_ATTACHMENTS = _of_rows(
    """
    INSERT INTO attachment (interaction_id, part, name, media_type, size, sha256, sniffed_type, content_id)
    SELECT interaction_id, part, name, media_type, size, sha256, sniffed_type, content_id
    FROM jsonb_to_recordset(:rows)
         AS r(interaction_id bigint, part smallint, name text, media_type text, size bigint, sha256 text,
              sniffed_type text, content_id text)
    """
)
_READ = _of_rows(
    """
    UPDATE evidence SET state = r.state, interaction_id = r.interaction_id, problem = ''
    FROM jsonb_to_recordset(:rows) AS r(id bigint, state text, interaction_id bigint)
    WHERE evidence.id = r.id
    """
)


async def accept_mails(connection: AsyncConnection, mails: Sequence[ReadMail]) -> Accepted:
    """Each mail becomes a message, or one more piece of evidence of the message it is a copy of.

    Copies that come at the same time wait for each other by their logical keys, which are locked in their order, so
    that two batches never wait for one another.
    """
    await connection.execute(_LOCK, {"keys": sorted({one.message.logical_key for one in mails})})
    own_keys = await copies.keys_of(connection, [one.message for one in mails])
    mails = [
        one if one.message.logical_key == key else replace(one, message=replace(one.message, logical_key=key))
        for one, key in zip(mails, own_keys, strict=True)
    ]
    keys = sorted(set(own_keys))
    query = select(message.c.logical_key, message.c.interaction_id).where(is_any(message.c.logical_key, keys))
    known: dict[str, int] = {row.logical_key: row.interaction_id for row in await connection.execute(query)}
    fresh = {one.message.logical_key: one for one in reversed(mails) if one.message.logical_key not in known}
    firsts = [one for one in mails if fresh.get(one.message.logical_key) is one]
    ids = await _insert(connection, firsts)
    known |= {one.message.logical_key: number for one, number in zip(firsts, ids, strict=True)}
    became = {one.evidence_id: known[one.message.logical_key] for one in mails}
    rows = [{"id": one, "state": EvidenceState.READ, "interaction_id": number} for one, number in became.items()]
    await connection.execute(_READ, {"rows": rows})
    arranged = [
        meetings.Arranged(message_id=number, sent=one.started, invitations=one.message.invitations)
        for one, number in zip(firsts, ids, strict=True)
        if one.message.invitations
    ]
    told = await meetings.note_invitations(connection, arranged)
    taken = {one.evidence_id for one in firsts}
    further = [(became[one.evidence_id], one.message) for one in mails if one.evidence_id not in taken]
    changed = set(await merging.merge_parties(connection, [(number, one.parties) for number, one in further]))
    changed |= await copies.merge_marks(connection, further)
    await merging.note_wrappings(connection, [(one.evidence_id, one.message.wrapping) for one in mails])
    return Accepted(interactions=became, new=tuple(ids), meetings=tuple(told), changed=tuple(sorted(changed)))


async def _insert(connection: AsyncConnection, mails: Sequence[ReadMail]) -> list[int]:
    if not mails:
        return []
    ids = [int(one) for one in (await connection.execute(_NEW_IDS, {"count": len(mails)})).scalars()]
    thread_ids = await find_or_merge_threads(connection, [_wanted(one) for one in mails])
    pairs = list(zip(ids, mails, strict=True))
    await connection.execute(_INTERACTIONS, {"rows": [_interaction_row(number, one) for number, one in pairs]})
    texts = [storable(one.message.text).encode() for one in mails]
    htmls = [pack(one.message.html) for one in mails]
    rows_of_messages = [
        _message_row(number, one.message, thread_id) | at
        for (number, one), thread_id, at in zip(pairs, thread_ids, _places(texts, htmls), strict=True)
    ]
    values = {"rows": rows_of_messages, "texts": b"".join(texts), "htmls": b"".join(htmls)}
    await connection.execute(_MESSAGES, values)
    for statement, rows in (
        (_PARTIES, [row for number, one in pairs for row in _party_rows(number, one.message)]),
        (_ATTACHMENTS, [row for number, one in pairs for row in _attachment_rows(number, one.message)]),
    ):
        if rows:
            await connection.execute(statement, {"rows": rows})
    return ids


def _wanted(mail: ReadMail) -> Wanted:
    """A mail that came back belongs to the thread of the mail it is about."""
    one = mail.message
    ids = (one.message_id, *one.references, *one.in_reply_to, *(one.report.about_ids if one.report else ()))
    return Wanted(ids=ids, subject=one.subject, trail=_trail(mail))


def _trail(mail: ReadMail) -> Trail | None:
    """Machines repeat their subjects: what they send finds nothing by them."""
    one = mail.message
    if one.category is not MessageCategory.CONVERSATION:
        return None
    return trail_of(
        one.subject,
        sender=next((party.value for party in one.parties if party.position == "from"), ""),
        recipients=[party.value for party in one.parties if party.position in ("to", "cc")],
        sent=mail.started,
        names_others=bool(one.references or one.in_reply_to),
    )


def _interaction_row(number: int, one: ReadMail) -> dict[str, Any]:
    flags = list(dict.fromkeys(one.message.problems))
    return {"id": number, "kind": InteractionKind.MESSAGE, "started_at": one.started.isoformat(), "flags": flags}


def _message_row(number: int, one: ParsedMessage, thread_id: int) -> dict[str, Any]:
    names = ("logical_key", "message_id", "subject", "category", "category_reason")
    row = {"interaction_id": number, "thread_id": thread_id} | {name: getattr(one, name) for name in names}
    returned = one.report.about_ids[:1] if one.report else ()
    return row | {
        "spans": [[span.kind, span.start, span.end] for span in one.spans],
        "facts": _facts(one),
        "id_key": copies.base_of(one.logical_key),
        "returned_id": "".join(returned),
    }


def _places(texts: Sequence[bytes], htmls: Sequence[bytes]) -> Iterator[dict[str, int]]:
    """Where each text and each page begins in all of them, counted from 1, and how long it is."""
    text_at = html_at = 1
    for words, page in zip(texts, htmls, strict=True):
        yield {"text_at": text_at, "text_size": len(words), "html_at": html_at, "html_size": len(page)}
        text_at += len(words)
        html_at += len(page)


def _facts(one: ParsedMessage) -> dict[str, Any]:
    """What is kept of a mail beside its words, as JSON; what there is nothing of is left out."""
    present = {name for name in ("originals", "invitations", "protection", "headers", "report") if getattr(one, name)}
    found: dict[str, Any] = _MESSAGE.dump_python(one, mode="json", include=present) if present else {}
    return found


def _party_rows(number: int, one: ParsedMessage) -> list[dict[str, Any]]:
    names = ("position", "kind", "value", "name")
    return [
        {"interaction_id": number, "ordinal": ordinal} | {name: getattr(party, name) for name in names}
        for ordinal, party in enumerate(one.parties)
    ]


def _attachment_rows(number: int, one: ParsedMessage) -> list[dict[str, Any]]:
    names = ("part", "name", "media_type", "size", "sha256", "sniffed_type", "content_id")
    return [{"interaction_id": number} | {name: getattr(each, name) for name in names} for each in one.attachments]
