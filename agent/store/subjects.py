"""Answers that name no mail: which mails they continue, by subject, by the two who write, and by time.

Two mails belong together when a subject and a pair of people agree, they are at most five days apart, and the later one
says «Re:» and names no id. Whether that holds depends on the two mails alone, so the order of arrival does not matter.
A subject that anybody writes every day («Счёт», "Hello") joins nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

WINDOW = timedelta(days=5)
"""Answers come within days; what is repeated under one subject, such as a weekly report, comes later than this."""

_PREFIX = re.compile(
    r"\s*(?:(?:re|aw|sv|vs|antw|odp|rif|ref|ответ|отв|ha|на|fw|fwd|wg|tr|пер|пересл)\s*(?:\[\d{1,3}\]|\(\d{1,3}\))?\s*:"
    r"|\[[^\[\]\d]{1,40}\])",  # a number in brackets is a case of its own
    re.IGNORECASE,
)
_ANSWER = re.compile(r"\s*(?:re|aw|sv|antw|odp|ответ|отв|ha|на)\s*(?:\[\d{1,3}\]|\(\d{1,3}\))?\s*:", re.IGNORECASE)
_MOST_PREFIXES = 20
_MOST_RECIPIENTS = 10
_SHORTEST = 4
_GENERIC = """
    без темы|нет темы|привет|здравствуйте|добрый день|добрый вечер|доброе утро|вопрос|вопросы|ответ|заказ|заявка|счет
    счет на оплату|оплата|договор|документы|документ|акт|акты|кп|прайс|информация|запрос|фото|файл|файлы|скан|сканы
    письмо|сообщение|встреча|звонок|отчет|важно|срочно|спасибо|тест|реквизиты|прайс лист|коммерческое предложение
    no subject|hello|hi|hey|question|questions|order|invoice|payment|contract|agreement|document|documents|quote|offer
    proposal|price list|information|request|info|photo|file|files|scan|message|meeting|call|report|important|urgent
    thanks|thank you|test|update|follow up|test message|untitled
    """
_GENERIC_SUBJECTS = frozenset(one.strip() for one in _GENERIC.replace("\n", "|").split("|"))
_FIND = text(
    """
    SELECT DISTINCT r.place, s.thread_id
    FROM jsonb_to_recordset(:rows) AS r(place integer, key text, sent timestamptz, is_answer boolean)
         JOIN thread_subject s ON s.key = decode(r.key, 'hex')
    WHERE s.sent_at BETWEEN r.sent - :window AND r.sent + :window
          AND ((r.is_answer AND s.sent_at <= r.sent) OR (s.is_answer AND s.sent_at >= r.sent))
    """
).bindparams(bindparam("rows", type_=JSONB))
_INSERT = text(
    """
    INSERT INTO thread_subject (thread_id, key, sent_at, is_answer)
    SELECT thread_id, decode(key, 'hex'), sent, is_answer
    FROM jsonb_to_recordset(:rows) AS r(thread_id bigint, key text, sent timestamptz, is_answer boolean)
    """
).bindparams(bindparam("rows", type_=JSONB))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """How a mail can be found without ids: digests of its subject with each pair of people, and when it was sent."""

    keys: tuple[str, ...]
    sent: datetime
    is_answer: bool


def trail_of(
    subject: str, *, sender: str, recipients: Iterable[str], sent: datetime, names_others: bool
) -> Trail | None:
    """The trail of a mail, None where its subject says nothing. ``names_others``: it has References or In-Reply-To."""
    plain = plain_subject(subject)
    if len(plain) < _SHORTEST or plain in _GENERIC_SUBJECTS or not sender:
        return None
    others = sorted({one.lower() for one in recipients} - {sender.lower()})[:_MOST_RECIPIENTS]
    keys = [hashlib.sha256("\n".join((plain, *sorted((sender.lower(), one)))).encode()).hexdigest() for one in others]
    is_answer = not names_others and _ANSWER.match(subject) is not None
    return Trail(keys=tuple(keys), sent=sent, is_answer=is_answer) if keys else None


def plain_subject(subject: str) -> str:
    """Lower case without «Re:», «Ответ:» and the like, without gateways' marks, and of the rest letters and digits."""
    for _ in range(_MOST_PREFIXES):
        found = _PREFIX.match(subject)
        if found is None:
            break
        subject = subject[found.end() :]
    return " ".join(re.findall(r"\w+", subject.casefold().replace("ё", "е")))


def neighbours(trails: Sequence[Trail | None]) -> list[tuple[int, int]]:
    """Places of a batch that belong together by their trails."""
    by_key: dict[str, list[tuple[datetime, int, bool]]] = defaultdict(list)
    for place, one in enumerate(trails):
        for key in one.keys if one is not None else ():
            assert one is not None
            by_key[key].append((one.sent, place, one.is_answer))
    pairs: list[tuple[int, int]] = []
    for found in by_key.values():
        pairs += _chained(sorted(found))
    return pairs


def _chained(mails: Sequence[tuple[datetime, int, bool]]) -> Iterable[tuple[int, int]]:
    """Each answer with every mail in the window before it; mails of the same instant count as before each other."""
    for later, (sent, place, is_answer) in enumerate(mails):
        for earlier_sent, earlier, earlier_answers in mails[:later]:
            is_near = sent - earlier_sent <= WINDOW
            if is_near and (is_answer or (earlier_answers and earlier_sent == sent)):
                yield earlier, place


async def find_threads(connection: AsyncConnection, trails: Sequence[Trail | None]) -> dict[int, set[int]]:
    """Place in the batch → threads of stored mails that belong to it by their trails."""
    rows = [
        {"place": place, "key": key, "sent": one.sent.isoformat(), "is_answer": one.is_answer}
        for place, one in enumerate(trails)
        if one is not None
        for key in one.keys
    ]
    found: dict[int, set[int]] = defaultdict(set)
    if rows:
        for row in await connection.execute(_FIND, {"rows": rows, "window": WINDOW}):
            found[row.place].add(row.thread_id)
    return found


async def save_trails(connection: AsyncConnection, trails: Mapping[int, Sequence[Trail]]) -> None:
    """Note the trails of a thread's new mails."""
    rows = [
        {"thread_id": thread_id, "key": key, "sent": one.sent.isoformat(), "is_answer": one.is_answer}
        for thread_id, group in trails.items()
        for one in group
        for key in one.keys
    ]
    if rows:
        await connection.execute(_INSERT, {"rows": rows})
