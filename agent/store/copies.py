"""Copies of one mail, and different mails that share an id.

The logical key is made of Message-ID, sender and date, since the bytes of copies differ: gateways add footers, journals
and mailing lists add headers. Some programs send different mails under one id in one second, though. Whoever has the
key of a known mail is compared with it: other recipients in the header or other words make another mail.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from agent.model_mail import ParsedMessage
from agent.store.subjects import plain_subject

_MARK = "~"
_LOOKED_AT = 20_000  # characters
_FEWEST_WORDS = 5
_SHARED = 0.5
_COMPARED = 50  # of mails under one key; beyond these only the very same content is the same mail
_KNOWN = text(
    f"""
    SELECT base, logical_key, subject, left(text, {_LOOKED_AT}) AS text, erasure_id IS NOT NULL AS is_erased,
           ARRAY(SELECT lower(value) FROM party WHERE party.interaction_id = message.interaction_id
                 AND position IN ('to', 'cc')) AS named
    FROM (SELECT interaction_id AS number, coalesce(id_key, logical_key) AS base,
                 row_number() OVER (PARTITION BY coalesce(id_key, logical_key) ORDER BY interaction_id) AS place
          FROM message WHERE logical_key = ANY(:keys) OR id_key = ANY(:keys)) AS known
         JOIN message ON message.interaction_id = number
         JOIN interaction ON interaction.id = number
    WHERE place <= {_COMPARED}
    ORDER BY number
    """  # noqa: S608 - the only things put in are numbers of ours
).bindparams(bindparam("keys", type_=ARRAY(Text)))
_MARK_FIRST = ("automatic", "conversation", "newsletter")
_MERGE_MARKS = text(
    """
    UPDATE message SET marked = r.marked, marked_reason = r.reason
    FROM jsonb_to_recordset(:rows) AS r(id bigint, marked text, reason text)
    WHERE interaction_id = r.id AND message.marked = ANY(:order)
          AND array_position(:order, r.marked) < array_position(:order, message.marked)
    RETURNING interaction_id
    """
).bindparams(bindparam("rows", type_=JSONB), bindparam("order", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What tells mails apart that share a key. ``key`` is the one it is stored under."""

    key: str
    subject: str
    words: frozenset[str]
    named: frozenset[str]
    is_erased: bool = False


def base_of(key: str) -> str | None:
    """The key that this one shares with others, None for a key that is its own."""
    base, mark, _ = key.partition(_MARK)
    return base if mark else None


async def keys_of(connection: AsyncConnection, mails: Sequence[ParsedMessage]) -> list[str]:
    """Under which key each of the mails is to be stored, or is stored already. Their own keys must be locked."""
    keys = sorted({one.logical_key for one in mails})
    known: dict[str, list[Content]] = defaultdict(list)
    for row in await connection.execute(_KNOWN, {"keys": keys}):
        known[row.base].append(
            Content(
                key=row.logical_key,
                subject=plain_subject(row.subject),
                words=_words(row.text),
                named=frozenset(row.named),
                is_erased=row.is_erased,
            )
        )
    found = []
    counts: dict[str, int] = defaultdict(int)
    for one in mails:
        counts[one.logical_key] += 1
    for one in mails:
        if counts[one.logical_key] == 1 and one.logical_key not in known:
            found.append(one.logical_key)  # the usual case: nothing to compare with
            continue
        content = _content(one)
        same = next((each for each in known[one.logical_key] if is_same(each, content)), None)
        if same is None:
            key = _variant(one.logical_key, content) if known[one.logical_key] else one.logical_key
            same = replace(content, key=key)
            if len(known[one.logical_key]) < _COMPARED:
                known[one.logical_key].append(same)
        found.append(same.key)
    return found


def is_same(one: Content, other: Content) -> bool:
    """Whether these are copies of one mail. Of an erased mail nobody can tell, so whatever has its key stays erased."""
    if one.is_erased or other.is_erased:
        return True
    if one.named and other.named and not one.named & other.named:
        return False
    shared, fewest = len(one.words & other.words), min(len(one.words), len(other.words))
    if fewest >= _FEWEST_WORDS:
        return shared >= _SHARED * fewest
    subjects = sorted((one.subject, other.subject), key=len)
    return not one.words or not other.words or shared > 0 or subjects[1].endswith(subjects[0])


def _content(one: ParsedMessage) -> Content:
    named = frozenset(party.value.lower() for party in one.parties if party.position in ("to", "cc"))
    return Content(key="", subject=plain_subject(one.subject), words=_words(one.text[:_LOOKED_AT]), named=named)


def _words(words: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", words.casefold()))


def _variant(base: str, content: Content) -> str:
    """The same for the same content, so that it does not matter which copy came first."""
    return f"{base}{_MARK}{_digest((content.subject, *sorted(content.words), *sorted(content.named)))}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


async def merge_marks(connection: AsyncConnection, further: Sequence[tuple[int, ParsedMessage]]) -> set[int]:
    """Copies may differ in what their headers say: a list marks those it passes on, and only a mailbox knows the
    return path. Whichever came first, an automatic mail is one, and what came directly is no newsletter.

    Returns the interactions that are to be sorted anew.
    """
    best: dict[int, ParsedMessage] = {}
    for number, one in further:
        if one.category in _MARK_FIRST and (number not in best or _rank(one) < _rank(best[number])):
            best[number] = one
    rows = [
        {"id": number, "marked": one.category, "reason": one.category_reason} for number, one in sorted(best.items())
    ]
    if not rows:
        return set()
    return set((await connection.execute(_MERGE_MARKS, {"rows": rows, "order": list(_MARK_FIRST)})).scalars())


def _rank(one: ParsedMessage) -> int:
    return _MARK_FIRST.index(one.category)
