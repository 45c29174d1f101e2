"""Rules that sort mail: what fits, which of them decides, and the ones that come with the program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Direction, MessageCategory
from agent.store import rules
from agent.store.engine import Store
from agent.store.rules import MailFacts, MailRule
from linker.rules import Domains, fits, list_domain, plain, sort_mail

CONVERSATION, NEWSLETTER = MessageCategory.CONVERSATION, MessageCategory.NEWSLETTER
NOBODY = Domains()


def facts(**more: Any) -> MailFacts:
    base = MailFacts(
        interaction_id=1,
        senders=("petrov@client.example.org",),
        recipients=("anna@example.com",),
        subject="Поставка столов",
        words="Добрый день! Когда ждать?",
        attachments=(),
        headers={},
        mailboxes=("sales",),
        folders=("INBOX",),
        marked=CONVERSATION,
        marked_reason="nothing marks it as automatic",
        direction=Direction.INBOUND,
        category=CONVERSATION,
    )
    return replace(base, **more)


def rule(number: int, conditions: dict[str, list[str]], **more: Any) -> MailRule:
    return MailRule(id=number, place=number, name=f"rule {number}", conditions=conditions, **more)


@pytest.fixture
async def presets(store: Store) -> list[MailRule]:
    async with store.begin() as connection:
        return await rules.list_rules(connection)


@pytest.mark.parametrize(
    ("field", "values", "more", "why"),
    [
        ("from", ["petrov@client.example.org"], {}, "it is from petrov@client.example.org"),
        ("from", ["@client.example.org"], {}, "it is from petrov@client.example.org"),
        ("from", ["example.org"], {}, "it is from petrov@client.example.org"),
        ("from", ["@example.org"], {}, None),
        ("from", ["ample.org"], {}, None),
        ("to", ["petrov@client.example.org"], {}, None),
        ("to", ["Anna@Example.com"], {}, "it is to anna@example.com"),
        ("anyone", ["anna@example.com"], {}, "it names anna@example.com"),
        ("subject", ["столов"], {}, "the subject has «столов»"),
        ("subject", ["стол"], {}, None),
        ("subject", ["стол*"], {}, "the subject has «столов»"),
        ("subject", ["поставк* стол*"], {}, "the subject has «поставка столов»"),
        ("subject", ["счет"], {"subject": "Счёт №12"}, "the subject has «счет»"),
        ("subject", ["счёт"], {"subject": "СЧЕТ12"}, "the subject has «счет»"),
        ("subject", ["счет"], {"subject": "Счётчик воды"}, None),
        ("subject", ["счет", "-за счет"], {"subject": "За счёт покупателя"}, None),
        ("subject", ["-стол*"], {"subject": "Шкафы"}, "the subject has «»"),
        ("words", ["ждать"], {}, "the words have «ждать»"),
        ("attachment", ["кп"], {"attachments": ("a.png", "КП_Ромашка-2.pdf")}, "a file is called «КП_Ромашка-2.pdf»"),
        ("attachment", ["invoice*"], {"attachments": ("INVOICE2026.PDF",)}, "a file is called «INVOICE2026.PDF»"),
        ("header", ["X-Mailer: uni*"], {"headers": {"x-mailer": "UniSender"}}, "its header has x-mailer: UniSender"),
        ("header", ["x-mailer"], {"headers": {"x-mailer": "anything"}}, "its header has x-mailer: anything"),
        ("header", ["x-mailer: outlook"], {"headers": {"x-mailer": "UniSender"}}, None),
        ("mailbox", ["Sales"], {}, "it lies in the mailbox sales"),
        ("folder", ["личное"], {"folders": ("INBOX", "Личное/Банк")}, "it lies in the folder «Личное/Банк»"),
        ("folder", ["личное"], {"folders": ("INBOX.Личное",)}, "it lies in the folder «INBOX.Личное»"),
        ("folder", ["лич"], {"folders": ("Личное",)}, None),
        ("direction", ["inbound"], {}, "it is inbound"),
        ("direction", ["outbound"], {"direction": None}, None),
        ("marked", ["newsletter"], {}, None),
        ("nonsense", ["x"], {}, None),
    ],
)  # fmt: skip
def test_what_fits(field: str, values: list[str], more: dict[str, Any], why: str | None) -> None:
    assert fits({field: values}, facts(**more), NOBODY) == why


def test_all_conditions_must_hold_and_nothing_asked_fits_nothing() -> None:
    both = {"subject": ["стол*"], "mailbox": ["sales"]}
    assert fits(both, facts(), NOBODY) == "the subject has «столов»; it lies in the mailbox sales"
    assert fits(both, facts(mailboxes=("boss",)), NOBODY) is None
    assert fits({}, facts(), NOBODY) is None


def test_the_first_rule_that_fits_decides_and_each_tag_has_its_first_reason() -> None:
    known = [
        rule(1, {"subject": ["шкаф*"]}, category=MessageCategory.PRIVATE),
        rule(2, {"subject": ["стол*"]}, category=MessageCategory.AUTOMATIC, enabled=False),
        rule(3, {"mailbox": ["sales"]}, tag="order"),
        rule(4, {"subject": ["стол*"]}, tag="order"),
        rule(5, {"subject": ["поставка"]}, category=CONVERSATION),
        rule(6, {"subject": ["поставка"]}, category=NEWSLETTER),
    ]
    found = sort_mail(facts(), known, NOBODY)
    assert (found.category, found.reason) == (CONVERSATION, "rule «rule 5»: the subject has «поставка»")
    assert found.tags == (("order", "rule «rule 3»: it lies in the mailbox sales"),)
    assert sort_mail(facts(), [known[-1], *known], NOBODY).tags == ()  # what is no conversation is nothing else either


GROUP = {"list-id": "<sales.client.example.org>", "list-post": "<mailto:sales@client.example.org>"}
BULK = {"list-id": "<123.mailer.example.net>", "list-unsubscribe": "<https://mailer.example.net/u>"}


@pytest.mark.parametrize(
    ("more", "category", "reason"),
    [
        ({}, "conversation", "nothing marks it as automatic"),
        (
            {"marked": NEWSLETTER, "marked_reason": "its header says List-Id: x", "headers": BULK},
            "newsletter",
            "its header says List-Id: x",
        ),
        (
            {"marked": NEWSLETTER, "marked_reason": "List-Id", "headers": GROUP},
            "conversation",
            "rule «A group at a client's domain or our own»: List-Id; "
            "members write to a list at the client's domain client.example.org",
        ),
        ({"direction": Direction.INTERNAL}, "internal", "rule «Mail among ourselves»: it is internal"),
        ({"marked": MessageCategory.BOUNCE, "marked_reason": "a report"}, "bounce", "a report"),
        (
            {"marked": MessageCategory.AUTOMATIC, "marked_reason": "its header says so", "headers": GROUP},
            "automatic",
            "its header says so",
        ),
    ],
)
async def test_the_rules_that_come_with_the_program(
    presets: list[MailRule], more: dict[str, Any], category: str, reason: str
) -> None:
    domains = Domains(own=frozenset(("example.com",)), clients=frozenset(("client.example.org",)))
    found = sort_mail(facts(**more), presets, domains)
    assert (found.category, found.reason) == (category, reason)


def test_the_domain_of_a_list_is_where_its_members_write_to() -> None:
    assert list_domain(GROUP) == "client.example.org"
    assert list_domain({"mailing-list": "list sales@client.example.org; contact sales+owners@client.example.org"}) == (
        "client.example.org"
    )
    assert list_domain({"list-post": "NO"}) == list_domain(BULK) == ""


@pytest.mark.parametrize(
    ("more", "tags"),
    [
        ({"subject": "Коммерческое предложение для «Ромашки»"}, {"proposal"}),
        ({"subject": "КП на столы"}, {"proposal"}),
        ({"subject": "Our quotation No. 12"}, {"proposal"}),
        ({"attachments": ("KP_romashka.pdf",)}, {"proposal"}),
        ({"words": "Добрый день! Направляю КП, жду ответа."}, {"proposal"}),
        ({"subject": "Счёт на оплату № 15"}, {"invoice"}),
        ({"subject": "Re: Счет-фактура"}, {"invoice"}),
        ({"attachments": ("Счет №12 от 02.03.2026.pdf",)}, {"invoice"}),
        ({"words": "Please find the invoice attached."}, {"invoice"}),
        ({"subject": "Договор поставки"}, {"contract"}),
        ({"attachments": ("Dogovor 7.docx",)}, {"contract"}),
        ({"subject": "Договор и счёт", "attachments": ("Proposal.pdf",)}, {"proposal", "invoice", "contract"}),
        ({"subject": "Договорились о встрече"}, set()),
        ({"subject": "Счётчики воды"}, set()),
        ({"subject": "Доставка за счёт покупателя"}, set()),
        ({"words": "Мы договорились, что доставка за ваш счёт."}, set()),
        ({"subject": "Скидки"}, set()),
        ({"subject": "Счёт на оплату", "direction": Direction.INBOUND}, set()),
    ],
)
async def test_outgoing_papers_are_recognised(presets: list[MailRule], more: dict[str, Any], tags: set[str]) -> None:
    found = sort_mail(facts(**{"direction": Direction.OUTBOUND, **more}), presets, NOBODY)
    assert {tag for tag, _ in found.tags} == tags
    assert all(reason.startswith("rule «") for _, reason in found.tags)


@given(text=st.text(max_size=300), phrase=st.text(max_size=60))
def test_no_words_break_a_rule(text: str, phrase: str) -> None:
    found = fits({"subject": [phrase]}, facts(subject=text), NOBODY)
    assert found is None or phrase.startswith("-") or plain(phrase).strip("* ")


async def test_rules_are_kept_moved_and_removed(store: Store) -> None:
    async with store.begin() as connection:
        before = await rules.list_rules(connection)
        made = await rules.save_rule(
            connection, MailRule(id=0, place=0, name="Bank", conditions={"from": ["bank.example"]}, tag="bank")
        )
        assert (await rules.list_rules(connection))[0].id == made
        await rules.move_rule(connection, made, up=False)
        await rules.move_rule(connection, made, up=True)
        await rules.move_rule(connection, made, up=True)
        await rules.move_rule(connection, made, up=False)
        assert [one.id for one in await rules.list_rules(connection)][:2] == [before[0].id, made]
        changed = MailRule(id=made, place=0, name="Bank", conditions={"from": ["x.example"]}, category=NEWSLETTER)
        assert await rules.save_rule(connection, changed) == made
        found = next(one for one in await rules.list_rules(connection) if one.id == made)
        assert (found.category, found.tag, found.conditions) == (NEWSLETTER, None, {"from": ["x.example"]})
        assert not await rules.remove_rule(connection, before[0].id)
        assert await rules.remove_rule(connection, made)
        assert [one.id for one in await rules.list_rules(connection)] == [one.id for one in before]
