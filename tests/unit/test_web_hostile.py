"""Stored and reflected words that would be markup: page by page, wherever the outside or a colleague can put words.

What calls and mails bring is in `tests.unit.test_web_pages`; here is what people write, what models and CRMs answer,
and what browsers say of themselves.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

import pytest
from sqlalchemy import update

from agent.model import Mark, MarkKind, UserRole, Utterance
from agent.store import (
    accounts,
    audit,
    cards,
    comments,
    connectors,
    employees,
    glossary,
    masks,
    mirror,
    notes,
    outbox,
    recordings,
    retention,
    savedsearches,
    search,
    talks,
    tasks,
    teams,
    tokens,
    transcripts,
)
from agent.store.engine import Store
from agent.store.masks import Masked, MaskKind, MaskRule
from agent.store.mirror import UserRow
from agent.store.schema import delivery
from agent.store.searchindex import Indexer
from agent.store.talks import StoredTalk
from agent.transcribe.afterwards import save_dialogue
from agent.transcribe.dialogue import Dialogue
from agent.transcribe.gate import Dropped
from agent.web.app import WebServer
from tests.unit.web_pages import HOSTILE, Tags, people, server, world
from tests.web_world import NOW, PASSWORD, Browser, World

__all__ = ["people", "server", "world"]

SHOWN = "&lt;script&gt;alert(1)"
REFLECTED = quote(HOSTILE)

# Page by page: who looks, where, and how often the words stand there at least.
STORED = [
    ("admin", "/masks", 1),
    ("admin", "/masks/{mask}", 2),
    ("admin", "/glossary", 1),
    ("admin", "/interactions/{call}", 6),
    ("admin", "/interactions/{call}?transcript={first}", 4),
    ("admin", "/interactions/{call}?transcript={second}", 4),
    ("evil", "/me", 2),
    ("admin", "/teams", 3),
    ("admin", "/tokens", 2),
    ("admin", "/accounts", 1),
    ("admin", "/accounts/{account}", 3),
    ("admin", "/employees", 1),
    ("admin", "/audit", 1),
    ("admin", "/audit?who={account}", 2),
    ("admin", "/retention", 2),
    ("admin", "/crm", 4),
    ("admin", "/unsorted", 2),
    ("admin", "/cards/{card}", 3),
    ("admin", "/cards?who={employee}", 2),
    ("admin", "/tasks?list=all", 1),
    ("admin", "/find?q=alert", 3),
    ("admin", "/find", 1),
]

REFLECTING = [
    "/audit?what={it}",
    "/audit?since=2020-01-01&what={it}",
    "/find?q={it}",
    "/find?q=x&tag={it}",
    "/cards?q={it}",
    "/cards?stage={it}",
    "/glossary?saved={it}",
    "/crm?done={it}",
    "/me?done={it}&problem={it}",
    "/tasks?list={it}&start={it}",
    "/interactions/{call}?transcript={it}&at={it}&problem={it}&asked={it}",
    "/unsorted?sort={it}&start={it}&done={it}",
    "/retention?calls=&mails=&x={it}",
    "/login?next={it}",
    "/login/code?next={it}",
    "/teams?{it}={it}",
    "/tokens?{it}={it}",
    "/nothing/{it}",
]


@pytest.fixture(scope="module")
async def ids(store: Store, world: World) -> Mapping[str, int]:
    """The words stored in every place there is; returns what they were put into."""
    async with store.begin() as connection:
        employee = await employees.insert_employee(connection, f"Зоя {HOSTILE}")
        account = await accounts.insert_account(
            connection, f"evil {HOSTILE}", f"Злой {HOSTILE}", PASSWORD, UserRole.SUPERVISOR, employee, all_teams=False
        )
        team = await teams.insert_team(connection, f"Север {HOSTILE}")
        assert team is not None
        assert await teams.add_member(connection, team, employee)
        await teams.set_supervised(connection, account, [team])
        await tokens.insert_token(connection, f"sync {HOSTILE}", ["read"], account_id=account)
        await audit.add_entry(connection, account, f"act {HOSTILE}", {HOSTILE: {"name": [HOSTILE, {"x": HOSTILE}]}})
        await glossary.save_glossary(connection, [HOSTILE[:60]])
        rule = MaskRule(id=0, name=f"Правило {HOSTILE}", kind=MaskKind.WORDS, text=f"нет\n{HOSTILE}", enabled=False)
        mask = await masks.save_rule(connection, rule)
        card = await cards.insert_card(connection, f"Карточка {HOSTILE}", responsible_id=employee)
        await notes.add_note(connection, card, f"Заметка {HOSTILE}", by=HOSTILE)
        await tasks.add_task(connection, card, f"Дело {HOSTILE}", by=HOSTILE, employee_id=employee)
        assert await retention.hold_card(connection, card, reason=f"Спор {HOSTILE}", by=HOSTILE)
        admin = await accounts.find_account(connection, "admin")
        assert admin is not None
        assert await savedsearches.save_search(connection, admin.id, f"Поиск {HOSTILE}", f"q={REFLECTED}")
    found = {"employee": employee, "account": account, "mask": mask, "card": card, "call": world.camomiles_call}
    found |= await _transcripts(store, world, account)
    await _crm(store, world)
    async with store.begin() as connection:
        await search.refill(connection)
    await Indexer(store).index()
    return found


async def _transcripts(store: Store, world: World, account: int) -> dict[str, int]:
    """A second transcript beside the first one, with everything that stands beside a text."""
    number = world.camomiles_recording
    async with store.begin() as connection:
        (first,) = await transcripts.list_transcripts(connection, [world.camomiles_call])
        await transcripts.correct(connection, first.utterances[0].id, f"Исправлено {HOSTILE}", by=HOSTILE)
        lines = [
            Utterance(channel=0, start=1, end=9, text=f"Другое {HOSTILE}", confidence=0.9),
            Utterance(channel=1, start=12, end=20, text="Да.", confidence=0.9, interrupts=True),
        ]
        dropped = (Dropped(channel=1, start=22, end=24, text=f"Субтитры {HOSTILE}", reason=f"odd {HOSTILE}"),)
        dialogue = Dialogue(language=HOSTILE, utterances=tuple(lines), dropped=dropped)
        second = await save_dialogue(connection, dialogue, recording_id=number, model=f"model {HOSTILE}")
        assert second is not None
        masked = Masked(
            transcript_id=second, why="rule", rule=f"Правило {HOSTILE}", channel=0, start_ms=2000, end_ms=3000
        )
        await masks.add_masks(connection, [masked])
        await talks.save_talk(
            connection,
            StoredTalk(
                recording_id=number,
                length_ms=30_000,
                silence_ms=2000,
                longest_silence_ms=1000,
                together_ms=2000,
                talk_ms=(17_000, 11_000),
                monologue_ms=(8000, 6500),
                interruptions=(1, 0),
                first_ms=(1000, 4500),
                patience_ms=(None, 750),
                separated=True,
            ),
        )
        keys = Mark(kind=MarkKind.DTMF, channel=1, start_ms=13_500, end_ms=13_600, text=HOSTILE)
        await recordings.save_marks(connection, number, [keys])
        await comments.add_comment(
            connection,
            world.camomiles_call,
            f"Пометка {HOSTILE}",
            account_id=account,
            recording_id=number,
            at_ms=2000,
        )
    return {"first": first.id, "second": second}


async def _crm(store: Store, world: World) -> None:
    """A CRM with a user, a colleague who is nobody there, and a delivery that was given up."""
    async with store.begin() as connection:
        await connectors.switch_on(connection, [(f"crm {HOSTILE}", "amocrm", True)])
        (one,) = await connectors.list_connectors(connection)
        user = UserRow(external_id=f"7 {HOSTILE}", name=f"Вера {HOSTILE}", address="", extension="")
        await mirror.save_users(connection, one.id, [user])
        await outbox.want(connection, [world.camomiles_call], whatever_age=True)
        values = {"state": "failed", "failure": "Refused", "problem": HOSTILE, "remedy": HOSTILE, "tried_at": NOW}
        await connection.execute(update(delivery).values(**values))


@pytest.fixture(scope="module")
async def browsers(
    server: WebServer, people: dict[str, Browser], ids: Mapping[str, int]
) -> AsyncIterator[dict[str, Browser]]:
    """And one of somebody whose login and browser are such words themselves."""
    evil = Browser(server)
    evil.http.headers["User-Agent"] = f"Odd {HOSTILE}"
    assert await evil.log_in(f"evil {HOSTILE}") == 303
    yield {**people, "evil": evil}
    await evil.close()


def _check(text: str, path: str) -> None:
    assert Tags(text).bad == [], path
    assert "<script>alert" not in text, path
    assert "49" not in re.findall(r"&#39;&#34;(.{0,12})", text), path


@pytest.mark.parametrize(("who", "path", "least"), STORED)
async def test_what_is_stored_stays_words(
    browsers: dict[str, Browser], ids: Mapping[str, int], who: str, path: str, least: int
) -> None:
    status, text = await browsers[who].get(path.format_map(ids))
    assert status == 200
    _check(text, path)
    assert text.count(SHOWN) + text.count("&lt;script&gt;<mark>alert</mark>") >= least, "they are shown, as words"


@pytest.mark.parametrize("path", REFLECTING)
async def test_what_the_address_says_stays_words(
    browsers: dict[str, Browser], ids: Mapping[str, int], path: str
) -> None:
    for who in ("admin", "evil", "stranger"):
        status, text = await browsers[who].get(path.format(it=REFLECTED, **ids))
        assert status < 500
        _check(text, path)


FORMS: list[tuple[str, dict[str, str], int]] = [
    ("/masks/0", {"name": HOSTILE, "kind": "pattern", "text": f"({HOSTILE}"}, 2),
    ("/masks/0/try", {"name": HOSTILE, "kind": "words", "text": HOSTILE}, 2),
    ("/masks/0/try", {"name": HOSTILE, "kind": HOSTILE, "text": "исправлено"}, 2),
    ("/teams", {"name": f"Север {HOSTILE}"}, 1),
    ("/tokens", {"name": f"sync {HOSTILE}", "scope": HOSTILE}, 1),
    ("/tokens", {"name": f"other {HOSTILE}", "scope": "read"}, 2),
    ("/accounts", {"login": HOSTILE, "name": HOSTILE, "role": HOSTILE}, 0),
    ("/me/second-factor", {"password": HOSTILE}, 0),
    ("/me/password", {"password": HOSTILE, "wanted": HOSTILE, "again": HOSTILE}, 0),
    ("/crm/drop", {"delivery": HOSTILE}, 0),
    ("/unsorted/delivery", {"delivery": HOSTILE, "answer": HOSTILE}, 0),
    ("/holds", {"card": HOSTILE, "reason": HOSTILE}, 0),
]


@pytest.mark.parametrize(("path", "form", "least"), FORMS)
async def test_what_a_form_says_stays_words(
    browsers: dict[str, Browser], path: str, form: dict[str, str], least: int
) -> None:
    admin = browsers["admin"]
    token = await admin.token("/masks")
    async with admin.http.post(path, data={**form, "csrf": token}, allow_redirects=False) as answer:
        text = await answer.text()
        assert answer.status < 500
    _check(text, path)
    assert text.count(SHOWN) >= least


async def test_the_key_of_a_second_factor_is_shown_to_whoever_has_such_a_name(browsers: dict[str, Browser]) -> None:
    evil = browsers["evil"]
    form = {"password": PASSWORD, "csrf": await evil.token("/me")}
    async with evil.http.post("/me/second-factor", data=form, allow_redirects=False) as answer:
        assert answer.status == 200
        text = await answer.text()
    _check(text, "/me/second-factor")
    (address,) = re.findall(r'href="(otpauth://[^"]+)"', text)
    assert "%3Cscript%3E" in address
    assert text.count(SHOWN) >= 2


async def test_parts_of_pages_and_data_for_scripts_are_no_documents(
    browsers: dict[str, Browser], ids: Mapping[str, int], world: World
) -> None:
    admin, recording = browsers["admin"], world.camomiles_recording
    async with admin.http.get(f"/recordings/{recording}/words") as answer:
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with admin.http.get(f"/recordings/{recording}/said") as answer:
        assert answer.status == 200
        _check(await answer.text(), "said")
    async with admin.http.get("/audit.csv") as answer:
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("mask-rules", "glossary", "teams", "tokens", "accounts", "crms/failed", "search?q=alert"):
        async with admin.http.get(f"/api/v1/{path}") as answer:
            assert answer.status == 200, path
            assert answer.headers["Content-Type"].startswith("application/json"), path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert HOSTILE[:20] in await answer.text(), path
