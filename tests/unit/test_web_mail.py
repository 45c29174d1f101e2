"""Mails and meetings on the pages: rules changed, tried and run, what is private, tags, bounces, meetings decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from agent.intake import Intake
from agent.model import MeetingState, MessageCategory
from agent.model_mail import ParsedAttendee, ParsedInvitation, ParsedMessage, ParsedReport
from agent.store import meetings, rules
from agent.store.engine import Store
from linker.link import Linker
from linker.resort import Resorter
from tests.unit.linking import accept_mail, do_link_jobs, parsed_mail, parties_of
from tests.unit.web_pages import HOSTILE, Tags, people, server, world
from tests.web_world import MARIA_MAIL, NOW, Browser, World, settings_for

__all__ = ["people", "server", "world"]

ANNA = "anna@example.com"
HOME = "/mail-rules"


@pytest.fixture
def linker(store: Store) -> Linker:
    return Linker(store, settings_for("."))


async def arrive(
    store: Store, intake: Intake, linker: Linker, key: str, who: str, **more: object
) -> tuple[int, ParsedMessage]:
    one = replace(parsed_mail(key, parties_of(who, "mail"), sent=NOW), **more)  # type: ignore[arg-type]
    number = await accept_mail(intake, one, received=NOW)
    await do_link_jobs(store, linker)
    return number, one


async def rule_id(store: Store, name: str) -> int:
    async with store.begin() as connection:
        return next(one.id for one in await rules.list_rules(connection) if one.name == name)


async def test_a_rule_is_tried_saved_moved_switched_off_and_removed(
    people: dict[str, Browser], store: Store, intake: Intake, linker: Linker
) -> None:
    number, _ = await arrive(store, intake, linker, "gift", f"{MARIA_MAIL} > {ANNA}", subject=f"Подарки {HOSTILE}")
    admin = people["admin"]
    form = {"name": f"Подарки {HOSTILE}", "result": "category:newsletter", "field_subject": "подарк*", "enabled": "1"}
    async with admin.http.post(f"{HOME}/0/try", data={**form, "csrf": await admin.token()}) as answer:
        page = await answer.text()
    assert answer.status == 200
    assert f"/interactions/{number}" in page
    assert "переписка → рассылки: <b>1</b>" in page
    assert Tags(page).bad == []
    assert await admin.post(f"{HOME}/0", **form) == 303
    made = await rule_id(store, form["name"])
    _, page = await admin.get(HOME)
    assert Tags(page).bad == []
    assert f'id="rule-{made}"' in page
    assert await admin.post(f"{HOME}/{made}/move", way="down") == 303
    changed = {"name": "Gifts", "result": "tag:", "tag": "gift", "field_subject": "подарк*\nсувенир*, сувенир*"}
    assert await admin.post(f"{HOME}/{made}", **changed) == 303
    async with store.begin() as connection:
        found = next(one for one in await rules.list_rules(connection) if one.id == made)
    assert (found.enabled, found.tag, found.category) == (False, "gift", None)
    assert found.conditions == {"subject": ["подарк*", "сувенир*"]}
    assert await admin.post(f"{HOME}/{made}/remove") == 303
    assert await admin.post(f"{HOME}/{made}/remove") == 404
    assert await admin.post(f"{HOME}/{made}", **changed) == 404
    status, _ = await admin.get(f"{HOME}/{made}")
    assert status == 404


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"result": "category:private", "field_from": "x"}, "Введите имя"),
        ({"name": "x", "field_from": "x"}, "Скажите, что это за письмо"),
        ({"name": "x", "result": "category:nonsense", "field_from": "x"}, "Скажите, что это за письмо"),
        ({"name": "x", "result": "tag:", "tag": " "}, "Скажите, что это за письмо"),
        ({"name": "x", "result": "category:private"}, "Укажите хотя бы одно условие"),
        ({"name": "x", "result": "category:private", "field_direction": "sideways"}, "Укажите хотя бы одно условие"),
        ({"name": "x", "result": "category:private", "field_from": " ,, \n\0"}, "Укажите хотя бы одно условие"),
    ],
)
async def test_a_rule_that_says_nothing_is_not_saved(
    people: dict[str, Browser], store: Store, form: dict[str, str], problem: str
) -> None:
    admin = people["admin"]
    async with store.begin() as connection:
        before = await rules.list_rules(connection)
    for path in (f"{HOME}/0", f"{HOME}/0/try"):
        async with admin.http.post(path, data={**form, "csrf": await admin.token()}) as answer:
            assert (answer.status, problem in await answer.text()) == (400, True)
    async with store.begin() as connection:
        assert await rules.list_rules(connection) == before


async def test_what_comes_with_the_program_can_be_switched_off_and_not_removed(
    people: dict[str, Browser], store: Store
) -> None:
    number = await rule_id(store, "Newsletters")
    assert await people["admin"].post(f"{HOME}/{number}/remove") == 404
    _, page = await people["admin"].get(f"{HOME}/{number}")
    assert "Рассылки" in page
    assert "/remove" not in page


async def test_a_private_mail_leaves_the_card_and_only_its_number_is_left(
    people: dict[str, Browser], store: Store, intake: Intake, linker: Linker, world: World
) -> None:
    number, _ = await arrive(store, intake, linker, "doctor", f"{MARIA_MAIL} > {ANNA}", subject="Справка врача")
    assert "Справка врача" in (await people["anna"].get(f"/cards/{world.maria}"))[1]
    admin = people["admin"]
    form = {"name": "Врач", "result": "category:private", "field_subject": "справка*", "enabled": "1", "resort": "1"}
    assert await admin.post(f"{HOME}/0", **form) == 303
    async with store.begin() as connection:
        query = "DELETE FROM procrastinate_jobs WHERE task_name = 'resort' RETURNING args"
        (job,) = (await connection.execute(text(query))).all()
    await Resorter(store, linker).resort(job.args["run_id"])
    for name in ("admin", "boss", "anna"):
        assert (await people[name].get(f"/interactions/{number}"))[0] == 404
        assert (await people[name].get(f"/interactions/{number}/html"))[0] == 404
    for name in ("boss", "anna"):
        assert "Справка врача" not in (await people[name].get(f"/cards/{world.maria}"))[1]
    async with store.begin() as connection:
        proof = (
            await connection.execute(text(f"SELECT id FROM evidence WHERE interaction_id = {number}"))
        ).scalar_one()
    assert (await admin.get(f"/evidence/{proof}/original"))[0] == 404
    _, page = await admin.get(HOME)
    assert "личные <b>1</b>" in page
    assert "Справка" not in page.replace(form["field_subject"], "")
    made = await rule_id(store, "Врач")
    async with admin.http.post(f"{HOME}/{made}/try", data={**form, "name": "x", "result": "category:newsletter",
                                                            "csrf": await admin.token()}) as answer:  # fmt: skip
        page = await answer.text()
    assert "личные → рассылки: <b>1</b>" in page
    assert "Справка врача" not in page
    assert await admin.post(f"{HOME}/{made}/remove") == 303
    await linker.link([number])


async def test_our_own_domains(people: dict[str, Browser], store: Store, linker: Linker) -> None:
    admin = people["admin"]
    for wrong in ("gmail.com", "nonsense", "a b.example", "", "x" * 300 + ".example"):
        assert await admin.post("/mail-domains", domain=wrong) == 400
    for _ in range(2):
        assert await admin.post("/mail-domains", domain=" @Our.Example.COM. ") == 303
    _, page = await admin.get(HOME)
    assert page.count("<li>our.example.com") == 1
    async with store.begin() as connection:
        query = "SELECT id FROM employee_identity WHERE kind = 'domain'"
        (number,) = (await connection.execute(text(query))).scalars()
    assert await admin.post(f"/mail-domains/{number}/remove") == 303
    assert "our.example.com" not in (await admin.get(HOME))[1]
    assert await admin.post(f"/mail-domains/{number}/remove") == 404


async def test_an_offer_has_its_tag_and_what_came_back_is_told_there(
    people: dict[str, Browser], store: Store, intake: Intake, linker: Linker, world: World
) -> None:
    subject = "Коммерческое предложение на столы"
    number, sent = await arrive(store, intake, linker, "offer", f"{ANNA} > {MARIA_MAIL}", subject=subject)
    report = ParsedReport(about_ids=(sent.message_id,), failed=((MARIA_MAIL, f"550 {HOSTILE}"),))
    await arrive(
        store, intake, linker, "came-back", f"mailer-daemon@mx.example.com > {ANNA}",
        category=MessageCategory.BOUNCE, category_reason="a delivery report (RFC 3464)", report=report,
    )  # fmt: skip
    for path in (f"/cards/{world.maria}", f"/interactions/{number}"):
        _, page = await people["anna"].get(path)
        assert (
            '<span class="tag" title="правило «Предложение: по теме»: в теме «коммерческое предложение»; исходящее">'
            in page
        )
        assert "Письмо вернулось: не доставлено" in page
        assert Tags(page).bad == []
    _, page = await people["anna"].get(f"/interactions/{number}", **{"Accept-Language": "en"})
    assert "rule «Proposal: by the subject»: the subject has «коммерческое предложение»; it is outbound" in page


async def test_a_meeting_stands_on_the_card_and_a_person_says_that_it_was_held(
    people: dict[str, Browser], store: Store, intake: Intake, linker: Linker, world: World
) -> None:
    start = NOW - timedelta(hours=20)
    told = ParsedInvitation(
        part=1,
        method="REQUEST",
        uid="web-1",
        sequence=0,
        recurrence_id=None,
        start=start,
        end=start + timedelta(hours=1),
        is_all_day=False,
        is_recurring=False,
        status="confirmed",
        organizer=ParsedAttendee(address=ANNA, name="", status=""),
        attendees=(ParsedAttendee(address=MARIA_MAIL, name=f"Мария {HOSTILE}", status="tentative"),),
        summary=f"Показ {HOSTILE}",
        location=HOSTILE,
    )
    await arrive(store, intake, linker, "invite", f"{ANNA} > {MARIA_MAIL}", invitations=(told,))
    async with store.begin() as connection:
        number = (await connection.execute(text("SELECT interaction_id FROM meeting WHERE uid = 'web-1'"))).scalar_one()
    for path in (f"/cards/{world.maria}", f"/interactions/{number}"):
        _, page = await people["anna"].get(path)
        assert "не подтверждена" in page
        assert "Встреча состоялась" in page
        assert "под вопросом" in page
        assert Tags(page).bad == []
    assert await people["ivan"].post(f"/interactions/{number}/meeting", said="held") == 404
    assert await people["anna"].post(f"/interactions/{number}/meeting", said="maybe") == 400
    assert await people["anna"].post(f"/interactions/{world.marias_call}/meeting", said="held") == 404
    assert await people["anna"].post(f"/interactions/{number}/meeting", said="held") == 303
    await do_link_jobs(store, linker)
    async with store.begin() as connection:
        (one,) = await meetings.list_meetings(connection, [number])
    assert (one.state, one.confirmed) == (MeetingState.HELD, "said by anna")
    _, page = await people["anna"].get(f"/interactions/{number}")
    assert "подтверждена: так сказал(а) anna" in page
