"""Answers that name no mail find what they answer, whatever the order of arrival; common subjects join nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from agent.store.engine import Store
from agent.store.subjects import plain_subject, trail_of
from agent.store.threads import Wanted, find_or_merge_threads

NOON = datetime(2026, 5, 5, 12, tzinfo=UTC)
ANNA, PETROV, VERA = "anna@example.com", "petrov@client.example.org", "vera@client.example.org"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail as far as threads care; ids are made unique to each story by its number."""

    subject: str
    sender: str = ANNA
    recipient: str = PETROV
    hours: float = 0
    own_id: str = ""
    names: tuple[str, ...] = ()

    def wanted(self, story: int) -> Wanted:
        ids = tuple(f"{story}-{one}@example.com" for one in (self.own_id, *self.names) if one)
        trail = trail_of(
            self.subject,
            sender=f"{story}-{self.sender}",
            recipients=[f"{story}-{self.recipient}"],
            sent=NOON + timedelta(hours=self.hours),
            names_others=bool(self.names),
        )
        return Wanted(ids=ids, subject=self.subject, trail=trail)


async def threads_of(store: Store, batches: Sequence[Sequence[Mail]]) -> list[frozenset[int]]:
    """The mails, by their places in all batches together, that share a thread in the end."""
    story = next(_numbers)
    found: list[int] = []
    marks: list[str] = []
    async with store.begin() as connection:
        for batch in batches:
            wanted = []
            for one in batch:
                mark = f"mark-{story}-{len(marks)}"
                marks.append(mark)
                plain = one.wanted(story)
                wanted.append(Wanted(ids=(*plain.ids, mark), subject=plain.subject, trail=plain.trail))
            await find_or_merge_threads(connection, wanted)
        for mark in marks:
            query = text("SELECT thread_id FROM thread_reference WHERE message_id = :id")
            found.append((await connection.execute(query, {"id": mark})).scalar_one())
    return [frozenset(at for at, one in enumerate(found) if one == number) for number in sorted(set(found))]


async def together(store: Store, *mails: Mail) -> bool:
    """Whether all are one thread: one after the other, turned round, and in one batch."""
    answers = {
        len(await threads_of(store, batches)) == 1
        for batches in ([[one] for one in mails], [[one] for one in reversed(mails)], [mails], [mails[::-1]])
    }
    assert len(answers) == 1, "the order of arrival matters"
    return answers.pop()


@pytest.mark.parametrize(
    ("subject", "plain"),
    [
        ("Re: Поставка столов", "поставка столов"),
        ("RE[2]: Fwd: Ответ: Поставка  столов!", "поставка столов"),
        ("AW: [EXTERNAL] Re: Tables", "tables"),
        ("[#1234] Tables", "1234 tables"),
        ("Отчёт", "отчет"),
        ("Re: " * 50 + "x", ("re " * 30 + "x")),
        ("Ревизия", "ревизия"),
        ("", ""),
    ],
)
def test_plain_subjects(subject: str, plain: str) -> None:
    assert plain_subject(subject) == plain


ASKED = Mail(subject="Поставка столов")


@pytest.mark.parametrize(
    ("other", "joined"),
    [
        (Mail(subject="Re: Поставка столов", sender=PETROV, recipient=ANNA, hours=2), True),
        (Mail(subject="Ответ: поставка столов", sender=PETROV, recipient=ANNA, hours=2), True),
        (Mail(subject="Re: [EXTERNAL] Поставка столов", sender=PETROV, recipient=ANNA, hours=2), True),
        (Mail(subject="Re: Поставка столов", hours=2), True),
        (Mail(subject="Re: Поставка столов", sender=PETROV, recipient=ANNA, hours=-2), False),
        (Mail(subject="Re: Поставка столов", sender=PETROV, recipient=ANNA, hours=5 * 24 + 1), False),
        (Mail(subject="Re: Поставка столов", sender=VERA, recipient=ANNA, hours=2), False),
        (Mail(subject="Поставка столов", sender=PETROV, recipient=ANNA, hours=2), False),
        (Mail(subject="Fwd: Поставка столов", sender=PETROV, recipient=ANNA, hours=2), False),
        (Mail(subject="Re: Поставка шкафов", sender=PETROV, recipient=ANNA, hours=2), False),
        (Mail(subject="Re: Поставка столов", sender=PETROV, recipient=ANNA, hours=2, names=("lost",)), False),
    ],
)
async def test_what_an_answer_without_ids_continues(store: Store, other: Mail, joined: bool) -> None:
    assert await together(store, ASKED, other) is joined


@pytest.mark.parametrize(
    "subject", ["Счёт", "Re: Hello", "(без темы)", "Вопрос", "RE: RE:", "ок", "Коммерческое предложение"]
)
async def test_a_subject_that_anybody_writes_joins_nothing(store: Store, subject: str) -> None:
    answer = Mail(subject=f"Re: {subject}", sender=PETROV, recipient=ANNA, hours=1)
    assert not await together(store, Mail(subject=subject), answer)


async def test_a_weekly_report_is_a_thread_each_week(store: Store) -> None:
    weeks = [
        mail
        for week in range(3)
        for mail in (
            Mail(subject="Сводка по складу", hours=168 * week),
            Mail(subject="Re: Сводка по складу", sender=PETROV, recipient=ANNA, hours=168 * week + 5),
        )
    ]
    for batches in ([[one] for one in weeks], [weeks[::-1]]):
        assert len(await threads_of(store, batches)) == 3


SUBJECTS = ("Поставка столов", "Re: Поставка столов", "Замена полок", "Re: Замена полок", "Счёт", "Re: Счёт")
PAIRS = ((ANNA, PETROV), (PETROV, ANNA), (ANNA, VERA), (VERA, ANNA))


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Mail], list[int], int]:
    mails = []
    for number in range(draw(st.integers(2, 7))):
        sender, recipient = draw(st.sampled_from(PAIRS))
        mails.append(
            Mail(
                subject=draw(st.sampled_from(SUBJECTS)),
                sender=sender,
                recipient=recipient,
                hours=draw(st.integers(0, 30)) * 12,
                own_id=draw(st.sampled_from(("", f"id{number}"))),
                names=tuple(draw(st.lists(st.sampled_from([f"id{one}" for one in range(7)]), max_size=2))),
            )
        )
    order = draw(st.permutations(range(len(mails))))
    return mails, list(order), draw(st.integers(1, len(mails)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories())
async def test_threads_do_not_depend_on_the_order(store: Store, story: tuple[list[Mail], list[int], int]) -> None:
    mails, order, size = story
    straight = await threads_of(store, [[one] for one in mails])
    shuffled = [mails[at] for at in order]
    batches = [shuffled[at : at + size] for at in range(0, len(shuffled), size)]
    turned = [frozenset(order[at] for at in group) for group in await threads_of(store, batches)]
    assert set(turned) == set(straight)


async def test_at_the_same_time(store: Store) -> None:
    """Each in a transaction of its own, all at once: the question and nine answers are one thread."""
    story = next(_numbers)
    mails = [
        ASKED,
        *(Mail(subject="Re: Поставка столов", sender=PETROV, recipient=ANNA, hours=n) for n in range(1, 10)),
    ]

    async def arrive(one: Mail) -> int:
        async with store.begin() as connection:
            (found,) = await find_or_merge_threads(connection, [one.wanted(story)])
        return found

    await asyncio.gather(*(arrive(one) for one in mails))
    trail = mails[0].wanted(story).trail
    assert trail is not None
    async with store.begin() as connection:
        query = text("SELECT count(DISTINCT thread_id), count(*) FROM thread_subject WHERE key = decode(:key, 'hex')")
        counts = (await connection.execute(query, {"key": trail.keys[0]})).one()
    assert tuple(counts) == (1, 10)
