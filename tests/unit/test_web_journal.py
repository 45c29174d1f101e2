"""What the page of a mail says of the journal report or the forward it came within."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.intake import Intake
from agent.model import CapturedMail, CapturedParty, IdentityKind
from agent.model_mail import Wrapping, WrappingKind
from agent.store import rules
from agent.store.engine import Store
from linker.link import Linker
from tests.unit.linking import accept_mail, do_link_jobs, parsed_mail, parties_of
from tests.unit.web_pages import HOSTILE, Tags, people, server, world
from tests.web_world import MARIA_MAIL, NOW, Browser, settings_for

__all__ = ["people", "server", "world"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (WrappingKind.JOURNAL, "отчёта журнала от"),
        (WrappingKind.ATTACHED, "пересланного письма от"),
        (WrappingKind.QUOTED, "текста письма, которое переслал(а)"),
    ],
)
async def test_how_a_mail_came_and_through_which_group(
    people: dict[str, Browser], store: Store, intake: Intake, kind: WrappingKind, words: str
) -> None:
    member = CapturedParty(position="expanded", kind=IdentityKind.ADDRESS, value="oleg@example.com")
    mail = parsed_mail(f"wrapped {kind}", parties_of(f"{MARIA_MAIL} > anna@example.com", "mail"), sent=NOW)
    place = {"offset": 700, "size": 300, "sha256": "ab" * 32} if kind is not WrappingKind.QUOTED else {}
    wrapping = Wrapping(kind=kind, by=f"exchange@example.com {HOSTILE}", **place)  # type: ignore[arg-type]
    number = await accept_mail(intake, replace(mail, parties=(*mail.parties, member), wrapping=wrapping), received=NOW)
    await do_link_jobs(store, Linker(store, settings_for(".")))
    status, page = await people["admin"].get(f"/interactions/{number}")
    assert status == 200
    assert Tags(page).bad == []
    assert words in page and "exchange@example.com" in page
    assert ("700–999" in page) == ("ab" * 32 in page) == bool(place)
    assert "Через группу" in page and "oleg@example.com" in page


async def test_a_rule_may_ask_for_a_team(store: Store, intake: Intake) -> None:
    mail = parsed_mail("team", parties_of(f"{MARIA_MAIL} > anna@example.com", "mail"), sent=NOW)
    captured = CapturedMail(
        source="smtp", key="team", raw=b"x", received=NOW, envelope={"teams": {"sales@in.example.com": "Sales"}}
    )
    (evidence_id,) = await intake.store_evidence([captured])
    number = await intake.accept_message(evidence_id, mail)
    async with store.begin() as connection:
        (facts,) = await rules.list_facts(connection, [number])
    assert facts.mailboxes == ("smtp", "Sales")
