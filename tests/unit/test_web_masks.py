"""Pages of an administrator: what is masked in the text of calls, and the company's own words."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, text

from agent.store import glossary, masks, transcripts
from agent.store.engine import Store
from agent.store.masks import MaskKind, MaskRule
from agent.store.runs import TRANSCRIPTS
from agent.store.schema import mask_rule
from agent.transcribe.masks.remasking import Remasker
from tests.unit.web_pages import HOSTILE, Tags, people, server, world
from tests.web_world import SAID, Browser, World

__all__ = ["people", "server", "world"]


@pytest.fixture
async def admin(people: dict[str, Browser], store: Store) -> AsyncIterator[Browser]:
    """An administrator's browser; rules made by a test are gone after it."""
    yield people["admin"]
    async with store.begin() as connection:
        await connection.execute(delete(mask_rule).where(mask_rule.c.preset == ""))


async def rules_of(store: Store) -> list[MaskRule]:
    async with store.begin() as connection:
        return await masks.list_rules(connection)


async def sent(browser: Browser, path: str, **form: str) -> tuple[int, str]:
    """Status and text of a form."""
    token = await browser.token("/masks")
    async with browser.http.post(path, data={**form, "csrf": token}, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def test_card_numbers_are_masked_from_the_beginning(admin: Browser, store: Store) -> None:
    (preset,) = await rules_of(store)
    assert (preset.kind, preset.enabled) == (MaskKind.CARDS, True)
    _, page = await admin.get("/masks")
    assert "Номера банковских карт" in page
    assert await admin.post(f"/masks/{preset.id}/remove") == 404, "it can only be switched off"
    assert (await sent(admin, f"/masks/{preset.id}", name="x", kind="words", text="x"))[0] == 303
    (changed,) = await rules_of(store)
    assert (changed.kind, changed.text, changed.enabled) == (MaskKind.CARDS, "", False)
    assert (await sent(admin, f"/masks/{preset.id}", enabled="1"))[0] == 303
    assert await rules_of(store) == [preset]


async def test_a_rule_is_tried_saved_and_run_over_what_is_there(admin: Browser, store: Store, world: World) -> None:
    form = {"name": f"Сроки {HOSTILE}", "kind": "words", "text": "декабр*\nдва стола", "enabled": "1"}
    status, page = await sent(admin, "/masks/0/try", **form)
    assert status == 200
    assert Tags(page).bad == []
    assert "<mark>декабря</mark>" in page
    assert re.search(r"Скрыло бы мест: 3", page)
    assert f'href="/interactions/{world.marias_call}?at=' in page
    assert [one.name for one in await rules_of(store)] == ["Card numbers"], "a trial saves nothing"
    assert (await sent(admin, "/masks/0", **form, run="1"))[0] == 303
    _, page = await admin.get("/masks")
    assert Tags(page).bad == []
    assert "Просмотрено 0 из" in page
    async with store.begin() as connection:
        run = await TRANSCRIPTS.find(connection)
    assert run is not None
    while run.finished is None:
        await Remasker(store).mask_again(run.id)
        async with store.begin() as connection:
            run = await TRANSCRIPTS.find(connection)
            assert run is not None
    async with store.begin() as connection:
        (found,) = await transcripts.list_transcripts(connection, [world.marias_call])
        waiting = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'mask'"
        assert (await connection.execute(text(waiting))).scalar_one() >= 1
    assert found.utterances[3].text == SAID[3][2].replace("декабря", "••••")
    assert "два стола" not in " ".join(one.text for one in found.utterances)
    _, page = await admin.get("/masks")
    assert "изменено: 1" in page


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"name": "", "kind": "words", "text": "x"}, "нет названия"),
        ({"name": "x", "kind": "words", "text": " - \n"}, "Не сказано"),
        ({"name": "x", "kind": "pattern", "text": ""}, "Не сказано"),
        ({"name": "x", "kind": "pattern", "text": "("}, "не подходит"),
        ({"name": "x", "kind": "pattern", "text": r"(\d+)+x"}, "не подходит"),
        ({"name": "x", "kind": "pattern", "text": ".*"}, "не подходит"),
        ({"name": "x", "kind": "words", "text": "слово\n" * 501}, "больше 500"),
    ],
)
async def test_what_cannot_be_a_rule_is_refused_with_words(
    admin: Browser, store: Store, form: dict[str, str], problem: str
) -> None:
    for path in ("/masks/0", "/masks/0/try"):
        status, page = await sent(admin, path, **form)
        assert status == 400
        assert problem in page
        assert "не сохранено" in page or "не подходит" in page or "больше" in page
    assert len(await rules_of(store)) == 1


async def test_a_rule_is_changed_and_forgotten(admin: Browser, store: Store) -> None:
    form = {"name": "Договор", "kind": "pattern", "text": r"договор \d+", "enabled": "1"}
    assert (await sent(admin, "/masks/0", **form))[0] == 303
    made = (await rules_of(store))[-1]
    _, page = await admin.get(f"/masks/{made.id}")
    assert r"договор \d+" in page
    assert (await sent(admin, f"/masks/{made.id}", **form | {"text": r"дог\. \d+"}))[0] == 303
    assert (await rules_of(store))[-1].text == r"дог\. \d+"
    assert (await sent(admin, "/masks/999999", **form))[0] == 404
    assert (await admin.get("/masks/999999"))[0] == 404
    assert await admin.post(f"/masks/{made.id}/remove") == 303
    assert await admin.post(f"/masks/{made.id}/remove") == 404


async def test_words_of_the_company(admin: Browser, people: dict[str, Browser], store: Store) -> None:
    status, page = await admin.get("/glossary")
    assert status == 200
    words = f"Ромашка-М, ЛДСП\n\n ламинат  дуб \nЛДСП\n{HOSTILE}"
    assert (await sent(admin, "/glossary", words=words))[0] == 303
    async with store.begin() as connection:
        found = await glossary.find_glossary(connection)
    assert found[:3] == ("Ромашка-М", "ЛДСП", "ламинат дуб")
    _, page = await admin.get("/glossary?saved=1")
    assert Tags(page).bad == []
    assert "Сохранено" in page
    assert (await people["boss"].get("/glossary"))[0] == 403
    assert len(glossary.read_glossary("\n".join(map(str, range(1000))))) == glossary.MOST_WORDS
