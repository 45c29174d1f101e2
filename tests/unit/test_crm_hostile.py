"""What goes wrong on the way of a delivery at the worst moment: two who tell, a card that changes in the middle, a
limit among successes, a CRM that is switched off, another one under its name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.erasure import Demand, erase
from agent.model import LinkState
from agent.store import connectors, deliveries, links, mirror, proposals, shares
from agent.store.links import Link
from linker.crm.facts import CallToLog, Changes, CrmUser, ExternalId, Gone, Logged, RecordingToAttach
from linker.crm.protocol import CrmAuthFailed, CrmLimit
from linker.crm.tokens import Grant, Tokens
from linker.crm.vault import DatabaseVault
from tests.crm_memory import MemoryCrm
from tests.unit.crm_world import PETROVA, WORKS, World, contact, reader, soon, world
from tests.web_world import phone, tone_flac

__all__ = ["world"]


def _in_the_middle(world: World, name: str, act: Callable[[], Awaitable[object]], *, after: bool) -> None:
    """Once, when the CRM is asked for that, before or after it does it."""
    asked = getattr(world.crm, name)

    async def held(*given: Any) -> Logged:
        setattr(world.crm, name, asked)
        if not after:
            await act()
        answer: Logged = await asked(*given)
        if after:
            await act()
        return answer

    setattr(world.crm, name, held)


async def _decide(world: World, call: int, card: int | None, state: LinkState = LinkState.LINKED) -> None:
    async with world.store.begin() as connection:
        decision = Link(
            interaction_id=call, card_id=card, started=soon(), state=state, reason="so", decided_by="anna"
        )  # fmt: skip
        await links.decide_link(connection, decision)


async def test_two_workers_tell_each_thing_once(world: World) -> None:
    world.crm = MemoryCrm(loses=0.2, fails=0.2, seed=5)
    world.crm.cards = {"1": contact("1", "Petrova", phone(PETROVA)), "2": contact("2", "Works", phone(WORKS))}
    for minute in range(8):
        await world.builder.call(PETROVA if minute % 2 else WORKS, "101", soon(60 * minute))
    async with asyncio.timeout(60):
        while {row.state for row in await world.rows()} != {"done"}:
            await world.hurry()
            await asyncio.gather(*(world.deliverer().deliver("office") for _ in range(3)))
    assert world.crm.copies() == {row.key: 1 for row in await world.rows()}


@pytest.mark.parametrize("after", [False, True])
async def test_relinked_while_it_is_on_its_way(world: World, after: bool) -> None:
    call = await world.builder.call(PETROVA, "101", soon())
    _in_the_middle(world, "log_call", lambda: _decide(world, call, world.works), after=after)
    await world.deliver(times=2)
    assert (len(world.crm.on("1")), len(world.crm.on("2"))) == (0, 1)
    assert world.crm.requests["log"] == 1
    _in_the_middle(world, "update", lambda: _decide(world, call, world.works), after=after)
    await _decide(world, call, world.petrova)
    await world.deliver(times=2)
    assert (len(world.crm.on("1")), len(world.crm.on("2"))) == (0, 1)


@pytest.mark.parametrize("after", [False, True])
async def test_made_private_while_it_is_on_its_way(world: World, after: bool) -> None:
    call = await world.builder.call(PETROVA, "101", soon())
    _in_the_middle(world, "log_call", lambda: _decide(world, call, None, LinkState.PRIVATE), after=after)
    await world.deliver(times=2)
    assert world.crm.things == {}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", ["log_call", "attach_recording", "attach_transcript"])
async def test_erased_while_it_is_on_its_way(world: World, step: str, after: bool) -> None:
    """Whatever link to the sound was handed out is dead, and nothing of it stays over there."""
    at = soon()
    call = await world.builder.call(PETROVA, "101", at)
    await world.builder.recording(call, at, tone_flac(0.5), 0.5, said=[(0, 0.2, "grey paint")])
    handed: list[str] = []
    attach = world.crm.attach_recording

    async def noting(logged: Logged, call: CallToLog, recording: RecordingToAttach) -> Logged:
        handed.append(recording.url.rpartition("/")[2].removesuffix(".mp3"))
        return await attach(logged, call, recording)

    world.crm.attach_recording = noting  # type: ignore[method-assign]
    demand = Demand(by="anna", reason="demanded", basis="GDPR Art. 17", card_id=world.petrova)
    _in_the_middle(world, step, lambda: erase(world.store, demand), after=after)
    await world.deliver(times=3, recordings="link")
    assert world.crm.things == {}
    assert len(handed) == (step != "log_call")
    async with world.store.begin() as connection:
        assert [await shares.find_share(connection, one) for one in handed] == [None] * len(handed)
    assert [row.state for row in await world.rows()] == ["done"]


async def test_the_link_to_a_recording_that_was_replaced_leads_nowhere(world: World) -> None:
    at = soon()
    call = await world.builder.call(PETROVA, "101", at)
    await world.builder.recording(call, at, tone_flac(0.5), 0.5)
    await world.deliver(recordings="link")
    before = world.crm.on("1")[0].recordings[0].url.rpartition("/")[2].removesuffix(".mp3")
    await world.builder.recording(call, at, tone_flac(1), 1)
    await world.deliver(recordings="link")
    now = world.crm.on("1")[0].recordings[0].url.rpartition("/")[2].removesuffix(".mp3")
    assert now != before
    async with world.store.begin() as connection:
        assert await shares.find_share(connection, before) is None
        assert await shares.find_share(connection, now) is not None


async def test_a_card_is_merged_over_there_while_one_waits(world: World) -> None:
    world.crm.changes.append(
        Changes(cursor="a", cards=[world.crm.cards["1"], contact("5", "Petrova A.", phone("+74950000055"))])
    )
    await reader(world).read("office")
    await world.builder.call(PETROVA, "101", soon())
    world.crm.cards.pop("1")
    gone = Gone(id=ExternalId(kind="contact", id="1"), merged_into=ExternalId(kind="contact", id="5"))
    world.crm.changes.append(Changes(cursor="b", cards=[], gone=[gone]))
    world.crm.cards["5"] = contact("5", "Petrova A.", phone(PETROVA), phone("+74950000055"))
    async with world.store.begin() as connection:
        await connection.execute(text("UPDATE connector SET read_at = NULL"))
    await reader(world).read("office")
    await world.deliver(times=2)
    assert (len(world.crm.on("1")), len(world.crm.on("5"))) == (0, 1)


async def test_switched_off_and_on(world: World) -> None:
    call = await world.builder.call(PETROVA, "101", soon())
    await world.deliver()
    await world.switch_on(delivers=False)
    await _decide(world, call, world.works)
    meanwhile = await world.builder.call(WORKS, "101", soon())
    before = world.crm.requests.copy()
    await world.deliver()
    async with world.store.begin() as connection:
        assert await deliveries.list_due(connection, settle=10) == []
    assert world.crm.requests == before
    await world.switch_on()
    await world.deliver()
    assert [one.activity.page_url.rpartition("/")[2] for one in world.crm.on("2")] == [str(call)], meanwhile


async def test_another_kind_of_crm_under_the_same_name_is_another_crm(world: World) -> None:
    """Its card 1 is somebody else: nothing that was known of the one before may be told to it or taken for its own."""
    call = await world.builder.call(PETROVA, "101", soon())
    await world.deliver()
    async with world.store.begin() as connection:
        before = await connectors.find_connector(connection, "office")
        await connectors.switch_on(connection, [("office", "amocrm", True)])
        now = await connectors.find_connector(connection, "office")
        assert before is not None
        assert now is not None
        assert (now.id != before.id, now.kind, now.cursor) == (True, "amocrm", "")
        places = await mirror.list_places(connection, now.id, [world.petrova])
        assert places == {world.petrova: []}
        names = {one.name: one.delivers for one in await connectors.list_connectors(connection)}
        assert names == {"office": True, f"office (tryton {before.id})": False}
        await connectors.switch_on(connection, [("office", "amocrm", True)])
        assert len(await connectors.list_connectors(connection)) == 2
    world.crm = MemoryCrm()
    world.crm.cards = {"1": contact("1", "Somebody else", phone("+74950000077"))}
    await world.builder.linker.link([call])
    await world.deliver()
    assert world.crm.on("1") == []


async def test_a_limit_is_heard_by_all_that_wait_and_outlasts_a_success(world: World) -> None:
    world.crm.cards = {}
    for number in range(20):
        await world.builder.card(f"Client {number}", phone(f"+749500002{number:02}"))
        world.crm.cards[f"c{number}"] = contact(f"c{number}", "", phone(f"+749500002{number:02}"))
        await world.builder.call(f"+749500002{number:02}", "101", soon())
    log = world.crm._log

    async def limited(activity: Any) -> Logged:
        """The first goes through, but its answer comes after others were told to wait for a day."""
        if not world.crm.order:
            answer = await log(activity)
            await asyncio.sleep(0.2)
            return answer
        world.crm.requests["refused"] += 1
        raise CrmLimit("Slower.", retry_after=86400)

    world.crm._log = limited  # type: ignore[method-assign]
    await world.deliver()
    office = await world.office()
    assert office.is_paused
    assert office.paused_until is not None
    assert office.paused_until > datetime.now(UTC) + timedelta(hours=23)
    assert world.crm.requests["refused"] < 8, "those that were not under way yet were not asked"
    assert {(row.state, row.attempts, row.leased_until) for row in await world.rows() if row.state != "done"} == {
        ("waiting", 0, None)
    }
    before = world.crm.requests.total()
    await world.deliverer().deliver("office")
    await reader(world).read("office")
    async with world.store.begin() as connection:
        assert await deliveries.list_due(connection, settle=10) == []
    assert world.crm.requests.total() == before, "neither told nor read"
    async with world.store.begin() as connection:
        await connectors.resume(connection, office.id)
    world.crm._log = log  # type: ignore[method-assign]
    await world.deliver(times=2)
    assert {row.state for row in await world.rows()} == {"done"}


async def test_a_limit_for_reading_is_one_for_telling_too(world: World) -> None:
    world.crm.refusals.append(CrmLimit("Slower.", retry_after=3600))
    await reader(world).read("office")
    await world.builder.call(PETROVA, "101", soon())
    assert (await world.office()).is_paused
    before = world.crm.requests.total()
    await world.deliverer().deliver("office")
    assert world.crm.requests.total() == before


async def test_no_users_at_all_is_no_answer(world: World) -> None:
    world.crm.users = [CrmUser(id="7", name="Anna", address="anna@cardline.example.com", extension="188")]
    await reader(world).read("office")
    async with world.store.begin() as connection:
        await connection.execute(text("UPDATE connector SET read_at = NULL"))
        (proposed,) = await proposals.list_open(connection)
        assert (proposed.extension, proposed.names, proposed.sources) == ("188", ("Anna",), ("crm:office",))
    world.crm.users = []
    await reader(world).read("office")
    office = await world.office()
    async with world.store.begin() as connection:
        assert await mirror.find_users(connection, office.id, [world.anna]) == {world.anna: "7"}


async def test_an_attempt_without_an_answer_is_looked_for_only_when_the_crm_must_be_done_with_it(world: World) -> None:
    await world.builder.call(PETROVA, "101", soon())
    await world.deliver()
    await world.builder.call(PETROVA, "101", soon(60))
    world.crm._loses = 1.0
    await world.deliver()
    row = (await world.rows())[1]
    assert row.begun
    assert row.due_at - row.tried_at >= timedelta(seconds=10)


async def test_two_processes_renew_a_login_once(world: World) -> None:
    """Each with a memory of its own; the token to renew with is good for one use, and whoever uses it twice is out."""
    spent: list[str] = []

    async def renew(refresh: str) -> Grant:
        if refresh in spent:
            raise CrmAuthFailed("It was used before.")
        spent.append(refresh)
        await asyncio.sleep(0.3)
        return Grant(access=f"a-{refresh}", refresh=f"{refresh}'", seconds=3600)

    def tokens() -> Tokens:
        return Tokens("office", DatabaseVault(world.store, world.lab.archive.keys, "office"), renew)

    await DatabaseVault(world.store, world.lab.archive.keys, "office").save({"refresh_token": "r"})
    assert await asyncio.gather(*(tokens().access() for _ in range(4))) == ["a-r"] * 4
    assert await asyncio.gather(*(tokens().access(refused="a-r") for _ in range(4))) == ["a-r'"] * 4
    assert spent == ["r", "r'"]
