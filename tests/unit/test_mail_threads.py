"""Threads: whatever the order of arrival, the same mails end up together."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from sqlalchemy import select

from agent.store.engine import Store
from agent.store.schema import thread, thread_reference
from agent.store.threads import find_or_merge_thread

_numbers = itertools.count(1)


async def arrive(store: Store, own_id: str, *referenced: str) -> int:
    async with store.begin() as connection:
        return await find_or_merge_thread(connection, own_id=own_id, referenced_ids=referenced, subject="x")


async def thread_of(store: Store, *ids: str) -> list[int]:
    async with store.begin() as connection:
        query = select(thread_reference.c.message_id, thread_reference.c.thread_id)
        found = {row.message_id: row.thread_id for row in await connection.execute(query)}
    return [found[one] for one in ids]


@pytest.fixture
def prefix() -> str:
    return f"t{next(_numbers)}-"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
async def test_any_order_gives_one_thread(store: Store, prefix: str, order: tuple[int, ...]) -> None:
    a, b, c, d, lost = (prefix + name for name in ("a", "b", "c", "d", "lost"))
    mails = [(a,), (b, a), (c, lost), (d, lost, b)]
    for number in order:
        await arrive(store, *mails[number])
    assert len(set(await thread_of(store, a, b, c, d, lost))) == 1


async def test_strangers_stay_apart(store: Store, prefix: str) -> None:
    assert await arrive(store, prefix + "a") != await arrive(store, prefix + "b")


async def test_a_mail_without_any_id_is_a_thread_of_its_own(store: Store) -> None:
    assert await arrive(store, "") != await arrive(store, "")


async def test_a_merged_thread_is_gone(store: Store, prefix: str) -> None:
    first, second = await arrive(store, prefix + "a"), await arrive(store, prefix + "b")
    assert await arrive(store, prefix + "c", prefix + "b", prefix + "a") == first
    async with store.begin() as connection:
        left = (await connection.execute(select(thread.c.id).where(thread.c.id.in_([first, second])))).scalars().all()
    assert left == [first]


async def test_the_same_mail_again_changes_nothing(store: Store, prefix: str) -> None:
    assert await arrive(store, prefix + "a", prefix + "b") == await arrive(store, prefix + "a", prefix + "b")


@pytest.mark.parametrize("seed", range(5))
async def test_at_the_same_time(store: Store, prefix: str, seed: int) -> None:
    """Forty answers in ten conversations, then the mails that connect them, eight at a time."""
    chance = random.Random(seed)
    mails: list[tuple[str, ...]] = [(f"{prefix}{n}", f"{prefix}root{n % 10}") for n in range(40)]
    mails += [(f"{prefix}link{n}", f"{prefix}root{n}", f"{prefix}root{n + 1}") for n in range(9)]
    chance.shuffle(mails)
    turn = asyncio.Semaphore(8)

    async def one(mail: tuple[str, ...]) -> None:
        async with turn:
            for attempt in itertools.count():
                try:
                    await arrive(store, *mail)
                    return
                except Exception:
                    if attempt > 3:  # a deadlock that the database resolved is tried again, as the job is
                        raise

    await asyncio.gather(*(one(mail) for mail in mails))
    assert len(set(await thread_of(store, *(mail[0] for mail in mails)))) == 1
