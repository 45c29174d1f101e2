"""Everything that belongs to an interaction, in one statement however many are asked for, and how its rows are read.

What there may be several of (parties, links, recordings with what was said first, attachments) comes as JSON within the
row: a statement of its own for each kind costs more, here and in PostgreSQL, than what it brings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from sqlalchemy import BigInteger, Boolean, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from agent.model import Mark, MarkKind
from agent.store import excerpts, interactions, links, messages, recordings
from agent.store.asking import Query
from agent.store.interactions import Party
from agent.store.links import Link
from agent.store.messages import Attachment, Message, Returned
from agent.store.recordings import Recording
from agent.store.schema.columns import unpack
from agent.store.transcripts import Transcript

_PARTIES = """
    SELECT json_agg(p ORDER BY p.ordinal)
    FROM (SELECT p.*, e.name AS employee FROM party p LEFT JOIN employee e ON e.id = p.employee_id
          WHERE p.interaction_id = i.id) AS p
"""
_LINKS = "SELECT json_agg(l ORDER BY l.id) FROM link l WHERE l.interaction_id = i.id"
_SOUNDS = f"""
    SELECT json_agg(s ORDER BY {recordings.FULLER.format("s")})
    FROM (SELECT r.id, r.interaction_id, r.started_at, r.duration_ms, r.channels, r.sample_rate, r.gaps, r.truncated,
              r.mixed, b.name, b.media_type, b.plain_size, b.stored_size, b.salted_digest, b.master_key, b.wrapped_key,
              (SELECT json_agg(k ORDER BY k.start_ms, k.end_ms, k.id) FROM recording_mark k
               WHERE k.recording_id = r.id) AS marks,
              CASE WHEN :brief THEN ({excerpts.OF_RECORDING}) END AS said
          FROM recording r JOIN blob b ON b.id = r.blob_id WHERE r.interaction_id = i.id) AS s
"""  # noqa: S608 - our own words
_ATTACHMENTS = f"""
    SELECT json_agg(a ORDER BY a.part)
    FROM (SELECT {", ".join(Attachment.__slots__)} FROM attachment WHERE interaction_id = i.id) AS a
"""  # noqa: S608
_RETURNED = """
    SELECT json_agg(json_build_array(o.interaction_id, o.facts #> '{report,failed}') ORDER BY o.interaction_id)
    FROM message o WHERE o.returned_id = m.message_id AND o.returned_id <> '' AND o.category = 'bounce'
"""
_ENTRIES = text(
    f"""
    SELECT i.id, i.kind, i.started_at, i.direction, i.conversation_key, i.flags,
        c.answered_at, c.ended_at, c.disposition, c.truncated,
        (SELECT count(*) FROM evidence e WHERE e.interaction_id = i.id AND NOT e.details ? 'sound_file') AS copies,
        ARRAY(SELECT k.state FROM capture k WHERE k.interaction_id = i.id) AS captures,
        ({_PARTIES}) AS parties, ({_LINKS}) AS links, CASE WHEN i.kind = 'call' THEN ({_SOUNDS}) END AS sounds,
        m.interaction_id, m.thread_id, m.message_id, m.subject, m.category, m.category_reason, m.text, m.spans, m.facts,
        m.tags, length(m.html) > 0 AS has_html, CASE WHEN NOT :brief THEN m.html END AS html,
        h.subject AS thread_subject,
        CASE WHEN m.interaction_id IS NOT NULL THEN ({_ATTACHMENTS}) END AS attachments,
        CASE WHEN m.message_id <> '' THEN ({_RETURNED}) END AS returned
    FROM interaction i LEFT JOIN call c ON c.interaction_id = i.id LEFT JOIN message m ON m.interaction_id = i.id
        LEFT JOIN thread h ON h.id = m.thread_id
    WHERE i.id = ANY(:ids)
    """  # noqa: S608 - our own words
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("brief", type_=Boolean))


def rows_of(ids: Sequence[int], *, brief: bool) -> Query[Mapping[int, Any]]:
    """Rows by interaction; ``brief``: with the beginning of what was said, and without the HTML of mails."""
    return Query(
        statement=_ENTRIES,
        values={"ids": list(ids), "brief": brief},
        read=lambda rows: {row.id: row for row in rows},
    )


def _each(found: Sequence[dict[str, Any]] | None, *moments: str) -> Iterator[SimpleNamespace]:
    """The objects of a JSON array as rows; in JSON moments are text."""
    for one in found or ():
        for name in moments:
            if one[name] is not None:
                one[name] = datetime.fromisoformat(one[name])
        yield SimpleNamespace(**one)


def parties_of(row: Any) -> tuple[Party, ...]:
    """In the order the source gave."""
    return tuple(map(interactions.party_of, _each(row.parties, "joined_at", "left_at")))


def employees_of(row: Any) -> dict[int, str]:
    """Names of those of us who took part."""
    return {one["employee_id"]: one["employee"] for one in row.parties or () if one["employee_id"] is not None}


def links_of(row: Any) -> tuple[Link, ...]:
    """Where it stands."""
    return tuple(map(links.link_of, _each(row.links, "started_at")))


def recordings_of(row: Any) -> tuple[Recording, ...]:
    """The fuller first."""
    return tuple(map(recordings.recording_of, map(_with_bytes, _each(row.sounds, "started_at"))))


def _with_bytes(one: SimpleNamespace) -> SimpleNamespace:
    for name in ("salted_digest", "wrapped_key"):
        if (written := getattr(one, name)) is not None:
            setattr(one, name, bytes.fromhex(written.removeprefix(r"\x")))
    return one


def marks_of(row: Any) -> dict[int, tuple[Mark, ...]]:
    """By recording, in order of time."""
    return {
        one["id"]: tuple(
            Mark(
                kind=MarkKind(each["kind"]),
                channel=each["channel"],
                start_ms=each["start_ms"],
                end_ms=each["end_ms"],
                text=each["text"],
            )
            for each in one["marks"] or ()
        )
        for one in row.sounds or ()
    }


def excerpts_of(row: Any) -> tuple[Transcript, ...]:
    """The beginnings of transcripts, in the order of the recordings."""
    return tuple(excerpts.excerpt_of(one["said"]) for one in row.sounds or () if one["said"] is not None)


def message_of(row: Any) -> Message | None:
    """None where it is no mail."""
    if row.interaction_id is None:
        return None
    return messages.message_of(row, html=unpack(row.html or b""))


def attachments_of(row: Any) -> tuple[Attachment, ...]:
    """In the order of their parts."""
    return tuple(Attachment(**one) for one in row.attachments or ())


def returned_of(row: Any) -> tuple[Returned, ...]:
    """Mails that say that this one came back."""
    return tuple(
        Returned(about=row.id, interaction_id=number, failed=tuple((address, words) for address, words in failed or ()))
        for number, failed in row.returned or ()
    )
