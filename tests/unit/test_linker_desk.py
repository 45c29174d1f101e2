"""What people say about cards and entries, on PostgreSQL: remembered, followed by the past, and taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from agent.intake import Intake
from agent.model import Direction, Identity, IdentityKind, LinkState, MessageCategory, UserRole
from agent.model_mail import ParsedMessage, SpanKind, TextSpan
from agent.settings import Settings
from agent.settings_linking import LinkingSettings
from agent.store import (
    cardmerges,
    cards,
    clients,
    contactproposals,
    duplicates,
    employees,
    interactions,
    linkrules,
    links,
    notes,
    relinks,
)
from agent.store.engine import Store
from agent.store.linkrules import RuleDecision, UnknownPolicy
from agent.store.links import Link
from agent.store.rights import Viewer
from linker import desk
from linker.link import Linker
from tests.unit.linking import NOON, accept_mail, captured_call, do_link_jobs, parsed_mail, parties_of, take_link_jobs

A, B, C = "+7 916 000-00-01", "+7 916 000-00-02", "+7 916 000-00-03"


@pytest.fixture
async def linker(store: Store) -> Linker:
    """On empty tables, with Anna at extension 101 and Boris at 102."""
    async with store.begin() as connection:
        tables = "interaction, client_card, employee, evidence, procrastinate_jobs, link_rule, line_policy, relink_run"
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    linker = Linker(store, Settings(region="RU", extension_digits=5))
    async with store.begin() as connection:
        for name, held in (("Anna", ("101", "anna@cardline.example.com")), ("Boris", ("102",))):
            employee_id = await employees.insert_employee(connection, name)
            for one in held:
                await employees.insert_identity(connection, employee_id, identity(linker, one))
    return linker


def identity(linker: Linker, raw: str) -> Identity:
    found = linker.identity(raw)
    assert found is not None
    return found


async def card(store: Store, linker: Linker, name: str, *points: str, **more: Any) -> int:
    async with store.begin() as connection:
        card_id = await cards.insert_card(connection, name, **more)
        for one in points:
            await cards.insert_contact_point(connection, card_id, identity(linker, one))
    return card_id


async def call(intake: Intake, linker: Linker, key: str, who: str, minutes: int = 0, **more: Any) -> int:
    started = NOON + timedelta(minutes=minutes)
    number = await intake.open_call(captured_call(key, parties_of(who, "call"), started=started, **more))
    await linker.link([number])
    return number


async def links_of(store: Store, *ids: int) -> list[Link]:
    async with store.begin() as connection:
        return await links.list_links(connection, ids)


async def states(store: Store, ids: Sequence[int]) -> list[tuple[LinkState, int | None]]:
    return [(one.state, one.card_id) for one in sorted(await links_of(store, *ids), key=lambda one: one.interaction_id)]


async def history(store: Store) -> set[tuple[int, int | None, str]]:
    """Everything that stands anywhere: no row may get lost by merging and splitting."""
    async with store.begin() as connection:
        rows = await connection.execute(text("SELECT interaction_id, client_card_id, state FROM link"))
        return {(row.interaction_id, row.client_card_id, row.state) for row in rows}


# --- Once for all -----------------------------------------------------------------------------------------------------


async def test_a_person_decides_once_and_it_is_remembered(store: Store, intake: Intake, linker: Linker) -> None:
    first, second = await card(store, linker, "Petrov", A), await card(store, linker, "Petrova", A)
    past = [await call(intake, linker, f"a{n}", f"{A} > 101", n) for n in range(3)]
    assert await states(store, past) == [(LinkState.AMBIGUOUS, None)] * 3
    (waiting, *_) = await links_of(store, past[0])
    assert [(one[0], one[1]) for one in waiting.candidates] == [(first, 50), (second, 50)]
    async with store.begin() as connection:
        rule = await desk.decide_identity(
            connection, linker, identity(linker, A), RuleDecision.CARD, by="vera", card_id=second
        )
    assert await states(store, past) == [(LinkState.LINKED, second)] * 3, "at once, before any job"
    future = await call(intake, linker, "later", f"101 > {A}", 60)
    (made,) = await links_of(store, future)
    assert (made.card_id, made.rule_id, made.decided_by) == (second, rule, links.BY_RULE)
    assert made.reason == "vera has said that +79160000001 is this client's"
    async with store.begin() as connection:
        assert await linkrules.count_links_by(connection, [rule]) == {rule: 4}
        assert await desk.revoke_rule(connection, linker, rule, by="oleg")
        assert not await desk.revoke_rule(connection, linker, rule, by="oleg")
        (gone,) = await linkrules.list_rules(connection, revoked=True)
    assert (gone.made_by, gone.revoked_by) == ("vera", "oleg")
    left = await states(store, past)
    assert left == [(LinkState.AMBIGUOUS, None)] * 3


async def test_the_newest_rule_holds_and_the_older_one_is_kept(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", B)
    number = await call(intake, linker, "b", f"{A} > 101")
    async with store.begin() as connection:
        await desk.decide_identity(connection, linker, identity(linker, A), RuleDecision.PRIVATE, by="vera")
    assert await states(store, [number]) == [(LinkState.PRIVATE, None)]
    async with store.begin() as connection:
        await desk.decide_identity(
            connection, linker, identity(linker, A), RuleDecision.CARD, by="vera", card_id=petrov
        )
        assert len(await linkrules.list_rules(connection)) == 1
        assert len(await linkrules.list_rules(connection, revoked=True)) == 1
    assert await states(store, [number]) == [(LinkState.LINKED, petrov)]


async def test_a_private_number_leaves_every_card(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", A)
    past = [await call(intake, linker, f"c{n}", f"{A} > 101", n) for n in range(2)]
    assert await states(store, past) == [(LinkState.LINKED, petrov)] * 2
    async with store.begin() as connection:
        await desk.decide_identity(connection, linker, identity(linker, A), RuleDecision.PRIVATE, by="vera")
    assert await states(store, past) == [(LinkState.PRIVATE, None)] * 2
    later = await call(intake, linker, "c9", f"101 > {A}", 9)
    assert await states(store, [later]) == [(LinkState.PRIVATE, None)]


async def test_a_private_domain_covers_its_people(store: Store, intake: Intake, linker: Linker) -> None:
    who = "counsel@lawyer.example.net > anna@cardline.example.com"
    number = await accept_mail(intake, parsed_mail("law", parties_of(who, "mail")))
    await linker.link([number])
    async with store.begin() as connection:
        await desk.decide_identity(
            connection, linker, identity(linker, "@lawyer.example.net"), RuleDecision.PRIVATE, by="vera"
        )
    assert await states(store, [number]) == [(LinkState.PRIVATE, None)]


# --- One entry --------------------------------------------------------------------------------------------------------


async def test_a_wrong_link_is_corrected_and_goes_back(store: Store, intake: Intake, linker: Linker) -> None:
    petrov, other = await card(store, linker, "Petrov", A), await card(store, linker, "Other", B)
    number = await call(intake, linker, "d", f"{A} > 101")
    async with store.begin() as connection:
        (entry,) = await interactions.find_interactions(connection, [number])
        await desk.decide_entry(connection, entry, LinkState.LINKED, login="vera", name="Vera", card_id=other)
    await linker.link([number])
    assert await states(store, [number]) == [(LinkState.LINKED, other)]
    async with store.begin() as connection:
        await desk.undecide_entry(connection, linker, number)
    assert await states(store, [number]) == [(LinkState.LINKED, petrov)]


async def test_a_contact_point_that_is_not_his(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", A, B)
    ids = [await call(intake, linker, "e1", f"{A} > 101"), await call(intake, linker, "e2", f"{B} > 101")]
    async with store.begin() as connection:
        found = await cards.find_card(connection, petrov)
        assert found is not None
        point = next(one for one in found.contact_points if one.identity == identity(linker, B))
        assert await desk.remove_contact_point(connection, linker, petrov, point.id, by="vera") == point.identity
        assert await desk.remove_contact_point(connection, linker, petrov, point.id, by="vera") is None
    assert await states(store, ids) == [(LinkState.LINKED, petrov), (LinkState.UNKNOWN, None)]


# --- Merged and split -------------------------------------------------------------------------------------------------


async def test_two_cards_become_one_and_two_again(store: Store, intake: Intake, linker: Linker) -> None:
    kept, gone = (
        await card(store, linker, "Petrov", A, C),
        await card(store, linker, "I. Petrov", B, C, responsible_id=1),
    )
    worker = await card(store, linker, "Worker", company_id=gone)
    ids = [
        await call(intake, linker, f"f{n}", f"{who}", n)
        for n, who in enumerate((f"{A} > 101", f"{B} > 101", f"{C} > 102"))
    ]
    by_hand = await call(intake, linker, "f9", "+7 916 000-00-77 > 101", 9)
    async with store.begin() as connection:
        (entry,) = await interactions.find_interactions(connection, [by_hand])
        await desk.decide_entry(connection, entry, LinkState.LINKED, login="vera", name="Vera", card_id=gone)
        await notes.add_note(connection, gone, "likes tea", by="vera")
        await notes.set_stage(connection, gone, "customer", by="vera")
    before = await history(store)
    assert await states(store, ids) == [(LinkState.LINKED, kept), (LinkState.LINKED, gone), (LinkState.AMBIGUOUS, None)]
    async with store.begin() as connection:
        merge = await desk.merge_cards(connection, linker, kept, gone, by="vera")
        assert merge is not None
        assert await desk.merge_cards(connection, linker, kept, gone, by="vera") is None
        assert await desk.merge_cards(connection, linker, kept, kept, by="vera") is None
    await do_link_jobs(store, linker)
    assert await states(store, [*ids, by_hand]) == [(LinkState.LINKED, kept)] * 4, "the shared number too"
    async with store.begin() as connection:
        one = await cards.find_card(connection, kept)
        assert one is not None
        assert {each.identity for each in one.contact_points} == {identity(linker, each) for each in (A, B, C)}
        assert (one.responsible_id, one.stage) == (1, "customer")
        assert [each.text for each in await notes.list_notes(connection, kept)] == ["likes tea"]
        assert await cardmerges.find_successor(connection, gone) == kept
        assert [each.gone_name for each in await cardmerges.list_merges(connection, kept)] == ["I. Petrov"]
        assert await desk.undo_merge(connection, linker, merge, by="oleg") == gone
        assert await desk.undo_merge(connection, linker, merge, by="oleg") is None
    await do_link_jobs(store, linker)
    assert await history(store) == before
    async with store.begin() as connection:
        one, other, third = [await cards.find_card(connection, each) for each in (kept, gone, worker)]
        assert one and other and third
        assert len(one.contact_points) == len(other.contact_points) == 2
        assert (one.responsible_id, one.stage, other.responsible_id, other.stage) == (None, "", 1, "customer")
        assert third.company_id == gone
        assert await notes.list_notes(connection, kept) == []


async def test_a_mail_on_both_cards_stands_once_after_merging(store: Store, intake: Intake, linker: Linker) -> None:
    kept = await card(store, linker, "Petrov", "petrov@client.example.org")
    gone = await card(store, linker, "Petrova", "petrova@client.example.org")
    who = "anna@cardline.example.com > petrov@client.example.org, petrova@client.example.org"
    number = await accept_mail(intake, parsed_mail("both", parties_of(who, "mail")))
    await linker.link([number])
    assert len(await links_of(store, number)) == 2
    async with store.begin() as connection:
        merge = await desk.merge_cards(connection, linker, kept, gone, by="vera")
        assert merge is not None
    assert await states(store, [number]) == [(LinkState.LINKED, kept)]
    async with store.begin() as connection:
        await desk.undo_merge(connection, linker, merge, by="vera")
    await do_link_jobs(store, linker)
    assert {one.card_id for one in await links_of(store, number)} == {kept, gone}


async def test_merges_upon_merges_are_undone_in_their_order(store: Store, linker: Linker) -> None:
    first, second, third = [await card(store, linker, f"Card {n}", f"+7 916 000-01-0{n}") for n in range(3)]
    async with store.begin() as connection:
        inner = await desk.merge_cards(connection, linker, second, third, by="vera")
        outer = await desk.merge_cards(connection, linker, first, second, by="vera")
        assert inner and outer
        assert await cardmerges.find_successor(connection, third) == first, "one step, however often merged"
        assert await desk.undo_merge(connection, linker, inner, by="vera") is None, "the outer one first"
        assert await desk.undo_merge(connection, linker, outer, by="vera") == second
        assert await cardmerges.find_successor(connection, third) == second
        assert await desk.undo_merge(connection, linker, inner, by="vera") == third
        assert await cardmerges.find_successor(connection, third) is None


async def test_a_merged_card_is_found_by_nobody(store: Store, linker: Linker) -> None:
    kept, gone = await card(store, linker, "Petrov", A), await card(store, linker, "Pietrow", A)
    async with store.begin() as connection:
        await desk.merge_cards(connection, linker, kept, gone, by="vera")
        assert [one.card_id for one in await cards.find_candidates(connection, [identity(linker, A)])] == [kept]
        viewer = Viewer(account_id=1, role=UserRole.ADMINISTRATOR, employee_id=None)
        assert [one.id for one in await clients.list_clients(connection, viewer)] == [kept]


async def test_a_card_is_split_and_its_entries_follow(store: Store, intake: Intake, linker: Linker) -> None:
    both = await card(store, linker, "Petrov and son", A, B)
    ids = [await call(intake, linker, f"g{n}", f"{who} > 101", n) for n, who in enumerate((A, B, B))]
    async with store.begin() as connection:
        found = await cards.find_card(connection, both)
        assert found is not None
        point = next(one for one in found.contact_points if one.identity == identity(linker, B))
        assert await desk.split_card(connection, linker, both, [10**9], "Son", by="vera") is None
        son = await desk.split_card(connection, linker, both, [point.id], "Son", by="vera")
    assert son is not None
    assert await states(store, ids) == [(LinkState.LINKED, both), (LinkState.LINKED, son), (LinkState.LINKED, son)]
    async with store.begin() as connection:
        assert await desk.merge_cards(connection, linker, both, son, by="vera") is not None
    await do_link_jobs(store, linker)
    assert await states(store, ids) == [(LinkState.LINKED, both)] * 3


async def test_duplicates_are_proposed_until_a_person_says_that_they_are_two(store: Store, linker: Linker) -> None:
    first, second = (
        await card(store, linker, "Petrov", A, "p@client.example.org"),
        await card(store, linker, "Pietrow", A),
    )
    third = await card(store, linker, "Ivan Sidorov", B)
    fourth = await card(store, linker, "Ivan Sidorov")
    await card(store, linker, "Steel", A, kind="company")
    for n in range(7):
        await card(store, linker, f"Guest {n}", C)
    async with store.begin() as connection:
        found = await duplicates.list_duplicates(connection)
        assert {(one.first_id, one.second_id, one.shared) for one in found} == {
            (first, second, ("+79160000001",)),
            (third, fourth, ("Ivan Sidorov",)),
        }, "not with a company, nor by a number that many share"
        assert [one.second_id for one in await duplicates.list_duplicates(connection, card_id=first)] == [second]
        assert [one.first_id for one in await duplicates.list_duplicates(connection, card_id=fourth)] == [third]
        await duplicates.keep_apart(connection, second, first, by="vera")
        await duplicates.keep_apart(connection, first, second, by="vera")
        assert [one.first_id for one in await duplicates.list_duplicates(connection)] == [third]
        assert await duplicates.list_duplicates(connection, card_id=first) == []


# --- Unknown numbers by policy ----------------------------------------------------------------------------------------


async def test_a_line_makes_cards_of_unknown_numbers(store: Store, intake: Intake, linker: Linker) -> None:
    async with store.begin() as connection:
        await linkrules.save_policy(connection, identity(linker, "101"), UnknownPolicy.CREATE, by="vera")
    numbers = [await call(intake, linker, f"h{n}", f"{A} > 101", n) for n in range(3)]
    await do_link_jobs(store, linker)
    (made,) = {one.card_id for one in await links_of(store, *numbers)}
    assert made is not None
    async with store.begin() as connection:
        found = await cards.find_card(connection, made)
    assert found is not None
    assert (found.name, found.origin, found.responsible_id) == ("+79160000001", "policy", 1)
    other = await call(intake, linker, "h9", f"{B} > 102", 9)
    assert await states(store, [other]) == [(LinkState.UNKNOWN, None)]


async def test_a_mail_that_is_no_conversation_makes_no_card(store: Store, intake: Intake) -> None:
    linker = Linker(store, Settings(linking=LinkingSettings(unknown_mails="create")))
    who = "news@shop.example.net > anna@cardline.example.com"
    mail = parsed_mail("news", parties_of(who, "mail"), category=MessageCategory.NEWSLETTER)
    number = await accept_mail(intake, mail)
    await linker.link([number])
    async with store.begin() as connection:
        assert await cards.find_candidates(connection, [identity(linker, "news@shop.example.net")]) == []


async def test_unknown_numbers_are_ignored_where_the_settings_say_so(
    store: Store, intake: Intake, linker: Linker
) -> None:
    ignoring = Linker(store, Settings(linking=LinkingSettings(unknown_calls="ignore")))
    number = await call(intake, ignoring, "i", f"{A} > 101")
    assert await states(store, [number]) == [(LinkState.IGNORED, None)]
    async with store.begin() as connection:
        await linkrules.save_policy(connection, identity(linker, "101"), UnknownPolicy.PROPOSE, by="vera")
        (policy,) = await linkrules.list_policies(connection)
    await ignoring.link([number])
    assert await states(store, [number]) == [(LinkState.UNKNOWN, None)]
    async with store.begin() as connection:
        assert await linkrules.remove_policy(connection, policy.id)
        assert not await linkrules.remove_policy(connection, policy.id)


# --- The past, with progress ------------------------------------------------------------------------------------------


async def test_the_past_tells_how_far_it_is_and_counts_a_batch_once(
    store: Store, intake: Intake, linker: Linker
) -> None:
    ids = [await intake.open_call(captured_call(f"j{n}", parties_of(f"{A} > 101", "call"))) for n in range(450)]
    await linker.link(ids)
    await take_link_jobs(store)
    petrov = await linker.create_card_from(identity(linker, A), "Petrov")
    async with store.begin() as connection:
        (run,) = await relinks.list_open_runs(connection, [petrov])
        query = text("SELECT args FROM procrastinate_jobs WHERE task_name = 'link' AND status = 'todo' ORDER BY id")
        work = [row.args for row in await connection.execute(query)]
    assert (run.total, run.done, run.percent, len(work)) == (450, 0, 0, 3)
    await linker.link(**work[0])
    await linker.link(**work[0])  # killed after its commit, and done again
    async with store.begin() as connection:
        (run,) = await relinks.list_open_runs(connection)
    assert (run.done, run.changed, run.percent) == (200, 200, 44)
    for one in work[1:]:
        await linker.link(**one)
    async with store.begin() as connection:
        assert await relinks.list_open_runs(connection) == []
        done = await relinks.find_run(connection, run.id)
    assert done is not None
    assert (done.done, done.changed) == (450, 450)
    assert done.finished is not None
    assert await states(store, ids) == [(LinkState.LINKED, petrov)] * 450
    async with store.begin() as connection:
        await connection.execute(text("UPDATE relink_run SET finished_at = finished_at - interval '31 days'"))
        await relinks.start_run(connection, subject=A, by="", card_id=petrov, total=1, batches=1)
        assert await relinks.find_run(connection, run.id) is None  # of a month ago


# --- Threads and conversations ----------------------------------------------------------------------------------------


async def mail(
    intake: Intake, linker: Linker, key: str, who: str, *, answers: str = "", minutes: int = 0, signature: str = ""
) -> int:
    words = "Good day\n"
    parsed = parsed_mail(key, parties_of(who, "mail"), sent=NOON + timedelta(minutes=minutes))
    spans = (TextSpan(kind=SpanKind.SIGNATURE, start=len(words), end=len(words + signature)),) if signature else ()
    more: dict[str, Any] = {"in_reply_to": (f"{answers}@example.com",) if answers else (), "spans": spans}
    number = await accept_mail(intake, ParsedMessage(**{**_fields(parsed), **more, "text": words + signature}))
    await linker.link([number])
    return number


def _fields(parsed: ParsedMessage) -> dict[str, Any]:
    return {name: getattr(parsed, name) for name in ParsedMessage.__slots__}


async def test_a_colleague_of_the_client_joins_the_thread(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", "petrov@client.example.org")
    first = await mail(intake, linker, "k1", "petrov@client.example.org > anna@cardline.example.com")
    second = await mail(intake, linker, "k2", "boss@gmail.com > anna@cardline.example.com", answers="k1", minutes=1)
    assert await states(store, [first, second]) == [(LinkState.LINKED, petrov)] * 2
    (made,) = await links_of(store, second)
    assert made.reason == f"inherited: its thread is on the card (No. {first})"
    answer = await mail(intake, linker, "k3", "anna@cardline.example.com > boss@gmail.com", answers="k2", minutes=2)
    forwarded = await mail(
        intake, linker, "k4", "anna@cardline.example.com > factory@gmail.com", answers="k2", minutes=3
    )
    back = await mail(intake, linker, "k5", "factory@gmail.com > anna@cardline.example.com", answers="k4", minutes=4)
    assert await states(store, [answer, forwarded, back]) == [
        (LinkState.LINKED, petrov),
        (LinkState.UNKNOWN, None),
        (LinkState.UNKNOWN, None),
    ]


async def test_what_was_inherited_goes_when_its_reason_goes(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", "petrov@client.example.org")
    first = await mail(intake, linker, "l1", "petrov@client.example.org > anna@cardline.example.com")
    second = await mail(intake, linker, "l2", "boss@gmail.com > anna@cardline.example.com", answers="l1", minutes=1)
    async with store.begin() as connection:
        found = await cards.find_card(connection, petrov)
        assert found is not None
        await desk.remove_contact_point(connection, linker, petrov, found.contact_points[0].id, by="vera")
    await do_link_jobs(store, linker)
    assert await states(store, [first, second]) == [(LinkState.UNKNOWN, None)] * 2


async def test_the_thread_follows_when_its_first_mail_finds_its_card(
    store: Store, intake: Intake, linker: Linker
) -> None:
    first = await mail(intake, linker, "m1", "petrov@client.example.org > anna@cardline.example.com")
    second = await mail(intake, linker, "m2", "boss@gmail.com > anna@cardline.example.com", answers="m1", minutes=1)
    assert await states(store, [first, second]) == [(LinkState.UNKNOWN, None)] * 2
    await take_link_jobs(store)
    made = await linker.create_card_from(identity(linker, "petrov@client.example.org"), "Petrov")
    while await _work(store, linker):
        pass
    assert await states(store, [first, second]) == [(LinkState.LINKED, made)] * 2


async def _work(store: Store, linker: Linker) -> int:
    async with store.begin() as connection:
        query = "DELETE FROM procrastinate_jobs WHERE task_name = 'link' AND status = 'todo' RETURNING id, args"
        work = sorted(await connection.execute(text(query)), key=lambda row: row.id)
    for row in work:
        await linker.link(**row.args)
    return len(work)


async def test_a_transferred_call_stays_with_its_client(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", A)
    first = await call(intake, linker, "n1", f"{A} > 101", conversation_key="t1")
    second = await call(intake, linker, "n2", "anonymous > 102", 1, conversation_key="t1")
    inside = await call(intake, linker, "n3", "101 > 102", 1, conversation_key="t1")
    assert await states(store, [first, second, inside]) == [
        (LinkState.LINKED, petrov),
        (LinkState.LINKED, petrov),
        (LinkState.INTERNAL, None),
    ]


async def test_who_answered_last_breaks_the_tie(store: Store, intake: Intake, linker: Linker) -> None:
    first, second = await card(store, linker, "Petrov", C, A), await card(store, linker, "Sidorov", C, B)
    await call(intake, linker, "o1", f"{C}, {A} > 101", 0)  # both numbers: it is Petrov's
    await call(intake, linker, "o2", f"{C}, {B} > 102", 1)
    ids = [await call(intake, linker, f"o{n + 3}", f"{C} > {who}", n + 3) for n, who in enumerate(("101", "102"))]
    assert await states(store, ids) == [(LinkState.LINKED, first), (LinkState.LINKED, second)]
    before = await links_of(store, *ids)
    await linker.link(ids)
    assert await links_of(store, *ids) == before
    early = await call(intake, linker, "o9", f"{C} > 101", -1)
    assert await states(store, [early]) == [(LinkState.AMBIGUOUS, None)], "nobody knew then"


async def test_an_open_deal_breaks_the_tie(store: Store, intake: Intake, linker: Linker) -> None:
    await card(store, linker, "Petrov", A)
    second = await card(store, linker, "Sidorov", A)
    async with store.begin() as connection:
        for statement in (
            "INSERT INTO connector (name, kind) VALUES ('crm', 'tryton')",
            "INSERT INTO crm_card (connector_id, kind, external_id, client_card_id) "
            f"SELECT id, 'party', '7', {second} FROM connector",
            "INSERT INTO deal (connector_id, kind, external_id, crm_card_id, state) "
            "SELECT connector_id, 'lead', '1', id, 'open' FROM crm_card",
        ):
            await connection.execute(text(statement))
    number = await call(intake, linker, "p", f"{A} > 101")
    (made,) = await links_of(store, number)
    assert (made.card_id, made.confidence) == (second, 75)
    async with store.begin() as connection:
        await connection.execute(text("UPDATE deal SET state = 'won'"))
        await connection.execute(
            text("DELETE FROM deal; DELETE FROM delivery; DELETE FROM crm_card; DELETE FROM connector")
        )


# --- Signatures -------------------------------------------------------------------------------------------------------


async def test_a_signature_offers_a_number_and_assumes_nothing(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", "petrov@client.example.org")
    words = "--\nIvan Petrov\nмоб. +7 916 123-45-67, office +7 495 123-45-67\npetrov@client.example.org"
    who = "petrov@client.example.org > anna@cardline.example.com"
    number = await mail(intake, linker, "q", who, signature=words)
    stranger = await call(intake, linker, "q2", "+7 916 123-45-67 > 101", 1)
    assert await states(store, [stranger]) == [(LinkState.UNKNOWN, None)]
    async with store.begin() as connection:
        offered = await contactproposals.list_open(connection, petrov)
        assert [(one.identity.value, one.label, one.interaction_id) for one in offered] == [
            ("+79161234567", "mobile", number),
            ("+74951234567", "work", number),
        ]
        taken = await contactproposals.settle(connection, offered[0].id, petrov, contactproposals.TAKEN)
        assert taken is not None
        assert await contactproposals.settle(connection, offered[0].id, petrov, contactproposals.TAKEN) is None
        await contactproposals.settle(connection, offered[1].id, petrov, contactproposals.DISMISSED)
        await linker.learn(connection, petrov, taken.identity, label=taken.label)
    await do_link_jobs(store, linker)
    assert await states(store, [stranger]) == [(LinkState.LINKED, petrov)]
    await mail(intake, linker, "q3", who, minutes=3, signature=words)
    async with store.begin() as connection:
        assert await contactproposals.list_open(connection, petrov) == [], "nobody is asked twice"


async def test_our_own_signature_offers_nothing(store: Store, intake: Intake, linker: Linker) -> None:
    petrov = await card(store, linker, "Petrov", "petrov@client.example.org")
    who = "anna@cardline.example.com > petrov@client.example.org"
    await mail(intake, linker, "r", who, signature="--\nAnna\n+7 916 123-45-68")
    async with store.begin() as connection:
        assert await contactproposals.list_open(connection, petrov) == []


async def test_a_login_is_an_employees(store: Store, intake: Intake, linker: Linker) -> None:
    async with store.begin() as connection:
        await linker.add_employee_identity(connection, 2, identity(linker, "sip:boris@pbx.example.com"))
    number = await call(intake, linker, "s", f"{A} > sip:boris@pbx.example.com")
    async with store.begin() as connection:
        (found,) = await interactions.find_interactions(connection, [number])
        parties = (await interactions.list_parties(connection, [number]))[number]
    assert found.direction is Direction.INBOUND
    assert (parties[1].employee_id, parties[1].identity and parties[1].identity.kind) == (2, IdentityKind.LOGIN)
