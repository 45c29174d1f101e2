"""Hosts that fall silent: their calls say so, end after a day, and are taken back when the host returns."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from agent.errors import DatabaseUnavailable
from agent.intake import Intake
from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind, UserRole
from agent.sip.presence import ROUNDS, Presence
from agent.store import history, hosts, live
from agent.store.engine import Store
from agent.store.history import Entry
from agent.store.hosts import LOST_FLAG
from agent.store.rights import Viewer
from agent.store.schema import capture, host, interaction
from agent.web.entries import view
from agent.web.shown import Names
from agent.web.texts import Texts

BOSS = Viewer(account_id=0, role=UserRole.SUPERVISOR, employee_id=None)
MINUTES, DAYS = timedelta(minutes=5), timedelta(days=1, minutes=1)


def call(key: str, **more: object) -> CapturedCall:
    parties = (CapturedParty(position="caller", kind=IdentityKind.PHONE, value="+74950000011"),)
    one = CapturedCall(
        source="siprec", key=key, started=datetime.now(UTC) - DAYS, parties=parties, capture_id=f"20261122-{key}"
    )
    return replace(one, **more)  # type: ignore[arg-type]


async def age(store: Store, name: str, by: timedelta) -> None:
    """As if the host had last been heard, and its calls been told, so long ago."""
    async with store.begin() as connection:
        await hosts.beat(connection, name)
        await connection.execute(update(host).where(host.c.name == name).values(heard_at=func.now() - by))
        own = select(capture.c.interaction_id).where(capture.c.host == name)
        old = update(interaction).where(interaction.c.id.in_(own))
        await connection.execute(old.values(created_at=func.now() - by))


async def look_around(store: Store, name: str) -> None:
    """What the service of a host does twice a minute."""
    presence = Presence(store, name)
    await presence.give_sign()
    await presence.judge()


async def entry_of(store: Store, number: int) -> Entry:
    async with store.begin() as connection:
        (one,) = await history.load_entries(connection, [number])
    return one


async def silent(store: Store, number: int) -> list[bool]:
    async with store.begin() as connection:
        found = await live.find_live(connection, BOSS, number)
    return [one.silent_since is not None for one in found]


@pytest.fixture
def gone(store: Store, intake: Intake) -> Intake:
    """The door of a host that will not be heard."""
    return Intake(store, intake._archive, host=f"gone-{secrets.token_hex(4)}")


async def test_a_call_says_that_its_host_is_silent(store: Store, gone: Intake) -> None:
    number = await gone.open_call(call("silent"))
    assert await silent(store, number) == [False], "nobody knows the host yet; the call is new"
    await age(store, gone._host, MINUTES)
    assert await silent(store, number) == [True]
    await look_around(store, "other")
    assert (await entry_of(store, number)).call.disposition is Disposition.IN_PROGRESS  # type: ignore[union-attr]
    await look_around(store, gone._host)
    assert await silent(store, number) == [False]


async def test_a_host_that_never_said_a_word_is_not_waited_for_either(store: Store, gone: Intake) -> None:
    number = await gone.open_call(call("never"))
    async with store.begin() as connection:
        old = update(interaction).where(interaction.c.id == number).values(created_at=func.now() - DAYS)
        await connection.execute(old)
    await look_around(store, "other")
    entry = await entry_of(store, number)
    assert entry.call is not None
    assert (entry.call.disposition, entry.call.truncated) == (Disposition.NO_ANSWER, True)


async def test_after_a_day_its_calls_end_once_with_the_last_sign(store: Store, gone: Intake) -> None:
    answered = datetime.now(UTC) - DAYS
    number = await gone.open_call(call("day", answered=answered))
    await age(store, gone._host, DAYS)
    await asyncio.gather(*(look_around(store, f"other {name}") for name in range(4)))
    entry = await entry_of(store, number)
    assert entry.call is not None
    assert (entry.call.disposition, entry.call.truncated) == (Disposition.ANSWERED, True)
    assert entry.call.ended is not None
    assert abs(datetime.now(UTC) - DAYS - entry.call.ended) < timedelta(minutes=1)
    assert entry.interaction.flags == (LOST_FLAG,)
    assert await silent(store, number) == []
    assert view(entry, Names(employees={}, clients={}), transcribes=True).silence == "recording_lost"  # type: ignore[union-attr]
    assert LOST_FLAG not in Texts("ru").reason(LOST_FLAG)
    await look_around(store, "other")
    assert await entry_of(store, number) == entry


async def test_a_host_that_returns_has_the_last_word(store: Store, gone: Intake) -> None:
    one = call("back")
    number = await gone.open_call(one)
    await age(store, gone._host, DAYS)
    await look_around(store, "other")
    assert (await entry_of(store, number)).interaction.flags == (LOST_FLAG,)
    await look_around(store, gone._host)
    ended = replace(
        one, answered=one.started, ended=one.started + MINUTES, disposition=Disposition.ANSWERED, truncated=True
    )
    for _ in range(2):
        for tell in (gone.open_call, gone.close_call):
            await tell(ended)
    entry = await entry_of(store, number)
    assert entry.call is not None
    assert (entry.call.disposition, entry.call.ended) == (Disposition.ANSWERED, ended.ended)
    assert entry.interaction.flags == ()
    assert entry.captures == ("closed",)
    async with store.begin() as connection:
        jobs = await connection.exec_driver_sql(
            f"SELECT count(*) FROM procrastinate_jobs WHERE args->>'capture_id' = '{one.capture_id}'"
        )
        assert jobs.scalar_one() == 1, "its sound is assembled, once"


async def test_a_call_that_went_on_all_the_time_goes_on(store: Store, gone: Intake) -> None:
    """Only the database was out of its reach."""
    one = call("cut off", answered=datetime.now(UTC) - DAYS)
    number = await gone.open_call(one)
    await age(store, gone._host, DAYS)
    await look_around(store, "other")
    await look_around(store, gone._host)
    await gone.update_call(one)
    entry = await entry_of(store, number)
    assert entry.call is not None
    assert (entry.call.disposition, entry.call.ended, entry.call.truncated) == (Disposition.IN_PROGRESS, None, False)
    assert entry.interaction.flags == ()
    assert await silent(store, number) == [False]


async def test_what_another_recorder_has_is_neither_ended_nor_taken_back(
    store: Store, gone: Intake, intake: Intake
) -> None:
    one = call("two")
    number = await gone.open_call(one)
    other = replace(one, capture_id="20261123-other")
    await intake.open_call(other)
    await age(store, gone._host, DAYS)
    await look_around(store, intake._host)
    assert await silent(store, number) == [False], "one of two recorders is left"
    ended = replace(other, answered=one.started, ended=datetime.now(UTC), disposition=Disposition.ANSWERED)
    await intake.close_call(ended)
    entry = await entry_of(store, number)
    assert entry.call is not None
    assert (entry.call.ended, entry.call.truncated, entry.interaction.flags) == (ended.ended, False, ())
    await gone.close_call(replace(one, ended=one.started + MINUTES, truncated=True, disposition=Disposition.NO_ANSWER))
    entry = await entry_of(store, number)
    assert entry.call is not None
    assert (entry.call.disposition, entry.call.ended) == (Disposition.ANSWERED, ended.ended)
    assert not entry.call.truncated
    assert sorted(entry.captures) == ["closed", "closed"]


async def test_after_an_outage_others_are_given_time_to_be_heard(
    store: Store, gone: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has only just come back himself judges nobody yet; a database that is away stops nothing."""
    number = await gone.open_call(call("outage"))
    await age(store, gone._host, DAYS)
    signs, done = 0, asyncio.Event()
    monkeypatch.setattr("agent.sip.presence.EVERY_S", 0)
    give_sign, judge = Presence.give_sign, Presence.judge

    async def counted(self: Presence) -> None:
        nonlocal signs
        signs += 1
        if signs == 3:
            raise DatabaseUnavailable("away")
        await give_sign(self)

    async def judged(self: Presence) -> None:
        await judge(self)
        done.set()

    monkeypatch.setattr(Presence, "give_sign", counted)
    monkeypatch.setattr(Presence, "judge", judged)
    task = asyncio.create_task(Presence(store, "back").run())
    async with asyncio.timeout(30):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert signs >= 3 + ROUNDS + 1
    entry = await entry_of(store, number)
    assert entry.call is not None
    assert entry.call.truncated
