"""What there is of a call besides its sound and its words, asked in one statement: most calls have little of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, bindparam, text

from agent.store.asking import Query


class CallPart(StrEnum):
    """Something a call may have."""

    TALKS = "talks"
    MASKS = "masks"
    CORRECTIONS = "corrections"
    PROGRESS = "progress"
    COMMENTS = "comments"
    VIEWS = "views"


_FIND = text(
    """
    SELECT EXISTS (SELECT FROM recording r JOIN talk ON talk.recording_id = r.id WHERE r.interaction_id = :id) AS talks,
        EXISTS (SELECT FROM transcript t JOIN transcript_mask m ON m.transcript_id = t.id
                WHERE t.interaction_id = :id) AS masks,
        EXISTS (SELECT FROM transcript t JOIN carried_correction c ON c.transcript_id = t.id
                WHERE t.interaction_id = :id) AS corrections,
        EXISTS (SELECT FROM recording r JOIN transcription t ON t.recording_id = r.id
                WHERE r.interaction_id = :id) AS progress,
        EXISTS (SELECT FROM comment WHERE interaction_id = :id) AS comments,
        EXISTS (SELECT FROM evidence e JOIN call_view v ON v.evidence_id = e.id WHERE e.interaction_id = :id) AS views
    """
).bindparams(bindparam("id", type_=BigInteger))


def parts_of(interaction_id: int) -> Query[frozenset[CallPart]]:
    """What this call has, or had once; what is not among it need not be asked for."""
    return Query(statement=_FIND, values={"id": interaction_id}, read=_read)


def _read(rows: Sequence[Any]) -> frozenset[CallPart]:
    return frozenset(part for part in CallPart if getattr(rows[0], part))
