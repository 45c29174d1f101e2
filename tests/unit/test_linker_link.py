"""The link job and what a person does, on PostgreSQL: idempotent, safe at once, and the past follows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent.intake import Intake
from agent.model import Direction, Disposition, Identity, IdentityKind, LinkState, MessageCategory, Role
from agent.settings import Settings
from agent.store import cards, employees, interactions, links
from agent.store.engine import Store
from agent.store.interactions import Interaction, Party
from agent.store.links import Link
from linker.link import Linker
from tests.unit.linking import NOON, accept_mail, captured_call, do_link_jobs, parsed_mail, parties_of, take_link_jobs

NUMBER = "8 916 000-00-01"
SAME_NUMBER = "+7 (916) 000 00 01"


@pytest.fixture
async def linker(store: Store) -> Linker:
    """On empty tables, with one employee at extension 101 and anna@cardline.example.com."""
    async with store.begin() as connection:
        tables = "interaction, client_card, employee, evidence, procrastinate_jobs"
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    linker = Linker(store, Settings(region="RU", extension_digits=5))
    await employ(store, linker, "101", "anna@cardline.example.com")
    return linker


async def employ(store: Store, linker: Linker, *held: str) -> int:
    async with store.begin() as connection:
        employee_id = await employees.insert_employee(connection, "Anna")
        for one in held:
            await employees.insert_identity(connection, employee_id, identity(linker, one))
    return employee_id


def identity(linker: Linker, raw: str) -> Identity:
    found = linker.address(raw) if "@" in raw else linker.phone(raw)
    assert found is not None
    return found


async def card(store: Store, linker: Linker, name: str, *points: str) -> int:
    async with store.begin() as connection:
        card_id = await cards.insert_card(connection, name)
        for one in points:
            await cards.insert_contact_point(connection, card_id, identity(linker, one))
    return card_id


async def call(intake: Intake, key: str, who: str, **more: Any) -> int:
    return await intake.open_call(captured_call(key, parties_of(who, "call"), **more))


async def mail(intake: Intake, key: str, who: str, **more: Any) -> int:
    return await accept_mail(intake, parsed_mail(key, parties_of(who, "mail"), **more))


async def links_of(store: Store, *ids: int) -> list[Link]:
    async with store.begin() as connection:
        return await links.list_links(connection, ids)


async def states(store: Store, ids: Sequence[int]) -> list[tuple[LinkState, int | None]]:
    return [(one.state, one.card_id) for one in await links_of(store, *ids)]


async def read(store: Store, number: int) -> tuple[Interaction, list[Party]]:
    async with store.begin() as connection:
        (found,) = await interactions.find_interactions(connection, [number])
        return found, (await interactions.list_parties(connection, [number]))[number]


# --- The job ----------------------------------------------------------------------------------------------------------


async def test_linking_again_changes_nothing(store: Store, intake: Intake, linker: Linker) -> None:
    await card(store, linker, "Petrov", NUMBER)
    ids = [await call(intake, f"a{n}", f"{NUMBER} > 101") for n in range(3)]
    ids.append(await mail(intake, "a", "stranger@gmail.com > anna@cardline.example.com"))
    await linker.link(ids)
    before = [await read(store, one) for one in ids], await links_of(store, *ids)
    await linker.link(ids)
    await linker.link(ids[::-1])
    assert ([await read(store, one) for one in ids], await links_of(store, *ids)) == before


async def test_the_same_batch_at_once_from_many_workers(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", NUMBER)
    ids = [await call(intake, f"b{n}", f"{NUMBER} > 101") for n in range(40)]
    await asyncio.gather(*(linker.link(ids if n % 2 else ids[::-1]) for n in range(8)))
    assert await states(store, ids) == [(LinkState.LINKED, petrov)] * 40


async def test_an_older_decision_never_joins_a_newer(store: Store, intake: Intake, linker: Linker) -> None:
    """The card is made while jobs that know nothing of it are running: one link in the end, and the right one."""
    ids = [await call(intake, f"c{n}", f"{NUMBER} > 101") for n in range(30)]
    await take_link_jobs(store)
    one = identity(linker, NUMBER)
    made, *_ = await asyncio.gather(
        linker.create_card_from(one, "Petrov"), *(linker.link(ids[n : n + 10]) for n in (0, 10, 20, 0, 10, 20))
    )
    await asyncio.gather(do_link_jobs(store, linker), *(linker.link(ids) for _ in range(3)))
    assert await states(store, ids) == [(LinkState.LINKED, made)] * 30


async def test_what_was_not_decided_yet_is_not_missed_by_the_past(
    store: Store, intake: Intake, linker: Linker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call is being decided, not committed yet, while its number becomes a card: it must not stay unknown."""
    number = await call(intake, "race", f"{NUMBER} > 101")
    await take_link_jobs(store)
    reached, go_on = asyncio.Event(), asyncio.Event()
    save = links.replace_links

    async def slow(*arguments: object, **more: object) -> set[int]:
        reached.set()
        await go_on.wait()
        return await save(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(links, "replace_links", slow)
    job = asyncio.create_task(linker.link([number]))
    await reached.wait()
    made = asyncio.create_task(linker.create_card_from(identity(linker, NUMBER), "Petrov"))
    await asyncio.sleep(0.2)
    go_on.set()
    await job
    monkeypatch.undo()
    card_id = await made
    assert await do_link_jobs(store, linker) == 1
    assert await states(store, [number]) == [(LinkState.LINKED, card_id)]


async def test_ids_that_are_not_there_are_no_fault(store: Store, linker: Linker) -> None:
    await linker.link([])
    await linker.link([10**9])
    assert await links_of(store, 10**9) == []


async def test_a_call_is_linked_in_three_trips(store: Store, intake: Intake, linker: Linker, tmp_path: Path) -> None:
    """Lock and load, look up, save: each ends with one Sync, and no statement goes by itself."""
    await card(store, linker, "Petrov", NUMBER)
    number = await call(intake, "trips", f"{NUMBER} > 101", disposition=Disposition.ANSWERED)
    alone = Store(store.url, pool_size=1)
    with (tmp_path / "trace").open("w") as trace:
        async with alone.begin() as connection:
            driver = connection.sync_connection.connection.driver_connection  # type: ignore[union-attr]
            driver.pgconn.trace(trace.fileno())  # type: ignore[union-attr]
        await Linker(alone, Settings(region="RU", extension_digits=5)).link([number])
    await alone.close()
    said = [line.split("\t")[3] for line in (tmp_path / "trace").read_text().splitlines() if "\tF\t" in line]
    assert (said.count("Sync"), said.count("Query")) == (3, 0)
    assert [one.state for one in await links_of(store, number)] == [LinkState.LINKED]


async def test_few_are_found_by_index_however_empty_the_tables_are(
    store: Store, intake: Intake, linker: Linker
) -> None:
    """PostgreSQL would rather read through a small table, and go on with that plan when it has grown."""
    await card(store, linker, "Petrov", NUMBER)
    number = await call(intake, "few", f"{NUMBER} > 101", disposition=Disposition.ANSWERED)
    read_through = text("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0 AND relname = ANY(:large)")
    large = ["interaction", "party", "call", "message", "link", "contact_point", "client_card"]
    alone = Store(store.url, pool_size=1)  # the view also counts what this backend did a moment before
    async with alone.begin() as connection:
        await Linker(alone, Settings(region="RU", extension_digits=5)).link_within(connection, [number])
        assert list((await connection.execute(read_through, {"large": large})).scalars()) == []
    await alone.close()


@pytest.mark.parametrize("category", [MessageCategory.AUTOMATIC, MessageCategory.NEWSLETTER, MessageCategory.BOUNCE])
async def test_a_mail_that_is_no_activity_gets_people_but_no_card(
    category: MessageCategory, store: Store, intake: Intake, linker: Linker
) -> None:
    await card(store, linker, "Petrov", "petrov@client.example.org")
    who = "petrov@client.example.org > anna@cardline.example.com"
    number = await mail(intake, f"quiet-{category}", who, category=category)
    await linker.link([number])
    found, parties = await read(store, number)
    assert await links_of(store, number) == []
    assert found.direction is Direction.INBOUND
    assert [one.role for one in parties] == [Role.CLIENT, Role.EMPLOYEE]


async def test_hostile_numbers_and_addresses_are_decided(store: Store, intake: Intake, linker: Linker) -> None:
    """What no index would take must not keep the job from the rest of its batch."""
    ids = [
        await call(intake, f"h{n}", f"{who} > 101") for n, who in enumerate(["9" * 20_000, "8(" * 9000, "🙂", "%00"])
    ]
    ids.append(await mail(intake, "h", f"{'a' * 9000}@example.com > anna@cardline.example.com"))
    await linker.link(ids)
    assert [state for state, _ in await states(store, ids)] == [LinkState.UNKNOWN] * 5
    assert all(len(one.reason) < 200 for one in await links_of(store, *ids))


async def test_a_number_on_very_many_cards_names_only_some(store: Store, intake: Intake, linker: Linker) -> None:
    for n in range(12):
        await card(store, linker, f"Client {n:02}", NUMBER)
    number = await call(intake, "many", f"{NUMBER} > 101")
    await linker.link([number])
    (made,) = await links_of(store, number)
    assert made.reason == "+79160000001 is on 12 cards: Client 00, Client 01, Client 02, Client 03, Client 04, …"


# --- What a person does -----------------------------------------------------------------------------------------------


async def test_a_persons_decision_stays(store: Store, intake: Intake, linker: Linker) -> None:
    first, second = await card(store, linker, "Petrov", NUMBER), await card(store, linker, "Petrova", NUMBER)
    number = await call(intake, "person", f"{NUMBER} > 101")
    await linker.link([number])
    assert await states(store, [number]) == [(LinkState.AMBIGUOUS, None)]
    decision = Link(
        interaction_id=number, card_id=second, started=NOON, state=LinkState.LINKED, reason="I know", decided_by="vera"
    )
    async with store.begin() as connection:
        await links.decide_link(connection, decision)
    await linker.link([number])
    await linker.add_contact_point(first, identity(linker, "+7 916 000-00-09"))
    await linker.create_card_from(identity(linker, NUMBER), "A third one")
    await do_link_jobs(store, linker)
    assert await links_of(store, number) == [decision]


async def test_an_unknown_number_becomes_a_card_and_its_past_follows(
    store: Store, intake: Intake, linker: Linker
) -> None:
    mine = [await call(intake, "p1", f"{NUMBER} > 101"), await call(intake, "p2", f"101 > {SAME_NUMBER}")]
    other = await call(intake, "p3", "+7 916 000-00-02 > 101")
    await linker.link([*mine, other])
    assert {state for state, _ in await states(store, [*mine, other])} == {LinkState.UNKNOWN}
    await take_link_jobs(store)
    card_id = await linker.create_card_from(identity(linker, SAME_NUMBER), "Petrov", responsible_id=None)
    assert await take_link_jobs(store) == [mine]
    await linker.link(mine)
    assert await states(store, mine) == [(LinkState.LINKED, card_id)] * 2
    assert await states(store, [other]) == [(LinkState.UNKNOWN, None)]


async def test_a_thousand_interactions_follow_in_one_go(store: Store, intake: Intake, linker: Linker) -> None:
    calls = [captured_call(f"t{n}", parties_of(f"{NUMBER} > 101", "call")) for n in range(1000)]
    ids = [await intake.open_call(one) for one in calls]
    await do_link_jobs(store, linker)
    card_id = await linker.create_card_from(identity(linker, NUMBER), "Petrov")
    batches = await take_link_jobs(store)
    assert sorted(one for batch in batches for one in batch) == ids
    assert max(len(batch) for batch in batches) <= 200
    await asyncio.gather(*(linker.link(batch) for batch in batches))
    assert await states(store, ids) == [(LinkState.LINKED, card_id)] * 1000


async def test_a_domain_brings_the_mails_of_its_people(store: Store, intake: Intake, linker: Linker) -> None:
    inside = await mail(intake, "d1", "x@steel.example.org > anna@cardline.example.com")
    outside = await mail(intake, "d2", "x@notsteel.example.org > anna@cardline.example.com")
    await do_link_jobs(store, linker)
    steel = Identity(kind=IdentityKind.DOMAIN, value="steel.example.org")
    card_id = await linker.create_card_from(steel, "Steel")
    await do_link_jobs(store, linker)
    assert await states(store, [inside]) == [(LinkState.LINKED, card_id)]
    assert await states(store, [outside]) == [(LinkState.UNKNOWN, None)]


async def test_a_contact_point_given_twice_defers_nothing_more(store: Store, intake: Intake, linker: Linker) -> None:
    await call(intake, "twice", f"{NUMBER} > 101")
    await do_link_jobs(store, linker)
    card_id = await linker.create_card_from(identity(linker, NUMBER), "Petrov")
    assert await do_link_jobs(store, linker) == 1
    await linker.add_contact_point(card_id, identity(linker, SAME_NUMBER))
    assert await take_link_jobs(store) == []


async def test_an_employee_learns_an_extension_and_the_flag_goes(store: Store, intake: Intake, linker: Linker) -> None:
    number = await call(intake, "e1", "+7 916 000-00-01 > 199", flags=("the metadata was broken",))
    await do_link_jobs(store, linker)
    found, _ = await read(store, number)
    assert found.flags == ("the metadata was broken", "extension 199 belongs to no employee")
    vera = await employ(store, linker)
    async with store.begin() as connection:
        await linker.add_employee_identity(connection, vera, identity(linker, "199"))
    await do_link_jobs(store, linker)
    found, parties = await read(store, number)
    assert found.flags == ("the metadata was broken",)
    assert parties[1].employee_id == vera


async def test_a_colleague_becomes_known_and_the_mail_internal(store: Store, intake: Intake, linker: Linker) -> None:
    number = await mail(intake, "e2", "gleb@example.com > anna@cardline.example.com")
    await do_link_jobs(store, linker)
    assert await states(store, [number]) == [(LinkState.UNKNOWN, None)]
    gleb = await employ(store, linker)
    async with store.begin() as connection:
        await linker.add_employee_identity(connection, gleb, identity(linker, "gleb@example.com"))
    await do_link_jobs(store, linker)
    assert await states(store, [number]) == [(LinkState.INTERNAL, None)]


# --- The complaints about others (FACTS.md, CRMs) ---------------------------------------------------------------------


async def test_one_call_of_a_shared_number_is_logged_on_no_card_and_asked_once(
    store: Store, intake: Intake, linker: Linker
) -> None:
    for name in ("Petrov", "Petrova", "Office"):
        await card(store, linker, name, NUMBER)
    number = await call(intake, "q1", f"{NUMBER} > 101")
    await linker.link([number])
    assert await states(store, [number]) == [(LinkState.AMBIGUOUS, None)]


async def test_the_same_call_told_many_times_is_one(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", NUMBER)
    ids = {await call(intake, "q2", f"{NUMBER} > 101") for _ in range(3)}
    ids.add(await call(intake, "q2", f"{SAME_NUMBER} > sip:101@pbx.example.com"))
    assert len(ids) == 1
    await do_link_jobs(store, linker)
    assert await states(store, list(ids)) == [(LinkState.LINKED, petrov)]


async def test_calls_that_overlap_keep_their_own_parties(store: Store, intake: Intake, linker: Linker) -> None:
    petrov, vera = await card(store, linker, "Petrov", NUMBER), await card(store, linker, "Vera", "+7 916 000-00-02")
    ids = [await call(intake, "q3", f"{NUMBER} > 101"), await call(intake, "q4", "+7 916 000-00-02 > 101")]
    await do_link_jobs(store, linker)
    assert await states(store, ids) == [(LinkState.LINKED, petrov), (LinkState.LINKED, vera)]


async def test_an_answered_call_never_becomes_missed(store: Store, intake: Intake, linker: Linker) -> None:
    parties = parties_of(f"{NUMBER} > 101", "call")
    later = NOON + timedelta(seconds=9)
    snapshots = [
        captured_call("q5", parties),
        captured_call("q5", parties, answered=later, ended=later, disposition=Disposition.ANSWERED),
        captured_call("q5", parties, disposition=Disposition.NO_ANSWER, ended=later),
        captured_call("q5", parties),
    ]
    ids = {await intake.update_call(one) for one in snapshots}
    await do_link_jobs(store, linker)
    async with store.begin() as connection:
        row = (await connection.execute(text("SELECT disposition, answered_at FROM call"))).one()
    assert (row.disposition, row.answered_at, len(ids)) == ("answered", later, 1)


async def test_the_same_mail_in_two_mailboxes_is_one_entry(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", "petrov@client.example.org")
    who = "petrov@client.example.org > anna@cardline.example.com"
    ids = {await mail(intake, "q6", who), await mail(intake, "q6", who)}
    await do_link_jobs(store, linker)
    assert await states(store, list(ids)) == [(LinkState.LINKED, petrov)]


async def test_an_internal_call_stands_on_no_card_even_of_an_employee_who_is_a_client(
    store: Store, intake: Intake, linker: Linker
) -> None:
    await employ(store, linker, "+7 916 000-00-07")
    await card(store, linker, "Our own man", "+7 916 000-00-07")
    number = await call(intake, "q7", "101 > +7 916 000-00-07")
    await linker.link([number])
    assert await states(store, [number]) == [(LinkState.INTERNAL, None)]


async def test_a_link_keeps_the_time_of_its_interaction(store: Store, intake: Intake, linker: Linker) -> None:
    long_ago = datetime(2019, 1, 2, 3, 4, tzinfo=UTC)
    number = await call(intake, "q8", f"{NUMBER} > 101", started=long_ago)
    await linker.link([number])
    (made,) = await links_of(store, number)
    assert made.started == long_ago
