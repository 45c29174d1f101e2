"""From a link that is decided to what a CRM holds: once, in order, told again when it changes, withdrawn on demand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.erasure import Demand, erase
from agent.model import LinkState
from agent.store import deliveries, links, outbox, shares, undelivered
from agent.store.links import Link
from linker.crm.facts import CallToLog, ExternalId, MailToLog
from linker.crm.protocol import (
    CrmAuthFailed,
    CrmLimit,
    CrmRefused,
    CrmRightsMissing,
)
from linker.outbox import Known, Step, Wanted, circuit_pause, decide
from tests.crm_memory import MemoryCrm
from tests.unit.crm_world import PETROVA, WORKS, World, contact, soon, world
from tests.web_world import phone, tone_flac

__all__ = ["world"]


async def test_a_call_is_told_with_all_that_comes_later(world: World) -> None:
    at = soon()
    call = await world.builder.call(PETROVA, "101", at, caller_name="Petrova")
    await world.deliver()
    (thing,) = world.crm.on("1")
    assert isinstance(thing.activity, CallToLog)
    told = thing.activity
    assert (told.started, told.talk_seconds, told.ring_seconds) == (at, 30, 6)
    assert (told.phone, told.line, told.title) == (PETROVA, "101", "Incoming call")
    assert told.page_url == f"https://cardline.example.com/interactions/{call}"
    await world.builder.recording(call, at, tone_flac(2), 2, said=[(0, 0.5, "grey paint"), (1, 1.0, "of course")])
    await world.deliver(recordings="link")
    assert thing.transcripts[0].as_text() == "00:00 Petrova: grey paint\n00:01 employee: of course"
    assert thing.recordings[0].url.startswith("https://cardline.example.com/shared/")
    token = thing.recordings[0].url.rpartition("/")[2].removesuffix(".mp3")
    async with world.store.begin() as connection:
        assert await shares.find_share(connection, token) is not None
    before = world.crm.requests.copy()
    async with world.store.begin() as connection:
        await outbox.stir(connection, [call])
    await world.deliver(recordings="link")
    assert world.crm.requests == before, "what did not change is not told"
    assert [row.state for row in await world.rows()] == ["done"]


async def test_the_sound_is_uploaded_where_it_is_stored(world: World) -> None:
    at = soon()
    call = await world.builder.call(PETROVA, "101", at)
    await world.builder.recording(call, at, tone_flac(2), 2)
    await world.deliver()
    (thing,) = world.crm.on("1")
    recording = thing.recordings[0]
    assert (recording.url, recording.seconds) == ("", 2)
    assert recording.read is not None
    sound = await recording.read()
    assert sound[:1] == b"\xff"
    assert 8_000 < len(sound) < 20_000


async def test_a_mail_is_told_with_its_new_words(world: World) -> None:
    us = ("Anna", "anna@cardline.example.com")
    await world.builder.mail(us, ("Works", "office@works.example.com"), soon(), "Offer", "Here it is.")
    await world.deliver()
    (thing,) = world.crm.on("2")
    assert isinstance(thing.activity, MailToLog)
    assert (thing.activity.subject, thing.activity.text) == ("Offer", "Here it is.")
    assert [one.position for one in thing.activity.parties] == ["from", "to"]


async def test_what_began_before_is_told_on_demand_only(world: World) -> None:
    old = await world.builder.call(PETROVA, "101", datetime.now(UTC) - timedelta(days=3))
    await world.deliver()
    assert await world.rows() == []
    async with world.store.begin() as connection:
        assert await outbox.want(connection, [old], whatever_age=True) == 1
    await world.deliver()
    assert len(world.crm.on("1")) == 1


async def test_a_call_in_progress_waits_for_its_end(world: World) -> None:
    at = soon()
    number = await world.builder.call(PETROVA, "101", at, ended=False, disposition=_in_progress())
    await world.deliver()
    assert (world.crm.things, [row.state for row in await world.rows()]) == ({}, ["unready"])
    world.builder._number -= 1  # the same call is told again
    assert await world.builder.call(PETROVA, "101", at) == number
    await world.deliver()
    assert len(world.crm.on("1")) == 1


def _in_progress() -> Any:
    from agent.model import Disposition

    return Disposition.IN_PROGRESS


async def test_a_lost_answer_makes_no_double(world: World) -> None:
    world.crm = MemoryCrm(loses=0.5, fails=0.3, seed=3)
    for minute in range(12):
        call = await world.builder.call(PETROVA, "101", soon(60 * minute))
        await world.builder.recording(call, soon(), tone_flac(0.2), 0.2)
    world.crm.cards = {"1": contact("1", "Petrova", phone(PETROVA))}
    for _ in range(40):
        await world.deliver(times=5, recordings="link")
    rows = await world.rows()
    assert {row.state for row in rows} == {"done"}
    assert world.crm.copies() == {row.key: 1 for row in rows}
    assert all(len(one.recordings) == 1 for one in world.crm.on("1"))
    assert world.crm.order == [row.key for row in rows], "in the order in which they happened"


async def test_a_crm_that_is_away_costs_only_time(world: World) -> None:
    world.crm.away = True
    for minute in range(3):
        await world.builder.call(PETROVA, "101", soon(60 * minute))
        await world.builder.call(WORKS, "101", soon(60 * minute))
    await world.deliver(times=60)
    office = await world.office()
    assert office.state == "unreachable"
    assert office.failures >= 10
    assert office.paused_until is not None
    assert {row.state for row in await world.rows()} == {"waiting"}
    before = world.crm.requests.total()
    await world.deliverer().deliver("office")
    assert world.crm.requests.total() == before, "the circuit is open"
    world.crm.away = False
    await world.deliver(times=2)
    assert (len(world.crm.on("1")), len(world.crm.on("2"))) == (3, 3)
    assert (await world.office()).failures == 0


async def test_poison_is_given_up_with_a_remedy_and_does_not_hold_up_others(world: World) -> None:
    await world.builder.call(PETROVA, "101", soon())
    await world.builder.call(PETROVA, "101", soon(60))
    world.crm.refusals.append(CrmRefused("The phone is on the stop list.", remedy="Take it off."))
    await world.deliver(times=2)
    assert [row.state for row in await world.rows()] == ["failed", "done"]
    async with world.store.begin() as connection:
        (failed,) = await undelivered.list_failed(connection)
        assert (failed.problem, failed.remedy) == ("The phone is on the stop list.", "Take it off.")
        assert await undelivered.retry(connection) == 1
    await world.deliver()
    assert len(world.crm.on("1")) == 2


async def test_a_bug_is_tried_a_few_times_only(world: World) -> None:
    await world.builder.call(PETROVA, "101", soon())
    world.crm.refusals.extend(KeyError("bug") for _ in range(20))
    await world.deliver(times=25)
    async with world.store.begin() as connection:
        (failed,) = await undelivered.list_failed(connection)
    assert failed.failure == "CardlineError"
    assert len(world.crm.refusals) == 10


@pytest.mark.parametrize(
    ("refusal", "state", "seconds"),
    [
        (CrmLimit("Slower.", retry_after=40), "running", 40),
        (CrmAuthFailed("The key is refused."), "login_failed", 300),
    ],
)
async def test_it_is_left_alone_when_it_asks_for_that(
    world: World, refusal: Exception, state: str, seconds: float
) -> None:
    await world.builder.call(PETROVA, "101", soon())
    world.crm.refusals.append(refusal)
    await world.deliver()
    office = await world.office()
    assert office.state == state
    assert office.paused_until is not None
    left = (office.paused_until - datetime.now(UTC)).total_seconds()
    assert seconds - 30 < left <= seconds
    (row,) = await world.rows()
    assert (row.state, row.attempts) == ("waiting", 0)
    await world.deliver()
    assert len(world.crm.on("1")) == 1


async def test_rights_that_are_missing_are_a_persons_to_give(world: World) -> None:
    await world.builder.call(PETROVA, "101", soon())
    world.crm.refusals.append(CrmRightsMissing("Not allowed to write calls."))
    await world.deliver()
    async with world.store.begin() as connection:
        (failed,) = await undelivered.list_failed(connection)
    assert failed.failure == "CrmRightsMissing"
    assert "cardline crm retry" in failed.remedy


async def test_a_person_relinks_and_the_crm_follows(world: World) -> None:
    at = soon()
    call = await world.builder.call(PETROVA, "101", at)
    await world.deliver()
    async with world.store.begin() as connection:
        await links.decide_link(
            connection,
            Link(
                interaction_id=call,
                card_id=world.works,
                started=at,
                state=LinkState.LINKED,
                reason="so",
                decided_by="anna",
            ),
        )
    await world.deliver()
    assert (len(world.crm.on("1")), len(world.crm.on("2"))) == (0, 1)
    assert world.crm.requests["log"] == 1, "moved, not told twice"
    async with world.store.begin() as connection:
        await links.decide_link(
            connection,
            Link(
                interaction_id=call,
                card_id=None,
                started=at,
                state=LinkState.PRIVATE,
                reason="so",
                decided_by="anna",
            ),
        )
    await world.deliver()
    assert world.crm.things == {}


async def test_what_is_erased_here_is_withdrawn_there(world: World) -> None:
    at = soon()
    call = await world.builder.call(PETROVA, "101", at)
    await world.builder.recording(call, at, tone_flac(0.5), 0.5)
    await world.deliver(recordings="link")
    (thing,) = world.crm.on("1")
    token = thing.recordings[0].url.rpartition("/")[2].removesuffix(".mp3")
    await erase(world.store, Demand(by="anna", reason="demanded", basis="GDPR Art. 17", card_id=world.petrova))
    async with world.store.begin() as connection:
        assert await shares.find_share(connection, token) is None, "at once, though the CRM may be away"
    await world.deliver(recordings="link")
    assert world.crm.things == {}
    (row,) = await world.rows()
    assert (row.state, row.logged, row.parts) == ("done", {}, {})


async def test_erased_before_the_answer_came(world: World) -> None:
    """It may have been made: it is looked for by its key alone, since nothing else of it is known any more."""
    await world.builder.call(PETROVA, "101", soon())
    world.crm._loses = 1.0
    await world.deliver()
    assert len(world.crm.things) == 0 or (await world.rows())[0].begun
    await world.deliver(times=2)
    world.crm._loses = 0.0
    await erase(world.store, Demand(by="anna", reason="demanded", basis="GDPR Art. 17", card_id=world.petrova))
    await world.deliver(times=2)
    assert world.crm.things == {}


async def test_what_a_person_deleted_there_stays_deleted(world: World) -> None:
    at = soon()
    call = await world.builder.call(PETROVA, "101", at)
    await world.deliver()
    world.crm.delete(1)
    await world.builder.recording(call, at, tone_flac(0.5), 0.5)
    await world.deliver(times=2)
    assert world.crm.things == {}
    assert [row.state for row in await world.rows()] == ["done"]


async def test_enriching_adds_what_is_missing_and_no_double(world: World) -> None:
    at = datetime.now(UTC) - timedelta(seconds=40)
    async with world.store.begin() as connection:
        await connection.execute(text("UPDATE connector SET since = now() - interval '1 hour'"))
    call = await world.builder.call(PETROVA, "101", at)
    await world.builder.recording(call, at, tone_flac(0.5), 0.5, said=[(0, 0.1, "grey paint")])
    theirs = CallToLog(
        key="", card=ExternalId(kind="contact", id="1"), employee=None, direction=_inbound(), disposition=_answered(),
        started=at, answered=at, ended=at, phone=PETROVA,
    )  # fmt: skip
    world.crm.foreign[PETROVA] = world.crm.add(theirs)
    await world.deliver(enrich=True)
    assert world.crm.requests["find_foreign"] == 0, "the other integration has its time first"
    await world.deliver(enrich=True, enrich_wait_seconds=0)
    (thing,) = world.crm.on("1")
    assert (thing.activity, len(thing.transcripts)) == (theirs, 1)
    await world.builder.call(WORKS, "101", at)
    await world.deliver(enrich=True, enrich_wait_seconds=0)
    assert len(world.crm.on("2")) == 1


def _inbound() -> Any:
    from agent.model import Direction

    return Direction.INBOUND


def _answered() -> Any:
    from agent.model import Disposition

    return Disposition.ANSWERED


async def test_a_card_that_is_not_there_is_made_or_said(world: World) -> None:
    await world.builder.card("Newcomer", phone("+74950000009"))
    await world.builder.call("+74950000009", "101", soon())
    await world.deliver()
    async with world.store.begin() as connection:
        (failed,) = await undelivered.list_failed(connection)
        assert failed.problem == "The CRM has no card for Newcomer."
        await undelivered.retry(connection)
    await world.deliver(times=2, create_cards=True)
    (made,) = [one for one in world.crm.cards.values() if one.name == "Newcomer"]
    assert len(world.crm.on(made.id.id)) == 1


async def test_a_card_that_was_deleted_there_is_looked_for_anew(world: World) -> None:
    await world.builder.call(PETROVA, "101", soon())
    await world.deliver()
    world.crm.cards.pop("1")
    world.crm.cards["9"] = contact("9", "Petrova", phone(PETROVA))
    await world.builder.call(PETROVA, "101", soon(60))
    await world.deliver(times=3)
    assert [row.state for row in await world.rows()] == ["done", "done"]
    assert len(world.crm.on("9")) == 1
    world.crm.cards.pop("9")
    await world.builder.call(PETROVA, "101", soon(120))
    await world.deliver(times=3)
    async with world.store.begin() as connection:
        (failed,) = await undelivered.list_failed(connection)
    assert failed.problem == "The CRM has no card for Petrova."


async def test_two_calls_that_are_one_are_told_as_one(world: World) -> None:
    first, second = [await world.builder.call(PETROVA, "101", soon(one)) for one in (1, 400)]
    await world.deliver(times=2)
    assert len(world.crm.on("1")) == 2
    async with world.store.begin() as connection:
        await outbox.move(connection, first, second)
        await connection.execute(text("DELETE FROM link WHERE interaction_id = :gone"), {"gone": second})
    await world.deliver(times=2)
    assert len(world.crm.on("1")) == 1


async def test_a_lease_that_was_lost_tells_nothing(world: World) -> None:
    await world.builder.call(PETROVA, "101", soon())
    office = await world.office()
    async with world.store.begin() as connection:
        (claimed,) = await deliveries.claim(connection, office.id, most=8, lease=-1.0)
        (again,) = await deliveries.claim(connection, office.id, most=8, lease=60.0)
        assert await deliveries.begin(connection, claimed, {}, within=1) is None
        assert await deliveries.begin(connection, again, {}, within=90) is None, "it might outlast its lease"
        assert await deliveries.begin(connection, again, {}, within=30) is not None
        assert await deliveries.claim(connection, office.id, most=8, lease=60.0) == []
        await deliveries.release(connection, claimed)
        assert await deliveries.claim(connection, office.id, most=8, lease=60.0) == [], "the lease is another's"
        await deliveries.release(connection, again)
        (last,) = await deliveries.claim(connection, office.id, most=8, lease=60.0)
        await connection.execute(text("UPDATE delivery SET withdrawn = true"))
        assert await deliveries.begin(connection, last, {}, within=1) is None


def test_steps() -> None:
    def step(
        wanted: Wanted, *, is_logged: bool = False, begun: bool = False, looked: bool = False, **parts: str
    ) -> Step:
        return decide(wanted, Known(is_logged=is_logged, begun=begun, looked=looked, parts=parts))

    whole = Wanted(activity="a", recording="r", transcript="t")
    assert step(whole) is Step.LOG
    assert step(whole, begun=True) is Step.LOOK
    assert step(Wanted(activity="a", enrich=True)) is Step.LOOK_FOREIGN
    assert step(Wanted(activity="a", enrich=True), looked=True) is Step.LOG
    assert step(whole, is_logged=True, activity="?") is Step.UPDATE
    assert step(whole, is_logged=True, activity="a") is Step.RECORDING
    assert step(whole, is_logged=True, activity="a", recording="r") is Step.TRANSCRIPT
    assert step(whole, is_logged=True, activity="a", recording="r", transcript="t") is Step.NOTHING
    assert step(Wanted(), is_logged=True, activity="a") is Step.WITHDRAW
    assert step(Wanted(), begun=True) is Step.LOOK
    assert step(Wanted()) is Step.NOTHING
    assert [circuit_pause(one) for one in (0, 9, 10, 11, 30)] == [0, 0, 5, 10, 300]
