"""«To be sorted» over HTTP: each sort with its remedy, by whom it may be used, and where one stands after the click."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, text, update

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import CapturedMail, Disposition, EvidenceState
from agent.store import contactproposals, lostmail, waiting
from agent.store.engine import Store
from agent.store.rights import Viewer
from agent.store.schema import contact_proposal, evidence, interaction
from tests.unit.web_pages import HOSTILE, A, Tags, people, server, world
from tests.web_world import NOW, Browser, Builder, World, settings_for

__all__ = ["people", "server", "world"]


@pytest.fixture(scope="module")
def builder(store: Store, archive: Archive, intake: Intake, world: World) -> Builder:
    builder = Builder(store, archive, intake, settings_for("."))
    builder._number = 40_000
    return builder


async def _place(browser: Browser, path: str, **form: str) -> str:
    data = {**form, "csrf": await browser.token()}
    async with browser.http.post(path, data=data, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        return answer.headers["Location"]


async def test_after_the_click_one_stays_in_the_list_at_the_next_item(
    people: dict[str, Browser], builder: Builder
) -> None:
    for number in range(3):
        await builder.call(f"+7495000070{number}", "101", NOW - timedelta(minutes=number))
    boss = people["boss"]
    _, page = await boss.get("/unsorted?sort=unknown")
    assert 'id="unknown-1"' in page
    form = {"kind": "phone", "value": "+74950000701", "decision": "ignore"}
    back = "/unsorted?sort=unknown#unknown-1"
    place = await _place(boss, "/unsorted/aside", **form, back=back)
    assert place == "/unsorted?sort=unknown&done=done_decision#unknown-1"
    _, page = await boss.get(place.partition("#")[0])
    assert "495 000-07-01" not in page
    assert 'id="unknown-1"' in page, "the next one stands there now"
    for odd in ("//evil.example", "https://evil.example", "/cards", "/unsortedx", "/unsorted\\x"):
        form = {"kind": "phone", "value": "+74950000702", "decision": "nonsense", "back": odd}
        assert await boss.post("/unsorted/aside", **form) == 400
    form = {"kind": "phone", "value": "+74950000702", "decision": "ignore", "back": "https://evil.example"}
    assert await _place(boss, "/unsorted/aside", **form) == "/unsorted?done=done_decision"


async def test_what_cannot_be_read_is_tried_again_or_set_aside(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    boss, numbers = people["boss"], []
    for key in ("u1", "u2"):
        (number,) = await builder.intake.store_evidence(
            [CapturedMail(source="smtp", key=key, raw=b"\0" + key.encode(), received=NOW)]
        )
        await builder.intake.reject_evidence(number, f"nothing could be read {HOSTILE}")
        numbers.append(number)
    _, page = await boss.get("/unsorted?sort=unreadable")
    assert Tags(page).bad == []
    first, second = numbers
    assert await boss.post("/unsorted/unreadable", evidence=str(first), answer="again") == 303
    assert await boss.post("/unsorted/unreadable", evidence=str(first), answer="again") == 404, "it waits no more"
    assert await boss.post("/unsorted/unreadable", evidence=str(second), answer="aside") == 303
    assert await boss.post("/unsorted/unreadable", evidence=str(second), answer="x") == 400
    assert await people["anna"].post("/unsorted/unreadable", evidence=str(second), answer="aside") == 403
    async with store.begin() as connection:
        rows = await connection.execute(select(evidence.c.id, evidence.c.state))
        states = {row.id: row.state for row in rows}
        args = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'parse' AND args -> 'evidence_ids' @> :ids"
        jobs = (await connection.execute(text(args.replace(":ids", f"'[{first}]'::jsonb")))).scalar_one()
    assert (states[first], states[second]) == (EvidenceState.STORED, EvidenceState.UNREADABLE)
    assert jobs >= 1
    _, page = await boss.get("/unsorted?sort=unreadable")
    assert f'value="{second}"' not in page


async def test_a_mail_that_never_came_is_asked_for_again(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    """There is nothing to read again, and its note says nothing that one would open."""
    problem = "The mail server does not give message 7 of folder INBOX, which it lists."
    where = {"folder": "INBOX", "uidvalidity": 1, "uid": 7, "problem": problem}
    note = CapturedMail(source="imap:anna", key="INBOX/1/7/missing", raw=b"note", received=NOW, envelope=where)
    (number,) = await builder.intake.store_evidence([note])
    await builder.intake.reject_evidence(number, problem)
    boss = people["boss"]
    _, page = await boss.get("/unsorted?sort=unreadable")
    assert "Почтовый сервер показывает письмо 7" in page
    assert f"/evidence/{number}/source" not in page
    assert await boss.post("/unsorted/unreadable", evidence=str(number), answer="again") == 303
    async with store.begin() as connection:
        (lost,) = await lostmail.list_lost(connection, "anna")
        assert (lost.uid, lost.is_due) == (7, True)
        assert (await waiting.list_unreadable(connection, limit=1))[0].id == number, "until it came"


async def test_two_calls_that_may_be_one_are_said_to_be_two(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    first = await builder.call("+74950000711", "101", NOW - timedelta(hours=5))
    second = await builder.call("+74950000711", "101", NOW - timedelta(hours=5))
    flag = f"may be the same call as No. {first} (siprec): the numbers agree, the times do not"
    async with store.begin() as connection:
        mine = update(interaction).where(interaction.c.id == second)
        await connection.execute(mine.values(flags=["another note", flag]))
    boss = people["boss"]
    _, page = await boss.get("/unsorted?sort=near")
    assert f"№ {first}" in page
    assert f"№ {second}" in page
    form = {"first": str(first), "second": str(second)}
    assert await boss.post("/unsorted/near", **form, answer="one") == 404, "only what is offered can be united"
    assert await people["anna"].post("/unsorted/near", **form, answer="two") == 403
    assert await boss.post("/unsorted/near", **form, answer="two") == 303
    async with store.begin() as connection:
        query = select(interaction.c.flags).where(interaction.c.id == second)
        assert (await connection.execute(query)).scalar_one() == ["another note"]


async def test_work_that_was_given_up_is_done_again_or_left(people: dict[str, Browser], store: Store) -> None:
    job = (
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts) VALUES ('link', 'link', 'failed', 8) "
        "RETURNING id"
    )
    async with store.begin() as connection:
        first = (await connection.execute(text(job))).scalar_one()
        second = (await connection.execute(text(job))).scalar_one()
    admin = people["admin"]
    assert f'value="{first}"' in (await admin.get("/unsorted?sort=jobs"))[1]
    assert await people["boss"].post("/unsorted/job", job=str(first), answer="again") == 403
    assert await admin.post("/unsorted/job", job=str(first), answer="again") == 303
    assert await admin.post("/unsorted/job", job=str(first), answer="again") == 404, "it waits already"
    assert await admin.post("/unsorted/job", job=str(second), answer="forget") == 303
    assert await admin.post("/unsorted/job", job="x", answer="forget") == 400
    async with store.begin() as connection:
        rows = await connection.execute(text("SELECT id, status FROM procrastinate_jobs ORDER BY id"))
        states = {row.id: row.status for row in rows}
    assert states[first] == "todo"
    assert second not in states


async def test_what_signatures_offer_is_answered_from_the_list(
    people: dict[str, Browser], builder: Builder, store: Store, world: World
) -> None:
    async with store.begin() as connection:
        values = {"client_card_id": world.maria, "kind": "phone", "value": "+74950000721", "label": "моб.",
                  "interaction_id": world.marias_call}  # fmt: skip
        number = (
            await connection.execute(insert(contact_proposal).values(**values).returning(contact_proposal.c.id))
        ).scalar_one()
    assert "495 000-07-21" in (await people["anna"].get("/unsorted?sort=proposals"))[1]
    assert "495 000-07-21" not in (await people["ivan"].get("/unsorted?sort=proposals"))[1]
    form = {"proposal": str(number), "answer": "take", "back": "/unsorted?sort=proposals#proposals-0"}
    assert (await _place(people["anna"], f"/cards/{world.maria}/proposals", **form)).startswith("/unsorted")
    async with store.begin() as connection:
        assert await contactproposals.list_open(connection, world.maria) == []


async def test_counts_go_no_further_than_one_shows(
    people: dict[str, Browser], builder: Builder, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_COUNTED", 2)
    for place in range(5):
        await builder.call(f"+7495000073{place}", "102", NOW - timedelta(minutes=place))
    viewer = Viewer(account_id=0, role=A, employee_id=None)
    async with store.begin() as connection:
        assert (await waiting.count_waiting(connection, viewer))["unknown"] == 3


async def test_managers_see_their_own_however_much_waits(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    await builder.call("+74950000741", "102", NOW - timedelta(days=300), talk=None, disposition=Disposition.NO_ANSWER)
    assert "495 000-07-41" in (await people["ivan"].get("/unsorted?sort=unknown"))[1]
    assert "495 000-07-41" not in (await people["anna"].get("/unsorted?sort=unknown"))[1]
    pages = set()
    for start in (0, 25, 50, 4000):
        status, page = await people["boss"].get(f"/unsorted?sort=unknown&start={start}")
        assert status == 200
        pages |= set(re.findall(r"\+7 495 000-07-\d\d", page))
    assert "+7 495 000-07-41" in pages
