"""Mails on PostgreSQL: what rules make of them, who may see them, copies and look-alikes, and sorting all anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.intake import Intake
from agent.model import CapturedMail, Identity, IdentityKind, LinkState, MessageCategory, UserRole
from agent.model_mail import ParsedMessage, ParsedReport
from agent.settings import Settings
from agent.store import (
    cardhistory,
    cards,
    connectors,
    employees,
    erasures,
    handouts,
    history,
    links,
    messages,
    rights,
    rules,
)
from agent.store.asking import ask
from agent.store.engine import Store
from agent.store.rights import Viewer
from agent.store.rules import MailRule
from agent.store.runs import MAILS
from linker import resort
from linker.link import Linker
from linker.resort import Resorter
from linker.trial import try_rules
from tests.unit.linking import NOON, accept_mail, do_link_jobs, parsed_mail, parties_of

ANNA, PETROV = "anna@cardline.example.com", "petrov@client.example.org"
LIST = {"list-id": "<sales.example>", "list-post": "<mailto:sales@{}>", "precedence": "list"}
NEWSLETTER = MessageCategory.NEWSLETTER


def address(value: str) -> Identity:
    return Identity(kind=IdentityKind.ADDRESS, value=value)


@pytest.fixture
async def linker(store: Store) -> Linker:
    """On empty tables, with Anna, one client, and the rules that come with the program."""
    async with store.begin() as connection:
        tables = "interaction, client_card, employee, evidence, procrastinate_jobs, rule_run"
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        await connection.execute(text("DELETE FROM mail_rule WHERE preset = ''"))
        await employees.insert_identity(connection, await employees.insert_employee(connection, "Anna"), address(ANNA))
        await cards.insert_contact_point(connection, await cards.insert_card(connection, "Petrov"), address(PETROV))
    return Linker(store, Settings(region="RU", extension_digits=5))


def mail(key: str, who: str, **more: Any) -> ParsedMessage:
    return replace(parsed_mail(key, parties_of(who, "mail")), **more)


async def arrive(store: Store, intake: Intake, linker: Linker, *mails: ParsedMessage) -> list[int]:
    ids = [await accept_mail(intake, one) for one in mails]
    await do_link_jobs(store, linker)
    return ids


async def category(store: Store, number: int) -> tuple[str, str]:
    async with store.begin() as connection:
        (one,) = await messages.list_messages(connection, [number])
    return one.category, one.category_reason


async def states(store: Store, *ids: int) -> list[LinkState]:
    async with store.begin() as connection:
        return [one.state for one in await links.list_links(connection, ids)]


async def add_rule(store: Store, conditions: dict[str, list[str]], **more: Any) -> int:
    async with store.begin() as connection:
        return await rules.save_rule(connection, MailRule(id=0, place=0, name="Mine", conditions=conditions, **more))


def from_list(domain: str) -> dict[str, Any]:
    headers = {name: value.format(domain) for name, value in LIST.items()}
    return {"headers": headers, "category": NEWSLETTER, "category_reason": "its header says List-Id"}


# --- Categories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "who", "expected", "state"),
    [
        ("mailer.example.net", f"news@client.example.org > {ANNA}", "newsletter", []),
        ("client.example.org", f"{PETROV} > sales@client.example.org, {ANNA}", "conversation", [LinkState.LINKED]),
        ("cardline.example.com", f"{PETROV} > sales@cardline.example.com", "conversation", [LinkState.LINKED]),
        ("gmail.com", f"{PETROV} > someone@gmail.com, {ANNA}", "newsletter", []),
    ],
)
async def test_a_group_of_a_client_or_our_own_is_no_newsletter(
    store: Store, intake: Intake, linker: Linker, domain: str, who: str, expected: str, state: Sequence[LinkState]
) -> None:
    (number,) = await arrive(store, intake, linker, mail("list", who, **from_list(domain)))
    assert (await category(store, number))[0] == expected
    assert await states(store, number) == state


async def test_who_wrote_through_our_own_group_is_found_in_reply_to(
    store: Store, intake: Intake, linker: Linker
) -> None:
    """Groups put themselves into From where the writer's domain asks for it (DMARC)."""
    async with store.begin() as connection:
        own = Identity(kind=IdentityKind.DOMAIN, value="cardline.example.com")
        await linker.add_employee_identity(connection, None, own)
    who = "sales@cardline.example.com > sales@cardline.example.com ; reply_to new@stranger.example"
    (number,) = await arrive(store, intake, linker, mail("list", who, **from_list("cardline.example.com")))
    assert await states(store, number) == [LinkState.UNKNOWN]
    (plain,) = await arrive(store, intake, linker, mail("plain", who))
    assert await states(store, plain) == [LinkState.INTERNAL]


async def test_mail_among_ourselves_is_internal_and_says_why(store: Store, intake: Intake, linker: Linker) -> None:
    (number,) = await arrive(store, intake, linker, mail("own", f"{ANNA} > boris@cardline.example.com"))
    assert (await category(store, number))[0] == "conversation"
    async with store.begin() as connection:
        own = Identity(kind=IdentityKind.DOMAIN, value="cardline.example.com")
        await linker.add_employee_identity(connection, None, own)
    await do_link_jobs(store, linker)
    assert await category(store, number) == ("internal", "rule «Mail among ourselves»: it is internal")
    assert await states(store, number) == [LinkState.INTERNAL]


# --- Private mails ----------------------------------------------------------------------------------------------------


async def test_a_private_mail_is_archived_and_shown_to_nobody(store: Store, intake: Intake, linker: Linker) -> None:
    rule_id = await add_rule(store, {"subject": ["справка*"]}, category=MessageCategory.PRIVATE)
    (number,) = await arrive(store, intake, linker, mail("mine", f"{PETROV} > {ANNA}", subject="Справка врача"))
    assert await states(store, number) == [LinkState.PRIVATE]
    admin = Viewer(account_id=1, role=UserRole.ADMINISTRATOR, employee_id=None)
    anna = Viewer(account_id=2, role=UserRole.MANAGER, employee_id=1)
    async with store.begin() as connection:
        seen = [await rights.may_see_interaction(connection, viewer, number) for viewer in (admin, anna)]
        assert seen == [False, False]
        assert (await rules.count_categories(connection))[MessageCategory.PRIVATE] == 1
        assert await handouts.list_interactions(connection, employee_id=1) == []
        assert await rules.remove_rule(connection, rule_id)
    await linker.link([number])
    async with store.begin() as connection:
        seen = [await rights.may_see_interaction(connection, viewer, number) for viewer in (admin, anna)]
    assert (seen, await states(store, number)) == ([True, True], [LinkState.LINKED])


async def test_what_a_person_put_on_a_card_leaves_it_and_the_crm_when_it_is_private(
    store: Store, intake: Intake, linker: Linker
) -> None:
    async with store.begin() as connection:
        await connectors.switch_on(connection, [("office", "tryton", True)])
        await connection.execute(text("UPDATE connector SET since = '2020-01-01'"))
    (number,) = await arrive(store, intake, linker, mail("mine", f"{PETROV} > {ANNA}", subject="Справка врача"))
    async with store.begin() as connection:
        (made,) = await links.list_links(connection, [number])
        await links.decide_link(connection, replace(made, decided_by="boss"))
        assert await withdrawn(connection) == [False]
    await add_rule(store, {"subject": ["справка*"]}, category=MessageCategory.PRIVATE)
    await linker.link([number])
    async with store.begin() as connection:
        assert await history.list_history(connection, 1) == []
        (told,) = await ask(connection, cardhistory.outline_of(1, [1], datetime.now(UTC), page=5))
        assert (told.total, told.newest, told.talkers, told.recent) == (0, (), (), {})
        assert await withdrawn(connection) == [True]
        await connection.execute(text("DELETE FROM delivery"))
        await connection.execute(text("DELETE FROM connector"))


async def withdrawn(connection: AsyncConnection) -> list[bool]:
    return list((await connection.execute(text("SELECT withdrawn FROM delivery"))).scalars())


# --- What came back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounce_first", [False, True])
async def test_a_bounce_is_told_at_the_mail_that_came_back(
    store: Store, intake: Intake, linker: Linker, bounce_first: bool
) -> None:
    sent = mail("offer", f"{ANNA} > {PETROV}")
    report = ParsedReport(about_ids=(sent.message_id,), failed=((PETROV, "550 5.1.1 no such user"),))
    bounce = mail("bounce", f"mailer-daemon@mx.example.com > {ANNA}", category=MessageCategory.BOUNCE, report=report)
    mails = (bounce, sent) if bounce_first else (sent, bounce)
    ids = dict(zip(("bounce", "offer") if bounce_first else ("offer", "bounce"), mails, strict=True))
    numbers = dict(zip(ids, await arrive(store, intake, linker, *mails), strict=True))
    async with store.begin() as connection:
        (entry,) = await history.load_entries(connection, [numbers["offer"]])
        found = await messages.list_messages(connection, list(numbers.values()))
    (returned,) = entry.returned
    assert (returned.interaction_id, returned.failed) == (numbers["bounce"], ((PETROV, "550 5.1.1 no such user"),))
    assert len({one.thread_id for one in found}) == 1
    assert await states(store, numbers["bounce"]) == []


# --- Copies and look-alikes -------------------------------------------------------------------------------------------

WORDS = "Добрый день! Высылаем прайс на столы и шкафы, цены действуют до конца месяца."


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 1),
        ({"text": WORDS + "\n\nThis message has been scanned. Confidential."}, 1),
        ({"subject": "[EXTERNAL] Delivery"}, 1),
        ({"text": ""}, 1),
        ({"text": "Совсем другое письмо: завтра приедет курьер, встретьте его внизу."}, 2),
        ({"parties": parties_of(f"{ANNA} > vera@client.example.org", "mail")}, 2),
        ({"parties": parties_of(f"{ANNA} > {PETROV}, vera@client.example.org", "mail")}, 1),
    ],
    ids=["the same", "a footer", "a gateway", "unreadable", "other words", "to another", "one recipient more"],
)
async def test_one_key_is_one_mail_unless_it_is_another(
    store: Store, intake: Intake, linker: Linker, changes: dict[str, Any], count: int
) -> None:
    first = mail("twice", f"{ANNA} > {PETROV}", text=WORDS)
    second = replace(first, **changes)
    for story, mails in enumerate(([first, second, first, second], [second, first, second, first])):
        own = [replace(one, logical_key=f"twice-{story}") for one in mails]
        assert len({await accept_mail(intake, one) for one in own}) == count
        batch = [replace(one, logical_key=f"batch-{story}") for one in mails]
        proofs = [await _evidence(intake, f"{story}-{at}") for at in range(len(batch))]
        assert len(set((await intake.accept_messages(list(zip(proofs, batch, strict=True)))).values())) == count


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, from_list("elsewhere.example"), "conversation"),
        ({}, {"category": MessageCategory.AUTOMATIC, "category_reason": "an empty return path"}, "automatic"),
    ],
)
async def test_copies_that_are_marked_differently_are_sorted_alike(
    store: Store,
    intake: Intake,
    linker: Linker,
    one: dict[str, Any],
    other: dict[str, Any],
    expected: str,
    turned: bool,
) -> None:
    mails = [mail("twice", f"{PETROV} > {ANNA}", **more) for more in (one, other)]
    first, _ = await arrive(store, intake, linker, *(mails[::-1] if turned else mails))
    assert (await category(store, first))[0] == expected


async def _evidence(intake: Intake, key: str) -> int:

    (number,) = await intake.store_evidence(
        [CapturedMail(source=f"test-{key}", key=key, raw=key.encode(), received=NOON)]
    )
    return number


# --- Changing rules ---------------------------------------------------------------------------------------------------


async def test_rules_are_tried_without_changing_anything(store: Store, intake: Intake, linker: Linker) -> None:
    await add_rule(store, {"subject": ["справка*"]}, category=MessageCategory.PRIVATE)
    subjects = ("Заказ 1", "Заказ 2", "Скидки", "Справка врача")
    mails = [mail(f"m{at}", f"{PETROV} > {ANNA}", subject=one) for at, one in enumerate(subjects)]
    ids = await arrive(store, intake, linker, *mails)
    tried = [
        MailRule(id=0, place=0, name="Orders", conditions={"subject": ["заказ*"]}, tag="order"),
        MailRule(id=0, place=0, name="Sales", conditions={"subject": ["скидки"]}, category=NEWSLETTER),
        MailRule(id=0, place=0, name="Papers", conditions={"subject": ["справка*"]}, category=NEWSLETTER),
    ]
    async with store.begin() as connection:
        trial = await try_rules(connection, tried)
    assert trial.mails == 4
    assert trial.moves == {(MessageCategory.CONVERSATION, NEWSLETTER): 1, (MessageCategory.PRIVATE, NEWSLETTER): 1}
    assert (trial.tags_gained, trial.tags_lost) == ({"order": 2}, {})
    assert [one.subject for one in trial.examples] == ["Скидки", "Заказ 2", "Заказ 1"]  # a private one never
    assert [await category(store, one) for one in ids[:3]] == [("conversation", "it is a test")] * 3


async def resort_jobs(store: Store) -> list[int]:
    async with store.begin() as connection:
        query = "DELETE FROM procrastinate_jobs WHERE task_name = 'resort' AND status = 'todo' RETURNING args"
        return [row.args["run_id"] for row in await connection.execute(text(query))]


async def test_all_mails_are_sorted_anew_with_progress(
    store: Store, intake: Intake, linker: Linker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resort, "_BATCH", 2)
    mails = [
        mail(f"m{at}", f"{PETROV} > {ANNA}", subject=f"Заказ {at}", sent=NOON + timedelta(hours=at)) for at in range(5)
    ]
    ids = await arrive(store, intake, linker, *mails)
    await add_rule(store, {"subject": ["заказ 1", "заказ 3"]}, category=NEWSLETTER)
    async with store.begin() as connection:
        await resort.start(connection, "admin")
    resorter = Resorter(store, linker)
    progress = []
    while jobs := await resort_jobs(store):
        for run_id in [*jobs, *jobs]:  # a job that is done twice counts once
            await resorter.resort(run_id)
        async with store.begin() as connection:
            run = await MAILS.find(connection)
        assert run is not None
        progress.append((run.done, run.changed, run.finished is not None))
    assert progress[-1] == (5, 2, True)
    assert [done for done, _, _ in progress] == sorted(done for done, _, _ in progress)
    assert [(await category(store, one))[0] for one in ids] == [
        "conversation", "newsletter", "conversation", "newsletter", "conversation"
    ]  # fmt: skip
    assert [await states(store, one) for one in ids] == [
        [LinkState.LINKED], [], [LinkState.LINKED], [], [LinkState.LINKED]
    ]  # fmt: skip


async def test_what_was_erased_stays_where_it_stands(store: Store, intake: Intake, linker: Linker) -> None:
    (number,) = await arrive(store, intake, linker, mail("one", f"{PETROV} > {ANNA}"))
    async with store.begin() as connection:
        erasure = await erasures.insert_erasure(
            connection, at=NOON, by="admin", reason="asked", basis="law", subject="1", links=[], blobs=0
        )
        await erasures.wipe(connection, [number], erasure.id, "erased")
        before = await links.list_links(connection, [number])
    await linker.link([number])
    async with store.begin() as connection:
        assert await links.list_links(connection, [number]) == before
    assert [one.card_id for one in before] == [1]


async def test_hundreds_of_different_mails_under_one_id_stay_hundreds(store: Store, intake: Intake) -> None:
    """Whoever floods us with one id costs no more than fifty comparisons, and a copy is still a copy."""
    first = mail("flood", f"{ANNA} > {PETROV}", text=WORDS)
    others = [replace(first, parties=parties_of(f"{ANNA} > client-{n}@example.org", "mail")) for n in range(70)]
    numbers = [await accept_mail(intake, one) for one in (first, *others)]
    assert len(set(numbers)) == 71
    assert [await accept_mail(intake, one) for one in (first, others[5], others[69])] == [
        numbers[0], numbers[6], numbers[70]
    ]  # fmt: skip


async def test_a_run_that_is_begun_again_ends_the_one_before(store: Store, intake: Intake, linker: Linker) -> None:
    await arrive(store, intake, linker, mail("one", f"{PETROV} > {ANNA}"))
    async with store.begin() as connection:
        first = await resort.start(connection, "admin")
        second = await resort.start(connection, "admin")
        assert (await MAILS.find(connection, first.id) or first).finished is not None
        assert (await MAILS.find(connection) or first).id == second.id
